//! A sample as remote write carries it. Labels hold the name as `__name__`.

use std::sync::Arc;

use model::metric::{Labels, STALE_NAN_BITS};

/// One sample of one series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    pub labels: Labels,
    /// What is known of its metric; shared by the series of the family.
    pub meta: Option<Arc<Meta>>,
    /// When it was taken, in ms since the epoch.
    pub at_ms: i64,
    /// Since when it counts, in ms since the epoch; 0 when unknown.
    pub start_ms: i64,
    pub value: Value,
    pub exemplars: Vec<Exemplar>,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl Value {
    /// The end of a series of histograms.
    pub(crate) fn stale_histogram() -> Self {
        let sum = f64::from_bits(STALE_NAN_BITS);
        Self::Histogram(Arc::new(Histogram { sum, ..Histogram::default() }))
    }
}

/// What a metric is, in the numbers of remote write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    #[default]
    Unknown = 0,
    Counter = 1,
    Gauge = 2,
    Histogram = 3,
    GaugeHistogram = 4,
    Summary = 5,
    Info = 6,
    StateSet = 7,
}

impl Kind {
    /// As OpenMetrics and the API write it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }
}

/// What a target says of a metric.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    pub family: String,
    pub kind: Kind,
    pub help: String,
    pub unit: String,
}

/// One observation, with where it came from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Exemplar {
    pub labels: Labels,
    pub value: f64,
    /// In ms since the epoch.
    pub at_ms: i64,
}

/// A number of observations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Count {
    Int(u64),
    Float(f64),
}

impl Default for Count {
    fn default() -> Self {
        Self::Int(0)
    }
}

/// A native histogram. With schema -53 `custom` are the upper bounds of its positive buckets, the last one excepted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Histogram {
    pub count: Count,
    pub sum: f64,
    pub schema: i32,
    pub zero_threshold: f64,
    pub zero_count: Count,
    pub positive: Side,
    pub negative: Side,
    pub custom: Vec<f64>,
    /// Whether it goes up and down.
    pub gauge: bool,
}

/// Buckets on one side of zero.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Side {
    /// Gap to the bucket before (the first: its index), and number of buckets.
    pub spans: Vec<(i32, u32)>,
    /// Integer histograms: each count minus the one before.
    pub deltas: Vec<i64>,
    /// Float histograms: the counts.
    pub counts: Vec<f64>,
}

impl Meta {
    /// Bytes of its texts.
    pub(crate) fn bytes(&self) -> usize {
        self.family.len() + self.help.len() + self.unit.len()
    }
}

/// Memory that labels take, in bytes, about: their texts, and where these are.
fn labels_bytes(labels: &Labels) -> usize {
    labels.iter().map(|(name, value)| name.len() + value.len() + 64).sum()
}

impl Point {
    /// Memory it takes while it waits, in bytes, about. Its labels may be shared with others, but nobody knows for how
    /// long: they count in full. More than it takes in a request, what is said of its metric apart.
    pub(crate) fn bytes(&self) -> usize {
        let histogram = match &self.value {
            Value::Float(_) => 0,
            Value::Histogram(histogram) => {
                let buckets =
                    |side: &Side| side.deltas.len() + side.counts.len() + side.spans.len();
                let n = buckets(&histogram.positive)
                    + buckets(&histogram.negative)
                    + histogram.custom.len();
                size_of::<Histogram>() + 8 * n
            }
        };
        let exemplar = |exemplar: &Exemplar| size_of::<Exemplar>() + labels_bytes(&exemplar.labels);
        let exemplars: usize = self.exemplars.iter().map(exemplar).sum();
        size_of::<Self>() + labels_bytes(&self.labels) + histogram + exemplars
    }
}
