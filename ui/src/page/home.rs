//! The overview: is the server well, what comes in, which hosts are there, what is firing.

use std::sync::Arc;

use api::alert::{Alerts, State};
use api::host::Host;
use api::status::{Addresses, Severity, Status};
use leptos::prelude::*;
use viz::unit::Format;

use super::host::HostGlance;
use super::hosts::{HostGrid, trends};
use super::{Page, begin};
use crate::app::use_ui;
use crate::client;
use crate::msg::{Msg, fill, long, t};
use crate::part::badge::{Badge, alert_state};
use crate::part::copy::CodeBlock;
use crate::part::icon::{Glyph, Icon};
use crate::part::state::ErrorNote;
use crate::refresh::fetch;

#[component]
pub(crate) fn Home() -> impl IntoView {
    begin();
    let status = fetch(
        || Some(()),
        |(), _, signal| async move { client::get::<Status>("status", signal).await },
    );
    let alerts = fetch(
        || Some(()),
        |(), _, signal| async move { client::get::<Alerts>("alerts", signal).await },
    );
    let hosts = fetch(
        || Some(()),
        |(), _, signal| async move { client::get::<Vec<Host>>("hosts", signal).await },
    );
    let trends = trends();
    let failure = move || status.failure.get().and_then(|failure| failure.refusal());
    // Memos, so that a refresh neither opens nor closes the box under a person's hands.
    let empty = Memo::new(move |_| {
        let ingest = status.value.get().map(|status| status.ingest).unwrap_or_default();
        let got = ingest.samples_total + ingest.log_rows_total + ingest.span_rows_total;
        got == 0 && hosts.value.get().is_some_and(|hosts| hosts.is_empty())
    });
    let only = Memo::new(move |_| {
        let hosts = hosts.value.get()?;
        (hosts.len() == 1).then(|| hosts[0].name.clone())
    });
    let addresses = Memo::new(move |_| status.value.get().map(|status| usable(&status.addresses)));
    view! {
        <Page title=t(Msg::Overview).to_owned() testid="page-home">
            <header class="page-head"><h1>{t(Msg::Overview)}</h1></header>
            {move || failure().map(|error| view! { <ErrorNote error/> })}
            {move || empty.get().then(|| addresses.get()).flatten().map(|addresses| view! { <SendTelemetry addresses open=true/> })}
            {move || status.value.get().map(|status| view! { <Problems status/> })}
            {move || alerts.value.get().map(|alerts| view! { <Firing alerts/> })}
            {move || status.value.get().map(|status| view! { <Intake status/> })}
            <section class="block">
                <h2 class="block-title">{t(Msg::Hosts)}</h2>
                <HostGrid hosts=Signal::derive(move || hosts.value.get().map(|hosts| (*hosts).clone())) trends/>
            </section>
            {move || only.get().map(|name| view! { <HostGlance name/> })}
            {move || (!empty.get()).then(|| addresses.get()).flatten().map(|addresses| view! { <SendTelemetry addresses open=false/> })}
        </Page>
    }
}

/// What a person should look at.
#[component]
fn Problems(status: Arc<Status>) -> impl IntoView {
    let problem = |problem: &api::status::Problem| {
        let class = match problem.severity {
            Severity::Warn => "note warn",
            Severity::Error => "note error",
        };
        view! {
            <div class=class data-testid="problem">
                <Icon glyph=Glyph::Warn/>
                <div><p>{problem.message.clone()}</p><p class="muted">{problem.remedy.clone()}</p></div>
            </div>
        }
    };
    status.problems.iter().map(problem).collect_view()
}

/// Alerts that fire, worst first.
#[component]
fn Firing(alerts: Arc<Alerts>) -> impl IntoView {
    let ui = use_ui();
    let rules = alerts.groups.iter().flat_map(|group| &group.rules);
    let firing: Vec<_> = rules.filter(|rule| rule.state == State::Firing).cloned().collect();
    let row = move |rule: api::alert::Rule| {
        let (tone, word) = alert_state(rule.state);
        let summary =
            rule.alerts.iter().find_map(|alert| alert.annotations.get("summary").cloned());
        let count = rule.alerts.iter().filter(|alert| alert.state == State::Firing).count();
        let href = move || ui.url.link("/alerts", &[]);
        view! {
            <a class="firing-row" href=href data-testid="firing-row">
                <Badge tone text=word/>
                <b>{rule.name}</b>
                <span class="grow muted ellipsis">{summary.unwrap_or_default()}</span>
                <span class="num">{format!("× {count}")}</span>
            </a>
        }
    };
    (!firing.is_empty()).then(|| {
        view! {
            <section class="block">
                <h2 class="block-title">{t(Msg::FiringAlerts)}</h2>
                <div class="panel list">{firing.into_iter().map(row).collect_view()}</div>
            </section>
        }
    })
}

/// What comes in and what is kept, as numbers.
#[component]
fn Intake(status: Arc<Status>) -> impl IntoView {
    let count = |n: u64| Format::Count(String::new()).text(n as f64);
    let bytes = |n: u64| Format::Bytes(String::new()).text(n as f64);
    let per_s = Format::Count("/s".to_owned()).text(status.ingest.samples_per_s);
    let tile = |name: Msg, value: String, sub: String| {
        view! {
            <div class="tile">
                <dt>{t(name)}</dt>
                <dd><b class="num">{value}</b><span class="muted num">{sub}</span></dd>
            </div>
        }
    };
    let rejected = status.ingest.rejected_total;
    view! {
        <dl class="tiles" data-testid="ingest">
            {tile(Msg::Samples, per_s, fill(Msg::InTotal, &[&count(status.ingest.samples_total)]))}
            {tile(Msg::LogRecords, count(status.ingest.log_rows_total), String::new())}
            {tile(Msg::Spans, count(status.ingest.span_rows_total), String::new())}
            {tile(Msg::Series, count(status.store.series), String::new())}
            {tile(Msg::Storage, bytes(status.store.bytes), fill(Msg::Segments, &[&count(status.store.segments)]))}
            {(rejected > 0).then(|| tile(Msg::Rejected, count(rejected), String::new()))}
            {tile(Msg::Uptime, long(status.uptime_s as f64), format!("v{}", status.version))}
        </dl>
    }
}

/// Addresses as others can use them: a server that listens everywhere is reached by the name in the address bar.
fn usable(addresses: &Addresses) -> Addresses {
    let here = window().location().hostname().unwrap_or_default();
    let named = format!("://{here}:");
    let mend =
        |address: &String| address.replace("://0.0.0.0:", &named).replace("://[::]:", &named);
    Addresses {
        http: mend(&addresses.http),
        otlp_grpc: mend(&addresses.otlp_grpc),
        otlp_http: mend(&addresses.otlp_http),
    }
}

/// How to send telemetry here, to be copied.
#[component]
fn SendTelemetry(addresses: Addresses, open: bool) -> impl IntoView {
    let grpc = format!(
        "export OTEL_EXPORTER_OTLP_ENDPOINT={}\nexport OTEL_EXPORTER_OTLP_PROTOCOL=grpc\nexport OTEL_SERVICE_NAME=my-service",
        addresses.otlp_grpc
    );
    let http = format!(
        "export OTEL_EXPORTER_OTLP_ENDPOINT={}\nexport OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf\nexport OTEL_SERVICE_NAME=my-service",
        addresses.otlp_http
    );
    let agent = format!(
        "headrope-agent --server {}",
        addresses.otlp_grpc.replacen("http://", "grpc://", 1)
    );
    let card = |title: Msg, text: String| {
        view! { <div class="send-card"><h3>{t(title)}</h3><CodeBlock text/></div> }
    };
    view! {
        <details class="block send" open=open data-testid="send-telemetry">
            <summary><h2 class="block-title">{t(Msg::SendTelemetry)}</h2></summary>
            <p class="muted">{t(Msg::SendTelemetryHow)}</p>
            <div class="send-grid">
                {(!addresses.otlp_grpc.is_empty()).then(|| card(Msg::AppsGrpc, grpc))}
                {(!addresses.otlp_http.is_empty()).then(|| card(Msg::AppsHttp, http))}
                {(!addresses.otlp_grpc.is_empty()).then(|| card(Msg::OtherHosts, agent))}
            </div>
        </details>
    }
}
