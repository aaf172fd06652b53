//! One span in full: times, status, attributes, events, links.

use std::sync::Arc;

use api::trace::{Span, SpanEvent, SpanLink, SpanStatus};
use leptos::prelude::*;
use viz::time_axis::clock_with_ms;

use super::Laid;
use crate::app::Ui;
use crate::browser;
use crate::msg::{Msg, t};
use crate::part::attributes::Attributes;
use crate::part::badge::{Badge, Tone};
use crate::part::copy::CopyButton;
use crate::part::icon::{Glyph, Icon};

#[component]
pub(super) fn SpanDetail(ui: Ui, laid: Arc<Laid>, span_idx: usize) -> impl IntoView {
    let span = laid.span(span_idx)?.clone();
    let trace_start_ns = laid.trace.spans.iter().map(|span| span.start_ns).min().unwrap_or(0);
    let (tone, word) = match span.status {
        SpanStatus::Unset => (Tone::Unknown, t(Msg::StatusUnset)),
        SpanStatus::Ok => (Tone::Ok, t(Msg::StateOk)),
        SpanStatus::Error => (Tone::Error, t(Msg::StateError)),
    };
    let logs = {
        let id = laid.trace.trace_id.clone();
        move || ui.url.link("/logs", &[("q", &format!("trace_id:{id}"))])
    };
    let swatch = format!("background:{}", laid.color(&span.service));
    let Span {
        service, name, span_id, attributes, resource, events, links, status_message, ..
    } = span.clone();
    Some(view! {
        <aside class="panel detail" data-testid="span-detail" aria-label=t(Msg::SpanDetails)>
            <div class="panel-head">
                <i class="swatch" style=swatch></i>
                <h2 class="ellipsis">{service}" · "{name}</h2>
                <span class="spacer"></span>
                <button class="icon-button quiet" aria-label=t(Msg::Close) title=t(Msg::Close)
                    on:click=move |_| ui.url.set(&[("span", None)], true)><Icon glyph=Glyph::Close/></button>
            </div>
            <div class="detail-body">
                <div class="detail-tools">
                    <Badge tone text=word/>
                    <a class="button small" href=logs><Icon glyph=Glyph::Logs/>{t(Msg::LogsOfTrace)}</a>
                </div>
                {(!status_message.is_empty()).then(|| view! { <div class="note error"><Icon glyph=Glyph::Error/><p>{status_message}</p></div> })}
                <Facts span trace_start_ns span_id/>
                <Events events trace_start_ns/>
                <Attributes title=t(Msg::Attributes) map=attributes/>
                <Attributes title=t(Msg::Resource) map=resource/>
                <Links ui links/>
            </div>
        </aside>
    })
}

#[component]
fn Facts(span: Span, trace_start_ns: i64, span_id: String) -> impl IntoView {
    let at_ms = span.start_ns.div_euclid(1_000_000);
    let fact = |name: Msg, value: String| view! { <div><dt>{t(name)}</dt><dd class="num">{value}</dd></div> };
    let offset = viz::unit::time((span.start_ns - trace_start_ns) as f64 / 1e9);
    view! {
        <dl class="facts-grid">
            {fact(Msg::Duration, viz::unit::time(span.duration_ns as f64 / 1e9))}
            {fact(Msg::StartsAfter, offset)}
            {fact(Msg::Start, clock_with_ms(at_ms, &browser::zone_at(at_ms)))}
            {(!span.kind.is_empty()).then(|| fact(Msg::Kind, span.kind.clone()))}
            <div><dt>{t(Msg::SpanId)}</dt><dd class="mono">{span_id.clone()}<CopyButton text=span_id/></dd></div>
        </dl>
    }
}

#[component]
fn Events(events: Vec<SpanEvent>, trace_start_ns: i64) -> impl IntoView {
    let event = move |event: SpanEvent| {
        let open = event.name == "exception";
        let at = viz::unit::time((event.time_ns - trace_start_ns) as f64 / 1e9);
        view! {
            <details class="event" open=open>
                <summary><span class="num muted">{at}</span>" "{event.name}</summary>
                <Attributes title="" map=event.attributes/>
            </details>
        }
    };
    (!events.is_empty()).then(|| view! {
        <section class="attributes"><h3>{t(Msg::Events)}</h3>{events.into_iter().map(event).collect_view()}</section>
    })
}

#[component]
fn Links(ui: Ui, links: Vec<SpanLink>) -> impl IntoView {
    let link = move |link: SpanLink| {
        let path = format!("/trace/{}", link.trace_id);
        let href = move || ui.url.link(&path, &[("span", &link.span_id)]);
        view! { <li><a class="mono" href=href>{link.trace_id}</a></li> }
    };
    (!links.is_empty()).then(|| view! {
        <section class="attributes"><h3>{t(Msg::Links)}</h3><ul>{links.into_iter().map(link).collect_view()}</ul></section>
    })
}
