//! Trace and span ids as they come over the wire.

use model::id::{SpanId, TraceId};

/// The trace id, or `None` when the bytes are not 16 or all zero.
pub(crate) fn trace_id(bytes: &[u8]) -> Option<TraceId> {
    let id = bytes.try_into().ok()?;
    (id != [0; 16]).then_some(TraceId(id))
}

/// The span id, or `None` when the bytes are not 8 or all zero.
pub(crate) fn span_id(bytes: &[u8]) -> Option<SpanId> {
    let id = bytes.try_into().ok()?;
    (id != [0; 8]).then_some(SpanId(id))
}

/// Whether the sender meant no id: nothing, or zeros of the right length.
pub(crate) fn is_absent(bytes: &[u8], len: usize) -> bool {
    bytes.is_empty() || (bytes.len() == len && bytes.iter().all(|byte| *byte == 0))
}
