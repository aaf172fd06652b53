//! From the answer of a query to the data of a chart.

use std::collections::BTreeMap;

use api::query::QueryAnswer;
use viz::kind::line::{Data, Series, Style};
use viz::painter::Ink;
use viz::palette;
use viz::unit::Format;

use crate::browser;

/// How one chart of a fixed page is drawn.
#[derive(Clone, Copy, Default)]
pub(crate) struct Spec {
    /// UCUM unit; empty takes the answer's.
    pub(crate) unit: &'static str,
    pub(crate) style: Style,
    pub(crate) stacked: bool,
    pub(crate) y_max: Option<f64>,
    /// Series that have a meaning: their colours, and their order from the bottom.
    pub(crate) pins: &'static [(&'static str, Ink)],
}

/// Labels of a series.
pub(crate) type Labels = BTreeMap<String, String>;

/// The chart of an answer over a range in ms since the epoch; `name` gives each series its name.
pub(crate) fn chart(
    answer: &QueryAnswer,
    range_ms: (i64, i64),
    spec: &Spec,
    name: impl Fn(&Labels) -> String,
) -> Data {
    let names: Vec<String> = answer.series.iter().map(|series| name(&series.labels)).collect();
    let keys: Vec<&str> = names.iter().map(String::as_str).collect();
    let slots = palette::assign(&keys);
    let pin = |name: &str| spec.pins.iter().position(|(pinned, _)| *pinned == name);
    let mut series: Vec<Series> = answer
        .series
        .iter()
        .zip(names.iter().zip(slots))
        .map(|(series, (name, slot))| Series {
            name: name.clone(),
            slot,
            ink: pin(name).map(|i| spec.pins[i].1),
            values: series.values.clone(),
            hidden: false,
        })
        .collect();
    series.sort_by(|a, b| {
        let rank = |series: &Series| pin(&series.name).unwrap_or(usize::MAX);
        rank(a).cmp(&rank(b)).then_with(|| a.name.cmp(&b.name))
    });
    let unit = if spec.unit.is_empty() { &answer.unit } else { spec.unit };
    Data {
        times_ms: answer.times_ms.clone(),
        series,
        unit: Format::of(unit),
        style: spec.style,
        stacked: spec.stacked,
        range_ms,
        step_ms: answer.step_ms,
        y_max: spec.y_max,
        thresholds: Vec::new(),
        marks: Vec::new(),
        zone: browser::zone(range_ms.0, range_ms.1),
    }
}

/// A name as `PromQL` writes it: `metric{label="value"}`.
pub(crate) fn promql_name(labels: &Labels) -> String {
    let metric = labels.get("__name__").map_or("", String::as_str);
    let pairs: Vec<String> = labels
        .iter()
        .filter(|(name, _)| *name != "__name__")
        .map(|(name, value)| format!("{name}=\"{value}\""))
        .collect();
    match (metric, pairs.is_empty()) {
        ("", true) => "{}".to_owned(),
        (metric, true) => metric.to_owned(),
        (metric, false) => format!("{metric}{{{}}}", pairs.join(", ")),
    }
}

/// The values of some labels, joined; absent ones are left out.
pub(crate) fn joined(labels: &Labels, names: &[&str]) -> String {
    let values: Vec<&str> =
        names.iter().filter_map(|name| labels.get(*name)).map(String::as_str).collect();
    values.join(" ")
}

/// The latest value of a series; NaN when there is none.
pub(crate) fn last(values: &[f64]) -> f64 {
    values.iter().copied().rfind(|value| !value.is_nan()).unwrap_or(f64::NAN)
}
