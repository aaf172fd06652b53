//! The query engine behind the seam.

use std::sync::Arc;

use futures::future::BoxFuture;
use model::metric::Labels;
use query::promql::{Reading, Value};
use query::{Class, Engine, InstantQuery};

use crate::source::{Answer, Ask, Evaluate, Row};

impl Evaluate for Engine {
    fn instant(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, String>> {
        let query = InstantQuery {
            expr: ask.expr.to_string(),
            at_ms: ask.at.ms(),
            timeout: Some(ask.timeout),
            class: Class::Rule,
            ..InstantQuery::default()
        };
        let answer = Self::instant(self, query);
        Box::pin(async move {
            let answer = answer.await.map_err(|error| error.to_string())?;
            Ok(answer_of(answer.value))
        })
    }
}

/// The part of a result rules can use.
pub(crate) fn answer_of(value: Value) -> Answer {
    match value {
        Value::Scalar { value, .. } => Answer::Scalar(value),
        Value::Vector(samples) => {
            Answer::Vector(samples.iter().map(|s| row(&s.labels, &s.reading)).collect())
        }
        Value::String { .. } | Value::Matrix(_) => Answer::Other(value.value_type().word()),
    }
}

fn row(labels: &query::promql::Labels, reading: &Reading) -> Row {
    let pairs = labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let labels: Labels = pairs.collect();
    match reading {
        Reading::Float(value) => Row { labels, value: *value, histogram: None },
        Reading::Histogram(histogram) => {
            Row { labels, value: 0.0, histogram: Some(Arc::clone(histogram)) }
        }
    }
}
