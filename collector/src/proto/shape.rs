//! What is known of message types, and whether bytes are such a message, to the last nested one. For parts of a request
//! that are looked at for the first time or not used: known series are recognised by their bytes and not checked again.

use super::{Fault, Message as Raw};

/// The fields of a message type. Fields that are not listed may hold anything.
#[derive(Debug)]
pub(crate) struct Shape(pub(crate) &'static [(u32, Kind)]);

/// What a field must hold.
#[derive(Debug)]
pub(crate) enum Kind {
    Varint,
    Fixed64,
    Text,
    /// Bytes, or a message that is looked at elsewhere.
    Bytes,
    Message(&'static Shape),
    /// Repeated numbers, packed or not.
    Varints,
    Fixed64s,
}

use Kind::{Bytes, Fixed64, Fixed64s, Message, Text, Varint, Varints};

static ANY: Shape = Shape(&[
    (1, Text),
    (2, Varint),
    (3, Varint),
    (4, Fixed64),
    (5, Message(&ARRAY)),
    (6, Message(&KEY_VALUES)),
    (7, Bytes),
    (8, Varint),
]);
static ARRAY: Shape = Shape(&[(1, Message(&ANY))]);
static KEY_VALUES: Shape = Shape(&[(1, Message(&KEY_VALUE))]);
/// `KeyValue`.
pub(crate) static KEY_VALUE: Shape = Shape(&[(1, Text), (2, Message(&ANY)), (3, Varint)]);
static ENTITY: Shape = Shape(&[(1, Text), (2, Text), (3, Text), (4, Text)]);
/// `Resource`.
pub(crate) static RESOURCE: Shape =
    Shape(&[(1, Message(&KEY_VALUE)), (2, Varint), (3, Message(&ENTITY))]);
/// `InstrumentationScope`.
pub(crate) static SCOPE: Shape =
    Shape(&[(1, Text), (2, Text), (3, Message(&KEY_VALUE)), (4, Varint)]);

/// `ExportMetricsServiceRequest` down to the data points and resources, which are left out.
pub(crate) static METRICS: Shape = Shape(&[(
    1,
    Message(&Shape(&[
        (1, Bytes),
        (
            2,
            Message(&Shape(&[
                (1, Message(&SCOPE)),
                (
                    2,
                    Message(&Shape(&[
                        (1, Text),
                        (2, Text),
                        (3, Text),
                        (5, Message(&GAUGE)),
                        (7, Message(&SUM)),
                        (9, Message(&HISTOGRAM)),
                        (10, Message(&HISTOGRAM)),
                        (11, Message(&GAUGE)),
                        (12, Message(&KEY_VALUE)),
                    ])),
                ),
                (3, Text),
            ])),
        ),
        (3, Text),
    ])),
)]);
static GAUGE: Shape = Shape(&[(1, Bytes)]);
static SUM: Shape = Shape(&[(1, Bytes), (2, Varint), (3, Varint)]);
static HISTOGRAM: Shape = Shape(&[(1, Bytes), (2, Varint)]);

/// `NumberDataPoint`.
pub(crate) static NUMBER_POINT: Shape = Shape(&[
    (2, Fixed64),
    (3, Fixed64),
    (4, Fixed64),
    (5, Message(&EXEMPLAR)),
    (6, Fixed64),
    (7, Message(&KEY_VALUE)),
    (8, Varint),
]);
/// `HistogramDataPoint`.
pub(crate) static HISTOGRAM_POINT: Shape = Shape(&[
    (2, Fixed64),
    (3, Fixed64),
    (4, Fixed64),
    (5, Fixed64),
    (6, Fixed64s),
    (7, Fixed64s),
    (8, Message(&EXEMPLAR)),
    (9, Message(&KEY_VALUE)),
    (10, Varint),
    (11, Fixed64),
    (12, Fixed64),
]);
/// `ExponentialHistogramDataPoint`.
pub(crate) static EXPONENTIAL_POINT: Shape = Shape(&[
    (1, Message(&KEY_VALUE)),
    (2, Fixed64),
    (3, Fixed64),
    (4, Fixed64),
    (5, Fixed64),
    (6, Varint),
    (7, Fixed64),
    (8, Message(&BUCKETS)),
    (9, Message(&BUCKETS)),
    (10, Varint),
    (11, Message(&EXEMPLAR)),
    (12, Fixed64),
    (13, Fixed64),
    (14, Fixed64),
]);
static BUCKETS: Shape = Shape(&[(1, Varint), (2, Varints)]);
/// `SummaryDataPoint`.
pub(crate) static SUMMARY_POINT: Shape = Shape(&[
    (2, Fixed64),
    (3, Fixed64),
    (4, Fixed64),
    (5, Fixed64),
    (6, Message(&Shape(&[(1, Fixed64), (2, Fixed64)]))),
    (7, Message(&KEY_VALUE)),
    (8, Varint),
]);
/// `Exemplar`.
pub(crate) static EXEMPLAR: Shape = Shape(&[
    (2, Fixed64),
    (3, Fixed64),
    (4, Bytes),
    (5, Bytes),
    (6, Fixed64),
    (7, Message(&KEY_VALUE)),
]);

/// How deep messages may nest, as in prost.
pub(crate) const DEPTH_MAX: u32 = 100;

/// Whether `message` has the shape. It may hold `depth` levels of messages.
pub(crate) fn check(message: Raw<'_>, shape: &Shape, depth: u32) -> Result<(), Fault> {
    for field in message.fields() {
        let field = field?;
        let kind = shape.0.iter().find(|(number, _)| *number == field.number).map(|(_, kind)| kind);
        match kind {
            Some(Varint) => drop(field.varint()?),
            Some(Fixed64) => drop(field.fixed64()?),
            Some(Text) => drop(field.text()?),
            Some(Bytes) => drop(field.bytes()?),
            Some(Varints) => field.each_varint(drop)?,
            Some(Fixed64s) => field.each_fixed64(drop)?,
            Some(Message(shape)) => {
                let inner = field.message()?;
                let inside = depth.checked_sub(1).ok_or_else(|| inner.too_deep())?;
                check(inner, shape, inside)?;
            }
            None if depth == 0 => return Err(message.too_deep()),
            None => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
