//! Traces: from OTLP's spans on the wire to rows of `spans`.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Int64Array, RecordBatch, StringBuilder, UInt16Array,
    UInt64Array,
};
use model::id::{SpanId, TraceId};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use store::schema::{Table, columns as names};

use crate::admission::{Admission, Refusal};
use crate::admit::Reason;
use crate::any;
use crate::attributes::{self, Kept, TypedMaps};
use crate::budget::Reservation;
use crate::columns;
use crate::error::Error;
use crate::ids;
use crate::proto::Message;
use crate::records::{self, Rows, Scope};
use crate::resource::EmitterColumns;
use crate::series::crop;
use crate::sparse::{Ids, Texts};

mod canonical;
mod endpoint;
mod event;
mod query_text;
mod raw;
mod role;

use canonical::Canonical;
use event::{Events, Links};
use raw::Raw;

/// Admits every span of an `ExportTraceServiceRequest`.
pub(crate) fn admit(
    admission: &mut Admission<'_>,
    body: &[u8],
    held: &mut Reservation,
) -> Result<Vec<(Table, RecordBatch)>, Error> {
    let mut spans = Spans::new();
    records::walk(&mut spans, admission, body, held)?;
    spans.finish()
}

/// Columns in the making.
struct Spans<'a> {
    time: Vec<i64>,
    duration: Vec<i64>,
    trace_id: Ids<16>,
    span_id: Ids<8>,
    parent_span_id: Ids<8>,
    emitters: EmitterColumns,
    name: StringBuilder,
    kind: StringBuilder,
    status: StringBuilder,
    status_message: Texts,
    is_root: Vec<bool>,
    is_entry: Vec<bool>,
    is_error: Vec<bool>,
    weight: Vec<f32>,
    trace_state: Texts,
    texts: canonical::TextColumns,
    http_status: Vec<Option<u16>>,
    server_port: Vec<Option<u16>>,
    peer_port: Vec<Option<u16>>,
    db_fingerprint: Vec<Option<u64>>,
    attributes: TypedMaps,
    events: Events<'a>,
    links: Links<'a>,
    raw: Raw<'a>,
    kept: Kept<'a>,
}

impl<'a> Rows<'a> for Spans<'a> {
    fn record(
        &mut self,
        admission: &mut Admission<'_>,
        scope: &Scope<'a>,
        record: Message<'a>,
    ) -> Result<(), Error> {
        let mut raw = std::mem::take(&mut self.raw);
        raw.refill(record)?;
        let outcome = self.row(admission, scope, &raw);
        admission
            .settle(outcome, || format!("span `{}`", crop(&String::from_utf8_lossy(raw.name))))?;
        self.raw = raw;
        Ok(())
    }

    fn len(&self) -> usize {
        self.time.len()
    }

    fn emitters(&mut self) -> &mut EmitterColumns {
        &mut self.emitters
    }
}

impl<'a> Spans<'a> {
    fn new() -> Self {
        let texts = || StringBuilder::with_capacity(0, 0);
        Self {
            time: Vec::new(),
            duration: Vec::new(),
            trace_id: Ids::new(),
            span_id: Ids::new(),
            parent_span_id: Ids::new(),
            emitters: EmitterColumns::new(),
            name: texts(),
            kind: texts(),
            status: texts(),
            status_message: Texts::new(),
            is_root: Vec::new(),
            is_entry: Vec::new(),
            is_error: Vec::new(),
            weight: Vec::new(),
            trace_state: Texts::new(),
            texts: canonical::TextColumns::new(),
            http_status: Vec::new(),
            server_port: Vec::new(),
            peer_port: Vec::new(),
            db_fingerprint: Vec::new(),
            attributes: TypedMaps::new(),
            events: Events::new(),
            links: Links::new(),
            raw: Raw::default(),
            kept: Kept::default(),
        }
    }

    fn row(
        &mut self,
        admission: &mut Admission<'_>,
        scope: &Scope<'a>,
        raw: &Raw<'a>,
    ) -> Result<(), Refusal> {
        let key = Key::check(raw)?;
        let start = admission.window.check(raw.start)?;
        let row = self.time.len();
        self.time.push(start.0);
        self.duration.push(duration(admission, start.0, raw.end));
        self.trace_id.set(row, &key.trace_id.0);
        self.span_id.set(row, &key.span_id.0);
        if let Some(parent) = key.parent_span_id {
            self.parent_span_id.set(row, &parent.0);
        }
        self.texts(row, admission, raw);
        let kind = raw.kind();
        let is_root = key.parent_span_id.is_none();
        self.kind.append_value(kind_name(kind));
        self.status.append_value(status_name(raw.status()));
        self.is_root.push(is_root);
        self.is_entry.push(is_root || matches!(kind, SpanKind::Server | SpanKind::Consumer));
        let (config, tally) = (admission.shared.config, &mut admission.tally);
        self.kept.refill(&raw.attributes, config, tally)?;
        self.canonical(row, admission, raw)?;
        self.events.push(row, admission, &raw.events)?;
        self.links.push(row, admission, &raw.links)?;
        let extras = [
            (records::FLAGS, raw.flags),
            (records::DROPPED_ATTRIBUTES, raw.dropped_attributes),
            (records::DROPPED_EVENTS, raw.dropped_events),
            (records::DROPPED_LINKS, raw.dropped_links),
        ];
        let kept = self.kept.pairs();
        records::push_extras(&mut self.attributes, row, kept, (scope, &extras), admission)?;
        Ok(())
    }

    /// Name, status message and trace state.
    fn texts(&mut self, row: usize, admission: &mut Admission<'_>, raw: &Raw<'a>) {
        let (bytes_max, tally) =
            (admission.shared.config.attribute_bytes_max, &mut admission.tally);
        let mut text = |bytes: &'a [u8]| {
            let text = any::text(bytes, tally);
            attributes::cut_cow(text, bytes_max, Reason::AttributeCut, tally)
        };
        self.name.append_value(text(raw.name));
        self.status_message.set_filled(row, &text(raw.status_message));
        self.trace_state.set_filled(row, &text(raw.trace_state));
        self.weight.push(std::str::from_utf8(raw.trace_state).map_or(1.0, weight));
    }

    /// The attributes as they came, and the canonical columns made of them.
    fn canonical(
        &mut self,
        row: usize,
        admission: &mut Admission<'_>,
        raw: &Raw<'a>,
    ) -> Result<(), Error> {
        let (config, tally) = (admission.shared.config, &mut admission.tally);
        let (kind, code) = (raw.kind(), raw.status());
        let name = String::from_utf8_lossy(raw.name);
        let canonical = Canonical::of(self.kept.pairs(), kind, &name);
        for pair in self.kept.pairs() {
            if config.redact_query_text && role::is_query_text(pair) {
                let text = query_text::redact(&pair.text(config, tally));
                self.attributes.push_text(row, &pair.key, &text)?;
            } else {
                self.attributes.push(row, (&pair.key, &pair.value), config, tally)?;
            }
        }
        self.is_error.push(canonical.is_error(kind, code));
        self.http_status.push(canonical.http_status);
        self.server_port.push(canonical.server_port);
        self.peer_port.push(canonical.peer_port);
        self.db_fingerprint.push(canonical.db_fingerprint);
        self.texts.push(row, &canonical, config.attribute_bytes_max);
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<(Table, RecordBatch)>, Error> {
        let rows = self.time.len();
        if rows == 0 {
            return Ok(Vec::new());
        }
        let mut all: Vec<(&'static str, ArrayRef)> = vec![
            (names::TIME, columns::times_ns(self.time)),
            (names::DURATION, Arc::new(Int64Array::from(self.duration))),
            (names::TRACE_ID, self.trace_id.finish(rows)?),
            (names::SPAN_ID, self.span_id.finish(rows)?),
            (names::PARENT_SPAN_ID, self.parent_span_id.finish(rows)?),
            (names::NAME, Arc::new(self.name.finish())),
            (names::SPAN_KIND, Arc::new(self.kind.finish())),
            (names::STATUS, Arc::new(self.status.finish())),
            (names::STATUS_MESSAGE, self.status_message.finish(rows)),
            (names::IS_ROOT, Arc::new(BooleanArray::from(self.is_root))),
            (names::IS_ENTRY, Arc::new(BooleanArray::from(self.is_entry))),
            (names::IS_ERROR, Arc::new(BooleanArray::from(self.is_error))),
            (names::WEIGHT, Arc::new(Float32Array::from(self.weight))),
            (names::TRACE_STATE, self.trace_state.finish(rows)),
            (names::HTTP_STATUS, Arc::new(UInt16Array::from(self.http_status))),
            (names::SERVER_PORT, Arc::new(UInt16Array::from(self.server_port))),
            (names::PEER_PORT, Arc::new(UInt16Array::from(self.peer_port))),
            (names::DB_FINGERPRINT, Arc::new(UInt64Array::from(self.db_fingerprint))),
        ];
        all.extend(self.texts.finish(rows));
        all.extend(self.emitters.finish(rows));
        all.extend(self.attributes.finish(rows)?);
        all.push((names::EVENTS, self.events.finish(rows)?));
        all.push((names::LINKS, self.links.finish(rows)?));
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
    fn check(raw: &Raw<'_>) -> Result<Self, Refusal> {
        let bad = |reason, what: &str, bytes: &[u8], len| {
            let words = format!("{what} {}: it must be {len} bytes and not all zero", print(bytes));
            Refusal::Reject(reason, words)
        };
        let trace_id = ids::trace_id(raw.trace_id)
            .ok_or_else(|| bad(Reason::TraceIdInvalid, "trace id", raw.trace_id, 16))?;
        let span_id = ids::span_id(raw.span_id)
            .ok_or_else(|| bad(Reason::SpanIdInvalid, "span id", raw.span_id, 8))?;
        let parent_span_id = ids::span_id(raw.parent_span_id);
        if parent_span_id.is_none() && !ids::is_absent(raw.parent_span_id, 8) {
            let parent = raw.parent_span_id;
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
