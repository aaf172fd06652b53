//! Names, colours and numbers of the series; a click shows one alone, with ctrl it is switched off or on.

use std::collections::HashSet;
use std::sync::Arc;

use leptos::prelude::*;
use viz::kind::line::{Data, Scene, Series, summary};
use viz::painter::Ink;

use super::ChartState;
use crate::msg::{Msg, t};

/// Series named at most.
const NAMES_MAX: usize = 200;

/// The `style` of a series' colour mark.
pub(super) fn swatch(series: &Series) -> String {
    format!("background:{}", css_color(series.color()))
}

/// The style sheet's name of a colour.
pub(crate) fn css_color(ink: Ink) -> String {
    let name = match ink {
        Ink::Series(slot) => return format!("var(--series-{})", slot % viz::palette::SLOTS + 1),
        Ink::Surface => "surface",
        Ink::Text => "text",
        Ink::Muted => "muted",
        Ink::Grid => "grid",
        Ink::Axis => "axis",
        Ink::Ok => "ok",
        Ink::Warn => "warn",
        Ink::Error => "error",
        Ink::Accent => "accent",
    };
    format!("var(--{name})")
}

/// Latest values in words, for those who cannot see the chart.
pub(super) fn spoken(scene: &Scene) -> String {
    let say = |series: &Series| {
        let found = summary(&series.values);
        let (last, max) = (scene.data.unit.text(found.last), scene.data.unit.text(found.max));
        format!("{}: {last} ({} {max})", series.name, t(Msg::Max))
    };
    scene.data.series.iter().take(6).map(say).collect::<Vec<_>>().join(", ")
}

/// The series of a chart by name. An entry stays the same element while its series is drawn, so that focus survives a
/// refresh; only its numbers change.
#[component]
pub(super) fn Legend(
    state: ChartState,
    data: Signal<Option<Arc<Data>>>,
    long: bool,
) -> impl IntoView {
    let names = Memo::new(move |_| {
        let Some(data) = data.get() else { return Vec::new() };
        data.series.iter().map(|series| (series.name.clone(), swatch(series))).collect()
    });
    move || {
        let names = Arc::new(names.get());
        match (long, names.len()) {
            (_, 0) => ().into_any(),
            (false, 1) if names[0].0.is_empty() => ().into_any(),
            (true, _) => long_legend(state, data, &names).into_any(),
            (false, _) => short_legend(state, data, &names).into_any(),
        }
    }
}

/// Name and colour mark of each series.
type Names = Arc<Vec<(String, String)>>;

/// A number about one series, written in the chart's unit.
fn number(
    data: Signal<Option<Arc<Data>>>,
    i: usize,
    of: fn(&viz::kind::line::Summary) -> f64,
) -> impl Fn() -> String + Clone {
    move || {
        let text =
            |data: Arc<Data>| Some(data.unit.text(of(&summary(&data.series.get(i)?.values))));
        data.get().and_then(text).unwrap_or_default()
    }
}

fn toggle(state: ChartState, name: &str, all: &Names, one: bool) {
    state.hidden.update(|hidden| {
        if one {
            if !hidden.remove(name) {
                hidden.insert(name.to_owned());
            }
            return;
        }
        let alone = !hidden.contains(name) && hidden.len() + 1 == all.len();
        let others = all.iter().map(|(other, _)| other).filter(|other| *other != name).cloned();
        *hidden = if alone { HashSet::new() } else { others.collect() };
    });
}

fn button(state: ChartState, all: &Names, i: usize) -> impl IntoView + use<> {
    let ((name, color), all) = (all[i].clone(), Arc::clone(all));
    let (label, title, pressed) = (name.clone(), name.clone(), name.clone());
    view! {
        <button
            class="legend-name"
            title=title
            aria-pressed=move || (!state.hidden.with(|hidden| hidden.contains(&pressed))).to_string()
            on:click=move |event| toggle(state, &name, &all, event.ctrl_key() || event.meta_key())
        >
            <i class="swatch" style=color></i>
            <span>{label}</span>
        </button>
    }
}

fn short_legend(
    state: ChartState,
    data: Signal<Option<Arc<Data>>>,
    names: &Names,
) -> impl IntoView + use<> {
    let item = |i: usize| {
        let last = number(data, i, |found| found.last);
        view! { <li>{button(state, names, i)}<span class="num legend-value">{last}</span></li> }
    };
    let shown = (0..names.len().min(24)).map(item).collect_view();
    let more = names.len().saturating_sub(24);
    view! {
        <ul class="legend">
            {shown}
            {(more > 0).then(|| view! { <li class="muted">{format!("+{more}")}</li> })}
        </ul>
    }
}

fn long_legend(
    state: ChartState,
    data: Signal<Option<Arc<Data>>>,
    names: &Names,
) -> impl IntoView + use<> {
    let columns: [fn(&viz::kind::line::Summary) -> f64; 4] =
        [|found| found.last, |found| found.min, |found| found.mean, |found| found.max];
    let row = |i: usize| {
        let cells = columns.map(|of| view! { <td class="num">{number(data, i, of)}</td> });
        view! { <tr><th scope="row">{button(state, names, i)}</th>{cells.collect_view()}</tr> }
    };
    let rows = (0..names.len().min(NAMES_MAX)).map(row).collect_view();
    let more = names.len().saturating_sub(NAMES_MAX);
    view! {
        <div class="table-scroll legend-table">
            <table class="table compact" data-testid="legend-table">
                <thead><tr>
                    <th scope="col">{t(Msg::Series)}</th>
                    <th scope="col" class="num">{t(Msg::Last)}</th>
                    <th scope="col" class="num">{t(Msg::Min)}</th>
                    <th scope="col" class="num">{t(Msg::Mean)}</th>
                    <th scope="col" class="num">{t(Msg::Max)}</th>
                </tr></thead>
                <tbody>{rows}</tbody>
            </table>
            {(more > 0).then(|| view! { <p class="muted">{format!("+{more}")}</p> })}
        </div>
    }
}
