//! `prometheus.WriteRequest`: every series with its labels as text.

use super::label::{invalid, text, too_many};
use super::{Family, Fields, Header, Items, Labelled, Write};
use crate::admission::Refusal;
use crate::config::Config;
use crate::proto::{Message, low_u32};
use crate::series::RawHash;

const FIELDS: Fields = Fields { samples: 2, exemplars: 3, histograms: 4 };

/// The labels in field 1 of a message.
struct Labels<'a> {
    message: Message<'a>,
    config: &'a Config,
}

impl Write<'_, '_> {
    /// Admits a `WriteRequest`.
    pub(super) fn v1(&mut self, request: Message<'_>) -> Result<(), Refusal> {
        for field in request.fields() {
            let field = field?;
            if field.number == 3 {
                self.metadata(field.message()?)?;
            }
        }
        for field in request.fields() {
            let field = field?;
            if field.number == 1 {
                self.time_series(field.message()?)?;
            }
        }
        Ok(())
    }

    /// Remembers a `MetricMetadata`.
    fn metadata(&self, message: Message<'_>) -> Result<(), Refusal> {
        let (mut code, mut name, mut help, mut unit) = (0, "", "", "");
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => code = low_u32(field.varint()?),
                2 => name = field.text()?,
                4 => help = field.text()?,
                5 => unit = field.text()?,
                _ => {}
            }
        }
        self.admission.shared.memory.families.put(name, Family::new(code, unit, help));
        Ok(())
    }

    fn time_series(&mut self, message: Message<'_>) -> Result<(), Refusal> {
        let shared = self.admission.shared;
        let mut hash = RawHash::new(message, &shared.memory.hasher);
        let mut items = Items::none(message);
        let mut fields = message.fields();
        while let Some(field) = fields.next() {
            let field = field?;
            match field.number {
                1 => hash.add_run(&field, &mut fields)?,
                _ => items.add(message, &field, FIELDS),
            }
        }
        let labels = Labels { message, config: shared.config };
        let key = hash.finish();
        self.series(&Header { labels, key, items, created_ms: 0, fields: FIELDS })
    }
}

impl Labelled for Labels<'_> {
    fn labels(&self) -> Result<Vec<(&str, &str)>, Refusal> {
        labels(self.message, self.config)
    }

    fn of_exemplar<'s>(
        &'s self,
        exemplar: Message<'s>,
    ) -> Result<Vec<(&'s str, &'s str)>, Refusal> {
        labels(exemplar, self.config)
    }

    fn family(&self) -> Option<Family> {
        None
    }
}

fn labels<'a>(message: Message<'a>, config: &Config) -> Result<Vec<(&'a str, &'a str)>, Refusal> {
    let mut labels = Vec::new();
    for field in message.fields() {
        let field = field?;
        if field.number != 1 {
            continue;
        }
        if labels.len() > config.labels_max {
            return Err(too_many(config));
        }
        let (mut name, mut value) = (&b""[..], &b""[..]);
        for field in field.message()?.fields() {
            let field = field?;
            match field.number {
                1 => name = field.bytes()?,
                2 => value = field.bytes()?,
                _ => {}
            }
        }
        labels.push((text(name)?, text(value)?));
    }
    if labels.is_empty() {
        return Err(invalid("it has no labels".to_owned()));
    }
    Ok(labels)
}
