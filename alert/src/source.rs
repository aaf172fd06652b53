//! The seam to the query engine: what is asked, what comes back. Tests put a script in its place.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use model::metric::Labels;
use model::time::Timestamp;
use query::promql::histogram::Histogram;

use crate::rule::Language;

/// A question about one instant.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The expression.
    pub expr: Arc<str>,
    /// Its language.
    pub language: Language,
    /// The instant it is evaluated at.
    pub at: Timestamp,
    /// Its deadline from now.
    pub timeout: Duration,
}

/// The answer to an instant query.
#[derive(Clone, Debug)]
pub enum Answer {
    /// One number.
    Scalar(f64),
    /// One reading a series.
    Vector(Vec<Row>),
    /// When samples of series were taken, ms since the epoch, ascending.
    Series(Vec<(Labels, Vec<i64>)>),
    /// Something no rule can use; its type in words.
    Other(&'static str),
}

/// One reading of an instant vector.
#[derive(Clone, Debug)]
pub struct Row {
    /// Labels, `__name__` included where it is kept.
    pub labels: Labels,
    /// Its number; 0 for a native histogram.
    pub value: f64,
    /// The native histogram, when it is one.
    pub histogram: Option<Arc<Histogram>>,
}

/// Answers questions: the engine in production, a script in tests.
pub trait Evaluate: Send + Sync {
    /// The answer, or a sentence saying why there is none. Dropping the future cancels the query.
    fn instant(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, String>>;
}

impl Answer {
    /// The rows of a vector; a scalar is one row without labels.
    pub(crate) fn into_rows(self) -> Result<Vec<Row>, String> {
        match self {
            Self::Scalar(value) => {
                Ok(vec![Row { labels: Labels::default(), value, histogram: None }])
            }
            Self::Vector(rows) => Ok(rows),
            Self::Series(_) => Self::Other("matrix").into_rows(),
            Self::Other(kind) => {
                Err(format!("rule result is not a vector or scalar: it is a {kind}"))
            }
        }
    }
}
