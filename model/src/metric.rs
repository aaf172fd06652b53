//! Metrics and series: kinds, temporality, labels, the stale marker, and what defines a series.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::id::ResourceId;

/// Bits of the NaN that marks the end of a series (Prometheus' staleness marker).
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Whether `value` is the staleness marker: by bits, since NaN equals nothing.
#[must_use]
pub const fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// What a metric measures. The discriminants are written to disk (`docs/format/segment.md`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MetricKind {
    /// Not told by the sender.
    #[default]
    Unknown = 0,
    /// A value that goes up and down (OTLP gauge, or non-monotonic sum).
    Gauge = 1,
    /// A value that only grows, or the deltas of one (OTLP monotonic sum).
    Counter = 2,
    /// Explicit buckets (OTLP histogram).
    Histogram = 3,
    /// Exponential buckets (OTLP exponential histogram, Prometheus native histogram).
    ExponentialHistogram = 4,
    /// Count, sum and quantiles (OTLP summary).
    Summary = 5,
}

impl MetricKind {
    /// The kind with this discriminant; `Unknown` for a number nobody uses.
    #[must_use]
    pub const fn from_u8(code: u8) -> Self {
        match code {
            1 => Self::Gauge,
            2 => Self::Counter,
            3 => Self::Histogram,
            4 => Self::ExponentialHistogram,
            5 => Self::Summary,
            _ => Self::Unknown,
        }
    }
}

/// Whether samples are totals since a start or increments. Discriminants as in OTLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Temporality {
    /// Not applicable or not told.
    #[default]
    Unspecified = 0,
    /// Each sample holds the change since the previous one.
    Delta = 1,
    /// Each sample holds the total since `start_time`.
    Cumulative = 2,
}

impl Temporality {
    /// The temporality with this discriminant; `Unspecified` for a number nobody uses.
    #[must_use]
    pub const fn from_u8(code: u8) -> Self {
        match code {
            1 => Self::Delta,
            2 => Self::Cumulative,
            _ => Self::Unspecified,
        }
    }
}

/// Label pairs, sorted by name in byte order, names unique.
///
/// Cheap to clone: pairs and texts are shared.
#[derive(Clone, Debug, Default, Eq)]
pub struct Labels(Arc<[(Arc<str>, Arc<str>)]>);

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.cmp(other).is_eq()
    }
}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    /// Pair by pair. Most texts of two series of a metric are shared: those are not looked at.
    fn cmp(&self, other: &Self) -> Ordering {
        let order = |a: &Arc<str>, b: &Arc<str>| {
            if Arc::ptr_eq(a, b) { Ordering::Equal } else { a.cmp(b) }
        };
        let pairs = self.0.iter().zip(&*other.0);
        pairs
            .map(|(a, b)| order(&a.0, &b.0).then_with(|| order(&a.1, &b.1)))
            .find(|order| order.is_ne())
            .unwrap_or_else(|| self.len().cmp(&other.len()))
    }
}

impl Labels {
    /// Sorts `pairs`; of equal names the last one wins; empty values are dropped, as Prometheus does.
    #[must_use]
    pub fn new(mut pairs: Vec<(String, String)>) -> Self {
        pairs.reverse();
        pairs.sort_by(|a, b| a.0.cmp(&b.0)); // Stable: of equal names the last given stands first.
        pairs.dedup_by(|later, earlier| later.0 == earlier.0);
        pairs.retain(|(_, value)| !value.is_empty());
        let shared = |(name, value): (String, String)| (Arc::from(name), Arc::from(value));
        Self(pairs.into_iter().map(shared).collect())
    }

    /// Sorts `pairs`, whose names differ and whose values are not empty; no text is copied.
    #[must_use]
    pub fn shared(mut pairs: Vec<(Arc<str>, Arc<str>)>) -> Self {
        if !pairs.is_sorted_by(|a, b| a.0 < b.0) {
            pairs.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        }
        Self(Arc::from(pairs))
    }

    /// The value of `name`, or `None` when there is no such label.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.binary_search_by(|(key, _)| (**key).cmp(name)).ok().map(|i| &*self.0[i].1)
    }

    /// The pairs in name order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Number of labels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, String)> for Labels {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self::new(pairs.into_iter().collect())
    }
}

/// What defines a series, as `collector` hands it to `store`.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesDef {
    /// Name as sent, dots kept.
    pub metric: String,
    /// Attributes of the data point, verbatim; non-string values in their text form.
    pub labels: Labels,
    /// Which resource emitted it: part of the identity.
    pub resource_id: ResourceId,
    /// The Prometheus name (translated once, here; `http_requests_total`).
    pub prom_name: String,
    /// The Prometheus labels without `__name__`: translated attributes, `job`, `instance`, promoted resource attributes.
    pub prom_labels: Labels,
    /// What it measures.
    pub kind: MetricKind,
    /// Totals or increments.
    pub temporality: Temporality,
    /// UCUM unit as sent; empty when unknown.
    pub unit: String,
    /// Description as sent; empty when unknown.
    pub help: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_and_the_last_of_equal_names_wins() {
        let pairs = [("b", "1"), ("a", "x"), ("b", "2"), ("c", "")];
        let labels: Labels =
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "x"), ("b", "2")]);
        assert_eq!(labels.value("b"), Some("2"));
        assert_eq!(labels.value("c"), None);
    }

    #[test]
    fn labels_compare_pair_by_pair_whoever_owns_the_texts() {
        let of = |pairs: &[(&str, &str)]| -> Labels {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let (a, b) = (of(&[("x", "1"), ("y", "2")]), of(&[("x", "1"), ("y", "2")]));
        assert_eq!((&a, a.cmp(&b)), (&b, Ordering::Equal));
        assert_eq!(a.cmp(&a.clone()), Ordering::Equal);
        for (less, more) in [
            (of(&[("x", "1")]), a.clone()),
            (of(&[("x", "1"), ("y", "1")]), a.clone()),
            (of(&[("w", "9")]), a.clone()),
            (of(&[]), a),
        ] {
            assert_eq!((less.cmp(&more), more.cmp(&less)), (Ordering::Less, Ordering::Greater));
            assert_ne!(less, more);
        }
    }

    #[test]
    fn only_the_stale_bits_are_stale() {
        assert!(is_stale(f64::from_bits(STALE_NAN_BITS)));
        assert!(!is_stale(f64::NAN));
    }
}
