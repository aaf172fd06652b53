//! Rules and their states, the alerts they raise, and what was sent to whom.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::alert::{Alert, Alerts, Delivery, DeliveryStatus, Group, Health, Rule, RuleKind, State};
use leptos::prelude::*;

use super::hosts::ago;
use super::{Page, begin};
use crate::app::{Ui, use_ui};
use crate::client::{self, Failure};
use crate::msg::{Msg, fill, t};
use crate::part::badge::{Badge, Tone, alert_state};
use crate::part::copy::CodeBlock;
use crate::part::icon::{Glyph, Icon};
use crate::part::state::{Empty, ErrorNote, Loading};
use crate::refresh::{Fetched, fetch};

/// A rule file to start from.
const EXAMPLE: &str = r#"groups:
  - name: hosts
    interval: 15s
    rules:
      - alert: HostCpuHigh
        expr: |
          1 - sum by (host_name) (rate(system_cpu_time_seconds_total{cpu_mode="idle"}[1m]))
            / sum by (host_name) (rate(system_cpu_time_seconds_total[1m])) > 0.9
        for: 2m
        labels:
          severity: warning
        annotations:
          summary: "CPU of {{ $labels.host_name }} is {{ $value | humanizePercentage }} busy""#;

#[component]
pub(crate) fn AlertsPage() -> impl IntoView {
    begin();
    let ui = use_ui();
    let alerts: Fetched<Alerts> =
        fetch(|| Some(()), |(), _, signal| async move { client::get("alerts", signal).await });
    let failure = move || alerts.failure.get().as_ref().and_then(Failure::refusal);
    // Rules are built anew only when they changed: a refresh must not close what a person has opened.
    let groups = Memo::new(move |_| alerts.value.get().map(|alerts| alerts.groups.clone()));
    let deliveries = Memo::new(move |_| {
        alerts.value.get().map(|alerts| alerts.deliveries.clone()).unwrap_or_default()
    });
    view! {
        <Page title=t(Msg::Alerts).to_owned() testid="page-alerts">
            <header class="page-head">
                <h1>{t(Msg::Alerts)}</h1>
                {move || alerts.value.get().map(|alerts| view! { <Counts alerts/> })}
            </header>
            {move || failure().map(|error| view! { <ErrorNote error/> })}
            {move || match groups.get() {
                None => view! { <Loading lines=8/> }.into_any(),
                Some(groups) if groups.is_empty() => view! { <NoRules/> }.into_any(),
                Some(groups) => groups.into_iter().map(|group| view! { <GroupPanel ui group/> }).collect_view().into_any(),
            }}
            <Deliveries deliveries/>
        </Page>
    }
}

#[component]
fn NoRules() -> impl IntoView {
    view! {
        <section class="panel">
            <Empty title=t(Msg::NoRules)>
                <p>{t(Msg::NoRulesHow)}</p>
                <CodeBlock text=EXAMPLE.to_owned()/>
            </Empty>
        </section>
    }
}

/// How many rules are in which state.
#[component]
fn Counts(alerts: Arc<Alerts>) -> impl IntoView {
    let rules = || {
        alerts
            .groups
            .iter()
            .flat_map(|group| &group.rules)
            .filter(|rule| rule.kind == RuleKind::Alerting)
    };
    let count = |state: State| rules().filter(|rule| rule.state == state).count();
    let broken = alerts
        .groups
        .iter()
        .flat_map(|group| &group.rules)
        .filter(|rule| rule.health == Health::Err)
        .count();
    let badge = |tone: Tone, n: usize, word: &str| {
        (n > 0).then(|| view! { <Badge tone text=format!("{n} {word}")/> })
    };
    view! {
        {badge(Tone::Error, count(State::Firing), t(Msg::StateFiring))}
        {badge(Tone::Unknown, count(State::NoData), t(Msg::StateNoData))}
        {badge(Tone::Warn, count(State::Pending), t(Msg::StatePending))}
        {badge(Tone::Ok, count(State::Inactive) + count(State::Resolved), t(Msg::StateInactive))}
        {badge(Tone::Error, broken, t(Msg::Broken))}
    }
}

#[component]
fn GroupPanel(ui: Ui, group: Group) -> impl IntoView {
    let every = viz::unit::time(group.interval_s);
    let name = group.name.clone();
    let rules = group
        .rules
        .into_iter()
        .map(|rule| view! { <RuleRow ui group=name.clone() rule/> })
        .collect_view();
    view! {
        <section class="panel rules" data-testid="rule-group">
            <div class="panel-head">
                <h2>{group.name}</h2>
                <span class="panel-note">{fill(Msg::EvaluatedEvery, &[&every])}</span>
                <span class="spacer"></span>
                <span class="muted mono small ellipsis">{group.file}</span>
            </div>
            {rules}
        </section>
    }
}

/// Labels as chips.
#[component]
fn LabelChips(labels: BTreeMap<String, String>) -> impl IntoView {
    let chip = |(name, value): (String, String)| view! { <span class="label-chip"><span class="muted">{name}</span>{value}</span> };
    labels.into_iter().map(chip).collect_view()
}

#[component]
fn RuleRow(ui: Ui, group: String, rule: Rule) -> impl IntoView {
    let key = format!("{group}/{}", rule.name);
    let opened = ui.url.param("rule");
    let (mine, toggled) = (key.clone(), key);
    let open = Memo::new(move |_| opened.get() == mine);
    let (tone, word) = match (rule.health, rule.kind) {
        (Health::Err, _) => (Tone::Error, t(Msg::Broken)),
        (_, RuleKind::Recording) => (Tone::Unknown, t(Msg::Recording)),
        _ => alert_state(rule.state),
    };
    let active = rule
        .alerts
        .iter()
        .filter(|alert| matches!(alert.state, State::Firing | State::NoData | State::Pending))
        .count();
    let evaluated = rule.last_evaluation_ms.map(ago);
    let wait = (rule.for_s > 0.0).then(|| fill(Msg::ForAtLeast, &[&viz::unit::time(rule.for_s)]));
    let name = rule.name.clone();
    let expr = rule.expr.split_whitespace().collect::<Vec<_>>().join(" ");
    let body = StoredValue::new(rule);
    view! {
        <div class="rule" data-testid="rule-row" class:open=move || open.get()>
            <button class="rule-head" aria-expanded=move || open.get().to_string()
                on:click=move |_| {
                    let next = (!open.get_untracked()).then(|| toggled.clone());
                    ui.url.set(&[("rule", next)], true);
                }>
                <span class="rule-state"><Badge tone text=word/></span>
                <b class="ellipsis">{name}</b>
                <span class="mono muted ellipsis rule-expr">{expr}</span>
                <span class="num muted small">{(active > 0).then(|| format!("× {active}"))}</span>
                <span class="num muted small wide-only">{wait}</span>
                <span class="num muted small wide-only">{evaluated}</span>
                <Icon glyph=Glyph::Down/>
            </button>
            <Show when=move || open.get()>{move || view! { <RuleBody ui rule=body.get_value()/> }}</Show>
        </div>
    }
}

#[component]
fn RuleBody(ui: Ui, rule: Rule) -> impl IntoView {
    let expr = rule.expr.clone();
    let explore = move || ui.url.link("/explore/metrics", &[("q", expr.trim())]);
    let annotation =
        |(name, value): (String, String)| view! { <div><dt>{name}</dt><dd>{value}</dd></div> };
    view! {
        <div class="rule-body">
            {(!rule.last_error.is_empty()).then(|| view! { <div class="note error" role="alert"><Icon glyph=Glyph::Error/><p>{rule.last_error}</p></div> })}
            <CodeBlock text=rule.expr/>
            <div class="toolbar">
                <a class="button small" href=explore><Icon glyph=Glyph::Chart/>{t(Msg::OpenInMetrics)}</a>
                <LabelChips labels=rule.labels/>
            </div>
            <dl class="annotations">{rule.annotations.into_iter().map(annotation).collect_view()}</dl>
            {rule.alerts.into_iter().map(|alert| view! { <AlertRow alert/> }).collect_view()}
        </div>
    }
}

#[component]
fn AlertRow(alert: Alert) -> impl IntoView {
    let (tone, word) = alert_state(alert.state);
    let summary =
        alert.annotations.get("summary").or_else(|| alert.annotations.get("description")).cloned();
    view! {
        <div class="alert-row" data-testid="alert-row">
            <Badge tone text=word/>
            <div class="grow">
                {summary.map(|summary| view! { <p>{summary}</p> })}
                <p><LabelChips labels=alert.labels/></p>
            </div>
            <span class="num">{alert.value}</span>
            <span class="muted num small">{fill(Msg::Since, &[&ago(alert.active_ms)])}</span>
        </div>
    }
}

#[component]
fn Deliveries(deliveries: Memo<Vec<Delivery>>) -> impl IntoView {
    let row = |delivery: Delivery| {
        let (tone, word) = match delivery.status {
            DeliveryStatus::Pending => (Tone::Warn, t(Msg::DeliveryPending)),
            DeliveryStatus::Delivered => (Tone::Ok, t(Msg::DeliveryDone)),
            DeliveryStatus::Failed => (Tone::Error, t(Msg::DeliveryFailed)),
        };
        let (_, state) = alert_state(delivery.state);
        view! {
            <tr data-testid="delivery-row">
                <td><Badge tone text=word/></td>
                <th scope="row">{delivery.rule}</th>
                <td>{state}</td>
                <td>{delivery.receiver}</td>
                <td class="num">{delivery.attempts}</td>
                <td class="ellipsis muted">{delivery.last_error}</td>
                <td class="num muted">{ago(delivery.at_ms)}</td>
            </tr>
        }
    };
    let table = move || {
        let rows = deliveries.get();
        (!rows.is_empty()).then(|| {
            view! {
                <section class="panel" data-testid="deliveries">
                    <div class="panel-head"><h2>{t(Msg::Deliveries)}</h2></div>
                    <div class="table-scroll"><table class="table">
                        <thead><tr>
                            <th scope="col">{t(Msg::Status)}</th>
                            <th scope="col">{t(Msg::Rule)}</th>
                            <th scope="col">{t(Msg::State)}</th>
                            <th scope="col">{t(Msg::Receiver)}</th>
                            <th scope="col" class="num">{t(Msg::Attempts)}</th>
                            <th scope="col">{t(Msg::LastError)}</th>
                            <th scope="col" class="num">{t(Msg::Time)}</th>
                        </tr></thead>
                        <tbody>{rows.into_iter().map(row).collect_view()}</tbody>
                    </table></div>
                </section>
            }
        })
    };
    view! { {table} }
}
