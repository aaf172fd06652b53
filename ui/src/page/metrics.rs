//! The metric explorer: a `PromQL` query, its chart, its numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::error::ApiError;
use api::query::{Query, QueryAnswer};
use leptos::prelude::*;
use serde::Deserialize;
use viz::kind::line::Style;
use viz::token::Language;
use viz::unit::Format;

use super::{Page, begin};
use crate::app::{Ui, use_ui};
use crate::chart::data::{Spec, chart, promql_name};
use crate::chart::{Chart, LegendKind};
use crate::client::{self, Failure};
use crate::msg::{Msg, fill, t};
use crate::part::editor::Editor;
use crate::part::icon::{Glyph, Icon};
use crate::part::state::{Empty, ErrorNote, Warnings};
use crate::refresh::{Answers, Fetched, batch, fetch_at};

const ID: u32 = 1;

#[component]
pub(crate) fn Metrics() -> impl IntoView {
    begin();
    let ui = use_ui();
    let query = ui.url.param("q");
    let text = RwSignal::new(query.get_untracked());
    Effect::new(move |_| text.set(query.get()));
    let width = RwSignal::new(900.0);
    let answers = batch(width.into(), move |(from_ms, to_ms), step_ms| {
        let text = query.get();
        if text.trim().is_empty() {
            return Vec::new();
        }
        vec![Query { id: ID, text, from_ms, to_ms, step_ms: Some(step_ms), ..Query::default() }]
    });
    let answer = Signal::derive(move || answers.value.get()?.get(&ID).cloned());
    let error = Signal::derive(move || error_of(answers, answer, &query.get(), &text.get()));
    let failed = Memo::new(move |_| answer.get().is_some_and(|answer| answer.error.is_some()));
    let run = move |()| {
        if text.get_untracked() == query.get_untracked() {
            ui.refresh_now();
        }
        ui.url.set(&[("q", Some(text.get_untracked()))], false);
    };
    view! {
        <Page title=t(Msg::Metrics).to_owned() testid="page-metrics">
            <header class="page-head"><h1>{t(Msg::Metrics)}</h1></header>
            <div class="query-row">
                <Editor text language=Language::Promql label=t(Msg::PromqlQuery) placeholder=t(Msg::PromqlPlaceholder)
                    on_run=Callback::new(run) error testid="promql-editor"/>
                <button class="button primary" data-testid="run" on:click=move |_| run(())><Icon glyph=Glyph::Run/>{t(Msg::Run)}</button>
            </div>
            {move || match (query.get().trim().is_empty(), failed.get()) {
                (true, _) => view! { <Catalogue ui/> }.into_any(),
                (false, true) => ().into_any(),
                (false, false) => view! { <Result ui answers answer width/> }.into_any(),
            }}
        </Page>
    }
}

/// The error to show: that of the text as it was run, until it is changed.
fn error_of(
    answers: Fetched<Answers>,
    answer: Signal<Option<Arc<QueryAnswer>>>,
    run: &str,
    typed: &str,
) -> Option<ApiError> {
    if run != typed {
        return None;
    }
    let whole = answers.failure.get().as_ref().and_then(Failure::refusal);
    whole.or_else(|| answer.get().and_then(|answer| answer.error.clone()))
}

#[component]
fn Result(
    ui: Ui,
    answers: Fetched<Answers>,
    answer: Signal<Option<Arc<QueryAnswer>>>,
    width: RwSignal<f64>,
) -> impl IntoView {
    let stacked = ui.url.param("style");
    let data = Signal::derive(move || {
        let answer = answer.get()?;
        let range_ms = ui.range.get().resolve(ui.now_ms.get_untracked());
        let stacked = stacked.get() == "stack";
        let style = if stacked { Style::Area } else { Style::Line };
        let spec = Spec { style, stacked, ..Spec::default() };
        Some(Arc::new(chart(&answer, range_ms, &spec, promql_name)))
    });
    let note = Signal::derive(move || {
        let answer = answer.get()?;
        let n = answer.series.len().to_string();
        let took = viz::unit::time(answer.stats.elapsed_ms / 1_000.0);
        let step = api::range::duration(answer.step_ms);
        Some(fill(Msg::QueryStats, &[&n, &step, &took]))
    });
    let notices = move || {
        let answer = answer.get()?;
        let of = answer.warnings.iter().chain(&answer.infos).cloned().collect();
        Some(view! { <Warnings of/> })
    };
    let mode = move |value: &'static str, name: Msg| {
        view! {
            <button aria-pressed=move || (stacked.get() == value).to_string()
                on:click=move |_| ui.url.set(&[("style", Some(value.to_owned()))], true)>{t(name)}</button>
        }
    };
    view! {
        {notices}
        <div class="segmented" role="group" aria-label=t(Msg::ChartStyle)>
            {mode("", Msg::Lines)}{mode("stack", Msg::Stacked)}
        </div>
        {move || answers.loading.get().then(|| view! { <div class="progress" role="progressbar" aria-label=t(Msg::Loading)></div> })}
        <Chart title=t(Msg::Result) data note legend=LegendKind::Long height_px=320 width testid="chart-explore"/>
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
