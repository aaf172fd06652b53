//! Which stretch of time is shown, and how often it is asked for again.

use api::range::Moment;
use leptos::prelude::*;
use viz::time_axis::date_time;

use crate::app::{Ui, use_ui};
use crate::browser;
use crate::chart::zoom_out;
use crate::msg::{Msg, t};
use crate::part::icon::{Glyph, Icon};
use crate::url::{Range, range_label};

const MINUTE_MS: i64 = 60_000;

/// Ranges offered, minutes.
const QUICK: [i64; 12] = [5, 15, 30, 60, 180, 360, 720, 1_440, 2_880, 10_080, 20_160, 43_200];

/// Refresh intervals offered; the first follows the range.
const REFRESH: [&str; 8] = ["", "off", "1s", "5s", "10s", "30s", "1m", "5m"];

#[component]
pub(super) fn TimePicker(open: RwSignal<bool>) -> impl IntoView {
    let ui = use_ui();
    let label = move || {
        let range = ui.range.get();
        match (range.from, range.to) {
            (Moment::Relative { floor_ms: 0, .. }, Moment::NOW) => {
                crate::msg::fill(Msg::LastRange, &[&range_label(range, 0)])
            }
            _ => range_label(range, ui.now_ms.get()),
        }
    };
    let shift = move |direction: i64| {
        let (from_ms, to_ms) = ui.range.get_untracked().resolve(browser::now_ms());
        let by_ms = (to_ms - from_ms) / 2 * direction;
        if to_ms + by_ms >= browser::now_ms() {
            let from = Moment::ago(to_ms - from_ms);
            ui.url.set_range(Range { from, to: Moment::NOW });
        } else {
            ui.zoom(from_ms + by_ms, to_ms + by_ms);
        }
    };
    view! {
        <div class="time" role="group" aria-label=t(Msg::TimeRange)>
            <button class="icon-button" title=t(Msg::Earlier) aria-label=t(Msg::Earlier) on:click=move |_| shift(-1)>
                <Icon glyph=Glyph::Left/>
            </button>
            <button
                class="time-label"
                data-testid="time-picker"
                aria-haspopup="dialog"
                aria-expanded=move || open.get().to_string()
                on:click=move |_| open.update(|on| *on = !*on)
            >
                <Icon glyph=Glyph::Clock/>
                <span class="num">{label}</span>
            </button>
            <button class="icon-button" title=t(Msg::Later) aria-label=t(Msg::Later) on:click=move |_| shift(1)>
                <Icon glyph=Glyph::Right/>
            </button>
            <button class="icon-button wide-only" title=t(Msg::ZoomOut) aria-label=t(Msg::ZoomOut) on:click=move |_| zoom_out(ui)>
                <Icon glyph=Glyph::ZoomOut/>
            </button>
            <Show when=move || open.get()><Popup open/></Show>
        </div>
        <Refresh ui/>
    }
}

#[component]
fn Refresh(ui: Ui) -> impl IntoView {
    let chosen = move || ui.url.get("refresh").unwrap_or_default();
    let shown =
        move || ui.refresh.get().map_or_else(|| t(Msg::Off).to_owned(), api::range::duration);
    let option = move |value: &'static str| {
        let text = match value {
            "" => t(Msg::Auto),
            "off" => t(Msg::Off),
            other => other,
        };
        view! { <option value=value selected=move || chosen() == value>{text}</option> }
    };
    view! {
        <div class="refresh" class:live=move || ui.refresh.get().is_some()>
            <button class="icon-button" title=t(Msg::RefreshNow) aria-label=t(Msg::RefreshNow) data-testid="refresh-now"
                on:click=move |_| ui.refresh_now()>
                <Icon glyph=Glyph::Refresh/>
            </button>
            <label class="refresh-choice">
                <i class="live-dot"></i>
                <span class="num">{shown}</span>
                <select
                    aria-label=t(Msg::RefreshInterval)
                    data-testid="refresh-interval"
                    on:change=move |event| ui.url.set(&[("refresh", Some(event_target_value(&event)))], false)
                >
                    {REFRESH.iter().map(|value| option(value)).collect_view()}
                </select>
            </label>
        </div>
    }
}

#[component]
fn Popup(open: RwSignal<bool>) -> impl IntoView {
    let ui = use_ui();
    let now_ms = browser::now_ms();
    let range = ui.range.get_untracked();
    let zone = browser::zone_at(now_ms);
    let written = |moment: Moment| match moment {
        Moment::At(ms) => date_time(ms, &browser::zone_at(ms)),
        relative @ Moment::Relative { .. } => relative.to_string(),
    };
    let (from, to) = (RwSignal::new(written(range.from)), RwSignal::new(written(range.to)));
    let wrong = RwSignal::new(None::<String>);
    let apply = move || {
        let offset_ms = browser::zone_at(browser::now_ms()).offset_ms(now_ms);
        let read =
            |text: String| Moment::parse(&text, offset_ms).map_err(|error| error.to_string());
        match (read(from.get_untracked()), read(to.get_untracked())) {
            (Ok(from), Ok(to)) => {
                open.set(false);
                ui.url.set_range(Range { from, to });
            }
            (Err(error), _) | (_, Err(error)) => wrong.set(Some(error)),
        }
    };
    let quick = move |minutes: i64| {
        let from = Moment::ago(minutes * MINUTE_MS);
        let current = range == Range { from, to: Moment::NOW };
        view! {
            <button class="quick" class:current=current on:click=move |_| { open.set(false); ui.url.set_range(Range { from, to: Moment::NOW }); }>
                {api::range::duration(minutes * MINUTE_MS)}
            </button>
        }
    };
    let offset = zone.offset_ms(now_ms) / MINUTE_MS;
    let zone_name = format!("UTC{:+03}:{:02}", offset / 60, offset.abs() % 60);
    let field = move |label: &'static str, value: RwSignal<String>| {
        view! {
            <label class="field">
                <span>{label}</span>
                <input class="mono" prop:value=move || value.get() on:input=move |event| value.set(event_target_value(&event))/>
            </label>
        }
    };
    view! {
        <div class="popup time-popup" role="dialog" aria-label=t(Msg::TimeRange)>
            <div class="quick-grid">{QUICK.iter().map(|minutes| quick(*minutes)).collect_view()}</div>
            <form on:submit=move |event| { event.prevent_default(); apply(); }>
                {field(t(Msg::From), from)}
                {field(t(Msg::To), to)}
                {move || wrong.get().map(|text| view! { <p class="field-error" role="alert">{text}</p> })}
                <p class="muted small">{t(Msg::TimeGrammar)} " " {zone_name}</p>
                <button class="button primary" type="submit">{t(Msg::Apply)}</button>
            </form>
        </div>
    }
}
