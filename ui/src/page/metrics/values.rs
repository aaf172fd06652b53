//! The newest value of each series as a table, largest first.

use std::sync::Arc;

use api::query::QueryAnswer;
use leptos::prelude::*;
use viz::table::Table;

use crate::browser;
use crate::chart::data::{last, promql_name};
use crate::msg::{Msg, t};
use crate::part::copy::CopyButton;
use crate::part::icon::{Glyph, Icon};
use crate::part::state::Empty;
use crate::part::windowed::Windowed;

const ROW_PX: f64 = 26.0;

/// The table.
#[component]
pub(super) fn Values(answer: Arc<QueryAnswer>) -> impl IntoView {
    let mut rows: Vec<(String, f64)> = answer
        .series
        .iter()
        .map(|series| (promql_name(&series.labels), last(&series.values)))
        .filter(|(_, value)| !value.is_nan())
        .collect();
    rows.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    if rows.is_empty() {
        return view! { <Empty title=t(Msg::NoRows)/> }.into_any();
    }
    let csv = Table {
        head: vec![t(Msg::Series).to_owned(), t(Msg::Value).to_owned()],
        rows: rows.iter().map(|(name, value)| vec![name.clone(), value.to_string()]).collect(),
    }
    .csv();
    let saved = csv.clone();
    let save = move |_| browser::download("headrope.csv", "text/csv", &saved);
    let csv = Signal::derive(move || csv.clone());
    let len = rows.len();
    // As high as its rows, as long as they fit.
    let height = format!("--rows:{:.0}px", viz::scale::float(len + 1) * ROW_PX + 12.0);
    let rows = Arc::new(rows);
    let render = move |i: usize| {
        rows.get(i).map(|(name, value)| {
            view! {
                <div class="grid-row values-row" role="row">
                    <span role="gridcell" title=name.clone()>{name.clone()}</span>
                    <span role="gridcell" class="num">{value.to_string()}</span>
                </div>
            }
        })
    };
    let head = view! {
        <div class="grid-row grid-head values-row" role="row">
            <span role="columnheader">{t(Msg::Series)}</span><span role="columnheader" class="num">{t(Msg::Value)}</span>
        </div>
    };
    view! {
        <section class="panel values-table" style=height data-testid="values">
            <div class="panel-head">
                <h2>{t(Msg::NewestValues)}</h2>
                <span class="spacer"></span>
                <CopyButton text=csv/>
                <button class="icon-button quiet" title=t(Msg::DownloadCsv) aria-label=t(Msg::DownloadCsv) on:click=save><Icon glyph=Glyph::Download/></button>
            </div>
            <Windowed len=Signal::derive(move || len) epoch=Signal::derive(|| 0) row_px=ROW_PX render label=t(Msg::NewestValues)>{head}</Windowed>
        </section>
    }
    .into_any()
}
