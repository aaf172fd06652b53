//! The instrumentation scope of metrics: left out, or on every series where the configuration wants it.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use prost::Message as _;

use crate::admission::{Admission, Refusal};
use crate::admit::Reason;
use crate::error::Error;
use crate::proto::Message;
use crate::records::scope_attribute_bytes;
use crate::value;

/// What the scope adds to its series.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    /// Attributes under native names, which Prometheus sees as `otel_scope_…`.
    pub(crate) labels: Vec<(String, String)>,
    /// Hash of them; 0 when there are none.
    pub(crate) key: u128,
}

impl Scope {
    /// The scope of a `ScopeMetrics`.
    pub(super) fn read(
        message: Message<'_>,
        admission: &mut Admission<'_>,
    ) -> Result<Self, Refusal> {
        if admission.shared.config.promote_scope {
            return Self::promoted(message, admission);
        }
        let mut has_attributes = false;
        for field in message.fields() {
            let field = field?;
            if field.number == 1 {
                has_attributes |=
                    field.message()?.fields().flatten().any(|field| field.number == 3);
            }
        }
        if has_attributes {
            admission.tally.adjust(Reason::ScopeAttributesDropped);
        }
        Ok(Self::default())
    }

    fn promoted(message: Message<'_>, admission: &mut Admission<'_>) -> Result<Self, Refusal> {
        let (mut name, mut version, mut schema_url) = ("", "", "");
        let (mut attributes, mut bytes) = (Vec::new(), 0);
        let bytes_max = admission.shared.config.attribute_bytes_max;
        for field in message.fields() {
            let field = field?;
            if field.number == 3 {
                schema_url = field.text()?;
            }
            if field.number != 1 {
                continue;
            }
            for field in field.message()?.fields() {
                let field = field?;
                match field.number {
                    1 => name = field.text()?,
                    2 => version = field.text()?,
                    3 => {
                        bytes += scope_attribute_bytes(field.message()?);
                        if bytes <= bytes_max {
                            attributes.push(attribute(field.bytes()?)?);
                        }
                    }
                    _ => {}
                }
            }
        }
        if bytes > bytes_max {
            attributes.clear();
            admission.tally.adjust(Reason::ScopeAttributesDropped);
        }
        let mut labels = vec![
            ("otel.scope.name".to_owned(), name.to_owned()),
            ("otel.scope.version".to_owned(), version.to_owned()),
            ("otel.scope.schema_url".to_owned(), schema_url.to_owned()),
        ];
        for pair in &attributes {
            let text = pair.value.as_ref().map(value::text).unwrap_or_default();
            labels.push((format!("otel.scope.{}", pair.key), text.into_owned()));
        }
        labels.retain(|(_, value)| !value.is_empty());
        let mut bytes = Vec::new();
        for (name, value) in &labels {
            value::write_bytes(&mut bytes, 0, name.as_bytes());
            value::write_bytes(&mut bytes, 1, value.as_bytes());
        }
        Ok(Self { labels, key: admission.shared.memory.hasher.hash(&bytes) })
    }
}

/// The framing was checked, nesting included: what fails here is ours.
fn attribute(bytes: &[u8]) -> Result<KeyValue, Refusal> {
    KeyValue::decode(bytes)
        .map_err(|cause| Refusal::Fail(Error::Internal(format!("a scope: {cause}"))))
}
