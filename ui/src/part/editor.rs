//! The query editor: a real text area over a highlighted copy of its text, with completion and the server's errors.

use std::time::Duration;

use api::complete::{CompleteRequest, Completion, Item, ItemKind, Language as Asked};
use api::error::ApiError;
use leptos::html::Textarea;
use leptos::prelude::*;
use leptos::task::spawn_local;
use viz::token::{Class, Language, tokens};
use web_sys::KeyboardEvent;

use crate::client;
use crate::part::state::ErrorNote;

/// How long typing must pause before completions are asked for.
const PAUSE: Duration = Duration::from_millis(150);

/// State of the list of completions.
#[derive(Clone, Copy)]
struct Popup {
    found: RwSignal<Option<Completion>>,
    chosen: RwSignal<usize>,
    /// Counts questions, so that an old answer is not taken for a new one.
    asked: StoredValue<u64>,
}

impl Popup {
    fn close(&self) {
        self.asked.update_value(|n| *n += 1);
        if self.found.with_untracked(Option::is_some) {
            self.found.set(None);
        }
    }
}

/// The editor. Enter runs a one-line language, ctrl+enter runs any.
#[component]
pub(crate) fn Editor(
    text: RwSignal<String>,
    language: Language,
    #[prop(into)] label: String,
    #[prop(into)] placeholder: String,
    #[prop(into)] on_run: Callback<()>,
    #[prop(into)] error: Signal<Option<ApiError>>,
    testid: &'static str,
) -> impl IntoView {
    let area = NodeRef::<Textarea>::new();
    let popup =
        Popup { found: RwSignal::new(None), chosen: RwSignal::new(0), asked: StoredValue::new(0) };
    let typed = move |event: web_sys::Event| {
        text.set(event_target_value(&event));
        let composing = event_is_composing(&event);
        if !composing {
            ask(area, popup, text, language);
        }
    };
    let pressed = move |event: KeyboardEvent| key(&event, area, popup, text, (language, on_run));
    view! {
        <div class="editor" data-testid=testid>
            <div class="editor-box">
                <pre class="editor-text" aria-hidden="true">
                    {move || highlighted(&text.get(), language, error.get().as_ref())}
                    "\n"
                </pre>
                <textarea
                    node_ref=area
                    class="editor-area"
                    data-focus="query"
                    aria-label=label
                    placeholder=placeholder
                    spellcheck="false"
                    autocapitalize="off"
                    autocomplete="off"
                    rows="1"
                    prop:value=move || text.get()
                    on:input=typed
                    on:compositionend=move |_| ask(area, popup, text, language)
                    on:keydown=pressed
                    on:blur=move |_| set_timeout(move || popup.close(), Duration::from_millis(180))
                ></textarea>
                <CompletionList popup area text/>
            </div>
            {move || error.get().map(|error| view! { <ErrorNote error/> })}
        </div>
    }
}

/// The text as coloured pieces; what the server complained about is underlined.
fn highlighted(text: &str, language: Language, error: Option<&ApiError>) -> impl IntoView + use<> {
    let bad = error.and_then(|error| error.position).map(|at| (at.start, at.end.max(at.start + 1)));
    let mut at = 0;
    let mut pieces: Vec<(Class, String, bool)> = Vec::new();
    for (class, piece) in tokens(text, language) {
        let mut cuts: Vec<usize> =
            [Some(0), bad.map(|b| b.0), bad.map(|b| b.1), Some(at + piece.len())]
                .into_iter()
                .flatten()
                .map(|cut| cut.saturating_sub(at).min(piece.len()))
                .filter(|cut| piece.is_char_boundary(*cut))
                .collect();
        cuts.sort_unstable();
        for ends in cuts.windows(2).filter(|ends| ends[0] < ends[1]) {
            let wrong = bad.is_some_and(|(from, to)| from <= at + ends[0] && at + ends[0] < to);
            pieces.push((class, piece[ends[0]..ends[1]].to_owned(), wrong));
        }
        at += piece.len();
    }
    let missing = bad.is_some_and(|(from, _)| from >= text.len());
    let spans = pieces.into_iter().map(|(class, piece, wrong)| {
        view! { <span class=class.css() class:wrong=wrong>{piece}</span> }
    });
    (spans.collect_view(), missing.then(|| view! { <span class="wrong">" "</span> }))
}

/// The list under the cursor.
#[component]
fn CompletionList(popup: Popup, area: NodeRef<Textarea>, text: RwSignal<String>) -> impl IntoView {
    let rows = move |found: Completion| {
        let (line, column) = text.with_untracked(|text| place(text, found.replace.start));
        let style = format!("left:min({column}ch, 60%);top:calc({line} * 20px + 34px)");
        let rows = found.items.into_iter().take(50).enumerate().map(move |(i, item)| {
            let (kind, picked) = (kind_mark(item.kind), item.clone());
            view! {
                <li
                    role="option"
                    class:chosen=move || popup.chosen.get() == i
                    aria-selected=move || (popup.chosen.get() == i).to_string()
                    on:mousedown=move |event| { event.prevent_default(); accept(area, popup, text, &picked); }
                >
                    <i class=format!("kind kind-{kind}") title=kind>{kind.get(..1)}</i>
                    <span class="completion-label">{item.label}</span>
                    <span class="completion-detail">{item.detail}</span>
                </li>
            }
        });
        let help = move || {
            popup
                .found
                .with(|found| Some(found.as_ref()?.items.get(popup.chosen.get())?.help.clone()))
                .filter(|help| !help.is_empty())
                .map(|help| view! { <p class="completion-help">{help}</p> })
        };
        view! {
            <div class="completion" style=style>
                <ul role="listbox">{rows.collect_view()}</ul>
                {help}
            </div>
        }
    };
    move || popup.found.get().filter(|found| !found.items.is_empty()).map(rows)
}

const fn kind_mark(kind: ItemKind) -> &'static str {
    match kind {
        ItemKind::Metric => "metric",
        ItemKind::Label => "label",
        ItemKind::Value => "value",
        ItemKind::Function => "function",
        ItemKind::Keyword => "keyword",
        ItemKind::Table => "table",
        ItemKind::Column => "column",
    }
}

/// Line and column of a byte offset, both from 0.
fn place(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count());
    (before.matches('\n').count(), column)
}

fn event_is_composing(event: &web_sys::Event) -> bool {
    use wasm_bindgen::JsCast;
    event.dyn_ref::<web_sys::InputEvent>().is_some_and(web_sys::InputEvent::is_composing)
}

/// Byte offset of the cursor: browsers count UTF-16 units.
fn cursor(area: NodeRef<Textarea>, text: &str) -> usize {
    let units =
        area.get_untracked().and_then(|area| area.selection_start().ok().flatten()).unwrap_or(0);
    let mut left = usize::try_from(units).unwrap_or(0);
    let ends = text.char_indices().find(|(_, c)| {
        let done = left == 0;
        left = left.saturating_sub(c.len_utf16());
        done
    });
    ends.map_or(text.len(), |(at, _)| at)
}

/// Asks for completions when typing has paused.
fn ask(area: NodeRef<Textarea>, popup: Popup, text: RwSignal<String>, language: Language) {
    let kind = match language {
        Language::Promql => Asked::Promql,
        Language::Sql => Asked::Sql,
        Language::Search => return,
    };
    popup.asked.update_value(|n| *n += 1);
    let number = popup.asked.get_value();
    let current = move || popup.asked.try_get_value() == Some(number);
    let later = move || {
        if !current() {
            return;
        }
        let text = text.get_untracked();
        let cursor = cursor(area, &text);
        spawn_local(async move {
            let request = CompleteRequest { text, cursor, kind };
            let found: Result<Completion, _> = client::post("complete", &request, None).await;
            if current() {
                popup.chosen.set(0);
                popup.found.set(found.ok());
            }
        });
    };
    set_timeout(later, PAUSE);
}

fn key(
    event: &KeyboardEvent,
    area: NodeRef<Textarea>,
    popup: Popup,
    text: RwSignal<String>,
    (language, on_run): (Language, Callback<()>),
) {
    if event.is_composing() {
        return;
    }
    let items = popup
        .found
        .with_untracked(|found| found.as_ref().map_or(0, |found| found.items.len().min(50)));
    let open = items > 0;
    match event.key().as_str() {
        "ArrowDown" if open => popup.chosen.update(|i| *i = (*i + 1) % items),
        "ArrowUp" if open => popup.chosen.update(|i| *i = (*i + items - 1) % items),
        "Escape" if open => popup.close(),
        "Enter" if event.ctrl_key() || event.meta_key() => {
            popup.close();
            on_run.run(());
        }
        "Tab" | "Enter" if open => {
            if let Some(item) = chosen(popup) {
                accept(area, popup, text, &item);
            }
        }
        "Enter" if language == Language::Promql && !event.shift_key() => on_run.run(()),
        " " if event.ctrl_key() => ask(area, popup, text, language),
        _ => return,
    }
    event.prevent_default();
    event.stop_propagation();
}

fn chosen(popup: Popup) -> Option<Item> {
    popup
        .found
        .with_untracked(|found| found.as_ref()?.items.get(popup.chosen.get_untracked()).cloned())
}

/// Writes a completion into the text and puts the cursor behind it.
fn accept(area: NodeRef<Textarea>, popup: Popup, text: RwSignal<String>, item: &Item) {
    let Some(replace) =
        popup.found.with_untracked(|found| found.as_ref().map(|found| found.replace))
    else {
        return;
    };
    let mut whole = text.get_untracked();
    let (start, end) = (replace.start.min(whole.len()), replace.end.min(whole.len()));
    if start <= end && whole.is_char_boundary(start) && whole.is_char_boundary(end) {
        whole.replace_range(start..end, &item.insert);
    }
    let units =
        whole.get(..start + item.insert.len()).map_or(0, |head| head.encode_utf16().count());
    let units = u32::try_from(units).unwrap_or(0);
    text.set(whole.clone());
    popup.close();
    if let Some(area) = area.get_untracked() {
        area.set_value(&whole);
        drop(area.focus());
        drop(area.set_selection_range(units, units));
    }
}
