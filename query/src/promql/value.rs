//! What a query answers with: scalars, strings, instant vectors, matrices.

use std::sync::Arc;

use super::ast::ValueType;
use super::histogram::Histogram;
use super::labels::Labels;

/// One reading: a float or a native histogram.
#[derive(Clone, Debug)]
pub enum Reading {
    /// A number.
    Float(f64),
    /// A histogram.
    Histogram(Arc<Histogram>),
}

/// A reading of one series at the query's time.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The series, `__name__` included where it is kept.
    pub labels: Labels,
    /// Milliseconds since the epoch.
    pub t_ms: i64,
    /// What was read.
    pub reading: Reading,
}

/// Readings of one series over time, each kind ascending by time.
#[derive(Clone, Debug, Default)]
pub struct SeriesValues {
    /// The series.
    pub labels: Labels,
    /// (ms since the epoch, value).
    pub floats: Vec<(i64, f64)>,
    /// (ms since the epoch, histogram).
    pub histograms: Vec<(i64, Arc<Histogram>)>,
}

/// The result of a query.
#[derive(Clone, Debug)]
pub enum Value {
    /// One number.
    Scalar {
        /// Milliseconds since the epoch.
        t_ms: i64,
        /// The number.
        value: f64,
    },
    /// One text.
    String {
        /// Milliseconds since the epoch.
        t_ms: i64,
        /// The text.
        value: Arc<str>,
    },
    /// One reading of each series; in no promised order, except after `sort`, `topk` and their like.
    Vector(Vec<Sample>),
    /// Readings over time; sorted by labels when it answers a range query.
    Matrix(Vec<SeriesValues>),
}

impl Value {
    /// What kind it is.
    #[must_use]
    pub const fn value_type(&self) -> ValueType {
        match self {
            Self::Scalar { .. } => ValueType::Scalar,
            Self::String { .. } => ValueType::String,
            Self::Vector(_) => ValueType::Vector,
            Self::Matrix(_) => ValueType::Matrix,
        }
    }
}
