//! Keys that work on every page, and the list of them.

use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{Element, KeyboardEvent};

use super::Open;
use super::nav::ENTRIES;
use crate::app::Ui;
use crate::browser;
use crate::chart::zoom_out;
use crate::msg::{Msg, t};
use crate::part::icon::{Glyph, Icon};

/// A chord must be finished within this time, ms.
const CHORD_MS_MAX: i64 = 1_500;

/// Listens as long as the shell lives.
pub(super) fn listen(ui: Ui, open: Open) {
    let chord = StoredValue::new(None::<i64>);
    let handle =
        window_event_listener(leptos::ev::keydown, move |event| pressed(ui, open, chord, &event));
    on_cleanup(move || handle.remove());
}

fn pressed(ui: Ui, open: Open, chord: StoredValue<Option<i64>>, event: &KeyboardEvent) {
    let key = event.key();
    if (event.ctrl_key() || event.meta_key()) && key.eq_ignore_ascii_case("k") {
        event.prevent_default();
        open.palette.update(|on| *on = !*on);
        return;
    }
    if key == "Escape" {
        [open.palette, open.help, open.time, open.nav].iter().for_each(|signal| signal.set(false));
        return;
    }
    let typing = event.is_composing() || in_field(event);
    if typing || event.ctrl_key() || event.meta_key() || event.alt_key() {
        return;
    }
    let now_ms = browser::now_ms();
    let begun = chord.get_value().is_some_and(|at_ms| now_ms - at_ms < CHORD_MS_MAX);
    chord.set_value(None);
    if begun {
        if let Some(entry) = ENTRIES.iter().find(|entry| entry.key == key) {
            event.prevent_default();
            ui.url.go(&untrack(|| ui.url.link(entry.path, &[])));
        }
        return;
    }
    match key.as_str() {
        "g" => chord.set_value(Some(now_ms)),
        "/" if browser::focus("[data-focus=query]") => event.prevent_default(),
        "?" => open.help.set(true),
        "t" => open.time.update(|on| *on = !*on),
        "z" => zoom_out(ui),
        "r" => ui.refresh_now(),
        _ => {}
    }
}

fn in_field(event: &KeyboardEvent) -> bool {
    let target = event.target().and_then(|target| target.dyn_into::<Element>().ok());
    target.is_some_and(|element| {
        matches!(element.tag_name().as_str(), "INPUT" | "TEXTAREA" | "SELECT")
    })
}

/// The list of keys.
#[component]
pub(super) fn Help(open: RwSignal<bool>) -> impl IntoView {
    let row = |keys: String, what: &'static str| view! { <tr><td><kbd>{keys}</kbd></td><td>{what}</td></tr> };
    let list = move || {
        view! {
            <div class="dialog-back" on:click=move |_| open.set(false)>
                <div class="dialog" role="dialog" aria-modal="true" aria-label=t(Msg::Keys) on:click=|event| event.stop_propagation()>
                    <header>
                        <h2>{t(Msg::Keys)}</h2>
                        <button class="icon-button quiet" aria-label=t(Msg::Close) on:click=move |_| open.set(false)>
                            <Icon glyph=Glyph::Close/>
                        </button>
                    </header>
                    <table class="keys"><tbody>
                        {row("ctrl K".to_owned(), t(Msg::SearchAnything))}
                        {row("/".to_owned(), t(Msg::KeyFocusQuery))}
                        {row("t".to_owned(), t(Msg::TimeRange))}
                        {row("z".to_owned(), t(Msg::ZoomOut))}
                        {row("r".to_owned(), t(Msg::RefreshNow))}
                        {ENTRIES.iter().map(|entry| row(format!("g {}", entry.key), t(entry.name))).collect_view()}
                        {row("← → v".to_owned(), t(Msg::KeyChart))}
                        {row("esc".to_owned(), t(Msg::Close))}
                    </tbody></table>
                </div>
            </div>
        }
    };
    view! { <Show when=move || open.get()>{list}</Show> }
}
