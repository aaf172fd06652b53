//! One box that goes anywhere: pages, hosts, a pasted trace id, or a query.

use std::sync::Arc;

use api::host::Host;
use leptos::html::Input;
use leptos::prelude::*;
use leptos::task::spawn_local;
use web_sys::KeyboardEvent;

use super::nav::ENTRIES;
use crate::app::{Ui, use_ui};
use crate::client;
use crate::msg::{Msg, t};
use crate::part::icon::{Glyph, Icon};

#[derive(Clone)]
struct Target {
    name: String,
    kind: &'static str,
    glyph: Glyph,
    href: String,
}

/// Everything that fits what was typed, best first.
fn targets(ui: Ui, typed: &str, hosts: &[Host]) -> Vec<Target> {
    let text = typed.trim();
    let needle = text.to_lowercase();
    let mut found = Vec::new();
    if model::id::TraceId::parse(text).is_some() {
        let href = ui.url.link(&format!("/trace/{needle}"), &[]);
        found.push(Target { name: needle.clone(), kind: t(Msg::Trace), glyph: Glyph::Trace, href });
    }
    let pages = ENTRIES.iter().filter(|entry| {
        needle.is_empty()
            || t(entry.name).to_lowercase().contains(&needle)
            || entry.path.contains(&needle)
    });
    found.extend(pages.map(|entry| Target {
        name: t(entry.name).to_owned(),
        kind: t(Msg::Page),
        glyph: entry.glyph,
        href: ui.url.link(entry.path, &[]),
    }));
    let fits = hosts.iter().filter(|host| host.name.to_lowercase().contains(&needle)).take(8);
    found.extend(fits.map(|host| Target {
        name: host.name.clone(),
        kind: t(Msg::Host),
        glyph: Glyph::Host,
        href: ui.url.link(&format!("/hosts/{}", crate::url::escape(&host.name)), &[]),
    }));
    if !text.is_empty() {
        let search = |name: Msg, path: &str, glyph| Target {
            name: format!("{}: {text}", t(name)),
            kind: t(Msg::Search),
            glyph,
            href: ui.url.link(path, &[("q", text)]),
        };
        found.push(search(Msg::Logs, "/logs", Glyph::Logs));
        found.push(search(Msg::Metrics, "/explore/metrics", Glyph::Chart));
    }
    found
}

#[component]
pub(super) fn Palette(open: RwSignal<bool>) -> impl IntoView {
    view! { <Show when=move || open.get()><Dialog open/></Show> }
}

#[component]
fn Dialog(open: RwSignal<bool>) -> impl IntoView {
    let ui = use_ui();
    let typed = RwSignal::new(String::new());
    let chosen = RwSignal::new(0usize);
    let hosts = RwSignal::new(Arc::new(Vec::<Host>::new()));
    let field = NodeRef::<Input>::new();
    Effect::new(move |_| {
        if let Some(field) = field.get() {
            drop(field.focus());
        }
    });
    spawn_local(async move {
        if let Ok(found) = client::get::<Vec<Host>>("hosts", None).await {
            drop(hosts.try_set(Arc::new(found)));
        }
    });
    let found = Memo::new(move |_| {
        let names: Vec<String> =
            targets(ui, &typed.get(), &hosts.get()).into_iter().map(|t| t.href).collect();
        names
    });
    let list = move || targets(ui, &typed.get(), &hosts.get());
    let open_it = move |href: &str| {
        open.set(false);
        ui.url.go(href);
    };
    let pressed = move |event: KeyboardEvent| {
        let n = found.with_untracked(Vec::len).max(1);
        match event.key().as_str() {
            "ArrowDown" => chosen.update(|i| *i = (*i + 1) % n),
            "ArrowUp" => chosen.update(|i| *i = (*i + n - 1) % n),
            "Enter" if !event.is_composing() => {
                if let Some(href) = found.get_untracked().get(chosen.get_untracked()) {
                    open_it(href);
                }
            }
            _ => return,
        }
        event.prevent_default();
    };
    let row = move |(i, target): (usize, Target)| {
        let href = target.href.clone();
        view! {
            <li role="option" class:chosen=move || chosen.get() == i aria-selected=move || (chosen.get() == i).to_string()
                on:mousedown=move |event| { event.prevent_default(); open_it(&href); }>
                <Icon glyph=target.glyph/><span class="grow">{target.name}</span><span class="muted">{target.kind}</span>
            </li>
        }
    };
    view! {
        <div class="dialog-back" on:click=move |_| open.set(false)>
            <div class="dialog palette" role="dialog" aria-modal="true" aria-label=t(Msg::SearchAnything) on:click=|event| event.stop_propagation()>
                <input
                    node_ref=field
                    data-testid="palette-input"
                    aria-label=t(Msg::SearchAnything)
                    placeholder=t(Msg::PalettePlaceholder)
                    prop:value=move || typed.get()
                    on:input=move |event| { typed.set(event_target_value(&event)); chosen.set(0); }
                    on:keydown=pressed
                />
                <ul role="listbox">{move || list().into_iter().enumerate().map(row).collect_view()}</ul>
            </div>
        </div>
    }
}
