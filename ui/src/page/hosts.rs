//! All hosts: a card each, and a table to sort by eye.

use std::sync::Arc;

use api::host::Host;
use api::query::{Query, QueryAnswer};
use leptos::prelude::*;
use viz::unit::significant;

use super::{Page, begin};
use crate::app::use_ui;
use crate::browser;
use crate::client;
use crate::msg::{Msg, fill, long, t};
use crate::part::badge::{Badge, host_state};
use crate::part::meter::{Meter, Spark};
use crate::part::state::{Empty, ErrorNote, Loading};
use crate::refresh::{Answers, Fetched, batch, fetch};

/// Shares of CPU and memory of all hosts over the range.
pub(crate) type Trends = Fetched<Answers>;

const CPU: u32 = 1;
const MEMORY: u32 = 2;

/// Asks for the sparklines of all hosts at once.
pub(crate) fn trends() -> Trends {
    let width = RwSignal::new(150.0);
    batch(width.into(), |(from_ms, to_ms), step_ms| {
        let window_s = (step_ms / 1_000 * 2).max(10);
        let query = |id, text: String| Query {
            id,
            text,
            from_ms,
            to_ms,
            step_ms: Some(step_ms),
            ..Query::default()
        };
        let idle = format!("rate(system_cpu_time_seconds_total{{cpu_mode=\"idle\"}}[{window_s}s])");
        let all = format!("rate(system_cpu_time_seconds_total[{window_s}s])");
        let used = "system_memory_usage_bytes{system_memory_state=\"used\"}";
        vec![
            query(CPU, format!("1 - sum by (host_name) ({idle}) / sum by (host_name) ({all})")),
            query(
                MEMORY,
                format!(
                    "sum by (host_name) ({used}) / sum by (host_name) (system_memory_usage_bytes)"
                ),
            ),
        ]
    })
}

fn values(answer: Option<&Arc<QueryAnswer>>, host: &str) -> Vec<f64> {
    let series = answer.and_then(|answer| {
        answer
            .series
            .iter()
            .find(|series| series.labels.get("host_name").is_some_and(|name| name == host))
    });
    series.map(|series| series.values.clone()).unwrap_or_default()
}

/// Path of a host's page.
fn path(name: &str) -> String {
    format!("/hosts/{}", crate::url::escape(name))
}

/// How long ago, in words.
pub(crate) fn ago(at_ms: i64) -> String {
    let age_s = ((browser::now_ms() - at_ms) as f64 / 1_000.0).max(0.0);
    if age_s < 10.0 { t(Msg::JustNow).to_owned() } else { fill(Msg::Ago, &[&long(age_s)]) }
}

/// All hosts as cards. A card stays the same element while its host is there, so that focus survives a refresh.
#[component]
pub(crate) fn HostGrid(hosts: Signal<Option<Vec<Host>>>, trends: Trends) -> impl IntoView {
    let names = Memo::new(move |_| {
        hosts.with(|hosts| {
            hosts
                .as_ref()
                .map(|hosts| hosts.iter().map(|host| host.name.clone()).collect::<Vec<_>>())
        })
    });
    let card = move |name: String| view! { <HostCard name hosts trends/> };
    move || match names.get() {
        None => view! { <Loading lines=4/> }.into_any(),
        Some(names) if names.is_empty() => {
            view! { <Empty title=t(Msg::NoHosts)><p>{t(Msg::NoHostsHow)}</p></Empty> }.into_any()
        }
        Some(names) => {
            view! { <div class="host-grid">{names.into_iter().map(card).collect_view()}</div> }
                .into_any()
        }
    }
}

#[component]
fn HostCard(name: String, hosts: Signal<Option<Vec<Host>>>, trends: Trends) -> impl IntoView {
    let ui = use_ui();
    let path = path(&name);
    let spark = |id: u32, color: usize| {
        let name = name.clone();
        move || {
            let drawn = trends
                .value
                .get()
                .map(|answers| values(answers.get(&id), &name))
                .unwrap_or_default();
            view! { <Spark values=drawn color/> }
        }
    };
    let sparks = (spark(CPU, 1), spark(MEMORY, 5));
    let (wanted, title) = (name.clone(), name.clone());
    let host = Memo::new(move |_| {
        hosts
            .with(|hosts| hosts.as_ref()?.iter().find(|host| host.name == wanted).cloned())
            .unwrap_or_default()
    });
    let badge = move || {
        let (tone, word) = host_state(host.with(|host| host.state));
        view! { <Badge tone text=word/> }
    };
    let system = move || {
        let host = host.get();
        [host.os, host.arch].into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join(" · ")
    };
    view! {
        <a class="panel host-card" data-testid="host-card" href=move || ui.url.link(&path, &[])>
            <header><h3 class="ellipsis">{title}</h3>{badge}</header>
            <p class="muted ellipsis small">{system}</p>
            <div class="host-sparks">{sparks}</div>
            {move || view! { <Numbers host=host.get()/> }}
        </a>
    }
}

/// Meters, reasons and facts of a card.
#[component]
fn Numbers(host: Host) -> impl IntoView {
    let load = host.load_1m.map(|load| format!("{} {}", t(Msg::Load), significant(load)));
    let up = host.uptime_s.map(|s| fill(Msg::UpFor, &[&long(s)]));
    let facts = [load, up, Some(ago(host.last_seen_ms))]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" · ");
    view! {
        <Meter label=t(Msg::Cpu) value=host.cpu_utilization/>
        <Meter label=t(Msg::Memory) value=host.memory_utilization/>
        <Meter label=t(Msg::Disk) value=host.filesystem_utilization/>
        {host.reasons.into_iter().map(|reason| view! { <p class="reason">{reason}</p> }).collect_view()}
        <footer class="muted small num">{facts}</footer>
    }
}

#[component]
pub(crate) fn Hosts() -> impl IntoView {
    begin();
    let hosts = fetch(
        || Some(()),
        |(), _, signal| async move { client::get::<Vec<Host>>("hosts", signal).await },
    );
    let trends = trends();
    let failure = move || hosts.failure.get().and_then(|failure| failure.refusal());
    let ui = use_ui();
    let wanted = ui.url.param("q");
    let shown = move || {
        let wanted = wanted.get().to_lowercase();
        hosts.value.get().map(|hosts| {
            let fits = |host: &&Host| host.name.to_lowercase().contains(&wanted);
            hosts.iter().filter(fits).cloned().collect::<Vec<_>>()
        })
    };
    view! {
        <Page title=t(Msg::Hosts).to_owned() testid="page-hosts">
            <header class="page-head">
                <h1>{t(Msg::Hosts)}</h1>
                <input class="input filter" type="search" data-focus="query" placeholder=t(Msg::FilterByName) aria-label=t(Msg::FilterByName)
                    prop:value=move || wanted.get()
                    on:input=move |event| ui.url.set(&[("q", Some(event_target_value(&event)))], true)/>
            </header>
            {move || failure().map(|error| view! { <ErrorNote error/> })}
            <HostGrid hosts=Signal::derive(shown) trends/>
        </Page>
    }
}
