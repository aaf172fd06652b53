//! Log records: search, how many there are over time, a list without an end, and one record in full.

mod detail;

use std::sync::Arc;

use api::log::{LogBar, LogPage, LogRequest, LogRow};
use leptos::html::Div;
use leptos::prelude::*;
use leptos::task::spawn_local;
use viz::kind::line::{Data, Series, Style};
use viz::painter::Ink;
use viz::time_axis::clock_with_ms;
use viz::unit::Format;

use super::{Page, begin};
use crate::app::{Ui, use_ui};
use crate::browser;
use crate::chart::{Chart, LegendKind};
use crate::client::{self, Failure};
use crate::msg::{Msg, fill, t};
use crate::part::badge::severity;
use crate::part::state::{Empty, ErrorNote, Loading, Warnings};
use crate::part::windowed::Windowed;
use crate::refresh::{Fetched, fetch_at};
use detail::Detail;

/// Rows a page.
const PAGE_ROWS: usize = 200;

const ROW_PX: f64 = 24.0;

/// The list as it grows downwards.
#[derive(Clone, Copy)]
struct List {
    rows: RwSignal<Arc<Vec<LogRow>>>,
    cursor: RwSignal<Option<String>>,
    /// Whether the next page is on its way.
    growing: RwSignal<bool>,
    epoch: RwSignal<u64>,
}

#[component]
pub(crate) fn Logs() -> impl IntoView {
    begin();
    let ui = use_ui();
    let query = ui.url.param("q");
    let selected = ui.url.param("sel");
    let scroller = NodeRef::<Div>::new();
    // New records push the list down, so it follows the clock only while its top is in view.
    let clock = Memo::new(move |before: Option<&i64>| {
        let now_ms = ui.now_ms.get();
        let reading = !selected.get().is_empty()
            || scroller.get_untracked().is_some_and(|list| list.scroll_top() > 0);
        before.copied().filter(|_| reading).unwrap_or(now_ms)
    });
    let page: Fetched<LogPage> = fetch_at(
        clock.into(),
        move || Some((query.get(), ui.range.get())),
        |(query, range), now_ms, signal| async move {
            let (from_ms, to_ms) = range.resolve(now_ms);
            let request = LogRequest { query, from_ms, to_ms, limit: PAGE_ROWS, cursor: None };
            client::post("logs", &request, signal).await
        },
    );
    let list = List {
        rows: RwSignal::new(Arc::default()),
        cursor: RwSignal::new(None),
        growing: RwSignal::new(false),
        epoch: RwSignal::new(0),
    };
    Effect::new(move |_| {
        let Some(page) = page.value.get() else { return };
        list.rows.set(Arc::new(page.rows.clone()));
        list.cursor.set(page.cursor.clone());
        list.epoch.update(|n| *n += 1);
    });
    let failure = move || page.failure.get().as_ref().and_then(Failure::refusal);
    view! {
        <Page title=t(Msg::Logs).to_owned() testid="page-logs">
            <header class="page-head"><h1>{t(Msg::Logs)}</h1></header>
            <SearchBox ui query/>
            {move || failure().map(|error| view! { <ErrorNote error/> })}
            {move || page.value.get().map(|page| view! { <Warnings of=page.warnings.clone()/> })}
            <Histogram ui page/>
            <div class="split" class:open=move || !selected.get().is_empty()>
                <section class="panel log-list">
                    {move || match page.value.get() {
                        None => view! { <Loading lines=12/> }.into_any(),
                        Some(page) if page.rows.is_empty() => {
                            let title = if query.get().is_empty() { t(Msg::NoLogs) } else { t(Msg::NoLogsMatch) };
                            view! { <Empty title><p>{t(Msg::NoLogsHow)}</p></Empty> }.into_any()
                        }
                        Some(_) => ().into_any(),
                    }}
                    <Rows ui list page query selected scroller/>
                </section>
                <Detail ui rows=list.rows selected query/>
            </div>
        </Page>
    }
}

#[component]
fn SearchBox(ui: Ui, query: Memo<String>) -> impl IntoView {
    let typed = RwSignal::new(query.get_untracked());
    Effect::new(move |_| typed.set(query.get()));
    view! {
        <form class="search-form" role="search" on:submit=move |event| {
            event.prevent_default();
            ui.refresh_now();
            ui.url.set(&[("q", Some(typed.get_untracked())), ("sel", None)], false);
        }>
            <input class="input mono" type="search" data-focus="query" data-testid="log-search" spellcheck="false"
                aria-label=t(Msg::SearchLogs) placeholder=t(Msg::SearchLogsHow)
                prop:value=move || typed.get()
                on:input=move |event| typed.set(event_target_value(&event))/>
            <button class="button primary" type="submit">{t(Msg::Search)}</button>
        </form>
    }
}

/// Counts over time by severity; a drag zooms.
#[component]
fn Histogram(ui: Ui, page: Fetched<LogPage>) -> impl IntoView {
    let data = Signal::derive(move || {
        let page = page.value.get()?;
        let range_ms = ui.range.get_untracked().resolve(ui.now_ms.get_untracked());
        Some(Arc::new(bars(&page.histogram, range_ms)))
    });
    let note = Signal::derive(move || {
        let page = page.value.get()?;
        let total: u64 = page.histogram.iter().map(|bar| bar.total).sum();
        Some(fill(Msg::Records, &[&Format::Count(String::new()).text(total as f64)]))
    });
    view! { <Chart title=t(Msg::LogVolume) data note legend=LegendKind::None height_px=96 testid="chart-logs"/> }
}

fn bars(histogram: &[LogBar], range_ms: (i64, i64)) -> Data {
    let gap =
        histogram.windows(2).map(|pair| pair[1].t_ms - pair[0].t_ms).filter(|ms| *ms > 0).min();
    let step_ms = gap.unwrap_or(((range_ms.1 - range_ms.0) / 60).max(1));
    let series = |name: Msg, ink: Ink, count: fn(&LogBar) -> u64| Series {
        name: t(name).to_owned(),
        ink: Some(ink),
        values: histogram.iter().map(|bar| count(bar) as f64).collect(),
        ..Series::default()
    };
    Data {
        times_ms: histogram.iter().map(|bar| bar.t_ms).collect(),
        series: if histogram.is_empty() {
            Vec::new()
        } else {
            vec![
                series(Msg::SeverityError, Ink::Error, |bar| bar.error),
                series(Msg::SeverityWarn, Ink::Warn, |bar| bar.warn),
                series(Msg::SeverityOther, Ink::Series(0), |bar| {
                    bar.total.saturating_sub(bar.error + bar.warn)
                }),
            ]
        },
        unit: Format::Count(String::new()),
        style: Style::Bars,
        stacked: true,
        range_ms,
        step_ms,
        zone: browser::zone(range_ms.0, range_ms.1),
        ..Data::default()
    }
}

#[component]
fn Rows(
    ui: Ui,
    list: List,
    page: Fetched<LogPage>,
    query: Memo<String>,
    selected: Memo<String>,
    scroller: NodeRef<Div>,
) -> impl IntoView {
    let grow = move |()| {
        let Some(cursor) = list.cursor.get_untracked().filter(|_| !list.growing.get_untracked())
        else {
            return;
        };
        list.growing.set(true);
        let (from_ms, to_ms) = ui.range.get_untracked().resolve(ui.now_ms.get_untracked());
        let epoch = list.epoch.get_untracked();
        let request = LogRequest {
            query: query.get_untracked(),
            from_ms,
            to_ms,
            limit: PAGE_ROWS,
            cursor: Some(cursor),
        };
        spawn_local(async move {
            let answer: Result<LogPage, Failure> = client::post("logs", &request, None).await;
            list.growing.try_update(|growing| *growing = false);
            match answer {
                Ok(more) if list.epoch.try_get_untracked() == Some(epoch) => {
                    list.rows.update(|rows| Arc::make_mut(rows).extend(more.rows));
                    list.cursor.set(more.cursor);
                }
                Ok(_) => {}
                Err(failure) => drop(page.failure.try_set(Some(failure))),
            }
        });
    };
    let zone = browser::zone_at(browser::now_ms());
    let render = move |i: usize| {
        let rows = list.rows.get_untracked();
        let row = rows.get(i)?;
        let (tone, word) = severity(row.severity_number, &row.severity_text);
        let id = row.time_ns.to_string();
        let (opened, marked) = (id.clone(), id);
        let body = row.body.lines().next().unwrap_or_default().to_owned();
        Some(view! {
            <button
                class=format!("log-row {}", tone.class())
                data-testid="log-row"
                class:selected=move || selected.get() == marked
                on:click=move |_| ui.url.set(&[("sel", Some(opened.clone()))], true)
            >
                <time class="num">{clock_with_ms(row.time_ns.div_euclid(1_000_000), &zone)}</time>
                <span class="log-level">{word}</span>
                <span class="log-service ellipsis">{row.service.clone()}</span>
                <span class="log-body ellipsis">{body}</span>
            </button>
        })
    };
    view! {
        <Windowed
            len=Signal::derive(move || list.rows.with(|rows| rows.len()))
            epoch=list.epoch
            row_px=ROW_PX
            render
            label=t(Msg::Logs)
            on_end=Callback::new(grow)
            scroller
        />
        {move || list.growing.get().then(|| view! { <div class="progress" role="progressbar" aria-label=t(Msg::Loading)></div> })}
    }
}
