//! One incident, filled in by itself: what the rule watches with the moments that mattered, everything that happened, every
//! action with what each guard said, and the buttons for what a person may decide.

use std::sync::Arc;

use api::incident::{Entry, EntryKind, IncidentDetail, IncidentState, Run, Verdict};
use api::query::{Query, QueryAnswer};
use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos_router::hooks::use_params_map;
use serde_json::{Value, json};
use viz::kind::line::Data;
use viz::painter::Ink;

use super::incidents::{HeldTable, back, clock, lasted, run_standing, standing};
use super::{Page, begin};
use crate::app::{Ui, use_ui};
use crate::chart::data::{Spec, chart, promql_name};
use crate::chart::{Chart, LegendKind};
use crate::client::{self, Failure};
use crate::msg::{Msg, fill, t};
use crate::part::ask::{Ask, Deed, DeedButton};
use crate::part::badge::{Badge, Tone};
use crate::part::copy::CodeBlock;
use crate::part::icon::{Glyph, Icon};
use crate::part::state::{Empty, ErrorNote, Loading};
use crate::refresh::{Fetched, fetch, step_ms};

/// What is seen before the beginning and after the end: as long as it lasted, within bounds.
const PAD_MS: (i64, i64) = (60_000, 900_000);
/// How long the button silences the alert.
const SILENCE_MS: i64 = 2 * 3_600_000;

#[component]
pub(crate) fn IncidentPage() -> impl IntoView {
    begin();
    let ui = use_ui();
    let params = use_params_map();
    let id = Memo::new(move |_| params.with(|params| params.get("id").unwrap_or_default()));
    let found: Fetched<IncidentDetail> = fetch(
        move || Some(id.get()),
        |id, _, signal| async move { client::get(&format!("incidents/{id}"), signal).await },
    );
    let detail = Memo::new(move |_| found.value.get().map(|detail| (*detail).clone()));
    let failure = move || found.failure.get().as_ref().and_then(Failure::refusal);
    let asked: RwSignal<Option<Deed>> = RwSignal::new(None);
    let title = Signal::derive(move || {
        detail.with(|detail| {
            detail
                .as_ref()
                .map_or_else(|| t(Msg::Incidents).to_owned(), |d| d.incident.rule.clone())
        })
    });
    view! {
        <Page title testid="page-incident">
            {move || failure().map(|error| view! { <ErrorNote error/> })}
            {move || match detail.get() {
                None => view! { <Loading lines=8/> }.into_any(),
                Some(one) => view! { <Head one asked/> }.into_any(),
            }}
            <Watched ui detail/>
            {move || detail.get().map(|one| view! { <Body one asked/> })}
            <Ask asked/>
        </Page>
    }
}

#[component]
fn Head(one: IncidentDetail, asked: RwSignal<Option<Deed>>) -> impl IntoView {
    let ui = use_ui();
    let incident = one.incident;
    let (tone, word) = standing(incident.state);
    let until = incident.resolved_ms.unwrap_or_else(|| ui.now_ms.get_untracked());
    let times = format!(
        "{} {} · {} {}",
        t(Msg::Opened),
        clock(incident.opened_ms),
        t(Msg::Lasted),
        lasted(incident.opened_ms, until)
    );
    let taken = incident.acknowledged_by.as_ref().map(|by| fill(Msg::AcknowledgedBy, &[by]));
    let acknowledge = incident.acknowledged_by.is_none().then(|| {
        let deed = Deed {
            title: Msg::Acknowledge,
            how: None,
            path: format!("incidents/{}/acknowledge", incident.id),
            asks_why: false,
        };
        view! { <DeedButton deed asked glyph=Glyph::Check testid="acknowledge"/> }
    });
    let labels = incident.labels.clone();
    let silence = (incident.state == IncidentState::Open)
        .then(|| view! { <Silence labels=labels.clone().into_iter().collect()/> });
    let chip = |(name, value): (String, String)| view! { <span class="label-chip"><span class="muted">{name}</span>{value}</span> };
    view! {
        <header class="page-head">
            <span class="crumbs"><a href=move || ui.url.link("/incidents", &[])>{t(Msg::Incidents)}</a></span>
            <h1>{incident.rule}</h1>
            <Badge tone text=word/>
            <span class="muted num">{times}</span>
            {taken.map(|text| view! { <span class="muted">{text}</span> })}
            <span class="spacer"></span>
            {acknowledge}
            {silence}
        </header>
        {(!incident.summary.is_empty()).then(|| view! { <p class="incident-summary">{incident.summary}</p> })}
        <p>{incident.labels.into_iter().map(chip).collect_view()}</p>
        {one.unknown.map(|why| view! { <div class="note warn"><Icon glyph=Glyph::Warn/><p>{why}</p></div> })}
    }
}

/// Keeps the alert quiet for a while, by Alertmanager's API.
#[component]
fn Silence(labels: Vec<(String, String)>) -> impl IntoView {
    let ui = use_ui();
    let (done, refused) = (RwSignal::new(None::<i64>), RwSignal::new(None::<Failure>));
    let silence = move |_| {
        let now_ms = crate::browser::now_ms();
        let matchers: Vec<Value> = labels
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value, "isRegex": false, "isEqual": true}))
            .collect();
        let until_ms = now_ms + SILENCE_MS;
        let time = |ms: i64| model::time::Timestamp::from_ms(ms).to_string();
        let by = crate::browser::stored("name").filter(|name| !name.is_empty());
        let body = json!({
            "matchers": matchers,
            "startsAt": time(now_ms),
            "endsAt": time(until_ms),
            "createdBy": by.unwrap_or_else(|| "dashboard".to_owned()),
            "comment": "incident",
        });
        spawn_local(async move {
            match client::post_to::<_, serde::de::IgnoredAny>("api/v2/silences", &body).await {
                Ok(_) => drop(done.try_set(Some(until_ms))),
                Err(Failure::Lost) => ui.lost(),
                Err(failure) => drop(refused.try_set(Some(failure))),
            }
        });
    };
    view! {
        {move || match done.get() {
            Some(until) => view! { <span class="muted">{fill(Msg::SilencedUntil, &[&clock(until)])}</span> }.into_any(),
            None => view! { <button class="button small" data-testid="silence" on:click=silence.clone()><Icon glyph=Glyph::Bell/>{t(Msg::Silence2h)}</button> }.into_any(),
        }}
        {move || refused.get().as_ref().and_then(Failure::refusal).map(|error| view! { <ErrorNote error/> })}
    }
}

/// From when to when the incident is looked at: until now while it lasts.
fn window(one: &IncidentDetail, now_ms: i64) -> (i64, i64) {
    let incident = &one.incident;
    let last = one.timeline.last().map_or(incident.opened_ms, |entry| entry.at_ms);
    let end = incident.resolved_ms.map_or(now_ms, |at| at.max(last));
    let pad = (end - incident.opened_ms).clamp(PAD_MS.0, PAD_MS.1);
    (incident.opened_ms - pad, (end + pad).min(now_ms))
}

/// The moments that mattered, for the chart.
fn marks(one: &IncidentDetail) -> Vec<(i64, Ink, String)> {
    let mark = |entry: &Entry| {
        let (ink, name) = match (entry.kind, entry.what.as_str()) {
            (EntryKind::Alert, "firing") => (Ink::Error, Msg::MarkFiring),
            (EntryKind::Alert, "resolved") => (Ink::Ok, Msg::MarkResolved),
            (EntryKind::Run, "dispatched") => (Ink::Accent, Msg::MarkAction),
            (EntryKind::Run, "reverting" | "rolling_back") => (Ink::Warn, Msg::MarkBack),
            _ => return None,
        };
        Some((entry.at_ms, ink, t(name).to_owned()))
    };
    let mut marks: Vec<(i64, Ink, String)> = Vec::new();
    for mark in one.timeline.iter().filter_map(mark) {
        // A way back has several steps, and one beginning.
        if mark.1 != Ink::Warn || marks.last().is_none_or(|last| last.2 != mark.2) {
            marks.push(mark);
        }
    }
    marks
}

/// What the rule watches, around the incident.
#[component]
fn Watched(ui: Ui, detail: Memo<Option<IncidentDetail>>) -> impl IntoView {
    // The end of an open incident moves with the clock, and its question with it.
    let key = move || {
        let one = detail.get()?;
        let (from_ms, to_ms) = window(&one, ui.now_ms.get());
        let step = step_ms(to_ms - from_ms, 900.0);
        Some((one.watched, from_ms.div_euclid(step) * step, to_ms.div_euclid(step) * step, step))
    };
    let answer: Fetched<QueryAnswer> =
        fetch(key, |(text, from_ms, to_ms, step), _, signal| async move {
            let query =
                Query { id: 1, text, from_ms, to_ms, step_ms: Some(step), ..Query::default() };
            Ok(client::query(vec![query], signal).await?.into_iter().next().unwrap_or_default())
        });
    let data = Signal::derive(move || {
        let (answer, one) = (answer.value.get()?, detail.get()?);
        let range = window(&one, ui.now_ms.get_untracked());
        let mut data: Data = chart(&answer, range, &Spec::default(), promql_name);
        data.thresholds = one.threshold.map(|value| (value, Ink::Error)).into_iter().collect();
        data.marks = marks(&one);
        Some(Arc::new(data))
    });
    let failure = Signal::derive(move || {
        let of_all = answer.failure.get().as_ref().and_then(Failure::refusal);
        of_all.or_else(|| answer.value.get().and_then(|answer| answer.error.clone()))
    });
    let note = Signal::derive(move || detail.get().map(|one| one.expr));
    view! {
        <Show when=move || detail.with(Option::is_some)>
            <Chart title=t(Msg::Watched) data failure note legend=LegendKind::Short height_px=220 testid="incident-chart"/>
        </Show>
    }
}

#[component]
fn Body(one: IncidentDetail, asked: RwSignal<Option<Deed>>) -> impl IntoView {
    let ui = use_ui();
    let (from, to) = window(&one, ui.now_ms.get_untracked());
    let (from, to) = (from.to_string(), to.to_string());
    let held = one.runs.iter().flat_map(|run| run.held.iter().cloned()).collect::<Vec<_>>();
    let at = move |path: &'static str, extra: &[(&str, &str)]| {
        let range: Vec<(&str, &str)> = [("from", from.as_str()), ("to", to.as_str())]
            .into_iter()
            .chain(extra.iter().copied())
            .collect();
        ui.url.link(path, &range)
    };
    let metrics = at("/explore/metrics", &[("q", one.watched.as_str())]);
    let (logs, traces) = (at("/logs", &[]), at("/traces", &[]));
    let is_empty = one.runs.is_empty();
    view! {
        <div class="toolbar">
            <a class="button small" href=metrics><Icon glyph=Glyph::Chart/>{t(Msg::OpenInMetrics)}</a>
            <a class="button small" href=logs><Icon glyph=Glyph::Logs/>{t(Msg::Logs)}</a>
            <a class="button small" href=traces><Icon glyph=Glyph::Trace/>{t(Msg::Traces)}</a>
        </div>
        <HeldTable held asked/>
        <div class="incident-columns">
            <section class="block">
                <h2 class="block-title">{t(Msg::Actions)}</h2>
                {is_empty.then(|| view! { <section class="panel"><Empty title=t(Msg::NoActions)/></section> })}
                {one.runs.into_iter().map(|run| view! { <RunPanel run asked/> }).collect_view()}
            </section>
            <section class="block">
                <h2 class="block-title">{t(Msg::Timeline)}</h2>
                <Timeline entries=one.timeline/>
            </section>
        </div>
    }
}

#[component]
fn RunPanel(run: Run, asked: RwSignal<Option<Deed>>) -> impl IntoView {
    let (tone, text) = run_standing(&run.summary);
    let id = run.summary.id.clone();
    let approve = run.can_approve.then(|| {
        let path = format!("actions/{id}/approve");
        let deed = Deed { title: Msg::Approve, how: None, path, asks_why: false };
        view! { <DeedButton deed asked glyph=Glyph::Check testid="approve" primary=true/> }
    });
    let revert = run.can_revert.then(|| {
        let mut deed = back(&id);
        if run.can_approve {
            (deed.title, deed.how) = (Msg::Refuse, None);
        }
        view! { <DeedButton deed asked glyph=Glyph::Back testid="revert"/> }
    });
    let needed = (run.can_approve || !run.approved_by.is_empty()).then(|| {
        let (n, of) = (run.approved_by.len().to_string(), run.approvals_needed.to_string());
        let by = run.approved_by.join(", ");
        let by = if by.is_empty() { by } else { format!(": {by}") };
        view! { <span class="muted">{fill(Msg::ApprovalsOf, &[&n, &of])}{by}</span> }
    });
    let place = format!("{} / {}", run.summary.target, run.summary.member);
    let pair = |name: Msg, value: String| view! { <div><dt>{t(name)}</dt><dd>{value}</dd></div> };
    view! {
        <section class="panel run" data-testid="run">
            <div class="panel-head">
                <h2>{run.summary.runbook.clone()}</h2>
                <Badge tone text/>
                <span class="panel-note ellipsis">{place}</span>
                <span class="spacer"></span>
                {approve}{revert}
            </div>
            <div class="run-body">
                {run.escalated.map(|why| view! { <div class="note warn"><Icon glyph=Glyph::Person/><p>{fill(Msg::CallNeeded, &[&why])}</p></div> })}
                {needed}
                <dl class="annotations">
                    {pair(Msg::Plan, format!("{} · {}", clock(run.summary.planned_ms), &run.summary.id[..8.min(run.summary.id.len())]))}
                    {pair(Msg::Steps, run.steps.join("; "))}
                    {run.observed.map(|seen| pair(Msg::Observed, seen))}
                </dl>
                {run.success.map(|text| view! { <div><span class="muted">{t(Msg::VerifiedBy)}</span><CodeBlock text/></div> })}
                <Verdicts verdicts=run.verdicts/>
            </div>
        </section>
    }
}

/// Every guard; those that said no come first and are open to see.
#[component]
fn Verdicts(verdicts: Vec<Verdict>) -> impl IntoView {
    let (no, yes): (Vec<Verdict>, Vec<Verdict>) =
        verdicts.into_iter().partition(|verdict| verdict.outcome != "allow");
    let row = |one: Verdict| {
        let (tone, word) = match one.outcome.as_str() {
            "allow" => (Tone::Ok, Msg::VerdictAllow),
            "defer" => (Tone::Warn, Msg::VerdictDefer),
            _ => (Tone::Error, Msg::VerdictRefuse),
        };
        view! {
            <tr data-testid="verdict-row">
                <th scope="row">{one.guard}</th>
                <td><Badge tone text=t(word)/></td>
                <td class="verdict-text" data-label=t(Msg::Observed)>{one.observed}</td>
                <td class="verdict-text muted" data-label=t(Msg::Threshold)>{one.threshold}</td>
            </tr>
        }
    };
    let table = move |rows: Vec<Verdict>| {
        (!rows.is_empty()).then(|| {
            view! {
                <div class="table-scroll"><table class="table compact verdicts">
                    <thead><tr>
                        <th scope="col">{t(Msg::Guard)}</th>
                        <th scope="col">{t(Msg::Verdict)}</th>
                        <th scope="col">{t(Msg::Observed)}</th>
                        <th scope="col">{t(Msg::Threshold)}</th>
                    </tr></thead>
                    <tbody>{rows.into_iter().map(row).collect_view()}</tbody>
                </table></div>
            }
        })
    };
    let n = yes.len();
    view! {
        {table(no)}
        <details class="verdict-more" data-testid="verdicts">
            <summary>{format!("{} · {n} × {}", t(Msg::GuardsSaid), t(Msg::VerdictAllow))}</summary>
            {table(yes)}
        </details>
    }
}

/// What happened, in the language in force; a state that is not known here as the server says it.
fn moment(what: &str) -> String {
    let msg = match what {
        "pending" => Msg::StatePending,
        "firing" => Msg::StateFiring,
        "resolved" => Msg::StateResolved,
        "unknown" => Msg::RunUnknown,
        "refused" => Msg::RunRefused,
        "shadowed" => Msg::RunShadowed,
        "awaiting" => Msg::RunAwaiting,
        "admitted" => Msg::RunAdmitted,
        "leased" => Msg::MomentLeased,
        "captured" => Msg::MomentCaptured,
        "dispatched" => Msg::MomentDispatched,
        "observed" => Msg::MomentObserved,
        "verifying" => Msg::RunVerifying,
        "holding" => Msg::RunHolding,
        "reasserting" => Msg::MomentReasserting,
        "reverting" | "rolling_back" => Msg::RunReverting,
        "revert_dispatched" | "rollback_dispatched" => Msg::MomentBack,
        "closed" => Msg::RunClosed,
        other => return other.replace('_', " "),
    };
    t(msg).to_owned()
}

#[component]
fn Timeline(entries: Vec<Entry>) -> impl IntoView {
    let row = |entry: Entry| {
        let (glyph, class) = match (entry.kind, entry.what.as_str()) {
            (EntryKind::Alert, "firing" | "pending") => (Glyph::Bell, "error"),
            (EntryKind::Alert, "resolved") => (Glyph::Check, "ok"),
            (EntryKind::Alert, _) => (Glyph::Warn, "warn"),
            (EntryKind::Plan, _) => (Glyph::Logs, ""),
            (EntryKind::Approval | EntryKind::Acknowledgement, _) => (Glyph::Person, "accent"),
            (
                EntryKind::Run,
                "reverting" | "rolling_back" | "revert_dispatched" | "rollback_dispatched",
            ) => (Glyph::Back, "warn"),
            (EntryKind::Run, "holding") => (Glyph::Check, "ok"),
            (EntryKind::Run, "unknown") => (Glyph::Warn, "error"),
            (EntryKind::Run, _) => (Glyph::Bolt, "accent"),
            (EntryKind::Notification, _) => (Glyph::Right, ""),
        };
        let what = match entry.kind {
            EntryKind::Approval => fill(Msg::ApprovedBy, &[&entry.what]),
            EntryKind::Acknowledgement => fill(Msg::AcknowledgedBy, &[&entry.what]),
            EntryKind::Notification => entry.what.clone(),
            _ => moment(&entry.what),
        };
        view! {
            <li data-testid="timeline-row">
                <span class=format!("timeline-mark {class}")><Icon glyph/></span>
                <span class="num muted small">{clock(entry.at_ms)}</span>
                <span class="timeline-text"><b>{what}</b>" "{entry.text}</span>
            </li>
        }
    };
    view! { <ol class="panel timeline" data-testid="timeline">{entries.into_iter().map(row).collect_view()}</ol> }
}
