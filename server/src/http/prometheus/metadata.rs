//! Names, values, series and metadata.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use query::SeriesQuery;
use query::promql::print;
use serde::Serialize;

use super::answer::{Failure, Success};
use super::params::Params;
use super::{App, ok};
use crate::http::object;

/// Which series a metadata call asks about.
async fn scope(app: &App, params: &Params) -> Result<SeriesQuery, Failure> {
    let (range, matchers) = (params.range(app.clock.now())?, params.matchers(&app.engine).await?);
    Ok(SeriesQuery { matchers, range, limit: params.limit()?.unwrap_or(0) })
}

/// The items, with upstream's warning when the limit cut some off.
fn listed<T: Serialize>(items: Vec<T>, truncated: bool) -> Response {
    let warning = truncated.then(|| "results truncated due to limit".to_owned());
    Success::new(items).warn(warning).into_response()
}

pub(super) async fn labels(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, Failure> {
    let found = app.engine.label_names(scope(&app, &params).await?).await?;
    Ok(listed(found.items, found.truncated))
}

pub(super) async fn values(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
    params: Params,
) -> Result<Response, Failure> {
    let Path(name) = name.map_err(|error| Failure::bad_data(error.body_text()))?;
    let name = unescape(&name);
    if name.is_empty() {
        return Err(Failure::bad_data("invalid label name: \"\""));
    }
    let found = app.engine.label_values(name, scope(&app, &params).await?).await?;
    Ok(listed(found.items, found.truncated))
}

pub(super) async fn series(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, Failure> {
    if params.all("match[]").is_empty() {
        return Err(Failure::bad_data("no match[] parameter provided"));
    }
    let found = app.engine.series(scope(&app, &params).await?).await?;
    let series = found.items.iter().map(|labels| object(labels.iter()));
    Ok(listed(series.collect(), found.truncated))
}

#[derive(Serialize)]
struct Meta<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    help: &'a str,
    unit: &'a str,
}

impl<'a> Meta<'a> {
    fn new(known: &'a query::Metadata) -> Self {
        Self { kind: known.kind, help: &known.help, unit: &known.unit }
    }
}

pub(super) async fn metadata(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, Failure> {
    let limit = params.bound("limit")?.unwrap_or(usize::MAX);
    let each = params.bound("limit_per_metric")?.filter(|each| *each > 0).unwrap_or(usize::MAX);
    let known = app.engine.metadata(params.first("metric").map(str::to_owned)).await?;
    let found: BTreeMap<&str, Vec<Meta<'_>>> = known
        .by_name
        .iter()
        .take(limit)
        .map(|(metric, entries)| {
            (metric.as_str(), entries.iter().take(each).map(Meta::new).collect())
        })
        .collect();
    Ok(ok(found))
}

pub(super) async fn format(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, Failure> {
    let text = params.required("query")?.to_owned();
    Ok(ok(app.engine.parsed(text, print::pretty).await?))
}

pub(super) async fn parse(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, Failure> {
    let text = params.required("query")?.to_owned();
    let tree = app.engine.parsed(text, print::tree_json).await?;
    let body = format!(r#"{{"status":"success","data":{tree}}}"#);
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// `U__a_2e_b` is `a.b` (Prometheus' value encoding of label names in paths); anything else stays as it is.
fn unescape(name: &str) -> String {
    let Some(rest) = name.strip_prefix("U__") else { return name.to_owned() };
    let mut out = String::new();
    let mut rest = rest;
    while let Some((before, after)) = rest.split_once('_') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('_') {
            out.push('_');
            rest = after;
            continue;
        }
        let Some((hex, after)) = after.split_once('_') else { return name.to_owned() };
        let Some(c) = u32::from_str_radix(hex, 16).ok().and_then(char::from_u32) else {
            return name.to_owned();
        };
        out.push(c);
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_are_read() {
        assert_eq!(unescape("U__http_2e_route__x"), "http.route_x");
        assert_eq!(unescape("job"), "job");
        assert_eq!(unescape("U__bad_zz_"), "U__bad_zz_");
    }
}
