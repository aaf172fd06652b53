//! `load`: series into the source, with the reset hints a store would have given back.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::promql::duration::parse_ms;
use crate::promql::histogram::{CUSTOM_SCHEMA, Histogram, ResetHint};
use crate::promql::labels::{Labels, NAME};
use crate::promql::series_desc::{parse_metric, parse_series};
use crate::promql::source::{MemorySample, MemorySource};
use crate::promql::value::Reading;
use model::metric::{STALE_NAN_BITS, is_stale};

/// A `load` command.
pub(super) struct Load {
    step_ms: i64,
    with_custom_buckets: bool,
    series: BTreeMap<Labels, Vec<MemorySample>>,
    /// Start times given for the series of the next line, relative to its samples.
    starts: Option<(Labels, Vec<Option<i64>>)>,
}

impl Load {
    pub(super) const fn new(step_ms: i64, with_custom_buckets: bool) -> Self {
        Self { step_ms, with_custom_buckets, series: BTreeMap::new(), starts: None }
    }

    pub(super) fn line(&mut self, line: &str) -> Result<(), String> {
        let first = line.split_whitespace().next().unwrap_or_default();
        if let Some(metric) = first.strip_suffix("@st") {
            let (labels, _) = parse_metric(metric)?;
            self.starts = Some((labels, parse_starts(&line[first.len()..])?));
            return Ok(());
        }
        let described = parse_series(line)?;
        let starts = match self.starts.take() {
            None => Vec::new(),
            Some((labels, starts))
                if labels == described.labels && starts.len() == described.values.len() =>
            {
                starts
            }
            Some((labels, _)) => {
                return Err(format!("start times of {labels} do not fit the series after them"));
            }
        };
        let mut samples = Vec::new();
        let mut t_ms = 0;
        for (i, value) in described.values.into_iter().enumerate() {
            if let Some(value) = value {
                let start = starts.get(i).copied().flatten().map_or(0, |offset| t_ms + offset);
                samples.push(MemorySample { t_ms, start_ms: start, reading: value.reading });
            }
            t_ms += self.step_ms;
        }
        self.series.insert(described.labels, samples);
        Ok(())
    }

    pub(super) fn store(self, source: &mut MemorySource) -> Result<(), String> {
        if let Some((labels, _)) = self.starts {
            return Err(format!("start times of {labels} without a series"));
        }
        if self.with_custom_buckets {
            for (labels, samples) in custom_buckets(&self.series) {
                source.insert(labels, with_stored_hints(samples));
            }
        }
        for (labels, samples) in self.series {
            source.insert(labels, with_stored_hints(samples));
        }
        Ok(())
    }
}

/// `_`, `_xN`, `dur`, `durxN`, `dur±durxN`: offsets from the samples, ms.
fn parse_starts(text: &str) -> Result<Vec<Option<i64>>, String> {
    let mut starts = Vec::new();
    for item in text.split_whitespace() {
        let bad = || format!("invalid start time {item:?}");
        let (head, n) = match item.split_once('x') {
            Some((head, n)) => (head, Some(n.parse::<usize>().map_err(|_| bad())?)),
            None => (item, None),
        };
        if head == "_" {
            starts.extend(std::iter::repeat_n(None, n.unwrap_or(1)));
            continue;
        }
        let split = head.char_indices().skip(1).find(|(_, c)| matches!(c, '+' | '-'));
        let (start, increment) = match split {
            Some((i, _)) => (signed(&head[..i]), signed(&head[i..])),
            None => (signed(head), Some(0)),
        };
        let (mut start, increment) = start.zip(increment).ok_or_else(bad)?;
        for _ in 0..=n.unwrap_or(0) {
            starts.push(Some(start));
            start += increment;
        }
    }
    Ok(starts)
}

fn signed(text: &str) -> Option<i64> {
    let (sign, text) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    if text == "0" { Some(0) } else { parse_ms(text).map(|ms| sign * ms) }
}

/// The samples of a series as a store gives them back.
///
/// It keeps counter histograms in chunks that hold no reset: only a chunk's first sample is unsure.
#[must_use]
pub fn with_stored_hints(samples: Vec<MemorySample>) -> Vec<MemorySample> {
    let mut previous: Option<Arc<Histogram>> = None;
    let mut out = Vec::with_capacity(samples.len());
    for mut sample in samples {
        let Reading::Histogram(histogram) = &mut sample.reading else {
            let stale = matches!(&sample.reading, Reading::Float(value) if is_stale(*value));
            if stale && previous.is_some() {
                // The marker of a histogram series is a histogram.
                let sum = f64::from_bits(STALE_NAN_BITS);
                let marker = Histogram { sum, ..Histogram::default() };
                sample.reading = Reading::Histogram(Arc::new(marker));
            }
            previous = None;
            out.push(sample);
            continue;
        };
        if histogram.reset_hint == ResetHint::Gauge {
            previous = None;
        } else {
            let written = Arc::clone(histogram);
            let continues = previous.as_ref().is_some_and(|p| continues(p, histogram));
            Arc::make_mut(histogram).reset_hint =
                if continues { ResetHint::NotReset } else { ResetHint::Unknown };
            previous = Some(written);
        }
        out.push(sample);
    }
    out
}

fn continues(previous: &Histogram, next: &Histogram) -> bool {
    let mut judged = next.clone();
    if judged.reset_hint == ResetHint::Reset {
        return false;
    }
    judged.reset_hint = ResetHint::Unknown;
    previous.schema == next.schema
        && previous.zero_threshold == next.zero_threshold
        && previous.custom_values == next.custom_values
        && !judged.is_reset_after(previous)
}

/// A classic histogram at one time.
#[derive(Default)]
struct Classic {
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// The classic histograms among the series as histograms with custom buckets, under the base name.
fn custom_buckets(
    series: &BTreeMap<Labels, Vec<MemorySample>>,
) -> BTreeMap<Labels, Vec<MemorySample>> {
    let mut found: BTreeMap<Labels, BTreeMap<i64, Classic>> = BTreeMap::new();
    for (labels, samples) in series {
        let name = labels.name();
        let Some((base, suffix)) =
            ["_bucket", "_count", "_sum"].iter().find_map(|s| Some((name.strip_suffix(s)?, *s)))
        else {
            continue;
        };
        let bound = labels.value("le").parse::<f64>().ok().filter(|bound| !bound.is_nan());
        if suffix == "_bucket" && bound.is_none() {
            continue;
        }
        let times = found.entry(labels.filter(|name| name != "le").with(NAME, base)).or_default();
        for sample in samples {
            let Reading::Float(value) = sample.reading else { continue };
            let classic = times.entry(sample.t_ms).or_default();
            match (suffix, bound) {
                ("_bucket", Some(bound)) => classic.buckets.push((bound, value)),
                ("_count", _) => classic.count = Some(value),
                _ => classic.sum = value,
            }
        }
    }
    let converted = |times: BTreeMap<i64, Classic>| {
        times
            .into_iter()
            .filter_map(|(t_ms, classic)| {
                let histogram = Reading::Histogram(Arc::new(classic.convert()?));
                Some(MemorySample { t_ms, start_ms: 0, reading: histogram })
            })
            .collect()
    };
    found.into_iter().map(|(labels, times)| (labels, converted(times))).collect()
}

impl Classic {
    /// `None` when the cumulative counts fall.
    fn convert(mut self) -> Option<Histogram> {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let highest = self.buckets.last().map_or(0.0, |(_, count)| *count);
        let count = self.count.unwrap_or(highest);
        if self.buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let mut below = 0.0;
        let mut positive = Vec::new();
        for (index, (_, cumulative)) in (0..).zip(&self.buckets) {
            if *cumulative < below {
                return None;
            }
            positive.push((index, cumulative - below));
            below = *cumulative;
        }
        positive.retain(|(_, count)| *count != 0.0);
        let finite = self.buckets.iter().map(|(bound, _)| *bound).filter(|b| b.is_finite());
        Some(Histogram {
            schema: CUSTOM_SCHEMA,
            count,
            sum: self.sum,
            positive,
            custom_values: finite.collect(),
            ..Histogram::default()
        })
    }
}
