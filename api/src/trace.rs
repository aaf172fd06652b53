//! `POST traces`: which traces are there; `GET trace/{id}`: all spans of one.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::query::Stats;

/// The body of `POST traces`. Absent filters let everything through.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TracesRequest {
    /// A service that takes part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Name of a span.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Shortest duration of the trace, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_ms: Option<f64>,
    /// Longest duration of the trace, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ms: Option<f64>,
    /// Only traces with a failed span.
    #[serde(default)]
    pub errors: bool,
    /// First instant, ms since the epoch, inclusive.
    pub from_ms: i64,
    /// First instant after, ms since the epoch.
    pub to_ms: i64,
    /// Traces at most.
    #[serde(default = "limit_default")]
    pub limit: usize,
}

const fn limit_default() -> usize {
    100
}

/// The answer of `POST traces`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Traces {
    /// Traces, newest first.
    pub traces: Vec<TraceSummary>,
    /// Services seen in the range, sorted.
    #[serde(default)]
    pub services: Vec<String>,
    /// Names of the spans of the chosen service, sorted.
    #[serde(default)]
    pub operations: Vec<String>,
    /// What it cost.
    #[serde(default)]
    pub stats: Stats,
    /// Which rows the answer lacks because they cannot be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One trace in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceSummary {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// Service of the root span, or of the earliest span when the root is missing.
    pub root_service: String,
    /// Name of that span.
    pub root_name: String,
    /// Start of the earliest span, ns since the epoch.
    #[serde(with = "crate::number::ns")]
    pub start_ns: i64,
    /// From the earliest start to the latest end, ns.
    #[serde(with = "crate::number::ns")]
    pub duration_ns: i64,
    /// Spans.
    pub spans: u64,
    /// Failed ones.
    pub errors: u64,
    /// Services that take part, sorted.
    pub services: Vec<String>,
}

/// The answer of `GET trace/{id}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// Spans, by start; none when the trace may be among the rows that cannot be read.
    pub spans: Vec<Span>,
    /// Which rows the answer lacks because they cannot be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// One span.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// Its parent; absent for a root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_span_id: Option<String>,
    /// `service.name`.
    pub service: String,
    /// Operation.
    pub name: String,
    /// OTLP's word in lower case: `internal`, `server`, `client`, `producer`, `consumer`; empty when not told.
    #[serde(default)]
    pub kind: String,
    /// Start, ns since the epoch.
    #[serde(with = "crate::number::ns")]
    pub start_ns: i64,
    /// Duration, ns.
    #[serde(with = "crate::number::ns")]
    pub duration_ns: i64,
    /// How it ended.
    pub status: SpanStatus,
    /// The sender's words about it; may be empty.
    #[serde(default)]
    pub status_message: String,
    /// Attributes of the span.
    #[serde(default)]
    pub attributes: Map<String, Value>,
    /// Attributes of its resource.
    #[serde(default)]
    pub resource: Map<String, Value>,
    /// What happened within it, by time.
    #[serde(default)]
    pub events: Vec<SpanEvent>,
    /// Other spans it refers to.
    #[serde(default)]
    pub links: Vec<SpanLink>,
}

/// How a span ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpanStatus {
    /// Not told.
    #[default]
    Unset,
    /// Told to be well.
    Ok,
    /// Failed.
    Error,
}

/// Something that happened within a span.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpanEvent {
    /// When, ns since the epoch.
    #[serde(with = "crate::number::ns")]
    pub time_ns: i64,
    /// What.
    pub name: String,
    /// Attributes.
    #[serde(default)]
    pub attributes: Map<String, Value>,
}

/// A reference to a span of this or another trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpanLink {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// Attributes.
    #[serde(default)]
    pub attributes: Map<String, Value>,
}
