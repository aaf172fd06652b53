//! A share as a bar with its number, and a sparkline.

use leptos::prelude::*;
use viz::kind::sparkline;
use viz::painter::Size;
use viz::unit::Format;

/// A share of one; above 80 % it warns, above 92 % it alarms, and says so by shape too.
#[component]
pub(crate) fn Meter(#[prop(into)] label: String, value: Option<f64>) -> impl IntoView {
    let share = value.unwrap_or(0.0).clamp(0.0, 1.0);
    let tone = match share {
        s if s >= 0.92 => "meter error",
        s if s >= 0.8 => "meter warn",
        _ => "meter",
    };
    let text = value.map_or_else(|| "–".to_owned(), |value| Format::Ratio.text(value));
    view! {
        <div class=tone>
            <span class="meter-label">{label}</span>
            <span class="meter-track"><i style:width=format!("{:.1}%", share * 100.0)></i></span>
            <span class="meter-value num">{text}</span>
        </div>
    }
}

/// A small line of shares.
#[component]
pub(crate) fn Spark(values: Vec<f64>, #[prop(default = 1)] color: usize) -> impl IntoView {
    let drawn = sparkline::layout(&values, 0.25, Size { width: 200.0, height: 36.0 });
    view! {
        <svg class="spark" viewBox="0 0 200 36" preserveAspectRatio="none" aria-hidden="true" style=format!("color:var(--series-{color})")>
            <path class="spark-area" d=drawn.area></path>
            <path class="spark-line" d=drawn.line vector-effect="non-scaling-stroke"></path>
        </svg>
    }
}
