//! The metric explorer: `PromQL` queries, several at once, as charts, as numbers, or with the cost of each of their parts.

use std::sync::Arc;

use api::error::ApiError;
use api::query::{Query, QueryAnswer};
use leptos::prelude::*;
use viz::kind::line::Style;
use viz::token::Language;

use super::{Page, begin};
use crate::app::{Ui, use_ui};
use crate::chart::data::{Spec, chart, promql_name};
use crate::chart::{Chart, LegendKind};
use crate::client::Failure;
use crate::msg::{Msg, fill, t};
use crate::part::copy::CopyButton;
use crate::part::editor::Editor;
use crate::part::icon::{Glyph, Icon};
use crate::part::state::Warnings;
use crate::refresh::{Answers, Fetched, batch};

mod catalogue;
mod exemplars;
mod explain;
mod history;
mod values;

use catalogue::Start;
use exemplars::Exemplars;
use explain::ExplainTree;
use values::Values;

/// Where the URL keeps the queries: their number is theirs on the page, and the id of their answers.
const PARAMS: [&str; 6] = ["q", "q2", "q3", "q4", "q5", "q6"];

/// One query of the page.
#[derive(Clone, Copy)]
struct Row {
    id: u32,
    param: &'static str,
    /// As it was run.
    query: Memo<String>,
    /// As it is written now.
    text: RwSignal<String>,
}

#[component]
pub(crate) fn Metrics() -> impl IntoView {
    begin();
    let ui = use_ui();
    let rows = PARAMS.map(|param| row(ui, param));
    let last = rows.iter().rposition(|row| !row.query.get_untracked().is_empty()).unwrap_or(0);
    let shown = RwSignal::new(last + 1);
    Effect::new(move |_| {
        let last = rows.iter().rposition(|row| !row.query.get().is_empty()).unwrap_or(0);
        shown.update(|n| *n = (*n).max(last + 1));
    });
    let view = ui.url.param("view");
    let width = RwSignal::new(900.0);
    let answers = batch(width.into(), move |(from_ms, to_ms), step_ms| {
        let explain = view.get() == "explain";
        let asked = rows.iter().filter(|row| !row.query.get().trim().is_empty()).map(|row| Query {
            id: row.id,
            text: row.query.get(),
            from_ms,
            to_ms,
            step_ms: Some(step_ms),
            explain,
            ..Query::default()
        });
        asked.collect()
    });
    let run = Callback::new(move |()| run(ui, &rows));
    let editor = move |i: usize| {
        view! { <QueryRow row=rows[i] answers run removable=Signal::derive(move || shown.get() > 1) on_remove=Callback::new(move |()| remove(ui, &rows, i, shown))/> }
    };
    let results = move || {
        if rows.iter().all(|row| row.query.get().trim().is_empty()) {
            return view! { <Start ui/> }.into_any();
        }
        let panels = rows.into_iter().map(|row| view! { <Panel ui answers row width view/> });
        view! { <Modes ui view/>{panels.collect_view()} }.into_any()
    };
    view! {
        <Page title=t(Msg::Metrics).to_owned() testid="page-metrics">
            <header class="page-head"><h1>{t(Msg::Metrics)}</h1></header>
            <div class="query-rows">
                {move || (0..shown.get()).map(editor).collect_view()}
                <div class="toolbar">
                    <button class="button primary" data-testid="run" on:click=move |_| run.run(())><Icon glyph=Glyph::Run/>{t(Msg::Run)}</button>
                    <button class="button" data-testid="add-query" disabled=move || shown.get() == PARAMS.len()
                        on:click=move |_| shown.update(|n| *n += 1)>{t(Msg::AddQuery)}</button>
                </div>
            </div>
            {move || answers.loading.get().then(|| view! { <div class="progress" role="progressbar" aria-label=t(Msg::Loading)></div> })}
            {results}
        </Page>
    }
}

fn row(ui: Ui, param: &'static str) -> Row {
    let query = ui.url.param(param);
    let text = RwSignal::new(query.get_untracked());
    Effect::new(move |_| text.set(query.get()));
    let id = PARAMS.iter().position(|known| *known == param).unwrap_or(0) + 1;
    Row { id: u32::try_from(id).unwrap_or(1), param, query, text }
}

/// Runs all queries as they are written now.
fn run(ui: Ui, rows: &[Row]) {
    let texts: Vec<String> = rows.iter().map(|row| row.text.get_untracked()).collect();
    history::add(&texts);
    if rows.iter().all(|row| row.text.get_untracked() == row.query.get_untracked()) {
        ui.refresh_now();
    }
    let changes: Vec<_> =
        rows.iter().zip(texts).map(|(row, text)| (row.param, Some(text))).collect();
    ui.url.set(&changes, false);
}

/// Takes the query at `i` away; those behind it move up.
fn remove(ui: Ui, rows: &[Row], i: usize, shown: RwSignal<usize>) {
    let mut texts: Vec<String> = rows.iter().map(|row| row.text.get_untracked()).collect();
    texts.remove(i);
    texts.push(String::new());
    for (row, text) in rows.iter().zip(&texts) {
        row.text.set(text.clone());
    }
    shown.update(|n| *n = n.saturating_sub(1).max(1));
    let changes: Vec<_> =
        rows.iter().zip(texts).map(|(row, text)| (row.param, Some(text))).collect();
    ui.url.set(&changes, false);
}

/// The editor of one query.
#[component]
fn QueryRow(
    row: Row,
    answers: Fetched<Answers>,
    run: Callback<()>,
    removable: Signal<bool>,
    on_remove: Callback<()>,
) -> impl IntoView {
    let answer = Signal::derive(move || answers.value.get()?.get(&row.id).cloned());
    let error =
        Signal::derive(move || error_of(answers, answer, &row.query.get(), &row.text.get()));
    let testid = if row.id == 1 { "promql-editor" } else { "promql-editor-more" };
    view! {
        <div class="query-row">
            {move || removable.get().then(|| view! { <span class="query-letter" aria-hidden="true">{row.id}</span> })}
            <Editor text=row.text language=Language::Promql label=t(Msg::PromqlQuery) placeholder=t(Msg::PromqlPlaceholder)
                on_run=run error testid/>
            {move || removable.get().then(|| view! {
                <button class="icon-button quiet" title=t(Msg::RemoveQuery) aria-label=t(Msg::RemoveQuery)
                    on:click=move |_| on_remove.run(())><Icon glyph=Glyph::Close/></button>
            })}
        </div>
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

/// How answers are shown, and the link to share.
#[component]
fn Modes(ui: Ui, view: Memo<String>) -> impl IntoView {
    let style = ui.url.param("style");
    let mode = move |of: Memo<String>, param: &'static str, value: &'static str, name: Msg| {
        view! {
            <button aria-pressed=move || (of.get() == value).to_string() data-testid=format!("{param}-{value}")
                on:click=move |_| ui.url.set(&[(param, Some(value.to_owned()))], true)>{t(name)}</button>
        }
    };
    view! {
        <div class="toolbar">
            <div class="segmented" role="group" aria-label=t(Msg::ResultView)>
                {mode(view, "view", "", Msg::ChartView)}{mode(view, "view", "table", Msg::TableView)}{mode(view, "view", "exemplars", Msg::Exemplars)}{mode(view, "view", "explain", Msg::Explain)}
            </div>
            {move || view.get().is_empty().then(|| view! {
                <div class="segmented" role="group" aria-label=t(Msg::ChartStyle)>
                    {mode(style, "style", "", Msg::Lines)}{mode(style, "style", "stack", Msg::Stacked)}
                </div>
            })}
            <span class="spacer"></span>
            <span class="muted small">{t(Msg::ShareLink)}</span>
            <CopyButton text=Signal::derive(move || share(ui))/>
        </div>
    }
}

/// A link to what is seen now: its range does not move along with the clock.
fn share(ui: Ui) -> String {
    let (from_ms, to_ms) = ui.range.get().resolve(ui.now_ms.get());
    let (from, to) = (from_ms.to_string(), to_ms.to_string());
    let kept = PARAMS.iter().chain(&["view", "style"]);
    let kept: Vec<(&str, String)> =
        kept.filter_map(|name| Some((*name, ui.url.get(name)?))).collect();
    let mut extra: Vec<(&str, &str)> = vec![("from", &from), ("to", &to)];
    extra.extend(kept.iter().map(|(name, value)| (*name, value.as_str())));
    let origin = window().location().origin().unwrap_or_default();
    format!("{origin}{}", ui.url.link(&ui.url.path(), &extra))
}

/// The answer to one query.
#[component]
fn Panel(
    ui: Ui,
    answers: Fetched<Answers>,
    row: Row,
    width: RwSignal<f64>,
    view: Memo<String>,
) -> impl IntoView {
    let answer = Signal::derive(move || answers.value.get()?.get(&row.id).cloned());
    let is_shown = Memo::new(move |_| {
        let is_asked = !row.query.get().trim().is_empty();
        is_asked && answer.get().is_none_or(|answer| answer.error.is_none())
    });
    let notices = move || {
        let answer = answer.get()?;
        let of = answer.warnings.iter().chain(&answer.infos).cloned().collect();
        Some(view! { <Warnings of/> })
    };
    let body = move || match view.get().as_str() {
        "table" => answer.get().map(|answer| view! { <Values answer/> }).into_any(),
        "exemplars" => view! { <Exemplars ui query=row.query/> }.into_any(),
        "explain" => answer
            .get()
            .and_then(|answer| answer.explain.clone())
            .map(|root| view! { <ExplainTree root/> })
            .into_any(),
        _ => view! { <Lines ui answer row width/> }.into_any(),
    };
    view! { <Show when=move || is_shown.get()>{notices}{body}</Show> }
}

#[component]
fn Lines(
    ui: Ui,
    answer: Signal<Option<Arc<QueryAnswer>>>,
    row: Row,
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
    let testid = if row.id == 1 { "chart-explore" } else { "chart-explore-more" };
    view! { <Chart title=t(Msg::Result) data note legend=LegendKind::Long height_px=320 width testid/> }
}
