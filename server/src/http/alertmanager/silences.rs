//! Silences: listed, made, edited, ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use alert::route::matcher::Condition;
use alert::route::{Silence, SilenceState, instant};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use http::StatusCode;
use model::matcher::MatchOp;
use model::time::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{FILTERS_MAX, Failure, apart, filters, on, wrong};
use crate::http::App;
use crate::http::prometheus::Params;

pub(super) async fn list(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Json<Value>, Failure> {
    let filters = filters(&app, &params, "filter").await?;
    let (active, pending) = (on(&params, "active")?, on(&params, "pending")?);
    let expired = on(&params, "expired")?;
    let wanted = |state| match state {
        SilenceState::Active => active,
        SilenceState::Pending => pending,
        SilenceState::Expired => expired,
    };
    let (mut silences, now) = app.notify.dispatcher.look(|router, now| {
        let fitting = router.silences().filter(|s| wanted(s.state(now)) && fits(s, &filters));
        (fitting.cloned().collect::<Vec<Silence>>(), now)
    });
    // Active ones by their end, pending ones by their start, then expired ones, the latest first.
    silences.sort_by_key(|silence| match silence.state(now) {
        state @ SilenceState::Active => (state, silence.ends_at.0),
        state @ SilenceState::Pending => (state, silence.starts_at.0),
        state @ SilenceState::Expired => (state, silence.ends_at.0.saturating_neg()),
    });
    Ok(Json(silences.iter().map(|silence| show(silence, now)).collect()))
}

/// Whether the silence's own matchers answer to those asked for: `a="b"` to every matcher that value passes.
fn fits(silence: &Silence, filters: &[Condition]) -> bool {
    filters.iter().all(|filter| {
        silence.conditions.iter().any(|condition| {
            let labels = [(condition.name.clone(), condition.value.clone())].into_iter().collect();
            condition.name == filter.name && filter.holds(&labels)
        })
    })
}

pub(super) async fn one(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failure> {
    let shown = app
        .notify
        .dispatcher
        .look(|router, now| router.silence_of(&id).map(|silence| show(silence, now)));
    shown.map(Json).ok_or_else(|| Failure(StatusCode::NOT_FOUND, format!("no silence {id}")))
}

fn show(silence: &Silence, now: Timestamp) -> Value {
    let matchers: Vec<Value> = silence
        .conditions
        .iter()
        .map(|condition| {
            json!({
                "name": condition.name,
                "value": condition.value,
                "isRegex": matches!(condition.op, MatchOp::Regex | MatchOp::NotRegex),
                "isEqual": matches!(condition.op, MatchOp::Equal | MatchOp::Regex),
            })
        })
        .collect();
    json!({
        "id": silence.id,
        "status": {"state": silence.state(now).word()},
        "updatedAt": silence.updated_at.to_string(),
        "comment": silence.comment,
        "createdBy": silence.author,
        "startsAt": silence.starts_at.to_string(),
        "endsAt": silence.ends_at.to_string(),
        "matchers": matchers,
        "annotations": silence.annotations,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    #[serde(default)]
    id: Option<String>,
    matchers: Vec<MatcherBody>,
    starts_at: String,
    ends_at: String,
    created_by: String,
    comment: String,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MatcherBody {
    name: String,
    value: String,
    is_regex: bool,
    #[serde(default)]
    is_equal: Option<bool>,
}

impl MatcherBody {
    fn condition(&self) -> Result<Condition, String> {
        let op = match (self.is_regex, self.is_equal.unwrap_or(true)) {
            (false, true) => MatchOp::Equal,
            (false, false) => MatchOp::NotEqual,
            (true, true) => MatchOp::Regex,
            (true, false) => MatchOp::NotRegex,
        };
        Condition::new(&self.name, op, &self.value)
    }
}

pub(super) async fn post(State(app): State<Arc<App>>, body: Bytes) -> Result<Json<Value>, Failure> {
    let body: Body = serde_json::from_slice(&body).map_err(|why| wrong(why.to_string()))?;
    let (matchers, n) = (body.matchers, FILTERS_MAX);
    if matchers.len() > FILTERS_MAX {
        return Err(wrong(format!("{} matchers, the limit is {n}", matchers.len())));
    }
    let read = move || matchers.iter().map(MatcherBody::condition).collect();
    let conditions: Vec<Condition> = apart(&app, read).await?;
    let now = app.clock.now();
    let ends_at = instant(&body.ends_at).map_err(wrong)?;
    let silence = Silence {
        id: body.id.unwrap_or_default(),
        conditions,
        starts_at: instant(&body.starts_at).map_err(wrong)?.unwrap_or(now),
        ends_at: ends_at.ok_or_else(|| wrong("invalid silence: it needs an end"))?,
        updated_at: now,
        author: body.created_by,
        comment: body.comment,
        annotations: body.annotations.unwrap_or_default(),
    };
    let id = app.notify.dispatcher.silence(silence).await?;
    Ok(Json(json!({"silenceID": id})))
}

pub(super) async fn expire(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    app.notify.dispatcher.expire(id).await?;
    Ok(StatusCode::OK)
}
