//! Objectives of service level: what is left of each error budget, how fast it is spent, and which alert that raises.

use std::sync::Arc;

use api::alert::State;
use api::query::Query;
use api::slo::{Slo, Slos, Tier};
use leptos::prelude::*;
use viz::kind::line::Data;
use viz::painter::Ink;
use viz::unit::Format;

use super::{Page, begin};
use crate::app::use_ui;
use crate::chart::data::{Spec, chart};
use crate::chart::{Chart, LegendKind};
use crate::client::{self, Failure};
use crate::msg::{Msg, fill, t};
use crate::part::badge::{Badge, Tone, alert_state};
use crate::part::copy::CodeBlock;
use crate::part::state::{Empty, ErrorNote, Loading};
use crate::refresh::{Answers, Fetched, batch, fetch};

/// An objective to start from.
const EXAMPLE: &str = r#"apiVersion: headrope/v1
kind: SLO
metadata: {name: checkout}
spec:
  service: shop
  objective: 99.9%
  indicator:
    ratio:
      bad: sum(increase(http_requests_total{job="shop", code=~"5.."}[$window]))
      total: sum(increase(http_requests_total{job="shop"}[$window]))"#;
/// Objectives whose burn rates are drawn; the rest is in the table of numbers alone.
const CHARTS_MAX: usize = 12;

#[component]
pub(crate) fn SlosPage() -> impl IntoView {
    begin();
    let all: Fetched<Slos> =
        fetch(|| Some(()), |(), _, signal| async move { client::get("slos", signal).await });
    let failure = move || all.failure.get().as_ref().and_then(Failure::refusal);
    let names = Memo::new(move |_| {
        let all = all.value.get()?;
        Some(all.slos.iter().map(|slo| slo.name.clone()).collect::<Vec<_>>())
    });
    let width = RwSignal::new(600.0);
    let answers = batch(width.into(), move |(from_ms, to_ms), step_ms| {
        let names = names.get().unwrap_or_default();
        let query = |(i, name): (usize, &String)| Query {
            id: u32::try_from(i).unwrap_or(0),
            text: format!("slo:burn_rate{{slo={name:?}, window=~\"5m|1h|6h|3d\"}}"),
            from_ms,
            to_ms,
            step_ms: Some(step_ms),
            ..Query::default()
        };
        names.iter().take(CHARTS_MAX).enumerate().map(query).collect()
    });
    let panel = move |i: usize, name: String| {
        let slo = Memo::new(move |_| {
            let all = all.value.get()?;
            all.slos.iter().find(|slo| slo.name == name).cloned()
        });
        view! { <Panel i slo answers width/> }
    };
    view! {
        <Page title=t(Msg::Slos).to_owned() testid="page-slos">
            <header class="page-head"><h1>{t(Msg::Slos)}</h1></header>
            {move || failure().map(|error| view! { <ErrorNote error/> })}
            {move || match names.get() {
                None => view! { <Loading lines=6/> }.into_any(),
                Some(names) if names.is_empty() => view! {
                    <section class="panel" data-testid="no-slos">
                        <Empty title=t(Msg::NoSlos)>
                            <p>{t(Msg::NoSlosHow)}</p>
                            <CodeBlock text=EXAMPLE.to_owned()/>
                        </Empty>
                    </section>
                }.into_any(),
                Some(names) => names.into_iter().enumerate().map(|(i, name)| panel(i, name)).collect_view().into_any(),
            }}
        </Page>
    }
}

/// How an objective stands: its worst alert.
fn worst(slo: &Slo) -> (Tone, &'static str) {
    let rank = |tier: &&Tier| match (tier.state, tier.severity.as_str()) {
        (State::Firing, "ticket") => 2,
        (State::Firing, _) => 3,
        (State::NoData | State::Pending, _) => 1,
        _ => 0,
    };
    let tier = slo.tiers.iter().max_by_key(rank);
    tier.map_or((Tone::Unknown, t(Msg::StateInactive)), |tier| alert_state(tier.state))
}

#[component]
fn Panel(
    i: usize,
    slo: Memo<Option<Slo>>,
    answers: Fetched<Answers>,
    width: RwSignal<f64>,
) -> impl IntoView {
    let ui = use_ui();
    let id = u32::try_from(i).unwrap_or(0);
    let data = Signal::derive(move || {
        let answer = answers.value.get()?.get(&id).cloned()?;
        let range = ui.range.get().resolve(ui.now_ms.get_untracked());
        let name =
            |labels: &crate::chart::data::Labels| labels.get("window").cloned().unwrap_or_default();
        let mut data: Data = chart(&answer, range, &Spec::default(), name);
        // At this rate the budget lasts exactly the period.
        data.thresholds = vec![(1.0, Ink::Warn)];
        Some(Arc::new(data))
    });
    let head = move || {
        let slo = slo.get()?;
        let (tone, word) = worst(&slo);
        let goal = fill(Msg::SloGoal, &[&slo.objective.to_string(), &slo.period]);
        Some(view! {
            <h2>{slo.name}</h2>
            <Badge tone text=word/>
            <span class="panel-note">{goal}</span>
            <span class="spacer"></span>
            <span class="muted ellipsis">{slo.service}</span>
        })
    };
    let body = move || slo.get().map(|slo| view! { <Numbers slo/> });
    view! {
        <section class="panel slo" data-testid="slo">
            <div class="panel-head">{head}</div>
            <div class="slo-body">
                <div>{body}</div>
                {(i < CHARTS_MAX).then(|| view! {
                    <Chart title=t(Msg::BurnRate) data legend=LegendKind::Short height_px=150 width testid="slo-chart"/>
                })}
            </div>
        </section>
    }
}

/// The budget as a bar, and a row for each alert.
#[component]
fn Numbers(slo: Slo) -> impl IntoView {
    let left = slo.budget_remaining;
    let share = left.unwrap_or(0.0).clamp(0.0, 1.0);
    let tone = match left {
        Some(left) if left <= 0.0 => "meter error",
        Some(left) if left < 0.25 => "meter warn",
        _ => "meter",
    };
    let text = left.map_or_else(|| "–".to_owned(), |left| Format::Ratio.text(left));
    let events = slo
        .events
        .zip(slo.bad_events)
        .map(|(all, bad)| fill(Msg::BadOf, &[&Format::Plain.text(bad), &Format::Plain.text(all)]));
    let said = (!slo.description.is_empty()).then(|| view! { <p>{slo.description}</p> });
    view! {
        {said}
        <div class=format!("{tone} slo-budget") data-testid="slo-budget">
            <span class="meter-label">{t(Msg::BudgetLeft)}</span>
            <span class="meter-track"><i style:width=format!("{:.1}%", share * 100.0)></i></span>
            <span class="meter-value num">{text}</span>
        </div>
        <p class="muted small">{events.unwrap_or_else(|| t(Msg::NothingCounted).to_owned())}</p>
        <div class="table-scroll"><table class="table compact">
            <thead><tr>
                <th scope="col">{t(Msg::Alerts)}</th>
                <th scope="col">{t(Msg::State)}</th>
                <th scope="col" class="num">{t(Msg::BurnRate)}</th>
                <th scope="col" class="num">{t(Msg::Threshold)}</th>
            </tr></thead>
            <tbody>{slo.tiers.into_iter().map(tier_row).collect_view()}</tbody>
        </table></div>
    }
}

fn tier_row(tier: Tier) -> impl IntoView {
    let (tone, word) = alert_state(tier.state);
    let one = |window: String, burn: Option<f64>| {
        let text = burn.map_or_else(|| "–".to_owned(), |burn| Format::Plain.text(burn));
        let class =
            if burn.is_some_and(|burn| burn > tier.threshold) { "burn over" } else { "burn" };
        view! { <span class=class><span class="muted">{window}</span>" "{text}</span> }
    };
    view! {
        <tr data-testid="slo-tier">
            <th scope="row">{tier.alert.clone()}" "<span class="muted">{tier.severity.clone()}</span></th>
            <td><Badge tone text=word/></td>
            <td class="num">{one(tier.long.clone(), tier.burn_long)}{one(tier.short.clone(), tier.burn_short)}</td>
            <td class="num muted">{format!("> {}", Format::Plain.text(tier.threshold))}</td>
        </tr>
    }
}
