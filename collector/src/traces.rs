//! Traces: from OTLP's spans to rows of `spans`.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Int64Array, RecordBatch, StringBuilder, UInt16Array,
    UInt64Array,
};
use model::id::{SpanId, TraceId};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use store::schema::{Table, columns as names};

use crate::admission::{Admission, Refusal};
use crate::admit::Reason;
use crate::attributes::{self, TypedMaps};
use crate::columns;
use crate::error::Error;
use crate::ids;
use crate::resource::{Emitter, EmitterColumns, note_scope};
use crate::series::crop;

mod canonical;
mod endpoint;
mod event;
mod query_text;
mod role;

use canonical::Canonical;
use event::{Events, Links};

/// Admits every span of the request.
pub(crate) fn admit(
    admission: &mut Admission<'_>,
    request: &ExportTraceServiceRequest,
) -> Result<Vec<(Table, RecordBatch)>, Error> {
    let mut spans = Spans::new();
    for of_resource in &request.resource_spans {
        let emitter = admission.emitter(of_resource.resource.as_ref());
        for of_scope in &of_resource.scope_spans {
            note_scope(of_scope.scope.as_ref(), &mut admission.tally);
            admission.tally.receive(of_scope.spans.len());
            for span in &of_scope.spans {
                let outcome = spans.span(admission, (&emitter, of_scope.scope.as_ref()), span);
                admission.settle(outcome, || format!("span `{}`", crop(&span.name)))?;
            }
        }
    }
    spans.finish()
}

/// Columns in the making.
struct Spans {
    time: Vec<i64>,
    duration: Vec<i64>,
    trace_id: Vec<Option<TraceId>>,
    span_id: Vec<Option<SpanId>>,
    parent_span_id: Vec<Option<SpanId>>,
    emitter: EmitterColumns,
    name: StringBuilder,
    kind: StringBuilder,
    status: StringBuilder,
    status_message: StringBuilder,
    is_root: Vec<bool>,
    is_entry: Vec<bool>,
    is_error: Vec<bool>,
    weight: Vec<f32>,
    trace_state: StringBuilder,
    texts: canonical::TextColumns,
    http_status: Vec<Option<u16>>,
    server_port: Vec<Option<u16>>,
    peer_port: Vec<Option<u16>>,
    db_fingerprint: Vec<Option<u64>>,
    attributes: TypedMaps,
    events: Events,
    links: Links,
}

impl Spans {
    fn new() -> Self {
        Self {
            time: Vec::new(),
            duration: Vec::new(),
            trace_id: Vec::new(),
            span_id: Vec::new(),
            parent_span_id: Vec::new(),
            emitter: EmitterColumns::new(),
            name: StringBuilder::new(),
            kind: StringBuilder::new(),
            status: StringBuilder::new(),
            status_message: StringBuilder::new(),
            is_root: Vec::new(),
            is_entry: Vec::new(),
            is_error: Vec::new(),
            weight: Vec::new(),
            trace_state: StringBuilder::new(),
            texts: canonical::TextColumns::new(),
            http_status: Vec::new(),
            server_port: Vec::new(),
            peer_port: Vec::new(),
            db_fingerprint: Vec::new(),
            attributes: TypedMaps::new(),
            events: Events::new(),
            links: Links::new(),
        }
    }

    fn span(
        &mut self,
        admission: &mut Admission<'_>,
        (emitter, scope): (&Emitter, Option<&InstrumentationScope>),
        span: &Span,
    ) -> Result<(), Refusal> {
        let key = Key::check(span)?;
        let start = admission.window.check(span.start_time_unix_nano)?;
        self.time.push(start.0);
        self.duration.push(duration(admission, start.0, span.end_time_unix_nano));
        self.trace_id.push(Some(key.trace_id));
        self.span_id.push(Some(key.span_id));
        self.parent_span_id.push(key.parent_span_id);
        self.emitter.push(emitter, scope);
        let cut = |admission: &mut Admission<'_>, text: &'_ str| {
            let bytes_max = admission.shared.config.attribute_bytes_max;
            attributes::cut(text, bytes_max, Reason::AttributeCut, &mut admission.tally).len()
        };
        let name = &span.name[..cut(admission, &span.name)];
        self.name.append_value(name);
        let kind = SpanKind::try_from(span.kind).unwrap_or(SpanKind::Unspecified);
        self.kind.append_value(kind_name(kind));
        let status = span.status.as_ref();
        let code = status.map_or(StatusCode::Unset, |status| {
            StatusCode::try_from(status.code).unwrap_or(StatusCode::Unset)
        });
        self.status.append_value(status_name(code));
        let message = status.map_or("", |status| &status.message);
        let message = &message[..cut(admission, message)];
        self.status_message.append_option((!message.is_empty()).then_some(message));
        let is_root = key.parent_span_id.is_none();
        self.is_root.push(is_root);
        self.is_entry.push(is_root || matches!(kind, SpanKind::Server | SpanKind::Consumer));
        self.weight.push(weight(&span.trace_state));
        let trace_state = &span.trace_state[..cut(admission, &span.trace_state)];
        self.trace_state.append_option((!trace_state.is_empty()).then_some(trace_state));
        self.canonical(admission, span, (kind, code));
        self.events.push(admission, &span.events).map_err(Refusal::Fail)?;
        self.links.push(admission, &span.links).map_err(Refusal::Fail)?;
        self.attributes.end_row().map_err(Refusal::Fail)
    }

    /// The attributes as they came, and the canonical columns made of them.
    fn canonical(
        &mut self,
        admission: &mut Admission<'_>,
        span: &Span,
        (kind, code): (SpanKind, StatusCode),
    ) {
        let (config, tally) = (admission.shared.config, &mut admission.tally);
        let kept = attributes::within_limits(&span.attributes, config, tally);
        let canonical = Canonical::of(&kept, kind, &span.name);
        for pair in &kept {
            if config.redact_query_text && role::is_query_text(&pair.key) {
                let text = attributes::text(pair, config, tally);
                self.attributes.push_text(&pair.key, &query_text::redact(&text));
            } else {
                self.attributes.push(pair, config, tally);
            }
        }
        self.is_error.push(canonical.is_error(kind, code));
        self.http_status.push(canonical.http_status);
        self.server_port.push(canonical.server_port);
        self.peer_port.push(canonical.peer_port);
        self.db_fingerprint.push(canonical.db_fingerprint);
        self.texts.push(&canonical, config.attribute_bytes_max);
    }

    fn finish(mut self) -> Result<Vec<(Table, RecordBatch)>, Error> {
        if self.time.is_empty() {
            return Ok(Vec::new());
        }
        let mut all: Vec<(&'static str, ArrayRef)> = vec![
            (names::TIME, columns::times_ns(self.time)),
            (names::DURATION, Arc::new(Int64Array::from(self.duration))),
            (names::TRACE_ID, columns::trace_ids(&self.trace_id)?),
            (names::SPAN_ID, columns::span_ids(&self.span_id)?),
            (names::PARENT_SPAN_ID, columns::span_ids(&self.parent_span_id)?),
            (names::NAME, Arc::new(self.name.finish())),
            (names::SPAN_KIND, Arc::new(self.kind.finish())),
            (names::STATUS, Arc::new(self.status.finish())),
            (names::STATUS_MESSAGE, Arc::new(self.status_message.finish())),
            (names::IS_ROOT, Arc::new(BooleanArray::from(self.is_root))),
            (names::IS_ENTRY, Arc::new(BooleanArray::from(self.is_entry))),
            (names::IS_ERROR, Arc::new(BooleanArray::from(self.is_error))),
            (names::WEIGHT, Arc::new(Float32Array::from(self.weight))),
            (names::TRACE_STATE, Arc::new(self.trace_state.finish())),
            (names::HTTP_STATUS, Arc::new(UInt16Array::from(self.http_status))),
            (names::SERVER_PORT, Arc::new(UInt16Array::from(self.server_port))),
            (names::PEER_PORT, Arc::new(UInt16Array::from(self.peer_port))),
            (names::DB_FINGERPRINT, Arc::new(UInt64Array::from(self.db_fingerprint))),
        ];
        all.extend(self.texts.finish());
        all.extend(self.emitter.finish());
        all.extend(self.attributes.finish());
        all.push((names::EVENTS, self.events.finish()?));
        all.push((names::LINKS, self.links.finish()?));
        Ok(vec![columns::batch(Table::Spans, all)?])
    }
}

/// Which span of which trace.
struct Key {
    trace_id: TraceId,
    span_id: SpanId,
    parent_span_id: Option<SpanId>,
}

impl Key {
    fn check(span: &Span) -> Result<Self, Refusal> {
        let bad = |reason, what: &str, bytes: &[u8], len| {
            let words = format!("{what} {}: it must be {len} bytes and not all zero", print(bytes));
            Refusal::Reject(reason, words)
        };
        let trace_id = ids::trace_id(&span.trace_id)
            .ok_or_else(|| bad(Reason::TraceIdInvalid, "trace id", &span.trace_id, 16))?;
        let span_id = ids::span_id(&span.span_id)
            .ok_or_else(|| bad(Reason::SpanIdInvalid, "span id", &span.span_id, 8))?;
        let parent_span_id = ids::span_id(&span.parent_span_id);
        if parent_span_id.is_none() && !ids::is_absent(&span.parent_span_id, 8) {
            let parent = &span.parent_span_id;
            return Err(bad(Reason::ParentSpanIdInvalid, "parent span id", parent, 8));
        }
        Ok(Self { trace_id, span_id, parent_span_id })
    }
}

fn print(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().take(20).map(|byte| format!("{byte:02x}")).collect();
    format!("`{digits}` of {} bytes", bytes.len())
}

/// Nanoseconds from start to end; 0 for a span that ends before it starts, or in a future nobody can know.
fn duration(admission: &mut Admission<'_>, start: i64, end: u64) -> i64 {
    let end = admission.window.check(end).ok();
    let length = end.and_then(|end| end.0.checked_sub(start));
    length.filter(|length| *length >= 0).unwrap_or_else(|| {
        admission.tally.adjust(Reason::DurationClamped);
        0
    })
}

fn kind_name(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Unspecified => "unspecified",
        SpanKind::Internal => "internal",
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
    }
}

fn status_name(code: StatusCode) -> &'static str {
    match code {
        StatusCode::Unset => "unset",
        StatusCode::Ok => "ok",
        StatusCode::Error => "error",
    }
}

/// How many spans this one stands for: from the rejection threshold `ot=th:` of a consistent sampler, else 1.
fn weight(trace_state: &str) -> f32 {
    const THRESHOLD_DIGITS: usize = 14; // 56 bits
    let vendor = trace_state.split(',').find_map(|member| member.trim().strip_prefix("ot="));
    let digits = vendor.and_then(|ot| ot.split(';').find_map(|field| field.strip_prefix("th:")));
    let Some(digits) = digits.filter(|digits| (1..=THRESHOLD_DIGITS).contains(&digits.len()))
    else {
        return 1.0;
    };
    let padded = format!("{digits:0<THRESHOLD_DIGITS$}");
    let Ok(threshold) = u64::from_str_radix(&padded, 16) else { return 1.0 };
    let all = 1_u64 << 56;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a weight needs no more digits than f32 has"
    )]
    let weight = (all as f64 / all.saturating_sub(threshold).max(1) as f64) as f32;
    weight
}

#[cfg(test)]
mod tests;
