//! Icons as strokes of the current colour, 16 by 16. Always beside or instead of a text that says the same.

use leptos::prelude::*;

/// What an icon shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Glyph {
    Home,
    Host,
    Chart,
    Table,
    Logs,
    Trace,
    Bell,
    Bolt,
    Back,
    Pause,
    Person,
    Target,
    Sun,
    Moon,
    Search,
    Clock,
    Refresh,
    Left,
    Right,
    Down,
    ZoomOut,
    Copy,
    Check,
    Close,
    Warn,
    Error,
    Run,
    Menu,
    Download,
}

const fn strokes(glyph: Glyph) -> &'static str {
    match glyph {
        Glyph::Home => "M2.5 7.5 8 3l5.5 4.5M4 6.8V13h8V6.8M6.7 13V9.5h2.6V13",
        Glyph::Host => "M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.01M5 11h.01M8 5h3M8 11h3",
        Glyph::Chart => "M2.5 2.5v11h11M5 10l2.5-3.5 2.5 2L13.5 4",
        Glyph::Table => "M2.5 3h11v10h-11zM2.5 6.3h11M2.5 9.6h11M6.5 3v10",
        Glyph::Logs => "M2.5 4h11M2.5 8h11M2.5 12h7",
        Glyph::Trace => "M2.5 3.5h8M4.5 8h8M7.5 12.5h6",
        Glyph::Bell => "M4 11V7a4 4 0 0 1 8 0v4l1.2 1.2H2.8zM6.8 14h2.4",
        Glyph::Bolt => "M9 1.8 3.5 9h4L7 14.2 12.500 7h-4z",
        Glyph::Back => "M5.500 3 2.500 6l3 3M2.500 6h7a4 4 0 0 1 0 8H6",
        Glyph::Pause => "M5.500 3.500v9M10.500 3.500v9",
        Glyph::Person => {
            "M8 2.500a2.600 2.600 0 1 0 0 5.200 2.600 2.600 0 0 0 0-5.200M3 13.800c.6-2.600 2.500-3.900 5-3.900s4.400 1.300 5 3.900"
        }
        Glyph::Target => {
            "M8 2.2a5.8 5.8 0 1 0 0 11.6A5.8 5.8 0 0 0 8 2.2M8 5.2a2.8 2.8 0 1 0 0 5.600A2.8 2.8 0 0 0 8 5.2M8 8h.01"
        }
        Glyph::Sun => {
            "M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6M8 1.5v1.4M8 13.1v1.4M1.5 8h1.4M13.1 8h1.4M3.4 3.4l1 1M11.6 11.6l1 1M12.6 3.4l-1 1M4.4 11.6l-1 1"
        }
        Glyph::Moon => "M13 9.5A5.5 5.5 0 0 1 6.5 3a5.5 5.5 0 1 0 6.5 6.5",
        Glyph::Search => "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9M10.3 10.3l3.4 3.4",
        Glyph::Clock => "M8 2.2a5.8 5.8 0 1 0 0 11.6A5.8 5.8 0 0 0 8 2.2M8 4.8V8l2.2 1.6",
        Glyph::Refresh => "M13.2 8a5.2 5.2 0 1 1-1.6-3.8M13.5 2v3h-3",
        Glyph::Left => "M10 3.5 5.5 8l4.5 4.5",
        Glyph::Right => "M6 3.5 10.5 8 6 12.5",
        Glyph::Down => "M3.5 6 8 10.5 12.5 6",
        Glyph::ZoomOut => "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9M10.3 10.3l3.4 3.4M5 7h4",
        Glyph::Copy => "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
        Glyph::Check => "M3 8.5 6.5 12 13 4.5",
        Glyph::Close => "M3.5 3.5l9 9M12.5 3.5l-9 9",
        Glyph::Warn => "M8 2.5 14.2 13H1.8zM8 6.5v3M8 11.3h.01",
        Glyph::Error => "M8 2.2a5.8 5.8 0 1 0 0 11.6A5.8 5.8 0 0 0 8 2.2M8 5v3.6M8 10.9h.01",
        Glyph::Run => "M4.5 3v10l8-5z",
        Glyph::Menu => "M2.5 4h11M2.5 8h11M2.5 12h11",
        Glyph::Download => "M8 2.5v8M4.8 7.5 8 10.7l3.2-3.2M2.5 13.5h11",
    }
}

/// An icon.
#[component]
pub(crate) fn Icon(glyph: Glyph) -> impl IntoView {
    view! {
        <svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
            <path d=strokes(glyph)></path>
        </svg>
    }
}
