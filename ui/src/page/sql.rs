//! SQL over everything stored: editor, tables at hand, result.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::error::ApiError;
use api::sql::{SqlAnswer, SqlRequest};
use leptos::prelude::*;
use viz::table::Table;
use viz::token::Language;

use super::{Page, begin};
use crate::app::{Ui, use_ui};
use crate::browser;
use crate::client::{self, Failure};
use crate::msg::{Msg, fill, t};
use crate::part::attributes;
use crate::part::editor::Editor;
use crate::part::icon::{Glyph, Icon};
use crate::part::state::{Empty, Loading, Warnings};
use crate::part::windowed::Windowed;
use crate::refresh::{Fetched, fetch_at};

/// Rows asked for at most.
const ROWS_MAX: usize = 10_000;

const ROW_PX: f64 = 26.0;

const EXAMPLES: [(Msg, &str); 4] = [
    (
        Msg::ExampleLogs,
        "SELECT time, severity_text, service_name, body\nFROM logs\nWHERE severity_number >= 17\nORDER BY time DESC\nLIMIT 100",
    ),
    (
        Msg::ExampleSpans,
        "SELECT service_name, name, count(*) AS calls, avg(duration) / 1e6 AS mean_ms\nFROM spans\n\
         GROUP BY service_name, name\nORDER BY calls DESC\nLIMIT 50",
    ),
    (
        Msg::ExampleSeries,
        "SELECT metric, count(*) AS series\nFROM series\nGROUP BY metric\nORDER BY series DESC\nLIMIT 50",
    ),
    (
        Msg::ExampleTables,
        "SELECT table_name, column_name, data_type\nFROM information_schema.columns\nORDER BY table_name, ordinal_position",
    ),
];

const SCHEMA: &str = "SELECT table_name, column_name, data_type FROM information_schema.columns \
                      WHERE table_schema <> 'information_schema' ORDER BY table_name, ordinal_position";

#[component]
pub(crate) fn Sql() -> impl IntoView {
    let pending = begin();
    let ui = use_ui();
    let query = ui.url.param("q");
    let text = RwSignal::new(query.get_untracked());
    let runs = RwSignal::new(0u32);
    Effect::new(move |_| text.set(query.get()));
    let answer: Fetched<SqlAnswer> = fetch_at(
        Signal::derive(|| 0),
        move || Some((query.get(), runs.get())).filter(|(query, _)| !query.trim().is_empty()),
        |(query, _), _, signal| async move {
            client::post("sql", &SqlRequest { query, limit: Some(ROWS_MAX) }, signal).await
        },
    );
    pending.settle();
    let error = Signal::derive(move || {
        let same = query.get() == text.get();
        answer.failure.get().as_ref().and_then(Failure::refusal).filter(|_| same)
    });
    let run = move |()| {
        runs.update(|n| *n += 1);
        ui.url.set(&[("q", Some(text.get_untracked()))], false);
    };
    view! {
        <Page title=t(Msg::Sql).to_owned() testid="page-sql">
            <header class="page-head"><h1>{t(Msg::Sql)}</h1></header>
            <div class="sql-grid">
                <Schema text/>
                <div class="sql-main">
                    <Editor text language=Language::Sql label=t(Msg::SqlQuery) placeholder=t(Msg::SqlPlaceholder)
                        on_run=Callback::new(run) error testid="sql-editor"/>
                    <div class="toolbar">
                        <button class="button primary" data-testid="run" on:click=move |_| run(())>
                            <Icon glyph=Glyph::Run/>{t(Msg::Run)}<kbd>"ctrl ⏎"</kbd>
                        </button>
                        <Examples ui/>
                    </div>
                    <ResultPane answer error query/>
                </div>
            </div>
        </Page>
    }
}

#[component]
fn Examples(ui: Ui) -> impl IntoView {
    let chip = move |(name, query): (Msg, &'static str)| {
        view! {
            <button class="chip" on:click=move |_| ui.url.set(&[("q", Some(query.to_owned()))], false)>{t(name)}</button>
        }
    };
    view! { <div class="chips" aria-label=t(Msg::Examples)>{EXAMPLES.into_iter().map(chip).collect_view()}</div> }
}

/// Tables that are not named after a metric, in the order they are shown.
const TABLES: [&str; 6] = ["logs", "spans", "metrics", "histograms", "series", "resources"];

/// A name as SQL takes it: quoted when it is more than letters, digits and underscores.
fn quoted(name: &str) -> String {
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// Tables and their columns; a click writes the name into the query.
#[component]
fn Schema(text: RwSignal<String>) -> impl IntoView {
    let found: Fetched<SqlAnswer> = fetch_at(
        Signal::derive(|| 0),
        || Some(()),
        |(), _, signal| async move {
            let request = SqlRequest { query: SCHEMA.to_owned(), limit: Some(ROWS_MAX) };
            client::post("sql", &request, signal).await
        },
    );
    let tables = move || {
        let answer = found.value.get()?;
        let mut tables: BTreeMap<String, Columns> = BTreeMap::new();
        for row in &answer.rows {
            let cell = |i: usize| row.get(i).map(attributes::text).unwrap_or_default();
            tables.entry(cell(0)).or_default().push((cell(1), cell(2)));
        }
        let main: Vec<_> = TABLES.iter().filter_map(|name| tables.remove_entry(*name)).collect();
        let table =
            move |(name, columns): (String, Columns)| view! { <SchemaTable text name columns/> };
        let count = tables.len().to_string();
        Some(view! {
            {main.into_iter().map(table).collect_view()}
            <h3 class="schema-group">{fill(Msg::MoreTables, &[&count])}</h3>
            {tables.into_iter().map(table).collect_view()}
        })
    };
    view! {
        <aside class="panel schema" aria-label=t(Msg::Tables)>
            <div class="panel-head"><h2>{t(Msg::Tables)}</h2></div>
            {tables}
        </aside>
    }
}

/// Names and types of columns.
type Columns = Vec<(String, String)>;

/// One table; its columns are built when it is opened.
#[component]
fn SchemaTable(text: RwSignal<String>, name: String, columns: Columns) -> impl IntoView {
    let open = RwSignal::new(false);
    let columns = StoredValue::new(columns);
    let write = move |word: &str| {
        text.update(|text| {
            if !text.is_empty() && !text.ends_with(char::is_whitespace) {
                text.push(' ');
            }
            text.push_str(word);
        });
        browser::focus("[data-focus=query]");
    };
    let from = format!("FROM {}", quoted(&name));
    let column = move |(column, data_type): (String, String)| {
        let (word, title) = (quoted(&column), data_type.clone());
        let short = data_type.split(['(', '<']).next().unwrap_or_default().to_owned();
        view! {
            <li><button on:click=move |_| write(&word) title=title>
                <span class="mono ellipsis">{column}</span><span class="muted small">{short}</span>
            </button></li>
        }
    };
    let list = move || {
        let from = from.clone();
        let shown = from.clone();
        view! {
            <ul>
                <li><button on:click=move |_| write(&from)><span class="mono t-keyword ellipsis">{shown}</span></button></li>
                {columns.get_value().into_iter().map(column).collect_view()}
            </ul>
        }
    };
    let title = name.clone();
    view! {
        <div class="schema-table">
            <button class="schema-name mono" aria-expanded=move || open.get().to_string() title=title
                on:click=move |_| open.update(|on| *on = !*on)>
                <Icon glyph=Glyph::Right/><span class="ellipsis">{name}</span>
            </button>
            <Show when=move || open.get()>{list.clone()}</Show>
        </div>
    }
}

#[component]
fn ResultPane(
    answer: Fetched<SqlAnswer>,
    error: Signal<Option<ApiError>>,
    query: Memo<String>,
) -> impl IntoView {
    move || {
        if answer.loading.get() {
            return view! { <Loading lines=8/> }.into_any();
        }
        if error.get().is_some() {
            return ().into_any();
        }
        match answer.value.get() {
            Some(answer) => view! { <Rows answer/> }.into_any(),
            None if query.get().is_empty() => {
                view! { <Empty title=t(Msg::SqlEmpty)><p>{t(Msg::SqlEmptyHow)}</p></Empty> }
                    .into_any()
            }
            None => ().into_any(),
        }
    }
}

fn is_number(data_type: &str) -> bool {
    ["Int", "UInt", "Float", "Decimal"].iter().any(|prefix| data_type.starts_with(prefix))
}

/// Widths of the columns in characters: wide enough for the first rows, within reason.
fn widths(answer: &SqlAnswer) -> Vec<usize> {
    let cell = |row: &Vec<serde_json::Value>, i: usize| {
        row.get(i).map_or(0, |v| attributes::text(v).chars().count())
    };
    let width = |(i, column): (usize, &api::sql::Column)| {
        let longest = answer.rows.iter().take(200).map(|row| cell(row, i)).max().unwrap_or(0);
        longest.max(column.name.chars().count()).clamp(4, 60) + 4
    };
    answer.columns.iter().enumerate().map(width).collect()
}

#[component]
fn Rows(answer: Arc<SqlAnswer>) -> impl IntoView {
    let widths = widths(&answer);
    let min_width = format!("{}ch", widths.iter().sum::<usize>());
    let columns: Vec<String> = widths.iter().map(|n| format!("minmax({n}ch, {n}fr)")).collect();
    let template = format!("grid-template-columns:{}", columns.join(" "));
    let numeric: Vec<bool> =
        answer.columns.iter().map(|column| is_number(&column.data_type)).collect();
    let head = answer.columns.iter().zip(&numeric).map(|(column, numeric)| {
        view! { <span role="columnheader" class:num=*numeric title=column.data_type.clone()>{column.name.clone()}</span> }
    });
    let head = view! { <div class="grid-row grid-head" role="row" style=template.clone()>{head.collect_view()}</div> };
    let (rows, took) =
        (answer.rows.len().to_string(), viz::unit::time(answer.stats.elapsed_ms / 1_000.0));
    let saved = Arc::clone(&answer);
    let save = move |_| browser::download("headrope.csv", "text/csv", &csv(&saved));
    let copied = Arc::clone(&answer);
    let csv_text = Signal::derive(move || csv(&copied));
    let len = answer.rows.len();
    let (truncated, warnings) = (answer.truncated, answer.warnings.clone());
    let shown = Arc::clone(&answer);
    let render = move |i: usize| {
        let cells = shown.rows.get(i).map(|row| {
            let cell = |(value, numeric): (&serde_json::Value, &bool)| {
                let text = attributes::text(value);
                let title = text.clone();
                view! { <span role="gridcell" class:num=*numeric class:null=value.is_null() title=title>{text}</span> }
            };
            row.iter().zip(&numeric).map(cell).collect_view()
        });
        view! { <div class="grid-row" role="row" style=template.clone()>{cells}</div> }
    };
    view! {
        <Warnings of=warnings/>
        <section class="panel sql-result" data-testid="sql-result">
            <div class="panel-head">
                <h2>{t(Msg::Result)}</h2>
                <span class="panel-note">{fill(Msg::RowsIn, &[&rows, &took])}</span>
                {truncated.then(|| view! { <span class="badge warn"><i class="mark"></i>{t(Msg::Truncated)}</span> })}
                <span class="spacer"></span>
                <crate::part::copy::CopyButton text=csv_text/>
                <button class="icon-button quiet" title=t(Msg::DownloadCsv) aria-label=t(Msg::DownloadCsv) on:click=save><Icon glyph=Glyph::Download/></button>
            </div>
            {if len == 0 {
                view! { <Empty title=t(Msg::NoRows)/> }.into_any()
            } else {
                view! { <Windowed len=Signal::derive(move || len) epoch=Signal::derive(|| 0) row_px=ROW_PX render min_width label=t(Msg::Result)>{head}</Windowed> }.into_any()
            }}
        </section>
    }
}

fn csv(answer: &SqlAnswer) -> String {
    let cell = |value: &serde_json::Value| {
        if value.is_null() { String::new() } else { attributes::text(value) }
    };
    Table {
        head: answer.columns.iter().map(|column| column.name.clone()).collect(),
        rows: answer.rows.iter().map(|row| row.iter().map(cell).collect()).collect(),
    }
    .csv()
}
