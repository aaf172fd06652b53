//! Series as buckets, for functions on windows that are made of whole ones.

use std::collections::HashSet;
use std::sync::Arc;

use model::metric::MetricKind;
use model::time::{NS_PER_MS, TimeRange, Timestamp};
use store::Series;
use store::rollup::{Bucket, Resolution};
use store::scan::{ScanLimit, SeriesBuckets};
use store::schema::Table;

use super::source::{is_delta, store_error};
use super::twins;
use super::virtual_series::labels;
use crate::catalog::View;
use crate::promql::Labels;
use crate::promql::source::{Select, SeriesSlices, SeriesStream, SourceError};

const RAW_GONE: &str =
    "samples in this range are no longer kept: answered from rollups of 5 minutes or an hour";

/// Up to here the samples themselves are read where they are: they stay decoded between queries, buckets do not.
const SHORT_MS: i64 = 7_200_000;

const RAW_LOST: &str = "samples in this range are no longer kept, and rollups cannot answer this: rate, increase and avg, min, \
     max, sum, count and last over time can be answered where windows are made of whole 5 minutes";

/// What must be said where samples alone answer: whether of some in `range` there are only rollups left.
pub(super) fn remark(view: &View, range: TimeRange) -> Option<&'static str> {
    is_raw_gone(view, range).then_some(RAW_LOST)
}

fn is_raw_gone(view: &View, range: TimeRange) -> bool {
    let of = |table, range| view.snapshot.segments_of(view.tenant, table, range);
    let is_alone = |resolution: Resolution| {
        of(resolution.table(), range).iter().any(|rollup| {
            // Its rows stand at the starts of buckets.
            let end = rollup.max_time.0.saturating_add(resolution.ms() * NS_PER_MS);
            of(Table::Samples, TimeRange::new(rollup.min_time, Timestamp(end))).is_empty()
        })
    };
    Resolution::ALL.into_iter().any(is_alone)
}

/// Series that a selector gets as buckets.
pub(super) struct Rolled {
    slices: std::vec::IntoIter<SeriesBuckets>,
    is_raw_gone: bool,
    current: Option<(Labels, Vec<Bucket>)>,
}

/// Whether a function wants the sum of the values; `None` when it cannot be answered from buckets.
fn wants_sum(function: &str) -> Option<bool> {
    match function {
        "rate" | "increase" | "min_over_time" | "max_over_time" | "count_over_time"
        | "last_over_time" => Some(false),
        "sum_over_time" | "avg_over_time" => Some(true),
        _ => None,
    }
}

/// The longest buckets that windows with ends at multiples of `unit_ms` are made of.
fn resolution(unit_ms: i64) -> Option<Resolution> {
    Resolution::ALL.into_iter().rev().find(|of| unit_ms > 0 && unit_ms % of.ms() == 0)
}

impl Rolled {
    /// Takes those of `series` whose answer is the same from buckets as from samples; all, where samples are gone.
    pub(super) fn take(
        view: &View,
        select: &Select<'_>,
        series: &mut Vec<Arc<Series>>,
        limit: &ScanLimit,
    ) -> Result<Option<Self>, SourceError> {
        let hints = &select.hints;
        let Some(resolution) = resolution(hints.unit_ms) else { return Ok(None) };
        // Buckets are made with regard to start times.
        if matches!(hints.function, "rate" | "increase") && !hints.need_start {
            return Ok(None);
        }
        let Some(wants_sum) = wants_sum(hints.function) else { return Ok(None) };
        let (first, last) = (select.range_ms.0.saturating_sub(1), select.range_ms.1);
        let times = TimeRange { start: Timestamp::from_ms(first), end: Timestamp::from_ms(last) };
        if view.snapshot.segments_of(view.tenant, resolution.table(), times).is_empty() {
            return Ok(None);
        }
        if last.saturating_sub(first) <= SHORT_MS && !is_raw_gone(view, times) {
            return Ok(None);
        }
        // Buckets know how much a counter rose, and sum up what is none.
        let needs_rise = matches!(hints.function, "rate" | "increase");
        let has_floats_only = |series: &Arc<Series>| {
            series.def.kind != MetricKind::ExponentialHistogram && !(needs_rise && is_delta(series))
        };
        let (mut floats, others): (Vec<_>, Vec<_>) = series.drain(..).partition(has_floats_only);
        let scan = view
            .snapshot
            .buckets(&floats, resolution, (first, last), limit)
            .map_err(store_error)?;
        let is_raw_gone = scan.is_raw_gone;
        let (mut slices, mut refused) = (Vec::new(), HashSet::new());
        let mut found =
            scan.collect::<Result<Vec<_>, _>>().map_err(store_error)?.into_iter().peekable();
        while let Some(first) = found.next() {
            let mut ids = vec![first.series.id];
            let (series, mut whole) = (first.series, Some(first.buckets));
            while let Some(twin) = found.next_if(|next| twins::are(&next.series, &series)) {
                ids.push(twin.series.id);
                whole = whole.and_then(|whole| twins::buckets(&whole, &twin.buckets, is_raw_gone));
            }
            let is_good =
                |buckets: &Vec<Bucket>| is_raw_gone || !wants_sum || has_exact_sum(buckets);
            match whole.filter(is_good) {
                Some(buckets) => slices.push(SeriesBuckets { series, buckets }),
                None => refused.extend(ids),
            }
        }
        // Series without a bucket have no samples either.
        floats.retain(|series| refused.contains(&series.id));
        floats.extend(others);
        *series = floats;
        Ok(Some(Self { slices: slices.into_iter(), is_raw_gone, current: None }))
    }
}

/// Whether sums of these sums are as good as sums of the values: nothing cancels, nothing overflows.
fn has_exact_sum(buckets: &[Bucket]) -> bool {
    let has_sum = |bucket: &Bucket| bucket.sum.is_some_and(|(sum, _)| !sum.is_infinite());
    // Far from the largest number, so that no window of them overflows either.
    let is_small = |bucket: &Bucket| bucket.max < 1e200 && bucket.min > -1e200;
    let has_sign = buckets.iter().all(|bucket| bucket.min >= 0.0)
        || buckets.iter().all(|bucket| bucket.max <= 0.0);
    has_sign && buckets.iter().all(|bucket| has_sum(bucket) && is_small(bucket))
}

impl SeriesStream for Rolled {
    fn next(&mut self) -> Result<Option<SeriesSlices<'_>>, SourceError> {
        let next = self.slices.next();
        self.current = next.map(|slice| (labels(&slice.series, "", None), slice.buckets));
        Ok(self.current.as_ref().map(|(labels, buckets)| SeriesSlices {
            labels,
            t: &[],
            v: &[],
            start_t: None,
            h_t: &[],
            h: &[],
            h_start_t: None,
            is_delta: false,
            buckets,
        }))
    }

    fn remark(&self) -> Option<&'static str> {
        self.is_raw_gone.then_some(RAW_GONE)
    }
}
