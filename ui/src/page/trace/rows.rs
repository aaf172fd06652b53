//! The rows of the waterfall, their ruler, and the keys that move among them.

use std::sync::Arc;

use api::trace::SpanStatus;
use leptos::html::Div;
use leptos::prelude::*;
use viz::kind::waterfall::{Row, Waterfall, ruler};
use viz::scale::float;
use web_sys::KeyboardEvent;

use super::Laid;
use crate::app::Ui;
use crate::msg::{Msg, count, t};
use crate::part::icon::{Glyph, Icon};
use crate::part::windowed::Windowed;

const ROW_PX: f64 = 26.0;

/// Deeper levels are not indented further; their depth is written as a number.
const INDENT_LEVELS_MAX: usize = 16;

#[component]
pub(super) fn Rows(
    ui: Ui,
    laid: Arc<Laid>,
    waterfall: RwSignal<Waterfall>,
    selected: Memo<String>,
) -> impl IntoView {
    let epoch = RwSignal::new(0u64);
    let wanted = ui.url.param("find");
    let scroller = NodeRef::<Div>::new();
    let change = move |change: fn(&mut Waterfall)| {
        waterfall.update(change);
        epoch.update(|n| *n += 1);
    };
    Effect::new(move |_| {
        waterfall.track();
        epoch.update(|n| *n += 1);
    });
    let found = StoredValue::new(laid);
    let render = move |i: usize| {
        let laid = found.get_value();
        let (row_idx, row, folded) = waterfall.with_untracked(|w| {
            let row_idx = *w.visible().get(i)?;
            Some((row_idx, w.rows().get(row_idx)?.clone(), w.is_folded(row_idx)))
        })?;
        Some(view! { <SpanRow ui laid waterfall row row_idx folded selected wanted/> })
    };
    let marks = move || {
        let duration_ns = waterfall.with(Waterfall::duration_ns);
        ruler(duration_ns, 5).into_iter().map(|(at, ns)| {
            view! { <span style=format!("left:{:.2}%", at * 100.0)>{viz::unit::time(ns / 1e9)}</span> }
        }).collect_view()
    };
    let head = view! {
        <div class="waterfall-head">
            <span class="waterfall-name">{t(Msg::Operation)}</span>
            <span class="waterfall-ruler num">{marks}</span>
        </div>
    };
    let pressed = move |event: KeyboardEvent| {
        step(ui, &found.get_value(), (waterfall, selected), scroller, &event)
    };
    view! {
        <section class="panel waterfall" data-testid="waterfall" on:keydown=pressed>
            <div class="panel-head">
                <input class="input filter" type="search" data-focus="query" placeholder=t(Msg::FindSpans) aria-label=t(Msg::FindSpans)
                    prop:value=move || wanted.get()
                    on:input=move |event| ui.url.set(&[("find", Some(event_target_value(&event)))], true)/>
                <Matches laid=found wanted/>
                <span class="spacer"></span>
                <button class="button small" on:click=move |_| change(Waterfall::fold_all)>{t(Msg::FoldAll)}</button>
                <button class="button small" on:click=move |_| change(Waterfall::unfold_all)>{t(Msg::UnfoldAll)}</button>
            </div>
            <Windowed len=Signal::derive(move || waterfall.with(|w| w.visible().len())) epoch row_px=ROW_PX render label=t(Msg::Spans) scroller>{head}</Windowed>
        </section>
    }
}

/// Whether a span fits the text searched for.
fn fits(laid: &Laid, span_idx: usize, needle: &str) -> bool {
    let Some(span) = laid.span(span_idx) else { return false };
    let needle = needle.to_lowercase();
    let has = |text: &str| text.to_lowercase().contains(&needle);
    has(&span.name)
        || has(&span.service)
        || span.span_id.starts_with(&needle)
        || span.attributes.values().any(|value| value.as_str().is_some_and(has))
}

#[component]
fn Matches(laid: StoredValue<Arc<Laid>>, wanted: Memo<String>) -> impl IntoView {
    move || {
        let needle = wanted.get();
        (!needle.is_empty()).then(|| {
            let laid = laid.get_value();
            let n = (0..laid.trace.spans.len()).filter(|i| fits(&laid, *i, &needle)).count();
            view! { <span class="muted num" role="status">{count(n, Msg::MatchOne, Msg::MatchCount)}</span> }
        })
    }
}

#[component]
fn SpanRow(
    ui: Ui,
    laid: Arc<Laid>,
    waterfall: RwSignal<Waterfall>,
    row: Row,
    row_idx: usize,
    folded: bool,
    selected: Memo<String>,
    wanted: Memo<String>,
) -> impl IntoView {
    let span = laid.span(row.span_idx)?.clone();
    let failed = span.status == SpanStatus::Error;
    let indent = float(row.depth.min(INDENT_LEVELS_MAX)) * 14.0;
    let deep = (row.depth > INDENT_LEVELS_MAX)
        .then(|| view! { <span class="muted num small">{row.depth}</span> });
    let fold = (row.descendants > 0).then(|| {
        let glyph = if folded { Glyph::Right } else { Glyph::Down };
        let label = if folded { t(Msg::Unfold) } else { t(Msg::Fold) };
        view! {
            <button class="fold" aria-expanded=(!folded).to_string() aria-label=label
                on:click=move |event| { event.stop_propagation(); waterfall.update(|w| w.toggle(row_idx)); }>
                <Icon glyph/>
            </button>
        }
    });
    let hidden = folded
        .then(|| view! { <span class="muted num small">{format!("+{}", row.descendants)}</span> });
    let below = (folded && row.errors_below > 0).then(|| view! { <i class="mark error"></i> });
    let bar = format!(
        "left:{:.3}%;width:max(2px, {:.3}%);background:{}",
        row.left * 100.0,
        row.width * 100.0,
        laid.color(&span.service)
    );
    let took = viz::unit::time(span.duration_ns as f64 / 1e9);
    let end = row.left + row.width;
    // Beside the bar where there is room, else on it.
    let inside = end > 0.84 && row.left < 0.14;
    let label_style = match (end > 0.84, inside) {
        (_, true) => format!("right:calc({:.3}% + 6px)", (1.0 - end) * 100.0),
        (true, false) => format!("right:calc({:.3}% + 6px)", (1.0 - row.left) * 100.0),
        (false, false) => format!("left:calc({:.3}% + 6px)", end * 100.0),
    };
    let (id, opened) = (span.span_id.clone(), span.span_id.clone());
    let label = format!("{} {} {took}", span.service, span.name);
    let span_idx = row.span_idx;
    let dim = move || {
        let needle = wanted.get();
        !needle.is_empty() && !fits(&laid, span_idx, &needle)
    };
    Some(view! {
        <div
            class="span-row"
            data-testid="span-row"
            role="button"
            tabindex="-1"
            aria-label=label
            class:failed=failed
            class:dim=dim
            class:selected=move || selected.get() == id
            on:click=move |_| ui.url.set(&[("span", Some(opened.clone()))], true)
        >
            <span class="span-name" style=format!("padding-left:{indent:.0}px")>
                <span class="fold-slot">{fold}</span>
                <i class="swatch" style=format!("background:{}", laid_color(&bar))></i>
                {row.orphan.then(|| view! { <span class="badge warn" title=t(Msg::OrphanHow)><i class="mark"></i>{t(Msg::Orphan)}</span> })}
                {deep}
                {failed.then(|| view! { <span class="failed-mark"><Icon glyph=Glyph::Error/></span> })}
                <span class="ellipsis"><b>{span.service}</b>" "{span.name}</span>
                {hidden}{below}
            </span>
            <span class="span-track">
                <i class="span-bar" style=bar></i>
                <span class="span-took num" class:inside=inside style=label_style>{took}</span>
            </span>
        </div>
    })
}

/// The colour within the style of a bar.
fn laid_color(bar: &str) -> &str {
    bar.rsplit("background:").next().unwrap_or_default()
}

/// Up and down select, left and right fold and unfold.
fn step(
    ui: Ui,
    laid: &Laid,
    (waterfall, selected): (RwSignal<Waterfall>, Memo<String>),
    scroller: NodeRef<Div>,
    event: &KeyboardEvent,
) {
    let id = selected.get_untracked();
    let at = waterfall.with_untracked(|w| {
        w.visible().iter().position(|row| {
            laid.span(w.rows()[*row].span_idx).is_some_and(|span| span.span_id == id)
        })
    });
    let len = waterfall.with_untracked(|w| w.visible().len());
    let target = match (event.key().as_str(), at) {
        ("ArrowDown" | "j", None) => 0,
        ("ArrowDown" | "j", Some(at)) => (at + 1).min(len.saturating_sub(1)),
        ("ArrowUp" | "k", Some(at)) => at.saturating_sub(1),
        ("ArrowLeft" | "ArrowRight", Some(at)) => {
            let open = event.key() == "ArrowRight";
            waterfall.update(|w| {
                let row = w.visible()[at];
                if w.is_folded(row) == open && w.rows()[row].descendants > 0 {
                    w.toggle(row);
                }
            });
            at
        }
        ("Escape", Some(_)) => return ui.url.set(&[("span", None)], true),
        _ => return,
    };
    event.prevent_default();
    let span = waterfall.with_untracked(|w| {
        laid.span(w.rows().get(*w.visible().get(target)?)?.span_idx).map(|s| s.span_id.clone())
    });
    ui.url.set(&[("span", span)], true);
    if let Some(list) = scroller.get_untracked() {
        let top = viz::scale::floor(float(target) * ROW_PX);
        let (seen, height) = (i64::from(list.scroll_top()), i64::from(list.client_height()));
        let wanted = if top < seen {
            Some(top)
        } else if top + 60 > seen + height {
            Some(top + 60 - height)
        } else {
            None
        };
        if let Some(wanted) = wanted.and_then(|top| i32::try_from(top).ok()) {
            list.set_scroll_top(wanted);
        }
    }
}
