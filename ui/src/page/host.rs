//! One host, live: CPU, load, memory, disks, file systems, network, connections, pressure, processes.

mod panels;
mod tables;

use std::sync::Arc;

use api::host::Host;
use leptos::prelude::*;
use leptos_router::hooks::use_params_map;
use viz::unit::significant;

use super::{Page, begin};
use crate::app::use_ui;
use crate::chart::Chart;
use crate::chart::data::chart;
use crate::client::{self, Failure};
use crate::msg::{Msg, fill, long, t};
use crate::part::badge::{Badge, host_state};
use crate::part::state::ErrorNote;
use crate::refresh::{Answers, Fetched, batch, fetch};
use panels::{PANELS, Panel};

#[component]
pub(crate) fn HostPage() -> impl IntoView {
    begin();
    let ui = use_ui();
    let params = use_params_map();
    let name = Memo::new(move |_| params.with(|params| params.get("name")).unwrap_or_default());
    let width = RwSignal::new(0.0);
    let answers = batch(width.into(), move |range_ms, step_ms| {
        let name = name.get();
        if name.is_empty() { Vec::new() } else { panels::queries(&name, range_ms, step_ms) }
    });
    let panel = move |panel: &'static Panel| panel_view(panel, answers, width);
    let host = fetch(
        move || Some(name.get()),
        |name, _, signal| async move {
            let hosts: Vec<Host> = client::get("hosts", signal).await?;
            Ok(hosts.into_iter().find(|host| host.name == name))
        },
    );
    let failure = move || answers.failure.get().as_ref().and_then(Failure::refusal);
    view! {
        <Page title=Signal::derive(move || name.get()) testid="page-host">
            <header class="page-head">
                <nav class="crumbs" aria-label=t(Msg::Breadcrumbs)><a href=move || ui.url.link("/hosts", &[])>{t(Msg::Hosts)}</a></nav>
                <h1>{move || name.get()}</h1>
                {move || host.value.get().and_then(|host| (*host).clone()).map(|host| view! { <Facts host/> })}
            </header>
            {move || failure().map(|error| view! { <ErrorNote error/> })}
            <div class="chart-grid">{PANELS.iter().map(panel).collect_view()}</div>
            <div class="chart-grid tables">
                <tables::Processes answers/>
                <tables::FileSystems answers/>
            </div>
        </Page>
    }
}

/// The first look at one host: processor, memory, disk, network. The overview shows it where only one host is watched.
#[component]
pub(crate) fn HostGlance(name: String) -> impl IntoView {
    let width = RwSignal::new(0.0);
    let answers = batch(width.into(), move |range_ms, step_ms| {
        let mut queries = panels::queries(&name, range_ms, step_ms);
        queries.retain(|query| panels::GLANCE.contains(&query.id));
        queries
    });
    let shown = PANELS.iter().filter(|panel| panels::GLANCE.contains(&panel.id));
    let charts = shown.map(|panel| panel_view(panel, answers, width)).collect_view();
    view! { <div class="chart-grid">{charts}</div> }
}

/// One chart, drawn from the page's answers.
fn panel_view(
    panel: &'static Panel,
    answers: Fetched<Answers>,
    width: RwSignal<f64>,
) -> impl IntoView {
    let ui = use_ui();
    let data = Signal::derive(move || {
        let answer = Arc::clone(answers.value.get()?.get(&panel.id)?);
        // The answer's own range: drawn with the present one, lines would creep between two answers.
        let (from_ms, to_ms) = ui.range.get().resolve(ui.now_ms.get_untracked());
        Some(Arc::new(chart(&answer, (from_ms, to_ms), &panel.spec, |labels| (panel.name)(labels))))
    });
    let failure = Signal::derive(move || answers.value.get()?.get(&panel.id)?.error.clone());
    view! { <Chart title=t(panel.title) data failure width testid=panel.testid/> }
}

/// What is known of the host, in one line.
#[component]
fn Facts(host: Host) -> impl IntoView {
    let (tone, word) = host_state(host.state);
    let cpus = host.cpus.map(|n| fill(Msg::Cpus, &[&significant(n)]));
    let up = host.uptime_s.map(|s| fill(Msg::UpFor, &[&long(s)]));
    let known =
        [Some(host.os), Some(host.arch), cpus, up].into_iter().flatten().filter(|s| !s.is_empty());
    let facts = known.collect::<Vec<_>>().join(" · ");
    view! {
        <Badge tone text=word/>
        <span class="muted num facts">{facts}</span>
        {host.reasons.into_iter().map(|reason| view! { <span class="reason">{reason}</span> }).collect_view()}
    }
}
