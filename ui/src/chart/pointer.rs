//! Pointer and keys on a chart: the shared cursor, zooming by dragging, stepping by arrows.

use leptos::prelude::*;
use viz::painter::Point;
use wasm_bindgen::JsCast;
use web_sys::{Element, KeyboardEvent, PointerEvent};

use super::ChartState;
use crate::app::Ui;

/// A shorter drag is a click.
const DRAG_PX_MIN: f64 = 6.0;

fn place(event: &PointerEvent) -> (f64, f64) {
    (f64::from(event.offset_x()), f64::from(event.offset_y()))
}

pub(super) fn moved(ui: Ui, state: ChartState, event: &PointerEvent) {
    let (x, y) = place(event);
    if let Some((from, _)) = state.drag.get_untracked() {
        state.drag.set(Some((from, x)));
    }
    let hit = state.scene.with_untracked(|scene| scene.as_ref()?.hit(Point::new(x, y)));
    state.pointer.set(hit.as_ref().map(|_| (x, y)));
    let at_ms = hit.map(|hit| hit.at_ms);
    if ui.cursor_ms.get_untracked() != at_ms {
        ui.cursor_ms.set(at_ms);
    }
}

pub(super) fn left(ui: Ui, state: ChartState) {
    state.pointer.set(None);
    ui.cursor_ms.set(None);
}

pub(super) fn pressed(state: ChartState, event: &PointerEvent) {
    if event.button() != 0 || event.pointer_type() == "touch" {
        return;
    }
    let (x, _) = place(event);
    state.drag.set(Some((x, x)));
    if let Some(canvas) = event.target().and_then(|target| target.dyn_into::<Element>().ok()) {
        drop(canvas.set_pointer_capture(event.pointer_id()));
    }
}

pub(super) fn released(ui: Ui, state: ChartState, event: &PointerEvent) {
    let Some((from, _)) = state.drag.get_untracked() else { return };
    state.drag.set(None);
    let (to, _) = place(event);
    if (to - from).abs() < DRAG_PX_MIN {
        return;
    }
    let ends = state.scene.with_untracked(|scene| {
        let scene = scene.as_ref()?;
        Some((scene.time_at(from.min(to)), scene.time_at(from.max(to))))
    });
    if let Some((from_ms, to_ms)) = ends.filter(|(from_ms, to_ms)| to_ms > from_ms) {
        let to_ms = to_ms.max(from_ms + 5_000);
        ui.zoom(from_ms - from_ms.rem_euclid(1_000), to_ms - to_ms.rem_euclid(1_000));
    }
}

/// Twice the range around the same middle; never beyond the present.
pub(crate) fn zoom_out(ui: Ui) {
    let now_ms = crate::browser::now_ms();
    let (from_ms, to_ms) = ui.range.get_untracked().resolve(now_ms);
    let half = (to_ms - from_ms) / 2;
    if ui.range.get_untracked().is_live() {
        let from = api::range::Moment::ago(4 * half);
        ui.url.set_range(crate::url::Range { from, ..ui.range.get_untracked() });
    } else {
        let to_ms = (to_ms + half).min(now_ms);
        ui.zoom(from_ms - half, to_ms);
    }
}

pub(super) fn key(ui: Ui, state: ChartState, tabled: RwSignal<bool>, event: &KeyboardEvent) {
    let step = if event.shift_key() { 10 } else { 1 };
    match event.key().as_str() {
        "ArrowLeft" => step_cursor(ui, state, -step),
        "ArrowRight" => step_cursor(ui, state, step),
        "Home" => step_cursor(ui, state, isize::MIN / 2),
        "End" => step_cursor(ui, state, isize::MAX / 2),
        "Escape" => ui.cursor_ms.set(None),
        "-" => zoom_out(ui),
        "v" => tabled.update(|on| *on = !*on),
        _ => return,
    }
    event.prevent_default();
    event.stop_propagation();
}

fn step_cursor(ui: Ui, state: ChartState, by: isize) {
    let next = state.scene.with_untracked(|scene| {
        let scene = scene.as_ref()?;
        let times = &scene.data.times_ms;
        let here = ui.cursor_ms.get_untracked().and_then(|at_ms| scene.at(at_ms));
        let here = here.map_or(times.len(), |hit| hit.time_idx);
        times.get(here.saturating_add_signed(by).min(times.len().checked_sub(1)?)).copied()
    });
    if let Some(at_ms) = next {
        ui.cursor_ms.set(Some(at_ms));
    }
}
