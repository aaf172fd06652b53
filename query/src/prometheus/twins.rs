//! Series that senders tell apart and PromQL does not: equal names and labels, other resources (a new `service.version`).
//!
//! PromQL sees one series with the samples of all of them. Selections are sorted by name and labels: twins are neighbours.

use store::Series;
use store::rollup::Bucket;
use store::scan::{HistogramPoint, SeriesSamples};

/// Whether PromQL shows both under the same labels.
pub(super) fn are(a: &Series, b: &Series) -> bool {
    a.def.prom_name == b.def.prom_name && a.def.prom_labels == b.def.prom_labels
}

/// What there is of either, `join`ed where there are both.
pub(super) fn joined<T>(a: Option<T>, b: Option<T>, join: impl FnOnce(T, T) -> T) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(join(a, b)),
        (a, b) => a.or(b),
    }
}

/// How two lists become one.
pub(super) struct Order(Vec<Take>);

#[derive(Clone, Copy)]
enum Take {
    First(usize),
    Second(usize),
}

/// The order by time; of equal times the second stays, as the one that came later.
pub(super) fn order(a: &[i64], b: &[i64]) -> Order {
    let mut takes = Vec::with_capacity(a.len() + b.len());
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        let is_first = i < a.len() && (j == b.len() || a[i] < b[j]);
        if is_first {
            takes.push(Take::First(i));
            i += 1;
        } else {
            i += usize::from(i < a.len() && a[i] == b[j]);
            takes.push(Take::Second(j));
            j += 1;
        }
    }
    Order(takes)
}

impl Order {
    /// What stands beside the times in two lists, in one.
    pub(super) fn of<T: Clone>(&self, a: &[T], b: &[T]) -> Vec<T> {
        let pick = |take: &Take| match *take {
            Take::First(i) => a[i].clone(),
            Take::Second(j) => b[j].clone(),
        };
        self.0.iter().map(pick).collect()
    }
}

/// The samples of both.
pub(super) fn samples(a: SeriesSamples, b: SeriesSamples) -> SeriesSamples {
    let order = order(&a.t, &b.t);
    let starts = |found: &SeriesSamples| match &found.start_t {
        Some(starts) => starts.clone(),
        None => vec![0; found.t.len()],
    };
    let has_starts = a.start_t.is_some() || b.start_t.is_some();
    SeriesSamples {
        start_t: has_starts.then(|| order.of(&starts(&a), &starts(&b))),
        t: order.of(&a.t, &b.t),
        v: order.of(&a.v, &b.v),
        series: a.series,
    }
}

/// The points of both.
pub(super) fn points(a: Vec<HistogramPoint>, b: Vec<HistogramPoint>) -> Vec<HistogramPoint> {
    let times = |points: &[HistogramPoint]| points.iter().map(|point| point.t).collect::<Vec<_>>();
    order(&times(&a), &times(&b)).of(&a, &b)
}

/// The buckets of both; `None` where the samples of two of them alternate, so that no one bucket can say what was there.
/// `is_only` tells that there is nothing better than to take one after the other.
pub(super) fn buckets(a: &[Bucket], b: &[Bucket], is_only: bool) -> Option<Vec<Bucket>> {
    let mut all: Vec<Bucket> = a.iter().chain(b).copied().collect();
    all.sort_by_key(|bucket| (bucket.start, bucket.first_t));
    let mut out: Vec<Bucket> = Vec::with_capacity(all.len());
    for bucket in all {
        match out.last_mut().filter(|last| last.start == bucket.start) {
            Some(last) if last.last_t >= bucket.first_t && !is_only => return None,
            Some(last) => last.join(&bucket),
            None => out.push(bucket),
        }
    }
    Some(out)
}
