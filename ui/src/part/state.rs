//! What is shown when there is nothing to show: loading, empty, failed.

use api::error::ApiError;
use leptos::prelude::*;

use crate::part::icon::{Glyph, Icon};

/// The server's words about what went wrong.
#[component]
pub(crate) fn ErrorNote(error: ApiError) -> impl IntoView {
    // PromQL's own sentences begin with the place already.
    let place = error.position.map(|at| format!("{}:{}", at.line, at.column));
    let place = place.filter(|place| !error.message.starts_with(place)).map(|place| place + " ");
    view! {
        <div class="note error" role="alert" data-testid="error">
            <Icon glyph=Glyph::Error/>
            <div>
                <p>{place.map(|place| view! { <span class="mono muted">{place}</span> })}{error.message}</p>
                {error.hint.map(|hint| view! { <p class="muted">{hint}</p> })}
            </div>
        </div>
    }
}

/// What the server says an answer lacks, a note each.
#[component]
pub(crate) fn Warnings(of: Vec<String>) -> impl IntoView {
    let note = |text: String| {
        view! { <div class="note warn" data-testid="warning"><Icon glyph=Glyph::Warn/><p>{text}</p></div> }
    };
    of.into_iter().map(note).collect_view()
}

/// Nothing there: says so, and what to do about it.
#[component]
pub(crate) fn Empty(
    #[prop(into)] title: String,
    #[prop(optional)] children: Option<Children>,
) -> impl IntoView {
    view! {
        <div class="empty" data-testid="empty">
            <h3>{title}</h3>
            {children.map(|children| children())}
        </div>
    }
}

/// Bars where lines of text will be.
#[component]
pub(crate) fn Loading(#[prop(default = 6)] lines: usize) -> impl IntoView {
    view! {
        <div class="loading" aria-busy="true">
            {(0..lines).map(|_| view! { <i class="loading-line"></i> }).collect_view()}
        </div>
    }
}
