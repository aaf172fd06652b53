//! What lies under the cursor, beside the cursor.

use leptos::prelude::*;
use viz::kind::line::Scene;
use viz::painter::Point;
use viz::time_axis::date_time;

use super::ChartState;
use super::legend::swatch;

/// Series named at most.
const ROWS_MAX: usize = 14;

struct Row {
    color: String,
    name: String,
    value: String,
    nearest: bool,
}

#[component]
pub(super) fn Tooltip(state: ChartState) -> impl IntoView {
    let content = move || {
        let (x, y) = state.pointer.get()?;
        if state.drag.get().is_some_and(|(from, to)| (from - to).abs() > 3.0) {
            return None;
        }
        let scene = state.scene.get()?;
        let hit = scene.hit(Point::new(x, y))?;
        let (time, rows, more) = rows(&scene, &hit);
        let place = if scene.fraction(x) > 0.55 {
            format!("right:{:.0}px", state.size.get().0 - x + 14.0)
        } else {
            format!("left:{:.0}px", x + 14.0)
        };
        Some(view! {
            <div class="tooltip" style=place aria-hidden="true">
                <div class="tooltip-time">{time}</div>
                {rows.into_iter().map(|row| view! {
                    <div class="tooltip-row" class:nearest=row.nearest>
                        <i class="swatch" style=row.color></i>
                        <span class="tooltip-name">{row.name}</span>
                        <b class="num">{row.value}</b>
                    </div>
                }).collect_view()}
                {(more > 0).then(|| view! { <div class="tooltip-more">{format!("+{more}")}</div> })}
            </div>
        })
    };
    view! { {content} }
}

fn rows(scene: &Scene, hit: &viz::hit::Hit) -> (String, Vec<Row>, usize) {
    let data = &scene.data;
    let mut order: Vec<usize> = (0..hit.values.len()).collect();
    if data.stacked {
        order.reverse();
    } else {
        order.sort_by(|a, b| hit.values[*b].value.total_cmp(&hit.values[*a].value));
    }
    let row = |i: usize| {
        let value = hit.values[i];
        let series = &data.series[value.series_idx];
        Row {
            color: swatch(series),
            name: series.name.clone(),
            value: data.unit.text(value.value),
            nearest: hit.nearest == Some(i) && hit.values.len() > 1,
        }
    };
    let more = order.len().saturating_sub(ROWS_MAX);
    // The nearest one is named in any case.
    if let Some(at) =
        order.iter().position(|i| hit.nearest == Some(*i)).filter(|at| *at >= ROWS_MAX)
    {
        order.swap(at, ROWS_MAX - 1);
    }
    let rows = order.into_iter().take(ROWS_MAX).map(row).collect();
    (date_time(hit.at_ms, &data.zone), rows, more)
}
