//! What one tick yields: a round of points, as sources record them and `export` encodes them.

use std::sync::Arc;

use model::time::Timestamp;

/// How a metric's values relate over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Monotonic sum, cumulative.
    Counter,
    /// Sum that goes up and down; adds up over attributes.
    UpDown,
    /// A value that must not be added up.
    Gauge,
    /// Distribution with explicit bounds, cumulative.
    Histogram,
}

/// A metric the agent emits. All of them are constants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Metric {
    /// Name, dotted.
    pub name: &'static str,
    /// UCUM unit.
    pub unit: &'static str,
    pub kind: Kind,
    /// One sentence.
    pub help: &'static str,
}

impl Metric {
    pub(crate) const fn counter(n: &'static str, unit: &'static str, help: &'static str) -> Self {
        Self { name: n, unit, kind: Kind::Counter, help }
    }

    pub(crate) const fn up_down(n: &'static str, unit: &'static str, help: &'static str) -> Self {
        Self { name: n, unit, kind: Kind::UpDown, help }
    }

    pub(crate) const fn gauge(n: &'static str, unit: &'static str, help: &'static str) -> Self {
        Self { name: n, unit, kind: Kind::Gauge, help }
    }

    pub(crate) const fn histogram(n: &'static str, unit: &'static str, help: &'static str) -> Self {
        Self { name: n, unit, kind: Kind::Histogram, help }
    }
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Text {
    Fixed(&'static str),
    Shared(Arc<str>),
}

impl Text {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Fixed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self::Fixed(text)
    }
}

impl From<&Arc<str>> for Text {
    fn from(text: &Arc<str>) -> Self {
        Self::Shared(Arc::clone(text))
    }
}

/// Shorthand for one attribute of a point.
pub(crate) fn attr(key: &'static str, value: impl Into<Text>) -> (&'static str, Text) {
    (key, value.into())
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Int(i64),
    Double(f64),
    Histogram(Distribution),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Double(value)
    }
}

/// A histogram with fixed upper bounds, cumulative since its start.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Distribution {
    pub bounds: &'static [f64],
    /// One more than `bounds`.
    pub counts: Vec<u64>,
    pub sum: f64,
}

impl Distribution {
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    pub(crate) fn add(&mut self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket] += 1;
        self.sum += value;
    }
}

/// One sample of one series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    pub metric: &'static Metric,
    pub attributes: Vec<(&'static str, Text)>,
    pub value: Value,
    /// Since when a sum counts; the boot of the host unless said otherwise.
    pub start: Timestamp,
}

/// All points of one tick.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    /// The tick: the time of every point.
    pub at: Timestamp,
    /// When the host booted: the start of the kernel's counters.
    pub boot: Timestamp,
    pub points: Vec<Point>,
}

impl Round {
    pub(crate) fn new(at: Timestamp, boot: Timestamp) -> Self {
        Self { at, boot, points: Vec::with_capacity(512) }
    }

    /// Adds a point; a sum counts since the boot.
    pub(crate) fn record<const N: usize>(
        &mut self,
        metric: &'static Metric,
        attributes: [(&'static str, Text); N],
        value: impl Into<Value>,
    ) {
        self.record_since(self.boot, metric, attributes, value);
    }

    /// Adds a point of a sum that counts since `start`.
    pub(crate) fn record_since<const N: usize>(
        &mut self,
        start: Timestamp,
        metric: &'static Metric,
        attributes: [(&'static str, Text); N],
        value: impl Into<Value>,
    ) {
        let (attributes, value) = (Vec::from(attributes), value.into());
        self.points.push(Point { metric, attributes, value, start });
    }
}

impl From<Distribution> for Value {
    fn from(value: Distribution) -> Self {
        Self::Histogram(value)
    }
}
