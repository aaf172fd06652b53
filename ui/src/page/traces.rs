//! Traces of the range: filters above, a list with durations to compare.

use std::collections::BTreeMap;

use api::trace::{TraceSummary, Traces as Found, TracesRequest};
use leptos::prelude::*;
use viz::palette;
use viz::time_axis::date_time;

use super::{Page, begin};
use crate::app::{Ui, use_ui};
use crate::browser;
use crate::client::{self, Failure};
use crate::msg::{Msg, count, t};
use crate::part::state::{Empty, ErrorNote, Loading, Warnings};
use crate::refresh::{Fetched, fetch};

const TRACES_MAX: usize = 200;

#[component]
pub(crate) fn Traces() -> impl IntoView {
    begin();
    let ui = use_ui();
    let text = |name: &'static str| ui.url.param(name);
    let (service, operation, min, max, errors) =
        (text("service"), text("operation"), text("min"), text("max"), text("errors"));
    let found: Fetched<Found> = fetch(
        move || {
            Some((
                ui.range.get(),
                service.get(),
                operation.get(),
                (min.get(), max.get()),
                errors.get(),
            ))
        },
        |(range, service, operation, (min, max), errors), now_ms, signal| async move {
            let (from_ms, to_ms) = range.resolve(now_ms);
            let some = |text: String| (!text.is_empty()).then_some(text);
            let request = TracesRequest {
                service: some(service),
                operation: some(operation),
                min_ms: min.parse().ok(),
                max_ms: max.parse().ok(),
                errors: !errors.is_empty(),
                from_ms,
                to_ms,
                limit: TRACES_MAX,
            };
            client::post("traces", &request, signal).await
        },
    );
    let failure = move || found.failure.get().as_ref().and_then(Failure::refusal);
    let filtered =
        move || [service, operation, min, max, errors].iter().any(|param| !param.get().is_empty());
    let empty = Memo::new(move |_| found.value.get().map(|found| found.traces.is_empty()));
    view! {
        <Page title=t(Msg::Traces).to_owned() testid="page-traces">
            <header class="page-head"><h1>{t(Msg::Traces)}</h1></header>
            <Filters ui found/>
            {move || failure().map(|error| view! { <ErrorNote error/> })}
            {move || found.value.get().map(|found| view! { <Warnings of=found.warnings.clone()/> })}
            <section class="panel">
                {move || match empty.get() {
                    None => view! { <Loading lines=10/> }.into_any(),
                    Some(true) => {
                        let title = if filtered() { t(Msg::NoTracesMatch) } else { t(Msg::NoTraces) };
                        view! { <Empty title><p>{t(Msg::NoTracesHow)}</p></Empty> }.into_any()
                    }
                    Some(false) => view! { <List ui found/> }.into_any(),
                }}
            </section>
        </Page>
    }
}

#[component]
fn Filters(ui: Ui, found: Fetched<Found>) -> impl IntoView {
    let set = move |name: &'static str, value: String| ui.url.set(&[(name, Some(value))], true);
    let select = move |name: &'static str, all: Msg, options: fn(&Found) -> &Vec<String>| {
        let chosen = ui.url.param(name);
        let names = Memo::new(move |_| {
            let mut names =
                found.value.get().map(|found| options(&found).clone()).unwrap_or_default();
            let chosen = chosen.get();
            if !chosen.is_empty() && !names.contains(&chosen) {
                names.push(chosen);
            }
            names
        });
        let option = move |value: String| {
            let (same, own) = (value.clone(), value.clone());
            view! { <option value=own selected=move || chosen.get() == same>{value}</option> }
        };
        view! {
            <select class="input" aria-label=t(all) data-testid=format!("filter-{name}") on:change=move |event| set(name, event_target_value(&event))>
                <option value="">{t(all)}</option>
                {move || names.get().into_iter().map(option).collect_view()}
            </select>
        }
    };
    let number = move |name: &'static str, label: Msg| {
        let value = ui.url.param(name);
        view! {
            <input class="input short num" type="number" min="0" step="any" aria-label=t(label) placeholder=t(label)
                prop:value=move || value.get() on:change=move |event| set(name, event_target_value(&event))/>
        }
    };
    let errors = ui.url.param("errors");
    view! {
        <div class="toolbar" data-testid="trace-filters">
            {select("service", Msg::AllServices, |found| &found.services)}
            {select("operation", Msg::AllOperations, |found| &found.operations)}
            {number("min", Msg::MinMs)}
            {number("max", Msg::MaxMs)}
            <label class="check">
                <input type="checkbox" prop:checked=move || !errors.get().is_empty()
                    on:change=move |event| set("errors", if event_target_checked(&event) { "1".to_owned() } else { String::new() })/>
                {t(Msg::OnlyErrors)}
            </label>
            <span class="spacer"></span>
            <span class="muted num">{move || found.value.get().map(|found| count(found.traces.len(), Msg::TraceOne, Msg::TraceCount))}</span>
        </div>
    }
}

/// A count as this machine holds it.
fn number(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// Traces as rows; a row stays the same element while its trace is listed.
#[component]
fn List(ui: Ui, found: Fetched<Found>) -> impl IntoView {
    let all = move || found.value.get().map(|found| found.traces.clone()).unwrap_or_default();
    let longest =
        Memo::new(move |_| all().iter().map(|trace| trace.duration_ns).max().unwrap_or(1).max(1));
    let slots = Memo::new(move |_| {
        let traces = all();
        let mut services: Vec<&str> =
            traces.iter().flat_map(|trace| &trace.services).map(String::as_str).collect();
        services.sort_unstable();
        services.dedup();
        let slots = palette::assign(&services);
        services.into_iter().map(str::to_owned).zip(slots).collect::<BTreeMap<String, usize>>()
    });
    let key = |trace: &TraceSummary| {
        (trace.trace_id.clone(), trace.spans, trace.errors, trace.duration_ns)
    };
    let row = move |trace: TraceSummary| view! { <TraceRow ui trace longest slots/> };
    view! { <div class="trace-list"><For each=all key children=row/></div> }
}

#[component]
fn TraceRow(
    ui: Ui,
    trace: TraceSummary,
    longest: Memo<i64>,
    slots: Memo<BTreeMap<String, usize>>,
) -> impl IntoView {
    let path = format!("/trace/{}", trace.trace_id);
    let start_ms = trace.start_ns.div_euclid(1_000_000);
    let duration_ns = trace.duration_ns;
    let share = move || format!("{:.1}%", duration_ns as f64 / longest.get() as f64 * 100.0);
    let service = |name: &String| {
        let (name, shown) = (name.clone(), name.clone());
        let color = move || {
            let slot = slots.with(|slots| slots.get(&name).copied().unwrap_or(0));
            format!("background:var(--series-{})", slot + 1)
        };
        view! { <span class="service"><i class="swatch" style=color></i>{shown}</span> }
    };
    let services = trace.services.iter().take(8).map(service).collect_view();
    let failed = count(number(trace.errors), Msg::ErrorOne, Msg::ErrorCount);
    view! {
        <a class="trace-row" class:failed=trace.errors != 0 data-testid="trace-row" href=move || ui.url.link(&path, &[])>
            <span class="trace-name ellipsis"><b>{trace.root_service}</b>" "{trace.root_name}</span>
            <span class="trace-services ellipsis">{services}</span>
            <span class="trace-errors">{(trace.errors > 0).then(|| view! { <span class="badge error"><i class="mark"></i>{failed}</span> })}</span>
            <span class="num muted trace-spans">{count(number(trace.spans), Msg::SpanOne, Msg::SpanCount)}</span>
            <span class="num trace-bar" style=("--share", share)>{viz::unit::time(duration_ns as f64 / 1e9)}</span>
            <time class="num muted trace-time">{date_time(start_ms, &browser::zone_at(start_ms))}</time>
        </a>
    }
}
