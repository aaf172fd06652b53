//! Exemplars of the series that an expression selects.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::Array as _;
use futures::future::BoxFuture;
use model::id::SeriesId;
use model::matcher::Matcher;
use model::time::{TimeRange, Timestamp};
use store::{Kinds, Series};

use super::StoreSource;
use super::virtual_series::{self, Part, labels};
use crate::catalog::View;
use crate::engine::Engine;
use crate::error::Error;
use crate::promql::{Labels, Query};
use crate::runtime::Class;
use crate::search::{self, Rows};
use crate::sql;

/// Exemplars of an answer at most; the newest are kept.
const EXEMPLARS_MAX: usize = 10_000;
/// Series that are named to the scan; above, it gives all of the range and the rest is left out here.
const NAMED_MAX: usize = 1_000;

/// Which exemplars are wanted.
#[derive(Clone, Debug)]
pub struct ExemplarQuery {
    /// PromQL: its selectors select.
    pub expr: String,
    /// When the exemplars were seen.
    pub range: TimeRange,
}

/// An exemplar.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// `trace_id`, `span_id` and the others, by name.
    pub labels: BTreeMap<String, String>,
    /// The measured value.
    pub value: f64,
    /// When it was measured, ms since the epoch.
    pub t_ms: i64,
}

/// The exemplars of one series, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesExemplars {
    /// The series as PromQL shows it; of a classic histogram the bucket that the value fell into.
    pub series: Labels,
    /// At least one.
    pub exemplars: Vec<Exemplar>,
}

/// The exemplars found, by series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exemplars {
    /// Sorted by labels.
    pub series: Vec<SeriesExemplars>,
    /// Whether older ones were left out.
    pub truncated: bool,
}

/// A series whose exemplars are wanted.
struct Wanted {
    series: Arc<Series>,
    shown: Shown,
}

enum Shown {
    /// As it is.
    Plain,
    /// By its buckets, of which those with these bounds are selected.
    Buckets(virtual_series::Bounds),
}

impl Engine {
    /// Exemplars of the series that the selectors of an expression select.
    ///
    /// # Errors
    /// `Invalid` for what is not PromQL; `Exhausted`, `Timeout`.
    pub fn exemplars(&self, query: ExemplarQuery) -> BoxFuture<'_, Result<Exemplars, Error>> {
        let (time, max) = (self.config.timeout, self.options(None).max_samples);
        let text_max = self.config.text_bytes_max;
        Box::pin(async move {
            let range = query.range;
            let read = move |_: &_| Ok(selectors(&super::parse(&query.expr, text_max)?));
            let sets = self.apart(read).await?;
            self.sound(move |view| {
                let (sets, memory) = (sets.clone(), self.memory(Class::Interactive));
                let (session, of) = (self.session(view.clone()), view.clone());
                async move {
                    let memory = memory?;
                    let select = move || {
                        StoreSource::new(view.clone(), max, &memory);
                        wanted(&view, &sets, range)
                    };
                    let wanted = self.workers.run_blocking(time, move |_| select()).await?;
                    if wanted.is_empty() {
                        return Ok(Exemplars::default());
                    }
                    let text = statement(&wanted, range);
                    let session = session?;
                    let found = self
                        .workers
                        .run(time, async move {
                            let answer = sql::answer(session, &text, None, sql::ROWS_UNLIMITED);
                            answer.await
                        })
                        .await?;
                    let work = move || by_series(&of, &wanted, &found.batches, range, max);
                    self.workers.run_blocking(time, move |_| work()).await
                }
            })
            .await
        })
    }
}

/// The matchers of every selector in the expression, each set once.
fn selectors(query: &Query) -> Vec<Vec<Matcher>> {
    let mut found: Vec<Vec<Matcher>> = Vec::new();
    for selector in query.expr().selectors() {
        let matchers = selector.all_matchers();
        if !found.contains(&matchers) {
            found.push(matchers);
        }
    }
    found
}

fn wanted(
    view: &Arc<View>,
    sets: &[Vec<Matcher>],
    range: TimeRange,
) -> Result<HashMap<u64, Wanted>, Error> {
    let mut wanted = HashMap::new();
    for matchers in sets {
        for series in view.select_kinds(matchers, range, Kinds::Others)? {
            wanted.insert(series.id.0, Wanted { series, shown: Shown::Plain });
        }
        let selected = virtual_series::select(view, matchers, range)?;
        for histogram in &selected.histograms {
            // The measurement that an exemplar shows fell into a bucket.
            if histogram.parts.contains(&Part::Bucket) {
                let (series, bounds) = (Arc::clone(&histogram.series), selected.bounds());
                wanted.insert(series.id.0, Wanted { series, shown: Shown::Buckets(bounds) });
            }
        }
    }
    Ok(wanted)
}

fn statement(wanted: &HashMap<u64, Wanted>, range: TimeRange) -> String {
    let metrics: BTreeSet<&str> = wanted.values().map(|w| w.series.def.metric.as_str()).collect();
    let list = |items: Vec<String>| items.join(", ");
    let of = if wanted.len() <= NAMED_MAX {
        format!("series_id IN ({})", list(wanted.keys().map(u64::to_string).collect()))
    } else {
        format!("metric IN ({})", list(metrics.iter().map(|m| search::literal(m)).collect()))
    };
    format!(
        "SELECT series_id, time, value, trace_id, span_id, attributes FROM exemplars \
         WHERE {} AND {of} ORDER BY time DESC LIMIT {}",
        search::within(range),
        EXEMPLARS_MAX + 1
    )
}

/// Sorts the rows, newest first, into series.
fn by_series(
    view: &Arc<View>,
    wanted: &HashMap<u64, Wanted>,
    batches: &[arrow::array::RecordBatch],
    range: TimeRange,
    samples_max: usize,
) -> Result<Exemplars, Error> {
    let mut found: Vec<(u64, Exemplar)> = Vec::new();
    for batch in batches {
        read(&Rows(batch), &mut found)?;
    }
    let truncated = found.len() > EXEMPLARS_MAX;
    found.truncate(EXEMPLARS_MAX);
    let bounds = bounds(view, wanted, &found, range, samples_max)?;
    let mut series: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
    for (id, exemplar) in found.into_iter().rev() {
        let Some(wanted) = wanted.get(&id) else { continue };
        let shown = match &wanted.shown {
            Shown::Plain => labels(&wanted.series, "", None),
            Shown::Buckets(selected) => {
                let all = bounds.get(&id).map_or(&[][..], Vec::as_slice);
                let upper = all.iter().copied().find(|bound| exemplar.value <= *bound);
                let le = super::cut::bound_text(upper.unwrap_or(f64::INFINITY));
                if !selected.contain(&le) {
                    continue;
                }
                labels(&wanted.series, Part::Bucket.suffix(), Some(&le))
            }
        };
        series.entry(shown).or_default().push(exemplar);
    }
    let series =
        series.into_iter().map(|(series, exemplars)| SeriesExemplars { series, exemplars });
    Ok(Exemplars { series: series.collect(), truncated })
}

fn read(rows: &Rows<'_>, into: &mut Vec<(u64, Exemplar)>) -> Result<(), Error> {
    let (ids, times) = (rows.ids("series_id")?, rows.integers("time")?);
    let values = rows.floats("value")?;
    let (traces, spans) = (rows.texts("trace_id")?, rows.texts("span_id")?);
    let attributes = rows.maps("attributes")?;
    for (row, id) in ids.into_iter().enumerate() {
        let mut labels: BTreeMap<String, String> =
            search::entries_at(&attributes, row).into_iter().collect();
        for (name, ids) in [("trace_id", &traces), ("span_id", &spans)] {
            if ids.is_valid(row) && ids.value(row).bytes().any(|digit| digit != b'0') {
                labels.insert(name.to_owned(), ids.value(row).to_owned());
            }
        }
        let t_ms = Timestamp(times.value(row)).ms();
        into.push((id, Exemplar { labels, value: values.value(row), t_ms }));
    }
    Ok(())
}

/// The bounds of the histograms that exemplars were found of, ascending; as of the end of the range.
fn bounds(
    view: &Arc<View>,
    wanted: &HashMap<u64, Wanted>,
    found: &[(u64, Exemplar)],
    range: TimeRange,
    samples_max: usize,
) -> Result<HashMap<u64, Vec<f64>>, Error> {
    let ids: BTreeSet<u64> = found.iter().map(|(id, _)| *id).collect();
    let of_buckets = |wanted: &&Wanted| matches!(wanted.shown, Shown::Buckets(_));
    let mut series: Vec<Arc<Series>> = ids
        .iter()
        .filter_map(|id| wanted.get(id).filter(of_buckets))
        .map(|wanted| Arc::clone(&wanted.series))
        .collect();
    series.sort_by_key(|series| (series.def.metric.clone(), SeriesId(series.id.0)));
    let limit = store::scan::ScanLimit {
        samples_max: u64::try_from(samples_max).unwrap_or(u64::MAX),
        ..view.limit()
    };
    let range_ms = (range.start.ms(), range.end.ms());
    let mut bounds = HashMap::new();
    for histogram in view.snapshot.histograms(&series, range_ms, &limit)? {
        let histogram = histogram?;
        let newest = histogram.points.iter().rev().find_map(|point| point.bounds.as_deref());
        bounds.insert(histogram.series.id.0, newest.unwrap_or_default().to_vec());
    }
    Ok(bounds)
}
