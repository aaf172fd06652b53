//! One log record in full.

use std::sync::Arc;

use api::log::LogRow;
use leptos::prelude::*;
use viz::time_axis::date_time;

use crate::app::Ui;
use crate::browser;
use crate::msg::{Msg, t};
use crate::part::attributes::Attributes;
use crate::part::badge::{Badge, severity};
use crate::part::copy::CopyButton;
use crate::part::icon::{Glyph, Icon};

#[component]
pub(super) fn Detail(
    ui: Ui,
    rows: RwSignal<Arc<Vec<LogRow>>>,
    selected: Memo<String>,
    query: Memo<String>,
) -> impl IntoView {
    let row = Memo::new(move |_| {
        let time_ns: i64 = selected.get().parse().ok()?;
        rows.with(|rows| rows.iter().find(|row| row.time_ns == time_ns).cloned())
    });
    let filter = move |(key, value): (String, String)| {
        let quoted = if value.contains([' ', '"', ':']) { format!("{value:?}") } else { value };
        let text = format!("{} {key}:{quoted}", query.get_untracked());
        ui.url.set(&[("q", Some(text.trim().to_owned())), ("sel", None)], false);
    };
    move || row.get().map(|row| view! { <Record ui row filter=Callback::new(filter)/> })
}

#[component]
fn Record(ui: Ui, row: LogRow, filter: Callback<(String, String)>) -> impl IntoView {
    let (tone, word) = severity(row.severity_number, &row.severity_text);
    let at_ms = row.time_ns.div_euclid(1_000_000);
    let sub_second = row.time_ns.rem_euclid(1_000_000_000);
    let time = format!("{}.{sub_second:09}", date_time(at_ms, &browser::zone_at(at_ms)));
    let body = row.body.clone();
    let trace = row.trace_id.clone().map(|trace_id| {
        let span = row.span_id.clone().unwrap_or_default();
        let path = format!("/trace/{trace_id}");
        let href = move || {
            let extra = [("span", span.as_str())];
            ui.url.link(&path, if span.is_empty() { &[] } else { &extra })
        };
        view! { <a class="button small" href=href data-testid="log-trace"><Icon glyph=Glyph::Trace/>{t(Msg::OpenTrace)}</a> }
    });
    view! {
        <aside class="panel detail" data-testid="log-detail" aria-label=t(Msg::LogRecord)>
            <div class="panel-head">
                {(!word.is_empty()).then(|| view! { <Badge tone text=word/> })}
                <h2 class="ellipsis">{row.service.clone()}</h2>
                <span class="spacer"></span>
                {trace}
                <button class="icon-button quiet" aria-label=t(Msg::Close) title=t(Msg::Close)
                    on:click=move |_| ui.url.set(&[("sel", None)], true)><Icon glyph=Glyph::Close/></button>
            </div>
            <div class="detail-body">
                <p class="num muted small">{time}</p>
                <div class="code-block"><pre>{body.clone()}</pre><CopyButton text=body/></div>
                <Attributes title=t(Msg::Attributes) map=row.attributes on_filter=filter/>
                <Attributes title=t(Msg::Resource) map=row.resource on_filter=filter/>
            </div>
        </aside>
    }
}
