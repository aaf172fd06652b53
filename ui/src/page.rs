//! The pages. Each begins with [`begin`], asks what it needs, and puts its content into a [`Page`].

pub(crate) mod alerts;
pub(crate) mod home;
pub(crate) mod host;
pub(crate) mod hosts;
pub(crate) mod incident;
pub(crate) mod incidents;
pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod missing;
pub(crate) mod queries;
pub(crate) mod slos;
pub(crate) mod sql;
pub(crate) mod trace;
pub(crate) mod traces;

use leptos::prelude::*;

use crate::app::use_ui;
use crate::refresh::{Pending, start_clock};

/// Starts the page's clock and its count of open questions. Once, at the top of each page.
pub(crate) fn begin() -> Pending {
    let pending = Pending::new();
    provide_context(pending);
    start_clock(use_ui(), pending);
    pending
}

/// Title, content, and the mark by which tests see that everything visible has been answered.
#[component]
pub(crate) fn Page(
    #[prop(into)] title: Signal<String>,
    testid: &'static str,
    children: Children,
) -> impl IntoView {
    let pending = expect_context::<Pending>();
    let ui = use_ui();
    Effect::new(move |_| document().set_title(&format!("{} · Headrope", title.get())));
    view! {
        <main
            id="main"
            class="page"
            tabindex="-1"
            data-testid=testid
            data-state=move || if pending.is_ready() { "ready" } else { "loading" }
            class:stale=move || ui.lost_since.get().is_some()
        >
            {children()}
        </main>
    }
}
