//! The page for paths that lead nowhere.

use leptos::prelude::*;

use super::{Page, begin};
use crate::app::use_ui;
use crate::msg::{Msg, t};
use crate::part::state::Empty;

#[component]
pub(crate) fn Missing() -> impl IntoView {
    let ui = use_ui();
    begin().settle();
    view! {
        <Page title=t(Msg::NoSuchPage).to_owned() testid="page-missing">
            <Empty title=t(Msg::NoSuchPage)>
                <p class="mono">{move || ui.url.path()}</p>
                <a class="button primary" href=move || ui.url.link("/", &[])>{t(Msg::Overview)}</a>
            </Empty>
        </Page>
    }
}
