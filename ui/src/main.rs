//! The web dashboard: a client of the public HTTP API, compiled to WebAssembly and embedded in `server`.
//!
//! Whatever a page shows, curl can fetch. Every view is wholly in its URL. Nothing here reaches another origin.

#![expect(unreachable_pub, reason = "the component macro writes `pub` whatever the function says")]

mod app;
mod browser;
mod chart;
mod client;
mod msg;
mod page;
mod part;
mod refresh;
mod shell;
mod url;

fn main() {
    browser::report_panics();
    leptos::mount::mount_to_body(app::App);
    browser::drop_skeleton();
}
