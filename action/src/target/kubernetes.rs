//! Kubernetes: replicas of deployments by the `scale` subresource, and rolling restarts by an annotation of the pod
//! template. Each write names the version that was read, so whoever was faster wins (Kubernetes API concepts, "Resource
//! versions"; `autoscaling/v1` Scale).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::http::Ask;
use super::{Driver, Failure, Http, Order, RetryClass};
use crate::plan::{Change, Member};
use crate::runbook::Target;

/// Most deployments that are one target.
const MEMBERS_MAX: usize = 500;
/// The annotation whose change restarts the pods.
const ANNOTATION: &str = "headrope.dev/restarted-for";
/// Marks of tools that put back what others change (Argo CD, Flux).
const OWNERS: [(&str, &str); 4] = [
    ("argocd.argoproj.io/tracking-id", "Argo CD"),
    ("argocd.argoproj.io/instance", "Argo CD"),
    ("kustomize.toolkit.fluxcd.io/name", "Flux"),
    ("helm.toolkit.fluxcd.io/name", "Flux"),
];

/// Speaks to the API server.
pub(crate) struct Kubernetes(pub(crate) Arc<Http>);

impl Driver for Kubernetes {
    fn class(&self, _: &Target) -> RetryClass {
        RetryClass::Set
    }

    fn observe<'a>(
        &'a self,
        target: &'a Target,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Vec<Member>, String>> {
        Box::pin(async move {
            let namespace = &target.group.namespace;
            let selector = encoded(&target.group.selector);
            let path = format!(
                "/apis/apps/v1/namespaces/{namespace}/deployments?limit={MEMBERS_MAX}&labelSelector={selector}"
            );
            let deployments = self.0.get(target, &path, timeout).await?;
            let path = format!(
                "/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers?limit={MEMBERS_MAX}"
            );
            let scalers = self.0.get(target, &path, timeout).await?;
            members_of(&deployments, &scalers)
        })
    }

    fn apply<'a>(
        &'a self,
        target: &'a Target,
        Order { change, timeout, .. }: Order<'a>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            check_name(&change.member).map_err(Failure::Refused)?;
            let namespace = &target.group.namespace;
            let deployment =
                format!("/apis/apps/v1/namespaces/{namespace}/deployments/{}", change.member);
            match change.field.as_str() {
                "replicas" => self.scale(target, &deployment, change, timeout).await,
                "restarted_for" => self.restart(target, &deployment, change, timeout).await,
                field => Err(Failure::Refused(format!("{field} is nothing that can be set"))),
            }
        })
    }
}

impl Kubernetes {
    async fn scale(
        &self,
        target: &Target,
        deployment: &str,
        change: &Change,
        timeout: Duration,
    ) -> Result<(), Failure> {
        let path = format!("{deployment}/scale");
        let scale = self.0.get(target, &path, timeout).await.map_err(Failure::Refused)?;
        let body = scaled(scale, change).map_err(Failure::Refused)?;
        let Some(body) = body else { return Ok(()) };
        let ask = Ask::send(Method::PUT, &path, "application/json", &body);
        written(self.0.ask(target, ask, timeout).await?)
    }

    async fn restart(
        &self,
        target: &Target,
        deployment: &str,
        change: &Change,
        timeout: Duration,
    ) -> Result<(), Failure> {
        let found = self.0.get(target, deployment, timeout).await.map_err(Failure::Refused)?;
        if restarted_for(&found) == change.value {
            return Ok(());
        }
        let version = &found["metadata"]["resourceVersion"];
        let body = json!({
            "metadata": {"resourceVersion": version},
            "spec": {"template": {"metadata": {"annotations": {ANNOTATION: change.value}}}},
        });
        let ask = Ask::send(Method::PATCH, deployment, "application/merge-patch+json", &body);
        written(self.0.ask(target, ask, timeout).await?)
    }
}

/// What an answer to a write means.
fn written(answer: super::http::Answer) -> Result<(), Failure> {
    match answer.status {
        status if status.is_success() => Ok(()),
        StatusCode::CONFLICT => {
            Err(Failure::Refused(format!("somebody else was faster: {}", answer.words())))
        }
        status if status.is_client_error() => Err(Failure::Refused(answer.words())),
        _ => Err(Failure::Unknown(answer.words())),
    }
}

/// The Scale to be written; `None` when it is as wished.
fn scaled(mut scale: Value, change: &Change) -> Result<Option<Value>, String> {
    let wanted: u64 =
        change.value.parse().map_err(|_| format!("{:?} is no number of replicas", change.value))?;
    // The field is left out where it is 0.
    let is = scale["spec"]["replicas"].as_u64().unwrap_or_default();
    if is == wanted {
        return Ok(None);
    }
    if is.to_string() != change.before {
        return Err(format!("somebody else set replicas to {is}"));
    }
    if scale["metadata"]["resourceVersion"].as_str().is_none_or(str::is_empty) {
        return Err("the answer has no resourceVersion".to_owned());
    }
    scale["spec"]["replicas"] = json!(wanted);
    if let Some(scale) = scale.as_object_mut() {
        scale.remove("status");
    }
    Ok(Some(scale))
}

fn restarted_for(deployment: &Value) -> String {
    let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
    annotations[ANNOTATION].as_str().unwrap_or_default().to_owned()
}

fn items(list: &Value) -> Result<&Vec<Value>, String> {
    let items = list["items"].as_array().ok_or("the answer is no list")?;
    if list["metadata"]["continue"].as_str().is_some_and(|text| !text.is_empty()) {
        return Err(format!("there are more than {MEMBERS_MAX}: narrow group.selector"));
    }
    Ok(items)
}

fn members_of(deployments: &Value, scalers: &Value) -> Result<Vec<Member>, String> {
    let scalers = items(scalers)?;
    let mut members = Vec::new();
    for one in items(deployments)? {
        let name = one["metadata"]["name"].as_str().ok_or("a deployment has no name")?;
        let wanted = one["spec"]["replicas"].as_u64().unwrap_or(1);
        let count = |field: &str| one["status"][field].as_u64().unwrap_or_default();
        let serving = count("availableReplicas") > 0;
        let scaler = scalers.iter().find(|scaler| {
            let of = &scaler["spec"]["scaleTargetRef"];
            (of["kind"].as_str(), of["name"].as_str()) == (Some("Deployment"), Some(name))
        });
        let scaler = scaler.map(|scaler| {
            format!(
                "HorizontalPodAutoscaler {}",
                scaler["metadata"]["name"].as_str().unwrap_or("?")
            )
        });
        let marked = OWNERS.iter().find(|(mark, _)| {
            let has = |of: &str| !one["metadata"][of][*mark].is_null();
            has("annotations") || has("labels")
        });
        let fields = [
            ("replicas".to_owned(), wanted.to_string()),
            ("restarted_for".to_owned(), restarted_for(one)),
        ];
        members.push(Member {
            name: name.to_owned(),
            up: serving || wanted == 0,
            serving,
            fields: fields.into(),
            configured: BTreeMap::new(),
            sessions: 0,
            owner: scaler.or_else(|| marked.map(|(_, owner)| (*owner).to_owned())),
        });
    }
    if members.is_empty() {
        return Err("there is no deployment".to_owned());
    }
    Ok(members)
}

/// Everything but letters, digits and `-_.` as `%xx`.
fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' | b'.' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

/// Refuses names that would be more than a name in a path (RFC 1123, as Kubernetes asks).
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    let is_whole = !name.starts_with(['-', '.']) && !name.ends_with(['-', '.']);
    if !name.is_empty() && name.len() <= 253 && name.chars().all(is_plain) && is_whole {
        return Ok(());
    }
    Err(format!("{name:?} is no name of Kubernetes: lower-case letters, digits, - and ."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(items: Value) -> Value {
        json!({"kind": "List", "metadata": {"resourceVersion": "9"}, "items": items})
    }

    fn deployment(name: &str, more: &Value) -> Value {
        let mut one = json!({
            "metadata": {"name": name, "resourceVersion": "7"},
            "spec": {"replicas": 3, "template": {"metadata": {}}},
            "status": {"availableReplicas": 2},
        });
        for (key, value) in more.as_object().unwrap() {
            one["metadata"][key] = value.clone();
        }
        one
    }

    #[test]
    fn whoever_else_scales_is_seen() {
        let plain = deployment("web", &json!({}));
        let argo = json!({"annotations": {"argocd.argoproj.io/tracking-id": "x"}});
        let all = list(json!([plain, deployment("api", &argo), deployment("job", &json!({}))]));
        let scaler = json!({
            "metadata": {"name": "job-hpa"},
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "job"}},
        });
        let members = members_of(&all, &list(json!([scaler]))).unwrap();
        let owners: Vec<_> = members.iter().map(|m| m.owner.as_deref()).collect();
        assert_eq!(owners, [None, Some("Argo CD"), Some("HorizontalPodAutoscaler job-hpa")]);
        assert_eq!(members[0].fields["replicas"], "3");
        assert!(members_of(&list(json!([])), &list(json!([]))).is_err());
        let mut more = all;
        more["metadata"]["continue"] = json!("abc");
        assert!(members_of(&more, &list(json!([]))).unwrap_err().contains("selector"));
    }

    #[test]
    fn a_scale_is_written_over_what_was_read_only() {
        let change = |before: &str, value: &str| {
            let [member, field, before, value] =
                ["web", "replicas", before, value].map(str::to_owned);
            Change { member, field, before, value }
        };
        let scale = json!({"kind": "Scale", "metadata": {"resourceVersion": "7"}, "spec": {"replicas": 3}, "status": {"replicas": 3}});
        let written = scaled(scale.clone(), &change("3", "5")).unwrap().unwrap();
        assert_eq!(written["spec"]["replicas"], 5);
        assert_eq!(written["metadata"]["resourceVersion"], "7");
        assert!(written.get("status").is_none());
        assert_eq!(scaled(scale.clone(), &change("1", "3")).unwrap(), None);
        assert!(scaled(scale, &change("4", "5")).unwrap_err().contains("somebody else"));
        assert!(scaled(json!({"spec": {"replicas": 3}}), &change("3", "5")).is_err());
        let none = json!({"metadata": {"resourceVersion": "7"}, "spec": {}});
        assert!(scaled(none, &change("0", "5")).unwrap().is_some());
    }

    #[test]
    fn names_and_selectors_are_data() {
        assert!(check_name("web-1.shop").is_ok());
        for bad in ["", "../secrets", "Web", "a/b", "-a", "a?x", "ü"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert_eq!(encoded("app=shop,tier in (web)"), "app%3Dshop%2Ctier%20in%20%28web%29");
    }
}
