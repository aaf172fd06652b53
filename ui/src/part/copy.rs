//! Text that can be copied with one click.

use std::time::Duration;

use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::browser;
use crate::msg::{Msg, t};
use crate::part::icon::{Glyph, Icon};

/// A button that copies `text` and says so for a moment.
#[component]
pub(crate) fn CopyButton(#[prop(into)] text: Signal<String>) -> impl IntoView {
    let done = RwSignal::new(false);
    let copy = move |_| {
        let text = text.get_untracked();
        spawn_local(async move {
            if browser::copy(&text).await {
                done.set(true);
                set_timeout(
                    move || {
                        done.try_update(|done| *done = false);
                    },
                    Duration::from_millis(1_500),
                );
            }
        });
    };
    view! {
        <button class="icon-button quiet copy" title=t(Msg::Copy) aria-label=t(Msg::Copy) on:click=copy>
            {move || if done.get() {
                view! { <Icon glyph=Glyph::Check/> }
            } else {
                view! { <Icon glyph=Glyph::Copy/> }
            }}
        </button>
        <span class="sr-only" role="status">{move || done.get().then(|| t(Msg::Copied))}</span>
    }
}

/// Lines of code with a copy button.
#[component]
pub(crate) fn CodeBlock(#[prop(into)] text: Signal<String>) -> impl IntoView {
    view! {
        <div class="code-block">
            <pre><code>{move || text.get()}</code></pre>
            <CopyButton text/>
        </div>
    }
}
