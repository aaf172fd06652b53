//! `io.prometheus.write.v2.Request`: every text once, in a table of symbols; series refer to it.

use super::label::{invalid, text, too_many};
use super::{Family, Fields, Header, Items, Labelled, Write};
use crate::admission::Refusal;
use crate::config::Config;
use crate::error::Error;
use crate::proto::{Message, low_u32};

const FIELDS: Fields = Fields { samples: 2, exemplars: 4, histograms: 3 };

/// The texts of a request and their hashes, by number.
struct Symbols<'a> {
    texts: Vec<&'a [u8]>,
    hashes: Vec<u128>,
}

/// The labels of a series.
struct Labels<'a> {
    symbols: &'a Symbols<'a>,
    refs: &'a [u32],
    message: Message<'a>,
    config: &'a Config,
}

impl Write<'_, '_> {
    /// Admits a `Request`.
    pub(super) fn v2(&mut self, request: Message<'_>) -> Result<(), Refusal> {
        let symbols = self.symbols(request)?;
        let (mut refs, mut bytes) = (Vec::new(), Vec::new());
        for field in request.fields() {
            let field = field?;
            if field.number == 5 {
                self.time_series_v2(field.message()?, &symbols, (&mut refs, &mut bytes))?;
            }
        }
        Ok(())
    }

    fn symbols<'b>(&mut self, request: Message<'b>) -> Result<Symbols<'b>, Refusal> {
        let n_symbols = super::count(request, [4, 4])?;
        self.rows.hold_bytes(n_symbols * (size_of::<&[u8]>() + size_of::<u128>()))?;
        let hasher = &self.admission.shared.memory.hasher;
        let mut symbols =
            Symbols { texts: Vec::with_capacity(n_symbols), hashes: Vec::with_capacity(n_symbols) };
        for field in request.fields() {
            let field = field?;
            if field.number == 4 {
                symbols.texts.push(field.bytes()?);
                symbols.hashes.push(hasher.hash(field.bytes()?));
            }
        }
        if symbols.texts.first().is_some_and(|first| !first.is_empty()) {
            let words = "the first symbol must be empty, as remote write 2.0 has it".to_owned();
            return Err(Refusal::Fail(Error::Malformed(words)));
        }
        Ok(symbols)
    }

    fn time_series_v2(
        &mut self,
        message: Message<'_>,
        symbols: &Symbols<'_>,
        (refs, bytes): (&mut Vec<u32>, &mut Vec<u8>),
    ) -> Result<(), Refusal> {
        let config = self.admission.shared.config;
        refs.clear();
        let (mut items, mut created_ms) = (Items::none(message), 0);
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => field.each_varint(|number| push_ref(refs, number, config))?,
                6 => created_ms = field.varint()?.cast_signed(),
                _ => items.add(message, &field, FIELDS),
            }
        }
        bytes.clear();
        for number in &*refs {
            match symbols.hash(*number) {
                Some(hash) => bytes.extend(hash.to_le_bytes()),
                // No hash of ours has this length: such a series is never taken for another.
                None => bytes.push(0),
            }
        }
        let key = self.admission.shared.memory.hasher.hash(bytes);
        let labels = Labels { symbols, refs, message, config };
        let header = Header { labels, key, items, created_ms, fields: FIELDS };
        if header.items.n == 0 {
            self.admission.tally.note_missing_samples(|| super::describe(&header));
        }
        self.series(&header)
    }
}

/// Adds a reference; at most those of one label more than are allowed, the name aside.
fn push_ref(refs: &mut Vec<u32>, number: u64, config: &Config) {
    if refs.len() < config.labels_max.saturating_add(2).saturating_mul(2) {
        refs.push(low_u32(number));
    }
}

impl<'a> Symbols<'a> {
    fn hash(&self, number: u32) -> Option<u128> {
        self.hashes.get(usize::try_from(number).ok()?).copied()
    }

    fn text(&self, number: u32) -> Result<&'a str, Refusal> {
        let bytes = usize::try_from(number).ok().and_then(|number| self.texts.get(number));
        let Some(bytes) = bytes else {
            let n = self.texts.len();
            return Err(invalid(format!("it refers to symbol {number} of {n}")));
        };
        text(bytes)
    }

    fn labels(&self, refs: &[u32], config: &Config) -> Result<Vec<(&'a str, &'a str)>, Refusal> {
        let (pairs, rest) = refs.as_chunks::<2>();
        if pairs.len() > config.labels_max.saturating_add(1) {
            return Err(too_many(config));
        }
        if !rest.is_empty() {
            return Err(invalid("a label has a name, but no value".to_owned()));
        }
        pairs.iter().map(|[name, value]| Ok((self.text(*name)?, self.text(*value)?))).collect()
    }
}

impl Labelled for Labels<'_> {
    fn labels(&self) -> Result<Vec<(&str, &str)>, Refusal> {
        self.symbols.labels(self.refs, self.config)
    }

    fn of_exemplar<'s>(
        &'s self,
        exemplar: Message<'s>,
    ) -> Result<Vec<(&'s str, &'s str)>, Refusal> {
        let mut refs = Vec::new();
        for field in exemplar.fields() {
            let field = field?;
            if field.number == 1 {
                field.each_varint(|number| push_ref(&mut refs, number, self.config))?;
            }
        }
        self.symbols.labels(&refs, self.config)
    }

    fn family(&self) -> Option<Family> {
        let mut family = None;
        for metadata in self.message.fields().flatten().filter(|field| field.number == 5) {
            let (mut code, mut help, mut unit) = (0, "", "");
            for field in metadata.message().ok()?.fields().flatten() {
                let symbol = |number: u64| self.symbols.text(low_u32(number)).unwrap_or_default();
                match (field.number, field.varint()) {
                    (1, Ok(number)) => code = low_u32(number),
                    (3, Ok(number)) => help = symbol(number),
                    (4, Ok(number)) => unit = symbol(number),
                    _ => {}
                }
            }
            family = Some(Family::new(code, unit, help));
        }
        family
    }
}
