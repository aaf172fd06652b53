//! Exemplars of the series a query selects: measurements with the trace they were made in.

use std::collections::BTreeMap;

use leptos::prelude::*;
use serde::Deserialize;
use viz::time_axis::date_time;

use crate::app::Ui;
use crate::browser;
use crate::chart::data::promql_name;
use crate::client::{self, Failure};
use crate::msg::{Msg, t};
use crate::part::state::{Empty, ErrorNote, Loading};
use crate::refresh::{Fetched, fetch};
use crate::url::escape;

/// Exemplars shown, the newest.
const SHOWN_MAX: usize = 200;

/// Prometheus' answer to `query_exemplars`.
#[derive(Deserialize)]
struct Answer {
    data: Vec<OfSeries>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfSeries {
    series_labels: BTreeMap<String, String>,
    exemplars: Vec<Exemplar>,
}

#[derive(Clone, Deserialize)]
struct Exemplar {
    labels: BTreeMap<String, String>,
    value: String,
    /// Seconds since the epoch.
    timestamp: f64,
}

/// Those of one query in the range of the page, newest first.
#[component]
pub(super) fn Exemplars(ui: Ui, query: Memo<String>) -> impl IntoView {
    let found: Fetched<Answer> = fetch(
        move || Some((query.get(), ui.range.get())).filter(|(query, _)| !query.trim().is_empty()),
        |(query, range), now_ms, signal| async move {
            let (from_ms, to_ms) = range.resolve(now_ms);
            let seconds = |ms: i64| format!("{}.{:03}", ms / 1_000, ms % 1_000);
            let path = format!(
                "api/v1/query_exemplars?query={}&start={}&end={}",
                escape(&query),
                seconds(from_ms),
                seconds(to_ms)
            );
            client::get_from(&path, signal).await
        },
    );
    let failure = move || found.failure.get().as_ref().and_then(Failure::refusal);
    let list = move || {
        let Some(found) = found.value.get() else {
            return failure().is_none().then(|| view! { <Loading/> }).into_any();
        };
        let mut rows: Vec<(String, Exemplar)> = found
            .data
            .iter()
            .flat_map(|of| {
                of.exemplars.iter().map(|one| (promql_name(&of.series_labels), one.clone()))
            })
            .collect();
        rows.sort_by(|a, b| b.1.timestamp.total_cmp(&a.1.timestamp));
        rows.truncate(SHOWN_MAX);
        if rows.is_empty() {
            return view! { <Empty title=t(Msg::NoExemplars)><p>{t(Msg::NoExemplarsHow)}</p></Empty> }.into_any();
        }
        let row =
            move |(series, exemplar): (String, Exemplar)| exemplar_row(ui, &series, &exemplar);
        view! {
            <table class="explain" data-testid="exemplars">
                <thead><tr>
                    <th>{t(Msg::Start)}</th><th class="num">{t(Msg::Value)}</th><th>{t(Msg::Trace)}</th><th>{t(Msg::Series)}</th>
                </tr></thead>
                <tbody>{rows.into_iter().map(row).collect_view()}</tbody>
            </table>
        }
        .into_any()
    };
    view! {
        {move || failure().map(|error| view! { <ErrorNote error/> })}
        <div class="panel table-scroll">{list}</div>
    }
}

fn exemplar_row(ui: Ui, series: &str, exemplar: &Exemplar) -> impl IntoView + use<> {
    let at_ms = viz::scale::floor(exemplar.timestamp * 1_000.0);
    let trace = exemplar.labels.get("trace_id").cloned();
    let trace = trace.map(|trace| {
        let href = ui.url.link(&format!("/trace/{trace}"), &[]);
        view! { <a class="mono" href=href>{trace}</a> }
    });
    view! {
        <tr data-testid="exemplar-row">
            <td class="num">{date_time(at_ms, &browser::zone_at(at_ms))}</td>
            <td class="num">{exemplar.value.clone()}</td>
            <td>{trace}</td>
            <td class="mono explain-node" title=series.to_owned()>{series.to_owned()}</td>
        </tr>
    }
}
