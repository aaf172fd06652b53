//! Patroni's REST API: the members of one PostgreSQL cluster, and a planned switchover. Patroni refuses one whose leader is
//! no longer the leader, so asking again does nothing twice.
//!
//! What a replica reports of its lag is as old as its last report: a switchover to one that does not stream yet lost a table
//! written within that second. So the leader is asked who streams.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::http::{self, Ask};
use super::{Driver, Failure, Http, Order, RetryClass};
use crate::plan::{Change, Member};
use crate::runbook::Target;

/// Most that a candidate may lack of what the leader has written, in bytes.
const LAG_BYTES_MAX: u64 = 1 << 20;

/// Speaks to Patroni.
pub(crate) struct Patroni(pub(crate) Arc<Http>);

impl Driver for Patroni {
    fn class(&self, _: &Target) -> RetryClass {
        // The leader that is named is compared, and the way to another takes its time to be seen.
        RetryClass::Probe
    }

    fn observe<'a>(
        &'a self,
        target: &'a Target,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Vec<Member>, String>> {
        Box::pin(async move {
            let cluster = self.0.get(target, "/cluster", timeout).await?;
            let members = members_of(&cluster, &target.group.cluster)?;
            Ok(members.into_iter().map(|(member, _)| member).collect())
        })
    }

    fn obstacle<'a>(
        &'a self,
        target: &'a Target,
        change: &'a Change,
        timeout: Duration,
    ) -> BoxFuture<'a, Option<String>> {
        Box::pin(async move { self.candidate(target, change, timeout).await.err() })
    }

    fn apply<'a>(
        &'a self,
        target: &'a Target,
        Order { change, timeout, .. }: Order<'a>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let found = self.candidate(target, change, timeout).await;
            let Some(candidate) = found.map_err(Failure::Refused)? else {
                return Ok(());
            };
            let body = json!({"leader": change.member, "candidate": candidate});
            let ask = Ask::send(Method::POST, "/switchover", "application/json", &body);
            let answer = self.0.ask(target, ask, timeout).await?;
            match answer.status {
                StatusCode::OK => Ok(()),
                // It goes on, or another one does: what comes of it is read.
                StatusCode::ACCEPTED | StatusCode::SERVICE_UNAVAILABLE => {
                    Err(Failure::Unknown(answer.words()))
                }
                status if status.is_client_error() => Err(Failure::Refused(answer.words())),
                _ => Err(Failure::Unknown(answer.words())),
            }
        })
    }
}

impl Patroni {
    /// Who takes over, as things stand; `None` when there is nothing to be taken over.
    async fn candidate(
        &self,
        target: &Target,
        change: &Change,
        timeout: Duration,
    ) -> Result<Option<String>, String> {
        let cluster = self.0.get(target, "/cluster", timeout).await?;
        let streaming = self.streaming(target, timeout).await;
        candidate(&cluster, &target.group.cluster, (change, &streaming))
    }

    /// Who has all that the leader writes, as the leader says: a replica's own lag is as old as its last report, and one that
    /// does not stream loses what was written since.
    async fn streaming(&self, target: &Target, timeout: Duration) -> Vec<String> {
        for endpoint in http::addresses(&target.endpoint) {
            let one = Target { endpoint: endpoint.to_owned(), ..target.clone() };
            // Whoever does not answer is not the one that is asked.
            let Ok(status) = self.0.get(&one, "/patroni", timeout).await else { continue };
            let is_leader = ["master", "primary", "leader"]
                .contains(&status["role"].as_str().unwrap_or_default());
            if is_leader {
                return streaming_of(&status);
            }
        }
        Vec::new()
    }
}

fn streaming_of(status: &Value) -> Vec<String> {
    let replicas = status["replication"].as_array().into_iter().flatten();
    let streaming = replicas.filter(|one| one["state"] == "streaming");
    streaming.filter_map(|one| one["application_name"].as_str()).map(str::to_owned).collect()
}

/// What is known of a member besides.
struct Standing {
    is_sync: bool,
    timeline: Option<u64>,
    lag: Option<u64>,
}

/// The members of `/cluster` (Patroni 3.0, `get_cluster`).
fn members_of(cluster: &Value, scope: &str) -> Result<Vec<(Member, Standing)>, String> {
    if let Some(is) = cluster["scope"].as_str().filter(|is| !scope.is_empty() && *is != scope) {
        return Err(format!("it is the cluster {is}, not {scope}"));
    }
    let all = cluster["members"].as_array().filter(|all| !all.is_empty());
    let all = all.ok_or("the cluster has no members")?;
    let mut members = Vec::new();
    for one in all {
        let text = |name: &str| one[name].as_str().unwrap_or_default();
        let name = text("name");
        if name.is_empty() {
            return Err("a member has no name".to_owned());
        }
        let is_leader = ["leader", "standby_leader"].contains(&text("role"));
        let up = ["running", "streaming"].contains(&text("state"));
        let role = if is_leader { "leader" } else { "replica" };
        let standing = Standing {
            is_sync: text("role") == "sync_standby",
            timeline: one["timeline"].as_u64(),
            lag: one["lag"].as_u64(),
        };
        let member = Member {
            name: name.to_owned(),
            up,
            serving: up,
            fields: BTreeMap::from([("role".to_owned(), role.to_owned())]),
            ..Member::default()
        };
        members.push((member, standing));
    }
    Ok(members)
}

/// Who takes over from the member that is to be leader no longer; `None` when it is not.
fn candidate(
    cluster: &Value,
    scope: &str,
    (change, streaming): (&Change, &[String]),
) -> Result<Option<String>, String> {
    if (change.field.as_str(), change.value.as_str()) != ("role", "replica") {
        return Err(format!("{} {} is nothing that can be set", change.field, change.value));
    }
    let members = members_of(cluster, scope)?;
    let role = |member: &Member| member.fields.get("role").map(String::as_str) == Some("leader");
    let (_, leader) = match members.iter().find(|(member, _)| member.name == change.member) {
        Some((member, standing)) if role(member) => (member, standing),
        Some(_) => return Ok(None),
        None => return Err(format!("{} is not there", change.member)),
    };
    if cluster["pause"].as_bool() == Some(true) {
        return Err("the cluster is paused: somebody works on it".to_owned());
    }
    if !cluster["scheduled_switchover"].is_null() {
        return Err("another switchover is scheduled".to_owned());
    }
    let has_sync = members.iter().any(|(_, standing)| standing.is_sync);
    let fits = |(member, standing): &&(Member, Standing)| {
        !role(member)
            && member.up
            && (standing.is_sync || !has_sync)
            && standing.timeline == leader.timeline
            && streaming.contains(&member.name)
            && standing.lag.is_some_and(|lag| lag <= LAG_BYTES_MAX)
    };
    let best = members.iter().filter(fits).min_by_key(|(_, standing)| standing.lag);
    let best = best.map(|(member, _)| Some(member.name.clone()));
    best.ok_or_else(|| {
        format!("nobody can take over: no replica streams from the leader on its timeline within {LAG_BYTES_MAX} bytes (is the leader's address in `endpoint`?)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Patroni 3.0.2 says it.
    fn cluster() -> Value {
        json!({"scope": "shop", "members": [
            {"name": "pg1", "role": "leader", "state": "running", "timeline": 3, "api_url": "http://127.0.0.1:1/patroni"},
            {"name": "pg2", "role": "replica", "state": "streaming", "timeline": 3, "lag": 4096},
            {"name": "pg3", "role": "replica", "state": "running", "timeline": 3, "lag": 0},
        ]})
    }

    fn all() -> Vec<String> {
        ["pg2", "pg3"].map(str::to_owned).into()
    }

    fn leave(member: &str) -> Change {
        let [field, before, value] = ["role", "leader", "replica"].map(str::to_owned);
        Change { member: member.to_owned(), field, before, value }
    }

    #[test]
    fn the_nearest_replica_takes_over() {
        let cluster = cluster();
        assert_eq!(
            candidate(&cluster, "shop", (&leave("pg1"), &all())).unwrap().as_deref(),
            Some("pg3")
        );
        assert_eq!(
            candidate(&cluster, "", (&leave("pg2"), &all())).unwrap(),
            None,
            "it is no leader"
        );
        let roles = members_of(&cluster, "").unwrap();
        let roles: Vec<_> = roles.iter().map(|(m, _)| (m.up, &*m.fields["role"])).collect();
        assert_eq!(roles, [(true, "leader"), (true, "replica"), (true, "replica")]);
    }

    #[test]
    fn what_could_lose_writes_or_disturb_people_is_refused() {
        let refused = |change: &dyn Fn(&mut Value), words: &str| {
            let mut cluster = cluster();
            change(&mut cluster);
            let error = candidate(&cluster, "shop", (&leave("pg1"), &all())).unwrap_err();
            assert!(error.contains(words), "{error}");
        };
        refused(&|c| c["pause"] = json!(true), "paused");
        refused(&|c| c["scheduled_switchover"] = json!({"at": "…"}), "scheduled");
        refused(&|c| c["scope"] = json!("other"), "not shop");
        refused(&|c| c["members"] = json!([]), "no members");
        refused(&|c| c["members"][0]["name"] = json!("pg9"), "not there");
        let each = |field: &'static str, value: Value| {
            move |c: &mut Value| {
                for i in [1, 2] {
                    c["members"][i][field] = value.clone();
                }
            }
        };
        refused(&each("lag", json!(2 << 20)), "nobody can take over");
        refused(&each("lag", json!("unknown")), "nobody can take over");
        refused(&each("timeline", json!(2)), "nobody can take over");
        refused(&each("state", json!("start failed")), "nobody can take over");
    }

    #[test]
    fn who_does_not_stream_takes_nothing_over() {
        let only = ["pg2".to_owned()];
        let found = candidate(&cluster(), "shop", (&leave("pg1"), &only)).unwrap();
        assert_eq!(found.as_deref(), Some("pg2"), "though another reports less lag");
        let none = candidate(&cluster(), "shop", (&leave("pg1"), &[])).unwrap_err();
        assert!(none.contains("streams from the leader"), "{none}");
        let status = json!({"role": "master", "replication": [
            {"application_name": "pg2", "state": "streaming"},
            {"application_name": "pg3", "state": "catchup"},
        ]});
        assert_eq!(streaming_of(&status), ["pg2"]);
    }

    #[test]
    fn where_one_is_synchronous_only_that_one_takes_over() {
        let mut cluster = cluster();
        cluster["members"][1]["role"] = json!("sync_standby");
        assert_eq!(
            candidate(&cluster, "shop", (&leave("pg1"), &all())).unwrap().as_deref(),
            Some("pg2")
        );
    }
}
