//! `query_exemplars`: links from measurements to traces.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use model::time::{NS_PER_MS, TimeRange, Timestamp};
use query::promql::number::api_text;
use query::{Exemplar, ExemplarQuery, SeriesExemplars};

use super::App;
use super::answer::Failure;
use super::encode::{list, map, push, text, time};
use super::params::Params;

pub(super) async fn exemplars(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, Failure> {
    let start = params.time("start")?.unwrap_or(i64::MIN / NS_PER_MS);
    let end = params.time("end")?.unwrap_or(i64::MAX / NS_PER_MS - 1);
    if end < start {
        return Err(Failure::bad_data("end timestamp must not be before start timestamp"));
    }
    let range =
        TimeRange::new(Timestamp::from_ms(start), Timestamp::from_ms(end.saturating_add(1)));
    let expr = params.required("query")?.to_owned();
    let found = app.engine.exemplars(ExemplarQuery { expr, range }).await?;
    let mut out = String::with_capacity(4_096);
    out.push_str(r#"{"status":"success","data":"#);
    list(&mut out, &found.series, series);
    if found.truncated {
        out.push_str(r#","warnings":["results truncated due to limit"]"#);
    }
    out.push('}');
    Ok(([(CONTENT_TYPE, "application/json")], out).into_response())
}

fn series(out: &mut String, found: &SeriesExemplars) {
    out.push_str(r#"{"seriesLabels":"#);
    map(out, found.series.iter());
    out.push_str(r#","exemplars":"#);
    list(out, &found.exemplars, exemplar);
    out.push('}');
}

fn exemplar(out: &mut String, found: &Exemplar) {
    out.push_str(r#"{"labels":"#);
    map(out, found.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    out.push_str(r#","value":"#);
    text(out, &api_text(found.value));
    push(out, format_args!(r#","timestamp":"#));
    time(out, found.t_ms);
    out.push('}');
}
