//! A question before something is changed: who asks, and why. The name is remembered by this browser.

use leptos::prelude::*;
use leptos::task::spawn_local;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::app::use_ui;
use crate::browser;
use crate::client::{self, Failure};
use crate::msg::{Msg, t};
use crate::part::icon::{Glyph, Icon};
use crate::part::state::ErrorNote;

/// What is to be done once somebody has said who they are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Deed {
    /// What it is called.
    pub(crate) title: Msg,
    /// What it means; nothing where the title says it.
    pub(crate) how: Option<Msg>,
    /// Where it is posted to, below the API's base.
    pub(crate) path: String,
    /// Whether a reason is asked for.
    pub(crate) asks_why: bool,
}

/// A button that asks for `deed` to be done.
#[component]
pub(crate) fn DeedButton(
    deed: Deed,
    asked: RwSignal<Option<Deed>>,
    glyph: Glyph,
    testid: &'static str,
    #[prop(optional)] primary: bool,
) -> impl IntoView {
    let title = t(deed.title);
    let class = if primary { "button small primary" } else { "button small" };
    view! {
        <button class=class data-testid=testid on:click=move |_| asked.set(Some(deed.clone()))>
            <Icon glyph/>{title}
        </button>
    }
}

/// The dialog, while something is asked for.
#[component]
pub(crate) fn Ask(asked: RwSignal<Option<Deed>>) -> impl IntoView {
    view! { {move || asked.get().map(|deed| view! { <Dialog deed asked/> })} }
}

#[component]
fn Dialog(deed: Deed, asked: RwSignal<Option<Deed>>) -> impl IntoView {
    let ui = use_ui();
    let by = RwSignal::new(browser::stored("name").unwrap_or_default());
    let why = RwSignal::new(String::new());
    let (refused, busy) = (RwSignal::new(None::<Failure>), RwSignal::new(false));
    let (path, asks_why) = (deed.path.clone(), deed.asks_why);
    let lacks = move || by.get().trim().is_empty() || (asks_why && why.get().trim().is_empty());
    let send = move || {
        let (path, name) = (path.clone(), by.get_untracked());
        browser::store("name", &name);
        let mut body = json!({"by": name});
        if asks_why {
            body["why"] = Value::String(why.get_untracked());
        }
        busy.set(true);
        spawn_local(async move {
            match client::post::<_, IgnoredAny>(&path, &body, None).await {
                Ok(_) => {
                    drop(asked.try_set(None));
                    ui.refresh_now();
                }
                Err(Failure::Lost) => ui.lost(),
                Err(failure) => drop(refused.try_set(Some(failure))),
            }
            busy.try_set(false);
        });
    };
    let field = move |label: Msg, text: RwSignal<String>, testid: &'static str| {
        view! {
            <label class="ask-field"><span class="muted">{t(label)}</span>
                <input class="input" data-testid=testid maxlength="300" prop:value=move || text.get()
                    on:input=move |event| text.set(event_target_value(&event))/>
            </label>
        }
    };
    view! {
        <div class="dialog-back" on:click=move |_| asked.set(None)
            on:keydown=move |event| if event.key() == "Escape" { asked.set(None) }>
            <form class="dialog ask" role="dialog" aria-modal="true" aria-label=t(deed.title) data-testid="ask"
                on:click=|event| event.stop_propagation()
                on:submit=move |event| {
                    event.prevent_default();
                    if !lacks() && !busy.get_untracked() { send(); }
                }>
                <header>
                    <h2>{t(deed.title)}</h2>
                    <button type="button" class="icon-button quiet" aria-label=t(Msg::Close) on:click=move |_| asked.set(None)>
                        <Icon glyph=Glyph::Close/>
                    </button>
                </header>
                <div class="ask-body">
                    {deed.how.map(|how| view! { <p>{t(how)}</p> })}
                    {field(Msg::AskName, by, "ask-name")}
                    {asks_why.then(|| field(Msg::AskWhy, why, "ask-why"))}
                    {move || refused.get().as_ref().and_then(Failure::refusal).map(|error| view! { <ErrorNote error/> })}
                    <div class="toolbar">
                        <span class="spacer"></span>
                        <button class="button primary" type="submit" data-testid="ask-send" disabled=move || lacks() || busy.get()>{t(Msg::Confirm)}</button>
                    </div>
                </div>
            </form>
        </div>
    }
}
