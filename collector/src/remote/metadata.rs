//! What senders tell of a metric: type, unit and help. Of 1.0 it comes apart from the samples, under the family's name.

use model::metric::{MetricKind, Temporality};

use crate::recent::{KeyHasher, Recent};

/// Most families remembered.
const FAMILIES_MAX: usize = 1 << 14;
/// Longest help text kept, in bytes.
const HELP_BYTES_MAX: usize = 1_024;
/// What the names of a family's series may end in besides.
const SUFFIXES: [&str; 6] = ["_total", "_bucket", "_sum", "_count", "_created", "_info"];

/// What is known of a metric family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Family {
    /// Prometheus' number of the type: 0 unknown, 1 counter, 2 gauge, 3 histogram, 4 gauge histogram, 5 summary,
    /// 6 info, 7 state set.
    pub(super) code: u32,
    pub(super) unit: String,
    pub(super) help: String,
}

impl Family {
    pub(super) fn new(code: u32, unit: &str, help: &str) -> Self {
        let help = &help[..help.floor_char_boundary(HELP_BYTES_MAX)];
        let unit = &unit[..unit.floor_char_boundary(HELP_BYTES_MAX)];
        Self { code, unit: unit.to_owned(), help: help.to_owned() }
    }

    /// Kind and temporality of the family's plain samples. Of a classic histogram those are counters.
    pub(super) fn of_samples(&self) -> (MetricKind, Temporality) {
        match self.code {
            1 | 3 => (MetricKind::Counter, Temporality::Cumulative),
            2 | 4 | 6 | 7 => (MetricKind::Gauge, Temporality::Unspecified),
            5 => (MetricKind::Summary, Temporality::Cumulative),
            _ => (MetricKind::Unknown, Temporality::Unspecified),
        }
    }
}

/// Families by name, bounded; those nobody asks for are forgotten.
#[derive(Debug)]
pub(crate) struct Families {
    by_name: Recent<Family>,
    hasher: KeyHasher,
}

impl Families {
    pub(crate) fn new() -> Self {
        Self { by_name: Recent::new(FAMILIES_MAX), hasher: KeyHasher::new() }
    }

    /// Remembers what is said of the family `name`.
    pub(super) fn put(&self, name: &str, family: Family) {
        self.by_name.insert(self.hasher.hash(name.as_bytes()), family);
    }

    /// What is known of the family of the series `name`.
    pub(super) fn of_series(&self, name: &str) -> Option<Family> {
        let of = |name: &str| self.by_name.find(self.hasher.hash(name.as_bytes()));
        of(name).or_else(|| SUFFIXES.iter().find_map(|suffix| of(name.strip_suffix(suffix)?)))
    }
}
