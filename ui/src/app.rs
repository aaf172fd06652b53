//! The root: what every part can reach, and which page belongs to which path.

use api::range::Moment;
use leptos::prelude::*;
use leptos_router::components::{Route, Router, Routes};
use leptos_router::path;

use crate::browser;
use crate::msg::{self, Lang};
use crate::page;
use crate::shell::Shell;
use crate::url::{Range, UrlState};

/// What every part can reach. Copies are handles to the same state.
#[derive(Clone, Copy)]
pub(crate) struct Ui {
    /// The URL.
    pub(crate) url: UrlState,
    /// The range shown.
    pub(crate) range: Memo<Range>,
    /// Distance of refreshes, ms.
    pub(crate) refresh: Memo<Option<i64>>,
    /// The present, as far as the view is concerned: ticks with the refresh.
    pub(crate) now_ms: RwSignal<i64>,
    /// The instant under the pointer, shared by all charts of a page.
    pub(crate) cursor_ms: RwSignal<Option<i64>>,
    /// Since when the server cannot be reached.
    pub(crate) lost_since: RwSignal<Option<i64>>,
    /// Whether colours are dark.
    pub(crate) dark: RwSignal<bool>,
    /// Language of the texts.
    pub(crate) lang: RwSignal<Lang>,
}

impl Ui {
    fn new() -> Self {
        let url = UrlState::new();
        let range = url.range();
        Self {
            url,
            range,
            refresh: url.refresh(range),
            now_ms: RwSignal::new(browser::now_ms()),
            cursor_ms: RwSignal::new(None),
            lost_since: RwSignal::new(None),
            dark: RwSignal::new(is_dark()),
            lang: RwSignal::new(msg::preferred(url.peek("lang").as_deref())),
        }
    }

    /// Notes that the server answered.
    pub(crate) fn reached(&self) {
        if self.lost_since.get_untracked().is_some() {
            self.lost_since.set(None);
        }
    }

    /// Notes that it did not.
    pub(crate) fn lost(&self) {
        if self.lost_since.get_untracked().is_none() {
            self.lost_since.set(Some(browser::now_ms()));
        }
    }

    /// Asks again, now.
    pub(crate) fn refresh_now(&self) {
        self.now_ms.set(browser::now_ms());
    }

    /// Shows from one instant to another.
    pub(crate) fn zoom(&self, from_ms: i64, to_ms: i64) {
        self.url.set_range(Range { from: Moment::At(from_ms), to: Moment::At(to_ms) });
    }

    /// Chooses the theme, for this browser and from now on.
    pub(crate) fn set_dark(&self, dark: bool) {
        let name = if dark { "dark" } else { "light" };
        browser::store("theme", name);
        if let Some(root) = document().document_element() {
            drop(root.set_attribute("data-theme", name));
        }
        if self.url.peek("theme").is_some() {
            self.url.set(&[("theme", None)], true);
        }
        self.dark.set(dark);
    }

    /// Chooses the language, for this browser and from now on.
    pub(crate) fn set_lang(&self, lang: Lang) {
        browser::store("lang", lang.code());
        if self.url.peek("lang").is_some() {
            self.url.set(&[("lang", None)], true);
        }
        self.lang.set(lang);
    }
}

/// The root element's theme was set before the first paint.
fn is_dark() -> bool {
    let root = document().document_element();
    root.and_then(|root| root.get_attribute("data-theme")).is_some_and(|theme| theme == "dark")
}

/// The handles of this program.
pub(crate) fn use_ui() -> Ui {
    expect_context()
}

/// The whole program.
#[component]
pub(crate) fn App() -> impl IntoView {
    view! {
        <Router>
            <Root/>
        </Router>
    }
}

/// Inside the router. Another language builds the whole view anew: its state is in the URL, so nothing is lost.
#[component]
fn Root() -> impl IntoView {
    let ui = Ui::new();
    provide_context(ui);
    move || {
        msg::set(ui.lang.get());
        view! {
            <Shell>
                <Routes fallback=|| view! { <page::missing::Missing/> }>
                    <Route path=path!("/") view=page::home::Home/>
                    <Route path=path!("/hosts") view=page::hosts::Hosts/>
                    <Route path=path!("/hosts/:name") view=page::host::HostPage/>
                    <Route path=path!("/explore/metrics") view=page::metrics::Metrics/>
                    <Route path=path!("/explore/sql") view=page::sql::Sql/>
                    <Route path=path!("/logs") view=page::logs::Logs/>
                    <Route path=path!("/traces") view=page::traces::Traces/>
                    <Route path=path!("/trace/:id") view=page::trace::TracePage/>
                    <Route path=path!("/alerts") view=page::alerts::AlertsPage/>
                    <Route path=path!("/incidents") view=page::incidents::IncidentsPage/>
                    <Route path=path!("/incidents/:id") view=page::incident::IncidentPage/>
                    <Route path=path!("/slos") view=page::slos::SlosPage/>
                    <Route path=path!("/queries") view=page::queries::Queries/>
                </Routes>
            </Shell>
        }
    }
}
