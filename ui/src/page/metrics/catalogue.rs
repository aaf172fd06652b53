//! What there is to ask for, when nothing is asked yet: metrics, what makes them many, and what was asked before.

use std::collections::BTreeMap;

use api::running::MetricUses;
use leptos::prelude::*;
use serde::Deserialize;
use viz::unit::Format;

use super::history;
use crate::app::Ui;
use crate::client::{self, Failure};
use crate::msg::{Msg, fill, t};
use crate::part::state::{Empty, ErrorNote, Loading};
use crate::refresh::{Fetched, fetch_at};

/// Entries of each list of the cardinality.
const CARDINALITY_MAX: usize = 20;

/// The parts, one at a time.
#[component]
pub(super) fn Start(ui: Ui) -> impl IntoView {
    let part = ui.url.param("part");
    let tab = move |value: &'static str, name: Msg, testid: &'static str| {
        view! {
            <button aria-pressed=move || (part.get() == value).to_string() data-testid=testid
                on:click=move |_| ui.url.set(&[("part", Some(value.to_owned()))], true)>{t(name)}</button>
        }
    };
    view! {
        <div class="segmented" role="group" aria-label=t(Msg::MetricNames)>
            {tab("", Msg::MetricNames, "part-names")}
            {tab("cardinality", Msg::Cardinality, "part-cardinality")}
            {tab("history", Msg::History, "part-history")}
        </div>
        {move || match part.get().as_str() {
            "cardinality" => view! { <Cardinality ui/> }.into_any(),
            "history" => view! { <Recent ui/> }.into_any(),
            _ => view! { <Catalogue ui/> }.into_any(),
        }}
    }
}

/// Queries of this browser, newest first.
#[component]
fn Recent(ui: Ui) -> impl IntoView {
    let queries = RwSignal::new(history::read());
    let row = move |text: String| {
        let asked = text.clone();
        view! {
            <button class="catalogue-row single" data-testid="history-row" on:click=move |_| ui.url.set(&[("q", Some(asked.clone()))], false)>
                <span class="mono">{text}</span>
            </button>
        }
    };
    let forget = move |_| {
        history::forget();
        queries.set(Vec::new());
    };
    let list = move || {
        let queries = queries.get();
        if queries.is_empty() {
            return view! { <Empty title=t(Msg::NoHistory)><p>{t(Msg::NoHistoryHow)}</p></Empty> }
                .into_any();
        }
        view! { <div class="catalogue">{queries.into_iter().map(row).collect_view()}</div> }
            .into_any()
    };
    view! {
        <section class="panel padded">
            <div class="panel-head">
                <h2>{t(Msg::History)}</h2>
                <span class="spacer"></span>
                <button class="button" on:click=forget>{t(Msg::Forget)}</button>
            </div>
            {list}
        </section>
    }
}

/// Prometheus' answer to `status/tsdb`: what there is how much of.
#[derive(Deserialize)]
struct Census {
    data: Counts,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    head_stats: HeadStats,
    series_count_by_metric_name: Vec<Count>,
    label_value_count_by_label_name: Vec<Count>,
    series_count_by_label_value_pair: Vec<Count>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeadStats {
    num_series: u64,
}

#[derive(Clone, Deserialize)]
struct Count {
    name: String,
    value: u64,
}

/// What makes series many.
#[component]
fn Cardinality(ui: Ui) -> impl IntoView {
    let found: Fetched<Census> = fetch_at(
        Signal::derive(|| 0),
        || Some(()),
        |(), _, signal| async move {
            client::get_from(&format!("api/v1/status/tsdb?limit={CARDINALITY_MAX}"), signal).await
        },
    );
    let used: Fetched<MetricUses> = fetch_at(
        Signal::derive(|| 0),
        || Some(()),
        |(), _, signal| async move { client::get("queries/metrics", signal).await },
    );
    let lists = move || {
        let used = used.value.get();
        let is_unused = |metric: &str| {
            let used = used.as_ref().filter(|used| used.uncounted == 0);
            used.is_some_and(|used| used.metrics.iter().all(|one| one.metric != metric))
        };
        let Some(found) = found.value.get() else { return view! { <Loading/> }.into_any() };
        let counts = &found.data;
        let all = counts.head_stats.num_series;
        let of_metric = |count: &Count| count.name.clone();
        let of_label = |count: &Count| format!("count by ({0}) ({{{0}!=\"\"}})", count.name);
        let of_pair = |count: &Count| match count.name.split_once('=') {
            Some((name, value)) => format!("count by (__name__) ({{{name}={value:?}}})"),
            None => count.name.clone(),
        };
        let most_values =
            counts.label_value_count_by_label_name.iter().map(|count| count.value).max();
        let by_metric = &counts.series_count_by_metric_name;
        let unused = by_metric.iter().filter(|count| is_unused(&count.name));
        let unused: Vec<String> = unused.map(|count| count.name.clone()).collect();
        let text = fill(Msg::SeriesInMemory, &[&Format::Plain.text(all as f64)]);
        view! {
            <p class="muted small">{text}</p>
            <div class="cardinality" data-testid="cardinality">
                <CountList ui title=Msg::SeriesByMetric all counts=ask(by_metric, of_metric) unused/>
                <CountList ui title=Msg::ValuesByLabel all=most_values.unwrap_or(1)
                    counts=ask(&counts.label_value_count_by_label_name, of_label)/>
                <CountList ui title=Msg::SeriesByPair all counts=ask(&counts.series_count_by_label_value_pair, of_pair)/>
            </div>
        }
        .into_any()
    };
    let failure = move || found.failure.get().as_ref().and_then(Failure::refusal);
    view! {
        {move || failure().map(|error| view! { <ErrorNote error/> })}
        {lists}
    }
}

/// Counts, each with what to ask to see more of it.
fn ask(counts: &[Count], query: impl Fn(&Count) -> String) -> Vec<(Count, String)> {
    counts.iter().map(|count| (count.clone(), query(count))).collect()
}

/// One list, the longest bar for `all`; a click asks.
#[component]
fn CountList(
    ui: Ui,
    title: Msg,
    all: u64,
    counts: Vec<(Count, String)>,
    /// Those nobody has asked for.
    #[prop(optional)]
    unused: Vec<String>,
) -> impl IntoView {
    let row = move |(count, query): (Count, String)| {
        let share = count.value as f64 / all.max(1) as f64;
        let number = Format::Plain.text(count.value as f64);
        let name = count.name.clone();
        let unused = unused.contains(&name);
        view! {
            <button class="count-row" title=name on:click=move |_| ui.url.set(&[("q", Some(query.clone()))], false)>
                <span class="mono ellipsis">{count.name}</span>
                <span class="num">{unused.then(|| view! { <span class="muted small">{t(Msg::NeverAsked)}" "</span> })}{number}</span>
                <span class="meter-track"><i style:width=format!("{:.1}%", share.min(1.0) * 100.0)></i></span>
            </button>
        }
    };
    view! {
        <section class="panel padded">
            <div class="panel-head"><h2>{t(title)}</h2></div>
            {counts.into_iter().map(row).collect_view()}
        </section>
    }
}

/// Prometheus' answer to `metadata`: what each metric is.
#[derive(Deserialize)]
struct Metadata {
    data: BTreeMap<String, Vec<About>>,
}

/// What one metric is, as its sender said.
#[derive(Deserialize)]
struct About {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    unit: String,
    #[serde(default)]
    help: String,
}

/// What there is to ask for, when nothing is asked yet.
#[component]
fn Catalogue(ui: Ui) -> impl IntoView {
    let found: Fetched<Metadata> = fetch_at(
        Signal::derive(|| 0),
        || Some(()),
        |(), _, signal| async move { client::get_from("api/v1/metadata", signal).await },
    );
    let wanted = RwSignal::new(String::new());
    let list = move || {
        let found = found.value.get()?;
        let needle = wanted.get().to_lowercase();
        let fits = |(name, _): &(&String, &Vec<About>)| name.to_lowercase().contains(&needle);
        let row = |(name, about): (&String, &Vec<About>)| metric_row(ui, name, about.first());
        let rows: Vec<_> = found.data.iter().filter(fits).map(row).collect();
        Some(if rows.is_empty() {
            view! { <Empty title=t(Msg::NoMetrics)><p>{t(Msg::NoHostsHow)}</p></Empty> }.into_any()
        } else {
            let count = Format::Plain.text(rows.len() as f64);
            view! { <p class="muted small">{fill(Msg::MetricCount, &[&count])}</p><div class="catalogue">{rows}</div> }.into_any()
        })
    };
    let failure = move || found.failure.get().as_ref().and_then(Failure::refusal);
    view! {
        <section class="panel padded">
            <div class="panel-head">
                <h2>{t(Msg::MetricNames)}</h2>
                <input class="input filter" type="search" placeholder=t(Msg::FilterByName) aria-label=t(Msg::FilterByName)
                    on:input=move |event| wanted.set(event_target_value(&event))/>
            </div>
            {move || failure().map(|error| view! { <ErrorNote error/> })}
            {list}
        </section>
    }
}

/// A metric; a click asks what is usually asked of its kind.
fn metric_row(ui: Ui, name: &str, about: Option<&About>) -> impl IntoView + use<> {
    let (kind, unit, help) = about.map(|a| (&*a.kind, &*a.unit, &*a.help)).unwrap_or_default();
    let detail = [kind, unit].into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join(", ");
    let text = match kind {
        "counter" => format!("rate({name}[1m])"),
        "histogram" => format!("histogram_quantile(0.95, sum by (le) (rate({name}_bucket[1m])))"),
        _ => name.to_owned(),
    };
    view! {
        <button class="catalogue-row" data-testid="metric-row" on:click=move |_| ui.url.set(&[("q", Some(text.clone()))], false)>
            <span class="mono">{name.to_owned()}</span>
            <span class="muted small">{detail}</span>
            <span class="muted ellipsis">{help.to_owned()}</span>
        </button>
    }
}
