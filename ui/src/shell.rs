//! What surrounds every page: navigation, time, search, keys, and the banner of a lost server.

mod keys;
mod nav;
mod palette;
mod time_picker;

use leptos::prelude::*;

use crate::app::{Ui, use_ui};
use crate::browser;
use crate::msg::{Lang, Msg, t};
use crate::part::icon::{Glyph, Icon};

/// What of the shell is open.
#[derive(Clone, Copy)]
pub(crate) struct Open {
    pub(crate) palette: RwSignal<bool>,
    pub(crate) help: RwSignal<bool>,
    pub(crate) time: RwSignal<bool>,
    pub(crate) nav: RwSignal<bool>,
}

/// The frame around a page.
#[component]
pub(crate) fn Shell(children: Children) -> impl IntoView {
    let ui = use_ui();
    let open = Open {
        palette: RwSignal::new(false),
        help: RwSignal::new(false),
        time: RwSignal::new(false),
        nav: RwSignal::new(false),
    };
    provide_context(open);
    keys::listen(ui, open);
    Effect::new(move |_| {
        ui.url.path();
        open.nav.set(false);
        ui.cursor_ms.set(None);
        ui.now_ms.set(browser::now_ms());
    });
    if let Some(root) = document().document_element() {
        drop(root.set_attribute("lang", ui.lang.get_untracked().code()));
    }
    let embedded = move || ui.url.get("embed").is_some();
    view! {
        <div class="app" class:embedded=embedded class:nav-open=move || open.nav.get()>
            <a class="skip" href="#main" on:click=move |event| { event.prevent_default(); browser::focus("#main"); }>
                {t(Msg::SkipToContent)}
            </a>
            <nav::Nav/>
            <div class="column">
                <Topbar open/>
                <Banner/>
                {children()}
            </div>
            <palette::Palette open=open.palette/>
            <keys::Help open=open.help/>
        </div>
    }
}

#[component]
fn Topbar(open: Open) -> impl IntoView {
    let ui = use_ui();
    view! {
        <header class="topbar">
            <button class="icon-button menu" aria-label=t(Msg::Menu) on:click=move |_| open.nav.update(|on| *on = !*on)>
                <Icon glyph=Glyph::Menu/>
            </button>
            <button class="search-button" data-testid="open-palette" on:click=move |_| open.palette.set(true)>
                <Icon glyph=Glyph::Search/>
                <span>{t(Msg::SearchAnything)}</span>
                <kbd>"ctrl K"</kbd>
            </button>
            <span class="spacer"></span>
            <time_picker::TimePicker open=open.time/>
            <LangSwitch ui/>
            <ThemeSwitch ui/>
        </header>
    }
}

#[component]
fn LangSwitch(ui: Ui) -> impl IntoView {
    let (label, next) = match ui.lang.get_untracked() {
        Lang::En => ("中文", Lang::Zh),
        Lang::Zh => ("EN", Lang::En),
    };
    view! {
        <button
            class="icon-button lang"
            data-testid="lang-switch"
            lang=next.code()
            title=t(Msg::SwitchLanguage)
            aria-label=t(Msg::SwitchLanguage)
            on:click=move |_| ui.set_lang(next)
        >
            {label}
        </button>
    }
}

#[component]
fn ThemeSwitch(ui: Ui) -> impl IntoView {
    view! {
        <button
            class="icon-button"
            data-testid="theme-switch"
            title=t(Msg::SwitchTheme)
            aria-label=t(Msg::SwitchTheme)
            on:click=move |_| ui.set_dark(!ui.dark.get_untracked())
        >
            {move || if ui.dark.get() { view! { <Icon glyph=Glyph::Sun/> } } else { view! { <Icon glyph=Glyph::Moon/> } }}
        </button>
    }
}

/// Says that the server cannot be reached, and how old what is shown is.
#[component]
fn Banner() -> impl IntoView {
    let ui = use_ui();
    let tick = RwSignal::new(0u32);
    let timer = set_interval_with_handle(
        move || {
            if ui.lost_since.get_untracked().is_some() {
                tick.try_update(|n| *n = n.wrapping_add(1));
            }
        },
        std::time::Duration::from_secs(1),
    );
    if let Ok(timer) = timer {
        on_cleanup(move || timer.clear());
    }
    move || {
        let since = ui.lost_since.get()?;
        tick.track();
        let age_s = (browser::now_ms() - since) as f64 / 1_000.0;
        let age = crate::msg::long(age_s);
        Some(view! {
            <div class="banner" role="alert" data-testid="banner-lost">
                <Icon glyph=Glyph::Warn/>
                <span>{crate::msg::fill(Msg::ServerLost, &[&age])}</span>
                <button class="button small" on:click=move |_| ui.refresh_now()>{t(Msg::RetryNow)}</button>
            </div>
        })
    }
}
