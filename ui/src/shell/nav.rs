//! The pages, at the left; on a phone behind a button.

use leptos::prelude::*;

use crate::app::use_ui;
use crate::msg::{Msg, t};
use crate::part::icon::{Glyph, Icon};

/// One entry of the navigation.
pub(crate) struct Entry {
    pub(crate) path: &'static str,
    pub(crate) name: Msg,
    pub(crate) glyph: Glyph,
    pub(crate) testid: &'static str,
    /// Second key of the `g` chord.
    pub(crate) key: &'static str,
}

/// All pages that can be navigated to.
pub(crate) const ENTRIES: [Entry; 10] = [
    Entry { path: "/", name: Msg::Overview, glyph: Glyph::Home, testid: "nav-home", key: "o" },
    Entry { path: "/hosts", name: Msg::Hosts, glyph: Glyph::Host, testid: "nav-hosts", key: "h" },
    Entry {
        path: "/explore/metrics",
        name: Msg::Metrics,
        glyph: Glyph::Chart,
        testid: "nav-metrics",
        key: "e",
    },
    Entry { path: "/logs", name: Msg::Logs, glyph: Glyph::Logs, testid: "nav-logs", key: "l" },
    Entry {
        path: "/traces",
        name: Msg::Traces,
        glyph: Glyph::Trace,
        testid: "nav-traces",
        key: "t",
    },
    Entry {
        path: "/explore/sql",
        name: Msg::Sql,
        glyph: Glyph::Table,
        testid: "nav-sql",
        key: "q",
    },
    Entry {
        path: "/alerts",
        name: Msg::Alerts,
        glyph: Glyph::Bell,
        testid: "nav-alerts",
        key: "a",
    },
    Entry {
        path: "/incidents",
        name: Msg::Incidents,
        glyph: Glyph::Bolt,
        testid: "nav-incidents",
        key: "i",
    },
    Entry { path: "/slos", name: Msg::Slos, glyph: Glyph::Target, testid: "nav-slos", key: "s" },
    Entry {
        path: "/queries",
        name: Msg::RunningQueries,
        glyph: Glyph::Run,
        testid: "nav-queries",
        key: "r",
    },
];

#[component]
pub(super) fn Nav() -> impl IntoView {
    let ui = use_ui();
    let item = move |entry: &'static Entry| {
        let current = move || {
            let path = ui.url.path();
            let below = |prefix: &str| path == prefix || path.starts_with(&format!("{prefix}/"));
            match entry.path {
                "/" => path == "/",
                "/traces" => below("/traces") || below("/trace"),
                other => below(other),
            }
        };
        view! {
            <li>
                <a
                    href=move || ui.url.link(entry.path, &[])
                    data-testid=entry.testid
                    title=t(entry.name)
                    aria-current=move || if current() { "page" } else { "false" }
                >
                    <Icon glyph=entry.glyph/>
                    <span>{t(entry.name)}</span>
                </a>
            </li>
        }
    };
    view! {
        <nav class="nav" aria-label=t(Msg::Navigation)>
            <a class="brand" href=move || ui.url.link("/", &[]) aria-label="Headrope">
                <svg viewBox="0 0 32 32" aria-hidden="true">
                    <path d="M4 11c4.300-5.500 7.700-5.500 12 0s7.700 5.500 12 0" class="brand-rope"></path>
                    <path d="M8 14v8M16 12v10M24 14v8" class="brand-line"></path>
                    <path d="M8 24h.01M16 24h.01M24 24h.01" class="brand-knot"></path>
                </svg>
                <span>"Headrope"</span>
            </a>
            <ul>{ENTRIES.iter().map(item).collect_view()}</ul>
        </nav>
    }
}
