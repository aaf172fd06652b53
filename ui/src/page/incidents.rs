//! What began with alerts that some runbook wants: how each stands, what was done, what is held now.

use api::incident::{Held, Incident, IncidentState, Incidents, RunSummary};
use leptos::prelude::*;

use super::hosts::ago;
use super::{Page, begin};
use crate::app::use_ui;
use crate::client::{self, Failure};
use crate::msg::{Msg, fill, long, t};
use crate::part::ask::{Ask, Deed, DeedButton};
use crate::part::badge::{Badge, Tone};
use crate::part::copy::CodeBlock;
use crate::part::icon::{Glyph, Icon};
use crate::part::state::{Empty, ErrorNote, Loading};
use crate::refresh::{Fetched, fetch};

/// A runbook to start from.
const EXAMPLE: &str = r#"kind: Target
metadata: {name: web-pool}
spec:
  driver: haproxy
  endpoint: unix:/run/haproxy/admin.sock
  group: {backend: be_shop}
---
kind: Runbook
metadata: {name: soften-slow-member}
spec:
  trust: approve
  alerts: ['alertname="MemberSlow"']
  target: {ref: web-pool, member: '{{ alert.labels.member }}'}
  steps: [{id: soften, do: haproxy.weight, with: {percent: 10}}]
  verify: {success: 'max(shop_p99_seconds) < 0.5', for: 1m}
  revert: {ttl: 2h}"#;

/// Tone and word of an incident.
pub(super) fn standing(state: IncidentState) -> (Tone, &'static str) {
    match state {
        IncidentState::Open => (Tone::Error, t(Msg::IncidentOpen)),
        IncidentState::Resolved => (Tone::Ok, t(Msg::StateResolved)),
        IncidentState::Unknown => (Tone::Unknown, t(Msg::IncidentUnknown)),
    }
}

/// Tone and words of an action.
pub(super) fn run_standing(run: &RunSummary) -> (Tone, String) {
    let found = match run.finding.as_deref() {
        Some("verified") => Some((Tone::Ok, Msg::FindingVerified)),
        Some("ineffective") => Some((Tone::Error, Msg::FindingIneffective)),
        Some("inconclusive") => Some((Tone::Warn, Msg::FindingInconclusive)),
        _ => None,
    };
    let state = match run.state.as_str() {
        "refused" => Msg::RunRefused,
        "shadowed" => Msg::RunShadowed,
        "awaiting" => Msg::RunAwaiting,
        "admitted" | "leased" => Msg::RunAdmitted,
        "verifying" => Msg::RunVerifying,
        "holding" | "reasserting" => Msg::RunHolding,
        "reverting" | "revert_dispatched" | "rolling_back" | "rollback_dispatched" => {
            Msg::RunReverting
        }
        "unknown" => Msg::RunUnknown,
        "closed" => Msg::RunClosed,
        _ => Msg::RunUnderWay,
    };
    if let (Msg::RunRefused, Some(guard)) = (state, &run.decided_by) {
        return (Tone::Unknown, fill(Msg::RefusedBy, &[guard]));
    }
    match (found, state) {
        (Some((tone, found)), state) => (tone, format!("{} · {}", t(state), t(found))),
        (None, Msg::RunRefused | Msg::RunShadowed | Msg::RunClosed) => {
            (Tone::Unknown, t(state).to_owned())
        }
        (None, Msg::RunUnknown) => (Tone::Error, t(state).to_owned()),
        (None, state) => (Tone::Warn, t(state).to_owned()),
    }
}

/// How long something lasted, in the two largest units.
pub(super) fn lasted(from_ms: i64, to_ms: i64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "years of milliseconds are exact")]
    let seconds = (to_ms - from_ms).max(0) as f64 / 1_000.0;
    long(seconds)
}

#[component]
pub(crate) fn IncidentsPage() -> impl IntoView {
    begin();
    let all: Fetched<Incidents> =
        fetch(|| Some(()), |(), _, signal| async move { client::get("incidents", signal).await });
    let failure = move || all.failure.get().as_ref().and_then(Failure::refusal);
    let asked: RwSignal<Option<Deed>> = RwSignal::new(None);
    let switch = move || {
        let off = all.value.get()?.off.is_some();
        let (title, path) = if off {
            (Msg::ResumeActions, "actions/resume")
        } else {
            (Msg::PauseActions, "actions/pause")
        };
        let deed = Deed {
            title,
            how: (!off).then_some(Msg::PauseHow),
            path: path.to_owned(),
            asks_why: !off,
        };
        let glyph = if off { Glyph::Run } else { Glyph::Pause };
        Some(view! { <DeedButton deed asked glyph testid="switch"/> })
    };
    view! {
        <Page title=t(Msg::Incidents).to_owned() testid="page-incidents">
            <header class="page-head">
                <h1>{t(Msg::Incidents)}</h1>
                <span class="spacer"></span>
                {switch}
            </header>
            {move || failure().map(|error| view! { <ErrorNote error/> })}
            {move || all.value.get().map(|all| view! { <Notices all=(*all).clone()/> })}
            {move || match all.value.get() {
                None => view! { <Loading lines=6/> }.into_any(),
                Some(all) if all.incidents.is_empty() => view! {
                    <section class="panel" data-testid="no-incidents">
                        <Empty title=t(Msg::NoIncidents)>
                            <p>{t(Msg::NoIncidentsHow)}</p>
                            <CodeBlock text=EXAMPLE.to_owned()/>
                        </Empty>
                    </section>
                }.into_any(),
                Some(all) => view! {
                    <HeldTable held=all.held.clone() asked/>
                    <List incidents=all.incidents.clone()/>
                }.into_any(),
            }}
            <Ask asked/>
        </Page>
    }
}

/// What keeps actions from being done.
#[component]
fn Notices(all: Incidents) -> impl IntoView {
    let note = |text: String| {
        view! { <div class="note warn" role="status" data-testid="actions-off"><Icon glyph=Glyph::Pause/><p>{text}</p></div> }
    };
    let off = all.off.map(|off| {
        let msg = if off.freeze { Msg::ActionsFrozen } else { Msg::ActionsOff };
        note(fill(msg, &[&off.why]))
    });
    let blind = all.observe_only.map(|why| note(fill(Msg::ObserveOnly, &[&why])));
    view! { {off}{blind} }
}

/// Everything that is changed now.
#[component]
pub(super) fn HeldTable(held: Vec<Held>, asked: RwSignal<Option<Deed>>) -> impl IntoView {
    let ui = use_ui();
    let row = move |one: Held| {
        let deed = back(&one.action);
        let (path, until) = (format!("/incidents/{}", one.incident), one.until_ms);
        view! {
            <tr data-testid="held-row">
                <th scope="row"><a href=move || ui.url.link(&path, &[])>{format!("{} / {}", one.target, one.member)}</a></th>
                <td data-label=t(Msg::Field)>{one.field}</td>
                <td class="mono" data-label=t(Msg::Value)>{one.value}</td>
                <td class="mono muted" data-label=t(Msg::Before)>{one.before}</td>
                <td class="num" data-label=t(Msg::HeldUntil)>{until.map(clock)}</td>
                <td><DeedButton deed asked glyph=Glyph::Back testid="held-back"/></td>
            </tr>
        }
    };
    (!held.is_empty()).then(|| {
        view! {
            <section class="panel" data-testid="held">
                <div class="panel-head"><h2>{t(Msg::Held)}</h2></div>
                <div class="table-scroll"><table class="table">
                    <thead><tr>
                        <th scope="col">{t(Msg::Target)}</th>
                        <th scope="col">{t(Msg::Field)}</th>
                        <th scope="col">{t(Msg::Value)}</th>
                        <th scope="col">{t(Msg::Before)}</th>
                        <th scope="col" class="num">{t(Msg::HeldUntil)}</th>
                        <th scope="col"></th>
                    </tr></thead>
                    <tbody>{held.into_iter().map(row).collect_view()}</tbody>
                </table></div>
            </section>
        }
    })
}

/// Takes back what an action has changed.
pub(super) fn back(action: &str) -> Deed {
    Deed {
        title: Msg::Back,
        how: Some(Msg::BackHow),
        path: format!("actions/{action}/revert"),
        asks_why: true,
    }
}

/// Time of day in the browser's zone, to the second.
pub(super) fn clock(at_ms: i64) -> String {
    viz::time_axis::clock(at_ms, &crate::browser::zone_at(at_ms))
}

#[component]
fn List(incidents: Vec<Incident>) -> impl IntoView {
    view! {
        <section class="panel list" data-testid="incidents">
            {incidents.into_iter().map(|one| view! { <Row one/> }).collect_view()}
        </section>
    }
}

#[component]
fn Row(one: Incident) -> impl IntoView {
    let ui = use_ui();
    let (tone, word) = standing(one.state);
    let path = format!("/incidents/{}", one.id);
    let until = one.resolved_ms.unwrap_or_else(|| ui.now_ms.get_untracked());
    let duration = lasted(one.opened_ms, until);
    let run = one.runs.first().map(|run| {
        let (tone, text) = run_standing(run);
        let place = format!("{} → {} / {}", run.runbook, run.target, run.member);
        view! { <span class="incident-run"><Badge tone text/><span class="muted ellipsis">{place}</span></span> }
    });
    let said = if one.summary.is_empty() { labels_text(&one) } else { one.summary.clone() };
    view! {
        <a class="firing-row incident-row" data-testid="incident-row" href=move || ui.url.link(&path, &[])>
            <Badge tone text=word/>
            <span class="grow">
                <b>{one.rule}</b>" "<span class="muted">{one.severity}</span>
                <span class="incident-said ellipsis">{said}</span>
                {run}
            </span>
            <span class="num muted small">{ago(one.opened_ms)}<br/>{duration}</span>
        </a>
    }
}

fn labels_text(one: &Incident) -> String {
    let others =
        one.labels.iter().filter(|(name, _)| !["alertname", "severity"].contains(&name.as_str()));
    others.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}
