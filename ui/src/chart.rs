//! A chart on two canvases: data below, cursor and selection above; legend, tooltip and table around them.

mod canvas;
pub(crate) mod data;
mod legend;
mod pointer;

mod tooltip;

pub(crate) use pointer::zoom_out;

use std::collections::HashSet;
use std::sync::Arc;

use api::error::ApiError;
use leptos::html::{Canvas, Div};
use leptos::prelude::*;
use viz::kind::line::{Data, Scene, layout};
use viz::painter::Size;
use viz::palette::{DARK, LIGHT};

use crate::app::use_ui;
use crate::msg::{Msg, t};
use crate::part::icon::{Glyph, Icon};
use crate::part::state::ErrorNote;

/// State of one chart, shared by its parts.
#[derive(Clone, Copy)]
pub(crate) struct ChartState {
    /// The chart as laid out.
    scene: RwSignal<Option<Arc<Scene>>>,
    /// Width and height of the canvas in CSS pixels.
    size: RwSignal<(f64, f64)>,
    /// Names of the series switched off.
    hidden: RwSignal<HashSet<String>>,
    /// Where the pointer is on this chart.
    pointer: RwSignal<Option<(f64, f64)>>,
    /// Pixels between which a drag selects.
    drag: RwSignal<Option<(f64, f64)>>,
}

/// How much the legend says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LegendKind {
    /// Names and latest values in a line.
    #[default]
    Short,
    /// A table with lowest, mean and highest.
    Long,
    /// Nothing.
    None,
}

/// A chart in a panel.
#[component]
pub(crate) fn Chart(
    #[prop(into)] title: String,
    #[prop(into)] data: Signal<Option<Arc<Data>>>,
    #[prop(into, optional)] failure: MaybeProp<ApiError>,
    #[prop(into, optional)] note: MaybeProp<String>,
    #[prop(optional)] legend: LegendKind,
    #[prop(default = 168)] height_px: u32,
    /// Told the width of the plot, so that queries can ask for as many points as fit.
    #[prop(optional)]
    width: Option<RwSignal<f64>>,
    testid: &'static str,
) -> impl IntoView {
    let state = ChartState {
        scene: RwSignal::new(None),
        size: RwSignal::new((0.0, 0.0)),
        hidden: RwSignal::new(HashSet::new()),
        pointer: RwSignal::new(None),
        drag: RwSignal::new(None),
    };
    let tabled = RwSignal::new(false);
    lay_out(state, data, width);
    let name = title.clone();
    view! {
        <figure class="panel chart" data-testid=testid>
            <figcaption class="panel-head">
                <h2>{title}</h2>
                {move || note.get().map(|note| view! { <span class="panel-note">{note}</span> })}
                <button
                    class="icon-button quiet"
                    aria-pressed=move || tabled.get().to_string()
                    title=t(Msg::ShowTable)
                    aria-label=t(Msg::ShowTable)
                    on:click=move |_| tabled.update(|on| *on = !*on)
                >
                    <Icon glyph=Glyph::Table/>
                </button>
            </figcaption>
            <Plot state name height_px tabled/>
            {move || failure.get().map(|error| view! { <ErrorNote error/> })}
            <Show when=move || legend != LegendKind::None>
                <legend::Legend state data long=legend == LegendKind::Long/>
            </Show>
            <Show when=move || tabled.get()>
                <DataTable state/>
            </Show>
        </figure>
    }
}

/// Lays the chart out whenever its data, its size or the choice of series changes.
fn lay_out(state: ChartState, data: Signal<Option<Arc<Data>>>, width: Option<RwSignal<f64>>) {
    Effect::new(move |_| {
        let (size_x, size_y) = state.size.get();
        if let Some(width) = width.filter(|_| size_x > 0.0)
            && (width.get_untracked() - size_x).abs() > 24.0
        {
            width.set(size_x);
        }
        let scene = data.get().filter(|_| size_x > 0.0).map(|data| {
            let data = state.hidden.with(|hidden| hide(data, hidden));
            Arc::new(layout(data, Size { width: size_x, height: size_y }))
        });
        state.scene.set(scene);
    });
}

fn hide(data: Arc<Data>, hidden: &HashSet<String>) -> Arc<Data> {
    if hidden.is_empty() {
        return data;
    }
    let mut data = (*data).clone();
    for series in &mut data.series {
        series.hidden = hidden.contains(&series.name);
    }
    Arc::new(data)
}

/// The two canvases and the tooltip.
#[component]
fn Plot(state: ChartState, name: String, height_px: u32, tabled: RwSignal<bool>) -> impl IntoView {
    let ui = use_ui();
    let frame = NodeRef::<Div>::new();
    let (below, above) = (NodeRef::<Canvas>::new(), NodeRef::<Canvas>::new());
    canvas::observe(frame, state.size);
    Effect::new(move |_| {
        let theme = if ui.dark.get() { &DARK } else { &LIGHT };
        if let Some(canvas) = below.get() {
            let scene = state.scene.get();
            canvas::paint(&canvas, state.size.get_untracked(), theme, |painter| {
                if let Some(scene) = scene {
                    scene.draw(painter);
                }
            });
        }
    });
    Effect::new(move |_| {
        let theme = if ui.dark.get() { &DARK } else { &LIGHT };
        let (Some(canvas), Some(scene)) = (above.get(), state.scene.get()) else { return };
        let (cursor, drag) = (ui.cursor_ms.get(), state.drag.get());
        canvas::paint(&canvas, state.size.get_untracked(), theme, |painter| {
            if let Some((from, to)) = drag {
                scene.draw_selection(from, to, painter);
            }
            if let Some(hit) = cursor.and_then(|at_ms| scene.at(at_ms)) {
                scene.draw_cursor(&hit, painter);
            }
        });
    });
    let label = move || {
        let summary = state.scene.get().map(|scene| legend::spoken(&scene)).unwrap_or_default();
        format!("{name}. {summary}")
    };
    let empty = move || state.scene.get().is_some_and(|scene| scene.data.series.is_empty());
    view! {
        <div class="plot" node_ref=frame style:height=format!("{height_px}px")>
            <canvas class="plot-data" node_ref=below aria-hidden="true"></canvas>
            <canvas
                class="plot-cursor"
                node_ref=above
                tabindex="0"
                role="img"
                aria-label=label
                on:pointermove=move |event| pointer::moved(ui, state, &event)
                on:pointerleave=move |_| pointer::left(ui, state)
                on:pointerdown=move |event| pointer::pressed(state, &event)
                on:pointerup=move |event| pointer::released(ui, state, &event)
                on:pointercancel=move |_| state.drag.set(None)
                on:dblclick=move |_| zoom_out(ui)
                on:keydown=move |event| pointer::key(ui, state, tabled, &event)
            ></canvas>
            <Show when=empty>
                <p class="plot-empty">{t(Msg::NoDataInRange)}</p>
            </Show>
            <tooltip::Tooltip state/>
        </div>
    }
}

/// The numbers behind the chart.
#[component]
fn DataTable(state: ChartState) -> impl IntoView {
    let table = move || state.scene.get().map(|scene| scene.table()).unwrap_or_default();
    view! {
        <div class="table-scroll chart-table" tabindex="0">
            <table class="table compact">
                <thead>
                    <tr>{move || table().head.into_iter().map(|cell| view! { <th scope="col">{cell}</th> }).collect_view()}</tr>
                </thead>
                <tbody>
                    {move || {
                        let rows = table().rows.into_iter().rev().take(200);
                        rows.map(|row| {
                            let cells = row.into_iter().map(|cell| view! { <td class="num">{cell}</td> });
                            view! { <tr>{cells.collect_view()}</tr> }
                        }).collect_view()
                    }}
                </tbody>
            </table>
        </div>
    }
}

/// Keeps `size` equal to the size of an element.
pub(crate) fn data_observe(frame: NodeRef<Div>, size: RwSignal<(f64, f64)>) {
    canvas::observe(frame, size);
}
