//! `POST query`: all queries of a page in one request. Answers come as JSON or as columns ([`crate::columns`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::ApiError;

/// The body of `POST query`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueryRequest {
    /// The queries; ids are unique within the request.
    pub queries: Vec<Query>,
}

/// One query of a page.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// Chosen by the caller, repeated in the answer.
    pub id: u32,
    /// Language of `text`.
    #[serde(default)]
    pub kind: QueryKind,
    /// The query.
    pub text: String,
    /// First instant, ms since the epoch, inclusive.
    pub from_ms: i64,
    /// Last instant, ms since the epoch; inclusive, as PromQL's range API. The evaluation time when `instant`.
    pub to_ms: i64,
    /// Distance of points, ms. Without it the server picks one that suits `width_px`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_ms: Option<i64>,
    /// Width of the drawing in pixels; at most four points a pixel are answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width_px: Option<u32>,
    /// Evaluate once, at `to_ms`.
    #[serde(default)]
    pub instant: bool,
    /// Say what each part of the query cost.
    #[serde(default)]
    pub explain: bool,
}

/// Language of a query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueryKind {
    /// `PromQL`.
    #[default]
    Promql,
}

/// The JSON answer of `POST query`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QueryResponse {
    /// One answer a query, in the order they finished.
    pub answers: Vec<QueryAnswer>,
}

/// The answer to one query.
///
/// Shape: `times_ms` strictly increasing; each series has one value a time. An absent sample is the staleness
/// marker in memory and `null` in JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QueryAnswer {
    /// Id of the query.
    pub id: u32,
    /// What the query yields.
    pub result: ResultKind,
    /// UCUM unit of the values, when all series agree on one; else empty.
    #[serde(default)]
    pub unit: String,
    /// Step used, ms; 0 for an instant query.
    #[serde(default)]
    pub step_ms: i64,
    /// The string, when the result is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Instants, ms since the epoch.
    pub times_ms: Vec<i64>,
    /// Series, in the order of the answer.
    pub series: Vec<Series>,
    /// What makes the answer less than asked for.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What the author of the query may want to know.
    #[serde(default)]
    pub infos: Vec<String>,
    /// What it cost.
    #[serde(default)]
    pub stats: Stats,
    /// What each part of it cost, when that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<Explained>,
    /// Set when the query failed; the rest is then empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ApiError>,
}

/// What a query yields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResultKind {
    /// Several instants a series.
    #[default]
    Matrix,
    /// One instant a series.
    Vector,
    /// One unlabelled number an instant.
    Scalar,
    /// A text.
    String,
}

/// One series of an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Labels, `__name__` included where the expression kept it.
    pub labels: BTreeMap<String, String>,
    /// One value a time of the answer.
    #[serde(with = "crate::number::values")]
    pub values: Vec<f64>,
}

/// What a query cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// Time spent, ms.
    pub elapsed_ms: f64,
    /// Series touched.
    pub series: u64,
    /// Samples or rows read.
    pub rows: u64,
    /// Bytes read.
    pub bytes: u64,
}

/// The cost of one part of a query, with the parts it was made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// Its operator, function or selector.
    pub node: String,
    /// Its first byte in the query, and one past its last.
    pub place: (usize, usize),
    /// Steps it was evaluated at: 1 where it is the same at all of them.
    pub steps: u64,
    /// Series it gave.
    pub series: u64,
    /// Samples it gave: of a selector, those read.
    pub samples: u64,
    /// Bytes of memory of what it gave.
    pub bytes: u64,
    /// Time spent in it and in its inputs, ms; of a selector over a range, reading alone.
    pub elapsed_ms: f64,
    /// What it was made of, in the order of evaluation.
    #[serde(default)]
    pub inputs: Vec<Self>,
}

#[cfg(test)]
mod tests {
    use model::metric::{STALE_NAN_BITS, is_stale};

    use super::*;

    #[test]
    fn json_tells_absent_from_not_a_number() {
        let values = vec![1.5, f64::from_bits(STALE_NAN_BITS), f64::NAN, f64::NEG_INFINITY];
        let series = Series { labels: BTreeMap::new(), values };
        let text = serde_json::to_string(&series).unwrap();
        assert_eq!(text, r#"{"labels":{},"values":[1.5,null,"NaN","-Inf"]}"#);
        let back: Series = serde_json::from_str(&text).unwrap();
        assert!(is_stale(back.values[1]));
        assert!(back.values[2].is_nan() && !is_stale(back.values[2]));
        assert_eq!(back.values[3], f64::NEG_INFINITY);
    }

    #[test]
    fn a_query_needs_only_text_and_range() {
        let text = r#"{"queries":[{"id":1,"text":"up","from_ms":0,"to_ms":1000}]}"#;
        let request: QueryRequest = serde_json::from_str(text).unwrap();
        assert_eq!(request.queries[0].kind, QueryKind::Promql);
        assert!(!request.queries[0].instant);
        assert!(serde_json::from_str::<QueryRequest>(r#"{"queries":[],"querys":[]}"#).is_err());
    }
}
