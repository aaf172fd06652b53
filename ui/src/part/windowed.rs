//! A list of rows of one height of which only those in view exist.

use leptos::html::Div;
use leptos::prelude::*;
use viz::scale::{float, index};

/// Rows built above and below the view.
const OVERSCAN: usize = 12;

/// Pixels a browser can scroll for certain; a longer list shows its first rows only, and says so.
const SCROLL_PX_MAX: f64 = 10_000_000.0;

/// The list. `epoch` changes whenever rows with the same number are no longer the same.
#[component]
pub(crate) fn Windowed<V, F>(
    #[prop(into)] len: Signal<usize>,
    #[prop(into)] epoch: Signal<u64>,
    row_px: f64,
    render: F,
    #[prop(into)] label: String,
    /// Called when the last rows come into view.
    #[prop(optional, into)]
    on_end: Option<Callback<()>>,
    #[prop(optional)] scroller: NodeRef<Div>,
    /// Least width of head and rows, as the style sheet writes lengths.
    #[prop(default = "100%".to_owned())]
    min_width: String,
    #[prop(optional)] children: Option<Children>,
) -> impl IntoView
where
    V: IntoView + 'static,
    F: Fn(usize) -> V + Clone + Send + Sync + 'static,
{
    let size = RwSignal::new((0.0, 600.0));
    let top = RwSignal::new(0.0f64);
    crate::chart::data_observe(scroller, size);
    let rows_max = index(SCROLL_PX_MAX / row_px);
    let window = Memo::new(move |_| {
        let first = index(top.get() / row_px).saturating_sub(OVERSCAN);
        let count = index(size.get().1 / row_px) + 2 * OVERSCAN + 2;
        let len = len.get().min(rows_max);
        let first = first.min(len);
        (first, (first + count).min(len))
    });
    Effect::new(move |_| {
        let (_, last) = window.get();
        if let Some(on_end) = on_end.filter(|_| last > 0 && last >= len.get()) {
            on_end.run(());
        }
    });
    let each = move || {
        let (first, last) = window.get();
        let epoch = epoch.get();
        (first..last).map(|i| (epoch, i)).collect::<Vec<_>>()
    };
    let row = move |(_, i): (u64, usize)| {
        let style = format!("transform:translateY({:.0}px);height:{row_px}px", float(i) * row_px);
        view! { <div class="window-row" style=style>{render(i)}</div> }
    };
    let height = move || format!("{:.0}px", float(len.get().min(rows_max)) * row_px);
    view! {
        <div
            class="windowed"
            role="region"
            aria-label=label
            tabindex="0"
            node_ref=scroller
            on:scroll=move |_| if let Some(element) = scroller.get_untracked() { top.set(f64::from(element.scroll_top())) }
        >
            <div class="window-inner" style:min-width=min_width>
                {children.map(|children| children())}
                <div class="window-rows" style:height=height>
                    <For each key=|key| *key children=row/>
                </div>
            </div>
        </div>
    }
}
