//! One key and value of a resource, scope, span, log record or sample: OTLP's `KeyValue`.

/// The value of an attribute (OTLP `AnyValue`).
#[derive(Clone, Debug, PartialEq)]
pub enum AttributeValue {
    /// UTF-8 text.
    Str(String),
    /// Truth value.
    Bool(bool),
    /// 64-bit signed integer.
    Int(i64),
    /// IEEE 754 double.
    Double(f64),
    /// Raw bytes.
    Bytes(Vec<u8>),
    /// An array, not necessarily of one type.
    Array(Vec<Self>),
    /// A map; keys are unique.
    Map(Vec<Attribute>),
}

/// A key with its value. Keys are kept verbatim, dots included.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// Name, never empty once admitted.
    pub key: String,
    /// Value.
    pub value: AttributeValue,
}
