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

#[component]
pub(super) fn Legend(
    state: ChartState,
    data: Signal<Option<Arc<Data>>>,
    long: bool,
) -> impl IntoView {
    let content = move || {
        let data = data.get()?;
        if data.series.is_empty()
            || (!long
                && data.series.len() < 2
                && data.series.first().is_some_and(|s| s.name.is_empty()))
        {
            return None;
        }
        Some(if long {
            long_legend(state, &data).into_any()
        } else {
            short_legend(state, &data).into_any()
        })
    };
    view! { {content} }
}

fn toggle(state: ChartState, name: &str, all: &[String], one: bool) {
    state.hidden.update(|hidden| {
        if one {
            if !hidden.remove(name) {
                hidden.insert(name.to_owned());
            }
            return;
        }
        let alone = !hidden.contains(name) && hidden.len() + 1 == all.len();
        *hidden = if alone {
            HashSet::new()
        } else {
            all.iter().filter(|n| *n != name).cloned().collect()
        };
    });
}

fn button(state: ChartState, series: &Series, all: &Arc<Vec<String>>) -> impl IntoView + use<> {
    let (name, all) = (series.name.clone(), Arc::clone(all));
    let (label, title, pressed) = (name.clone(), name.clone(), name.clone());
    view! {
        <button
            class="legend-name"
            title=title
            aria-pressed=move || (!state.hidden.with(|hidden| hidden.contains(&pressed))).to_string()
            on:click=move |event| toggle(state, &name, &all, event.ctrl_key() || event.meta_key())
        >
            <i class="swatch" style=swatch(series)></i>
            <span>{label}</span>
        </button>
    }
}

fn short_legend(state: ChartState, data: &Arc<Data>) -> impl IntoView + use<> {
    let all: Arc<Vec<String>> =
        Arc::new(data.series.iter().map(|series| series.name.clone()).collect());
    let item = |series: &Series| {
        let last = data.unit.text(summary(&series.values).last);
        view! { <li>{button(state, series, &all)}<span class="num legend-value">{last}</span></li> }
    };
    let shown = data.series.iter().take(24).map(item).collect_view();
    let more = data.series.len().saturating_sub(24);
    view! {
        <ul class="legend">
            {shown}
            {(more > 0).then(|| view! { <li class="muted">{format!("+{more}")}</li> })}
        </ul>
    }
}

fn long_legend(state: ChartState, data: &Arc<Data>) -> impl IntoView + use<> {
    let all: Arc<Vec<String>> =
        Arc::new(data.series.iter().map(|series| series.name.clone()).collect());
    let row = |series: &Series| {
        let found = summary(&series.values);
        let numbers = [found.last, found.min, found.mean, found.max];
        let cells = numbers.map(|value| view! { <td class="num">{data.unit.text(value)}</td> });
        view! { <tr><th scope="row">{button(state, series, &all)}</th>{cells.collect_view()}</tr> }
    };
    let rows = data.series.iter().take(NAMES_MAX).map(row).collect_view();
    let more = data.series.len().saturating_sub(NAMES_MAX);
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
