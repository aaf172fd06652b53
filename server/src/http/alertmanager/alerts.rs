//! Alerts and their groups: listed, filtered, posted.

use std::collections::BTreeMap;
use std::sync::Arc;

use alert::route::matcher::{Condition, all_hold};
use alert::route::{AlertView, Posted, fingerprint, instant};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use http::StatusCode;
use model::metric::Labels;
use model::time::{NS_PER_S, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Failure, filters, on, receiver, wrong};
use crate::http::App;
use crate::http::prometheus::Params;

/// How far ahead the end of an alert of our own rules is shown: it has none.
const END_AHEAD_NS: i64 = 240 * NS_PER_S;

pub(super) async fn list(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Json<Value>, Failure> {
    let wanted = Wanted::new(&app, &params).await?;
    let (alerts, now) = app.notify.dispatcher.look(|router, now| (router.alerts(now), now));
    let told = alerts.into_iter().map(|view| Told::new(&app, view));
    let shown = told.filter(|told| wanted.takes(told) && wanted.takes_receiver(&told.receivers));
    Ok(Json(shown.map(|told| told.show(now)).collect()))
}

pub(super) async fn groups(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Json<Value>, Failure> {
    let wanted = Wanted::new(&app, &params).await?;
    let muted = on(&params, "muted")?;
    let (groups, now) = app.notify.dispatcher.look(|router, now| (router.groups(now), now));
    let mut shown = Vec::new();
    for group in groups {
        let alerts: Vec<Told> =
            group.alerts.into_iter().map(|view| Told::new(&app, view)).collect();
        if !muted && alerts.iter().all(Told::is_suppressed) {
            continue;
        }
        // Without a configuration of routes the receivers of the other kind each have a group.
        let receivers = if app.notify.is_configured() {
            vec![group.receiver]
        } else {
            let mut names: Vec<String> = alerts.iter().flat_map(|a| a.receivers.clone()).collect();
            names.sort();
            names.dedup();
            names
        };
        for name in receivers {
            let alerts = alerts.iter().filter(|told| told.receivers.contains(&name));
            let alerts: Vec<Value> =
                alerts.filter(|told| wanted.takes(told)).map(|told| told.show(now)).collect();
            if !alerts.is_empty() && wanted.takes_receiver(std::slice::from_ref(&name)) {
                shown.push(json!({
                    "labels": map(&group.labels),
                    "routeLabels": group.route_labels,
                    "receiver": {"name": name},
                    "alerts": alerts,
                }));
            }
        }
    }
    Ok(Json(shown.into()))
}

/// An alert with everybody who is told of it.
struct Told {
    view: AlertView,
    receivers: Vec<String>,
}

impl Told {
    fn new(app: &App, view: AlertView) -> Self {
        let mut receivers =
            if app.notify.is_configured() { view.receivers.clone() } else { Vec::new() };
        let direct = app.notifier.receivers_of(&view.held.labels);
        receivers.extend(direct.into_iter().map(str::to_owned));
        Self { view, receivers }
    }

    fn is_suppressed(&self) -> bool {
        let view = &self.view;
        !view.muting.silences.is_empty()
            || view.muting.inhibited_by.is_some()
            || !view.muted_by.is_empty()
    }

    fn show(&self, now: Timestamp) -> Value {
        let held = &self.view.held;
        let inhibited_by: Vec<String> =
            self.view.muting.inhibited_by.iter().map(fingerprint).collect();
        let ends_at = held.ends_at.unwrap_or(Timestamp(now.0.saturating_add(END_AHEAD_NS)));
        let receivers: Vec<Value> =
            self.receivers.iter().map(|name| json!({"name": name})).collect();
        json!({
            "annotations": map(&held.annotations),
            "labels": map(&held.labels),
            "startsAt": held.starts_at.to_string(),
            "updatedAt": held.updated_at.to_string(),
            "endsAt": ends_at.to_string(),
            "fingerprint": fingerprint(&held.labels),
            "receivers": receivers,
            "status": {
                "state": if self.is_suppressed() { "suppressed" } else { "active" },
                "silencedBy": self.view.muting.silences,
                "inhibitedBy": inhibited_by,
                "mutedBy": self.view.muted_by,
            },
            "generatorURL": held.generator_url,
        })
    }
}

fn map(labels: &Labels) -> BTreeMap<&str, &str> {
    labels.iter().collect()
}

/// Which alerts are asked for.
struct Wanted {
    active: bool,
    silenced: bool,
    inhibited: bool,
    filters: Vec<Condition>,
    receiver: Option<Condition>,
}

impl Wanted {
    async fn new(app: &App, params: &Params) -> Result<Self, Failure> {
        on(params, "unprocessed")?; // None of ours ever is.
        Ok(Self {
            active: on(params, "active")?,
            silenced: on(params, "silenced")?,
            inhibited: on(params, "inhibited")?,
            filters: filters(app, params, "filter").await?,
            receiver: receiver(app, params).await?,
        })
    }

    fn takes(&self, told: &Told) -> bool {
        let muting = &told.view.muting;
        all_hold(&self.filters, &told.view.held.labels)
            && (self.active || told.is_suppressed())
            && (self.silenced || muting.silences.is_empty())
            && (self.inhibited || muting.inhibited_by.is_none())
    }

    fn takes_receiver(&self, receivers: &[String]) -> bool {
        let fits = |wanted: &Condition| receivers.iter().any(|name| wanted.passes(name));
        self.receiver.as_ref().is_none_or(fits)
    }
}

/// An alert as the API takes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    starts_at: Option<String>,
    ends_at: Option<String>,
    #[serde(rename = "generatorURL", default)]
    generator_url: String,
}

impl Body {
    fn posted(self) -> Result<Posted, String> {
        let time = |text: Option<String>| match text.filter(|text| !text.is_empty()) {
            Some(text) => instant(&text),
            None => Ok(None),
        };
        Ok(Posted {
            labels: self.labels.into_iter().collect(),
            annotations: self.annotations.into_iter().collect(),
            starts_at: time(self.starts_at)?,
            ends_at: time(self.ends_at)?,
            generator_url: self.generator_url,
        })
    }
}

pub(super) async fn post(State(app): State<Arc<App>>, body: Bytes) -> Result<StatusCode, Failure> {
    let bodies: Vec<Body> = serde_json::from_slice(&body).map_err(|why| wrong(why.to_string()))?;
    let (mut posted, mut bad) = (Vec::with_capacity(bodies.len()), Vec::new());
    for body in bodies {
        match body.posted() {
            Ok(alert) => posted.push(alert),
            Err(why) => bad.push(why),
        }
    }
    let outcome = app.notify.dispatcher.post(posted).await?;
    bad.extend(outcome.wrong);
    if let Some(full) = outcome.full {
        let words = format!(
            "no room for more {}: raise alert.routed_{}_max",
            if full == alert::route::Full::Alerts { "alerts" } else { "groups" },
            if full == alert::route::Full::Alerts { "alerts" } else { "groups" },
        );
        return Err(Failure(StatusCode::TOO_MANY_REQUESTS, words));
    }
    if bad.is_empty() { Ok(StatusCode::OK) } else { Err(wrong(bad.join("; "))) }
}
