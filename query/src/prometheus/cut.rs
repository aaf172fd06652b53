//! Stored histograms as PromQL knows them: explicit ones cut into classic series, exponential ones native.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::metric::{STALE_NAN_BITS, is_stale};
use store::Series;
use store::scan::HistogramPoint;

use super::source::is_delta;
use super::virtual_series::{Part, Selected, labels};
use crate::promql::Labels;
use crate::promql::histogram::{Histogram, ResetHint};
use crate::promql::source::SourceError;

/// Resolutions Prometheus knows.
const SCHEMA_MIN: i8 = -4;
const SCHEMA_MAX: i8 = 8;
/// Half width of a zero bucket whose sender named none.
const ZERO_THRESHOLD: f64 = 1e-128;

/// A series made from histograms.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) labels: Labels,
    pub(super) t: Vec<i64>,
    pub(super) v: Vec<f64>,
    /// 0 where unknown.
    pub(super) start_t: Vec<i64>,
    /// Whether each value is what came since the one before.
    pub(super) is_delta: bool,
}

impl Cut {
    fn new(labels: Labels, series: &Series) -> Self {
        let is_delta = is_delta(series);
        Self { labels, t: Vec::new(), v: Vec::new(), start_t: Vec::new(), is_delta }
    }

    fn push(&mut self, point: &HistogramPoint, value: f64) {
        self.t.push(point.t);
        self.v.push(value);
        self.start_t.push(point.start_t.unwrap_or(0));
    }
}

/// Whether the point marks the end of its series.
pub(super) fn is_end(point: &HistogramPoint) -> bool {
    point.flags & 0b11 != 0 || point.sum.is_some_and(is_stale)
}

/// A bound as Prometheus writes it in `le`: shortest decimal form, no exponent.
pub(super) fn bound_text(bound: f64) -> String {
    if bound.is_infinite() {
        return if bound > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    bound.to_string()
}

/// The classic series of one explicit histogram: the parts selected, buckets ascending.
pub(super) fn classic(
    series: &Series,
    parts: &[Part],
    points: &[HistogramPoint],
    selected: &Selected,
) -> Vec<Cut> {
    let mut cuts = Vec::new();
    for part in parts {
        match part {
            Part::Bucket => cuts.extend(buckets(series, points, selected)),
            Part::Count | Part::Sum if !selected.has_bound("") => {}
            Part::Count => cuts.push(one(series, *part, points, |point| Some(point.count))),
            Part::Sum => cuts.push(one(series, *part, points, |point| point.sum)),
        }
    }
    cuts.retain(|cut| !cut.t.is_empty());
    cuts
}

fn one(
    series: &Series,
    part: Part,
    points: &[HistogramPoint],
    value: impl Fn(&HistogramPoint) -> Option<f64>,
) -> Cut {
    let mut cut = Cut::new(labels(series, part.suffix(), None), series);
    for point in points {
        if is_end(point) {
            cut.push(point, f64::from_bits(STALE_NAN_BITS));
        } else if let Some(value) = value(point) {
            cut.push(point, value);
        }
    }
    cut
}

/// One series for each bound that occurs. Bounds may change over time; each series has the points that know it.
fn buckets(series: &Series, points: &[HistogramPoint], selected: &Selected) -> Vec<Cut> {
    let mut cuts: BTreeMap<Bound, Cut> = BTreeMap::new();
    for point in points {
        if is_end(point) {
            for cut in cuts.values_mut() {
                cut.push(point, f64::from_bits(STALE_NAN_BITS));
            }
            continue;
        }
        let bounds = point.bounds.as_deref().unwrap_or_default();
        let mut filled = point.buckets.iter().peekable();
        let mut below = 0.0;
        for (ordinal, bound) in bounds.iter().copied().chain([f64::INFINITY]).enumerate() {
            let is_here = |index: i32| usize::try_from(index).is_ok_and(|index| index <= ordinal);
            while let Some(bucket) = filled.next_if(|bucket| is_here(bucket.index)) {
                below += bucket.count;
            }
            // The last bucket holds all by definition, whatever the buckets add up to.
            let value = if bound == f64::INFINITY { point.count } else { below };
            if let Some(cut) = cuts.get_mut(&Bound(bound)) {
                cut.push(point, value);
                continue;
            }
            let text = bound_text(bound);
            if selected.has_bound(&text) {
                let mut cut = Cut::new(labels(series, Part::Bucket.suffix(), Some(&text)), series);
                cut.push(point, value);
                cuts.insert(Bound(bound), cut);
            }
        }
    }
    cuts.into_values().collect()
}

/// A bound as a key, in numeric order.
#[derive(Clone, Copy, Debug)]
struct Bound(f64);

impl PartialEq for Bound {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Bound {}

impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bound {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// An exponential histogram as a native one.
pub(super) fn native(point: &HistogramPoint) -> Result<Histogram, SourceError> {
    if is_end(point) {
        let sum = f64::from_bits(STALE_NAN_BITS);
        return Ok(Histogram { sum, ..Histogram::default() });
    }
    if let Some(bounds) = &point.bounds {
        return Ok(custom(point, bounds.clone()));
    }
    let scale = point.exp_scale;
    if scale < SCHEMA_MIN {
        return Err(SourceError::Invalid(format!(
            "a histogram of scale {scale} is coarser than native histograms can be ({SCHEMA_MIN})"
        )));
    }
    let schema = scale.min(SCHEMA_MAX);
    let side = |wanted: i8| {
        let mut merged: Vec<(i32, f64)> = Vec::new();
        for bucket in point.buckets.iter().filter(|bucket| bucket.side == wanted) {
            // Index i of OTLP starts where index i + 1 of Prometheus ends.
            let index = shifted(bucket.index, scale - schema) + 1;
            match merged.last_mut() {
                Some((last, count)) if *last == index => *count += bucket.count,
                _ => merged.push((index, bucket.count)),
            }
        }
        merged
    };
    Ok(Histogram {
        reset_hint: hint(point.reset_hint),
        schema: i32::from(schema),
        zero_threshold: if point.zero_threshold > 0.0 {
            point.zero_threshold
        } else {
            ZERO_THRESHOLD
        },
        zero_count: zero_count(point),
        count: point.count,
        sum: point.sum.unwrap_or(0.0),
        positive: side(1),
        negative: side(-1),
        custom_values: Arc::from([]),
    })
}

/// A coarser index; arithmetic shift rounds towards minus infinity, as merging needs. At most 31 steps differ.
fn shifted(index: i32, by: i8) -> i32 {
    index >> u32::from(by.unsigned_abs()).min(31)
}

fn custom(point: &HistogramPoint, bounds: Arc<[f64]>) -> Histogram {
    Histogram {
        reset_hint: hint(point.reset_hint),
        schema: crate::promql::histogram::CUSTOM_SCHEMA,
        count: point.count,
        sum: point.sum.unwrap_or(0.0),
        positive: point.buckets.iter().map(|bucket| (bucket.index, bucket.count)).collect(),
        custom_values: bounds,
        ..Histogram::default()
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts beyond 2^53 are floats in native histograms anyway"
)]
fn zero_count(point: &HistogramPoint) -> f64 {
    let bucket = point.buckets.iter().find(|bucket| bucket.side == 0).map(|bucket| bucket.count);
    bucket.or(point.zero_count.map(|count| count as f64)).unwrap_or(0.0)
}

const fn hint(code: u8) -> ResetHint {
    match code {
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        3 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use store::scan::Bucket;

    use super::*;

    fn point(exp_scale: i8, buckets: &[(i8, i32, f64)]) -> HistogramPoint {
        HistogramPoint {
            t: 1,
            start_t: None,
            flags: 0,
            count: buckets.iter().map(|bucket| bucket.2).sum(),
            sum: Some(1.0),
            min: None,
            max: None,
            zero_count: None,
            zero_threshold: 0.0,
            exp_scale,
            bounds_id: None,
            reset_hint: 0,
            bounds: None,
            buckets: buckets
                .iter()
                .map(|(side, index, count)| Bucket { side: *side, index: *index, count: *count })
                .collect(),
        }
    }

    #[test]
    fn bounds_are_written_as_prometheus_does() {
        let bounds = [0.005, 1.0, 2.5, 10_000_000.0, f64::INFINITY];
        assert_eq!(bounds.map(bound_text), ["0.005", "1", "2.5", "10000000", "+Inf"]);
    }

    #[test]
    fn exponential_buckets_move_up_by_one_and_merge_when_finer_than_known() {
        let histogram =
            native(&point(0, &[(-1, 0, 1.0), (0, 0, 2.0), (1, -1, 3.0), (1, 4, 1.0)])).unwrap();
        assert_eq!(histogram.positive, [(0, 3.0), (5, 1.0)]);
        assert_eq!(histogram.negative, [(1, 1.0)]);
        assert_eq!(histogram.zero_count, 2.0);
        let finer = native(&point(9, &[(1, -2, 1.0), (1, -1, 1.0), (1, 0, 1.0)])).unwrap();
        assert_eq!((finer.schema, finer.positive), (8, vec![(0, 2.0), (1, 1.0)]));
        assert!(native(&point(-5, &[])).is_err());
    }
}
