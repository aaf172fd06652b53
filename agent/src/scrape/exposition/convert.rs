//! Classic histograms as native ones with custom bounds: one series instead of one per bucket.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::float;
use super::{Exposition, Label, Measured, Sample};
use crate::remote_write::{Count, Histogram, Kind, Side};

/// The schema of custom bounds.
const CUSTOM: i32 = -53;

/// The parts of one classic histogram.
struct Classic<'a> {
    family: usize,
    labels: Vec<Label<'a>>,
    /// Upper bound and cumulative count.
    buckets: Vec<(f64, f64)>,
    sum: f64,
    count: Option<f64>,
    at_ms: Option<i64>,
    start_ms: i64,
    /// Samples it is made of.
    parts: Vec<usize>,
    exemplars: Vec<super::ExemplarParts<'a>>,
}

/// Adds a native histogram for each classic one that is whole, and takes the classic one out unless `keep`.
pub(super) fn fold(exposition: &mut Exposition<'_>, keep: bool) {
    let mut found: BTreeMap<(usize, Vec<(String, String)>), Classic<'_>> = BTreeMap::new();
    for (number, sample) in exposition.samples.iter().enumerate() {
        let Some(family) =
            sample.family.filter(|family| exposition.families[*family].kind == Kind::Histogram)
        else {
            continue;
        };
        let Measured::Float(value) = sample.value else { continue };
        let labels = exposition.labels(sample);
        let suffix = labels[0]
            .1
            .strip_prefix(exposition.families[family].family.as_str())
            .unwrap_or_default();
        let own: Vec<Label<'_>> =
            labels[1..].iter().filter(|(name, _)| name != "le").cloned().collect();
        let mut key: Vec<_> =
            own.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        key.sort_unstable();
        let classic = found.entry((family, key)).or_insert_with(|| Classic {
            family,
            labels: own,
            buckets: Vec::new(),
            sum: 0.0,
            count: None,
            at_ms: sample.at_ms,
            start_ms: sample.start_ms,
            parts: Vec::new(),
            exemplars: Vec::new(),
        });
        let bound =
            labels.iter().find(|(name, _)| name == "le").and_then(|(_, le)| float::read(le));
        match (suffix, bound) {
            ("_bucket", Some(bound)) => classic.buckets.push((bound, value)),
            ("_sum", _) => classic.sum = value,
            ("_count", _) => classic.count = Some(value),
            _ => continue,
        }
        classic.parts.push(number);
        classic.exemplars.extend(exposition.exemplars(sample).iter().cloned());
    }
    let mut gone = vec![false; exposition.samples.len()];
    for (_, classic) in found {
        let Some(histogram) = histogram(&classic) else { continue };
        if !keep {
            classic.parts.iter().for_each(|part| gone[*part] = true);
        }
        add(exposition, classic, histogram);
    }
    let mut number = 0;
    exposition.samples.retain(|_| {
        number += 1;
        !gone.get(number - 1).copied().unwrap_or(false)
    });
}

fn add<'a>(exposition: &mut Exposition<'a>, classic: Classic<'a>, histogram: Histogram) {
    let name = exposition.families[classic.family].family.clone();
    // No series of a text can be written so.
    let mut series = format!("\u{1}{name}");
    for (name, value) in &classic.labels {
        series.push_str(&format!("\u{1}{name}\u{1}{value}"));
    }
    let from = exposition.labels.len();
    exposition.labels.push((Cow::Borrowed("__name__"), Cow::Owned(name)));
    exposition.labels.extend(classic.labels);
    let exemplars = exposition.exemplars.len();
    exposition.exemplars.extend(classic.exemplars);
    exposition.samples.push(Sample {
        series: Cow::Owned(series),
        labels: from..exposition.labels.len(),
        value: Measured::Histogram(Box::new(histogram)),
        at_ms: classic.at_ms,
        start_ms: classic.start_ms,
        exemplars: exemplars..exposition.exemplars.len(),
        family: Some(classic.family),
    });
}

/// `None` where bounds repeat or counts fall: such a histogram stays as it is.
fn histogram(classic: &Classic<'_>) -> Option<Histogram> {
    let mut buckets = classic.buckets.clone();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let last = buckets.last().copied();
    let count =
        classic.count.or(last.filter(|(bound, _)| bound.is_infinite()).map(|(_, count)| count))?;
    if last.is_none_or(|(bound, _)| bound < f64::INFINITY) {
        buckets.push((f64::INFINITY, count));
    }
    let rises = buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
    let fits = buckets.iter().all(|(bound, count)| !bound.is_nan() && *count >= 0.0);
    if !rises || !fits || buckets.last().is_none_or(|(_, last)| *last != count) {
        return None;
    }
    let mut before = 0.0;
    let counts: Vec<f64> =
        buckets.iter().map(|(_, count)| count - std::mem::replace(&mut before, *count)).collect();
    let custom = buckets[..buckets.len() - 1].iter().map(|(bound, _)| *bound).collect();
    let spans = vec![(0, u32::try_from(counts.len()).ok()?)];
    let integers: Option<Vec<i64>> = counts.iter().map(|count| whole(*count)).collect();
    let (count, positive) = match (integers, whole(count)) {
        (Some(integers), Some(count)) => {
            let mut before = 0;
            let deltas = integers
                .iter()
                .map(|count| count - std::mem::replace(&mut before, *count))
                .collect();
            (Count::Int(count.cast_unsigned()), Side { spans, deltas, counts: Vec::new() })
        }
        _ => (Count::Float(count), Side { spans, deltas: Vec::new(), counts }),
    };
    Some(Histogram {
        count,
        sum: classic.sum,
        schema: CUSTOM,
        positive,
        custom,
        ..Histogram::default()
    })
}

/// A count as an integer, if it is one.
#[expect(clippy::cast_possible_truncation, reason = "checked to be whole and in range")]
fn whole(count: f64) -> Option<i64> {
    (count.fract() == 0.0 && (0.0..9e15).contains(&count)).then_some(count as i64)
}
