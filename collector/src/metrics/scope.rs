//! The instrumentation scope of metrics: left out, or on every series where the configuration wants it.

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use prost::Message as _;

use crate::admission::{Admission, Refusal};
use crate::admit::Reason;
use crate::error::Error;
use crate::proto::Message;
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

    fn promoted(message: Message<'_>, admission: &Admission<'_>) -> Result<Self, Refusal> {
        let (mut scope, mut schema_url) = (InstrumentationScope::default(), "");
        for field in message.fields() {
            let field = field?;
            match field.number {
                // The framing was checked, nesting included: what fails here is ours.
                1 => scope
                    .merge(field.bytes()?)
                    .map_err(|cause| Refusal::Fail(Error::Internal(format!("a scope: {cause}"))))?,
                3 => schema_url = field.text()?,
                _ => {}
            }
        }
        let mut labels = vec![
            ("otel.scope.name".to_owned(), scope.name),
            ("otel.scope.version".to_owned(), scope.version),
            ("otel.scope.schema_url".to_owned(), schema_url.to_owned()),
        ];
        for pair in &scope.attributes {
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
