//! Exemplars of remote write. Never a reason to refuse anything: what cannot be kept is counted.

use model::id::{SpanId, TraceId};
use model::time::Timestamp;

use super::{Class, Header, Labelled, Target, Write};
use crate::admission::Refusal;
use crate::admit::Reason;
use crate::attributes;
use crate::metrics::rows::ExemplarRow;
use crate::proto::Message;

impl Write<'_, '_> {
    /// Keeps the exemplars of a series, up to its limit. `newest` is the time of its newest row.
    pub(super) fn exemplars<L: Labelled>(
        &mut self,
        header: &Header<'_, L>,
        target: Target,
        newest: Option<Timestamp>,
    ) -> Result<(), Refusal> {
        for field in header.items.message.fields() {
            let field = field?;
            if field.number != header.fields.exemplars {
                continue;
            }
            match self.exemplar(header, target, (field.message()?, newest)) {
                Ok(()) => {}
                Err(Refusal::Reject(..)) => self.admission.tally.adjust(Reason::ExemplarDropped),
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(())
    }

    fn exemplar<L: Labelled>(
        &mut self,
        header: &Header<'_, L>,
        target: Target,
        (message, newest): (Message<'_>, Option<Timestamp>),
    ) -> Result<(), Refusal> {
        let (mut value, mut time_ms) = (0.0, 0);
        for field in message.fields() {
            let field = field?;
            match field.number {
                2 => value = field.double()?,
                3 => time_ms = field.varint()?.cast_signed(),
                _ => {}
            }
        }
        let time = match (time_ms, newest) {
            (0, Some(newest)) => newest,
            (ms, _) => self.admission.window.check_ms(ms)?,
        };
        let labels = header.labels.of_exemplar(message)?;
        let series = match target.id() {
            Some(series) => series,
            // Exemplars may come without samples, yet not for a series whose samples were refused.
            None if header.items.n == 0 => self.resolve(header, Class::Float)?.id,
            None => return Err(dropped("its series was refused")),
        };
        if !self.admission.takes_exemplar(series) {
            return Err(dropped("its series has enough of them"));
        }
        let (mut trace_id, mut span_id, mut attributes) = (None, None, Vec::new());
        let (config, tally) = (self.admission.shared.config, &mut self.admission.tally);
        for (name, text) in labels.into_iter().take(config.labels_max) {
            match name {
                "trace_id" | "traceID" if trace_id.is_none() && hex::<16>(text).is_some() => {
                    trace_id = hex(text).map(TraceId);
                }
                "span_id" | "spanID" if span_id.is_none() && hex::<8>(text).is_some() => {
                    span_id = hex(text).map(SpanId);
                }
                _ => {
                    let bytes_max = config.attribute_bytes_max;
                    let text = attributes::cut(text, bytes_max, Reason::AttributeCut, tally);
                    attributes.push((name.to_owned(), text.to_owned()));
                }
            }
        }
        self.rows.exemplars.push(ExemplarRow {
            series: series.0,
            time_ns: time.0,
            value,
            trace_id,
            span_id,
            attributes,
        });
        Ok(())
    }
}

fn dropped(words: &str) -> Refusal {
    Refusal::Reject(Reason::ExemplarDropped, words.to_owned())
}

/// The bytes of a text of exactly so many pairs of hexadecimal digits that are not all zero.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(pairs) {
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok());
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    (out != [0; N]).then_some(out)
}
