//! One trace as a waterfall: who called whom, what took how long, what failed; and one span in full.

mod detail;
mod rows;

use std::collections::HashMap;
use std::sync::Arc;

use api::trace::{Span, SpanStatus, Trace};
use leptos::prelude::*;
use leptos_router::hooks::use_params_map;
use viz::kind::waterfall::{Bar, Waterfall};
use viz::palette;
use viz::time_axis::date_time;

use super::{Page, begin};
use crate::app::{Ui, use_ui};
use crate::browser;
use crate::client::{self, Failure};
use crate::msg::{Msg, count, t};
use crate::part::copy::CopyButton;
use crate::part::state::{ErrorNote, Loading, Warnings};
use crate::refresh::{Fetched, fetch_at};

/// A trace with everything its rows need.
pub(crate) struct Laid {
    pub(crate) trace: Arc<Trace>,
    /// Palette slot of each service.
    pub(crate) slots: HashMap<String, usize>,
}

impl Laid {
    fn new(trace: Arc<Trace>) -> Self {
        let mut services: Vec<&str> =
            trace.spans.iter().map(|span| span.service.as_str()).collect();
        services.sort_unstable();
        services.dedup();
        let slots = palette::assign(&services);
        let slots = services.iter().map(|service| (*service).to_owned()).zip(slots).collect();
        Self { trace, slots }
    }

    /// The colour of a service, as a value of the style sheet.
    pub(crate) fn color(&self, service: &str) -> String {
        format!("var(--series-{})", self.slots.get(service).copied().unwrap_or(0) + 1)
    }

    pub(crate) fn span(&self, i: usize) -> Option<&Span> {
        self.trace.spans.get(i)
    }
}

fn bars(trace: &Trace) -> Vec<Bar> {
    let bar = |span: &Span| Bar {
        id: span.span_id.clone(),
        parent: span.parent_span_id.clone().filter(|id| !id.is_empty()),
        start_ns: span.start_ns,
        duration_ns: span.duration_ns,
        error: span.status == SpanStatus::Error,
    };
    trace.spans.iter().map(bar).collect()
}

#[component]
pub(crate) fn TracePage() -> impl IntoView {
    begin();
    let ui = use_ui();
    let params = use_params_map();
    let id = Memo::new(move |_| params.with(|params| params.get("id")).unwrap_or_default());
    let trace: Fetched<Trace> = fetch_at(
        Signal::derive(|| 0),
        move || Some(id.get()),
        |id, _, signal| async move {
            client::get(&format!("trace/{}", crate::url::escape(&id)), signal).await
        },
    );
    let laid = Memo::new_with_compare(
        move |_| trace.value.get().map(|trace| Arc::new(Laid::new(trace))),
        |_, _| true,
    );
    let waterfall = RwSignal::new(Waterfall::default());
    Effect::new(move |_| {
        if let Some(trace) = trace.value.get() {
            waterfall.set(Waterfall::new(&bars(&trace)));
        }
    });
    let failure = move || trace.failure.get().as_ref().and_then(Failure::refusal);
    let short = move || id.get().get(..8).unwrap_or_default().to_owned();
    view! {
        <Page title=Signal::derive(move || format!("{} {}", t(Msg::Trace), short())) testid="page-trace">
            {move || failure().map(|error| view! { <ErrorNote error/> })}
            {move || trace.value.get().map(|trace| view! { <Warnings of=trace.warnings.clone()/> })}
            {move || match laid.get() {
                None if trace.failure.get().is_some() => ().into_any(),
                None => view! { <Loading lines=12/> }.into_any(),
                Some(laid) => view! { <View ui laid waterfall/> }.into_any(),
            }}
        </Page>
    }
}

#[component]
fn View(ui: Ui, laid: Arc<Laid>, waterfall: RwSignal<Waterfall>) -> impl IntoView {
    let selected = ui.url.param("span");
    let found = StoredValue::new(Arc::clone(&laid));
    let detail = move || {
        let id = selected.get();
        let laid = found.get_value();
        let i = laid.trace.spans.iter().position(|span| span.span_id == id)?;
        Some(view! { <detail::SpanDetail ui laid span_idx=i/> })
    };
    view! {
        <Head ui laid=Arc::clone(&laid) waterfall/>
        <div class="split" class:open=move || !selected.get().is_empty()>
            <rows::Rows ui laid waterfall selected/>
            {detail}
        </div>
    }
}

/// Name, duration, counts and services of the trace.
#[component]
fn Head(ui: Ui, laid: Arc<Laid>, waterfall: RwSignal<Waterfall>) -> impl IntoView {
    let root = move |laid: &Laid| {
        waterfall.with(|w| {
            w.rows()
                .first()
                .and_then(|row| laid.span(row.span_idx))
                .map(|s| (s.service.clone(), s.name.clone()))
        })
    };
    let (spans, failed) = {
        let spans = &laid.trace.spans;
        (spans.len(), spans.iter().filter(|span| span.status == SpanStatus::Error).count())
    };
    let id = laid.trace.trace_id.clone();
    let facts = move || {
        let (start_ms, duration_ns) =
            waterfall.with(|w| (w.start_ns().div_euclid(1_000_000), w.duration_ns()));
        let duration = viz::unit::time(duration_ns as f64 / 1e9);
        let start = date_time(start_ms, &browser::zone_at(start_ms));
        format!("{duration} · {} · {start}", count(spans, Msg::SpanOne, Msg::SpanCount))
    };
    let named = Arc::clone(&laid);
    let title = move || {
        root(&named)
            .map(|(service, name)| view! { <h1><span class="muted">{service}</span>" "{name}</h1> })
    };
    let mut services: Vec<(&String, usize)> = laid
        .slots
        .keys()
        .map(|service| {
            (service, laid.trace.spans.iter().filter(|span| span.service == *service).count())
        })
        .collect();
    services.sort();
    let service = |(service, count): (&String, usize)| {
        let color = format!("background:{}", laid.color(service));
        view! { <li><i class="swatch" style=color></i>{service.clone()}<span class="muted num">{count}</span></li> }
    };
    let services = services.into_iter().map(service).collect_view();
    view! {
        <header class="page-head">
            <nav class="crumbs" aria-label=t(Msg::Breadcrumbs)><a href=move || ui.url.link("/traces", &[])>{t(Msg::Traces)}</a></nav>
            {title}
            {(failed > 0).then(|| view! { <span class="badge error"><i class="mark"></i>{count(failed, Msg::ErrorOne, Msg::ErrorCount)}</span> })}
            <span class="muted num facts">{facts}</span>
            <span class="mono muted small trace-id">{id.clone()}</span><CopyButton text=id/>
        </header>
        <ul class="legend services">{services}</ul>
    }
}
