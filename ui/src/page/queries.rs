//! What the server is being asked just now, by whom, at what cost; and an end to it.

use api::running::{RunningQueries, RunningQuery};
use leptos::prelude::*;
use leptos::task::spawn_local;
use viz::unit::{Format, time};

use super::{Page, begin};
use crate::app::use_ui;
use crate::client::{self, Failure};
use crate::msg::{Msg, t};
use crate::part::icon::{Glyph, Icon};
use crate::part::state::{Empty, ErrorNote, Loading};
use crate::refresh::{Fetched, fetch};

#[component]
pub(crate) fn Queries() -> impl IntoView {
    begin();
    let running: Fetched<RunningQueries> =
        fetch(|| Some(()), |(), _, signal| async move { client::get("queries", signal).await });
    let refused: RwSignal<Option<Failure>> = RwSignal::new(None);
    let failure = move || {
        let failure = refused.get().or_else(|| running.failure.get());
        failure.as_ref().and_then(Failure::refusal)
    };
    view! {
        <Page title=t(Msg::RunningQueries).to_owned() testid="page-queries">
            <header class="page-head"><h1>{t(Msg::RunningQueries)}</h1></header>
            {move || failure().map(|error| view! { <ErrorNote error/> })}
            {move || match running.value.get() {
                None => view! { <Loading lines=4/> }.into_any(),
                Some(found) if found.queries.is_empty() => view! {
                    <section class="panel" data-testid="no-queries">
                        <Empty title=t(Msg::NoQueries)><p>{t(Msg::NoQueriesHow)}</p></Empty>
                    </section>
                }.into_any(),
                Some(found) => view! { <Table queries=found.queries.clone() refused/> }.into_any(),
            }}
        </Page>
    }
}

#[component]
fn Table(queries: Vec<RunningQuery>, refused: RwSignal<Option<Failure>>) -> impl IntoView {
    let row = move |query: RunningQuery| {
        // Rules and the server's own parts have no address.
        let client = if query.client.is_empty() { query.source.clone() } else { query.client };
        view! {
            <tr data-testid="query-row">
                <th scope="row"><div class="mono running-text">{query.text}</div></th>
                <td>{language(&query.language)}</td>
                <td title=query.source>{client}</td>
                <td class="num" data-label=t(Msg::Duration)>{time(query.age_s)}</td>
                <td class="num" data-label=t(Msg::Samples)>{Format::Plain.text(query.samples as f64)}</td>
                <td class="num" data-label=t(Msg::Memory)>{Format::of("By").text(query.bytes as f64)}</td>
                <td><Cancel id=query.id refused/></td>
            </tr>
        }
    };
    view! {
        <section class="panel">
            <div class="table-scroll"><table class="table running">
                <thead><tr>
                    <th scope="col">{t(Msg::QueryText)}</th>
                    <th scope="col">{t(Msg::QueryLanguage)}</th>
                    <th scope="col">{t(Msg::Client)}</th>
                    <th scope="col" class="num">{t(Msg::Duration)}</th>
                    <th scope="col" class="num">{t(Msg::Samples)}</th>
                    <th scope="col" class="num">{t(Msg::Memory)}</th>
                    <th scope="col"></th>
                </tr></thead>
                <tbody>{queries.into_iter().map(row).collect_view()}</tbody>
            </table></div>
        </section>
    }
}

/// How people write it.
fn language(name: &str) -> String {
    match name {
        "promql" => "PromQL".to_owned(),
        "sql" => "SQL".to_owned(),
        other => other.to_owned(),
    }
}

/// Ends a query. One that has ended meanwhile is no failure worth a word: the list is asked for anew.
#[component]
fn Cancel(id: u64, refused: RwSignal<Option<Failure>>) -> impl IntoView {
    let ui = use_ui();
    let asked = RwSignal::new(false);
    let cancel = move |_| {
        asked.set(true);
        spawn_local(async move {
            match client::delete(&format!("queries/{id}")).await {
                Ok(()) => drop(refused.try_set(None)),
                Err(Failure::Lost) => ui.lost(),
                Err(failure) => drop(refused.try_set(Some(failure))),
            }
            ui.refresh_now();
        });
    };
    view! {
        <button class="button small" data-testid="cancel-query" disabled=move || asked.get() on:click=cancel>
            <Icon glyph=Glyph::Close/>{t(Msg::CancelQuery)}
        </button>
    }
}
