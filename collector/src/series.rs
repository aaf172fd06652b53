//! From a data point's attributes to the id of its series: by a remembered hash, else by translation and the store.

use std::cell::OnceCell;
use std::ops::Range;

use model::metric::{Labels, MetricKind, SeriesDef, Temporality};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use prost::Message as _;
use store::Resolved;

use crate::admission::{Admission, Refusal};
use crate::admit::Reason;
use crate::error::Error;
use crate::metrics::scope::Scope;
use crate::prometheus;
use crate::proto::{Fault, Field, Fields, Message, shape};
use crate::recent::KeyHasher;
use crate::resource::Emitter;
use crate::translation::TranslationStrategy;
use crate::value;

/// How deep an attribute stands in a request: one below its point.
const PAIR_LEVEL: u32 = 6;
/// No value takes more bytes on the wire for one of its text: an array of -1 takes 13 for 3.
const WIRE_BYTES_PER_TEXT: usize = 8;
/// How many attributes of a point a message names.
pub(crate) const NAMED_MAX: usize = 3;

/// One metric of one resource and scope.
pub(crate) struct MetricContext<'a> {
    emitter: &'a Emitter,
    scope: &'a Scope,
    metric: Described<'a>,
    key: u128,
    prom_name: OnceCell<String>,
}

/// A metric without its points.
#[derive(Clone, Copy)]
pub(crate) struct Described<'a> {
    pub(crate) name: &'a str,
    pub(crate) help: &'a str,
    pub(crate) unit: &'a str,
    pub(crate) nature: Nature,
}

/// The attributes of a point as they stand in the request.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a> {
    point: Message<'a>,
    number: u32,
}

/// Attributes of a point as far as a limit lets them be.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    /// In the order sent.
    pub(crate) pairs: Vec<KeyValue>,
    /// How many were sent.
    pub(crate) count: usize,
    /// Bytes on the wire of the longest that was too long to be looked at; 0 for none.
    too_long: usize,
}

/// Hash of fields as sent: of each run of fields that stand one after the other, added up. So another order is another
/// hash, yet runs in any order are one, and nothing is copied.
pub(crate) struct RawHash<'a> {
    message: Message<'a>,
    hasher: &'a KeyHasher,
    run: Range<usize>,
    sum: u128,
}

impl<'a> RawHash<'a> {
    /// The hash of no fields of `message`.
    #[inline]
    pub(crate) fn new(message: Message<'a>, hasher: &'a KeyHasher) -> Self {
        Self { message, hasher, run: 0..0, sum: 0 }
    }

    /// Adds a field of the message; it must hold bytes.
    #[inline]
    pub(crate) fn add(&mut self, field: &Field<'a>) -> Result<(), Fault> {
        let span = field.span()?;
        if span.start == self.run.end {
            self.run.end = span.end;
        } else {
            self.flush();
            self.run = span;
        }
        Ok(())
    }

    /// Adds a field of the message and those right behind it that are like it.
    #[inline]
    pub(crate) fn add_run(
        &mut self,
        field: &Field<'a>,
        fields: &mut Fields<'a>,
    ) -> Result<(), Fault> {
        self.add(field)?;
        self.run.end = fields.pass_alike(field);
        Ok(())
    }

    /// The hash of all that was added.
    #[inline]
    pub(crate) fn finish(mut self) -> u128 {
        self.flush();
        self.sum
    }

    #[inline]
    fn flush(&mut self) {
        if !self.run.is_empty() {
            let hash = self.hasher.hash(self.message.slice(self.run.clone()));
            self.sum = self.sum.wrapping_add(hash);
        }
    }
}

impl<'a> Attributes<'a> {
    /// The attributes in field `number` of `point`.
    pub(crate) const fn new(point: Message<'a>, number: u32) -> Self {
        Self { point, number }
    }

    /// The attributes as messages, after they were found to be well-formed: the first `max` of those whose text may have
    /// `bytes_max` bytes. A message takes many times its bytes on the wire, so what is over a limit is only counted.
    pub(crate) fn decode(self, max: usize, bytes_max: usize) -> Result<Decoded, Refusal> {
        let bytes_max = bytes_max.saturating_mul(WIRE_BYTES_PER_TEXT);
        let mut decoded = Decoded::default();
        for field in self.point.fields() {
            let field = field?;
            if field.number != self.number {
                continue;
            }
            let pair = field.message()?;
            shape::check(pair, &shape::KEY_VALUE, shape::DEPTH_MAX - PAIR_LEVEL)?;
            decoded.count += 1;
            if pair.bytes().len() > bytes_max {
                decoded.too_long = decoded.too_long.max(pair.bytes().len());
            } else if decoded.pairs.len() < max {
                decoded.pairs.push(KeyValue::decode(pair.bytes()).map_err(|cause| {
                    Refusal::Fail(Error::Internal(format!("an attribute: {cause}")))
                })?);
            }
        }
        Ok(decoded)
    }
}

/// Which series of a point: a summary has several.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Part {
    /// The only one.
    Whole,
    /// A summary's quantile.
    Quantile(f64),
    /// A summary's sum.
    Sum,
    /// A summary's count.
    Count,
}

impl Part {
    fn suffix(self) -> &'static str {
        match self {
            Self::Whole | Self::Quantile(_) => "",
            Self::Sum => "_sum",
            Self::Count => "_count",
        }
    }

    /// What is added to the hash of the point.
    #[inline]
    fn key(self, hasher: &KeyHasher) -> u128 {
        match self {
            Self::Whole => 0,
            Self::Sum => hasher.hash(b"sum"),
            Self::Count => hasher.hash(b"count"),
            Self::Quantile(quantile) => hasher.hash(&quantile.to_bits().to_le_bytes()),
        }
    }
}

/// What a metric's data says it is.
#[derive(Clone, Copy)]
pub(crate) struct Nature {
    pub(crate) kind: MetricKind,
    pub(crate) temporality: Temporality,
    pub(crate) is_sum: bool,
}

impl<'a> MetricContext<'a> {
    pub(crate) fn new(
        admission: &mut Admission<'_>,
        (emitter, scope): (&'a Emitter, &'a Scope),
        metric: Described<'a>,
    ) -> Self {
        let Nature { kind, temporality, is_sum } = metric.nature;
        let scratch = &mut admission.scratch;
        scratch.clear();
        scratch.extend(emitter.key.to_le_bytes());
        scratch.extend(scope.key.to_le_bytes());
        scratch.extend([kind as u8, temporality as u8, u8::from(is_sum)]);
        value::write_bytes(scratch, 0, metric.name.as_bytes());
        value::write_bytes(scratch, 0, metric.unit.as_bytes());
        let key = admission.shared.memory.hasher.hash(scratch);
        Self { emitter, scope, metric, key, prom_name: OnceCell::new() }
    }

    /// Totals or increments.
    pub(crate) const fn temporality(&self) -> Temporality {
        self.metric.nature.temporality
    }

    fn prom_name(&self, strategy: TranslationStrategy) -> &str {
        self.prom_name.get_or_init(|| {
            let Described { name, unit, nature, .. } = self.metric;
            if nature.is_sum {
                prometheus::sum_name(strategy, (name, unit), nature.kind)
            } else {
                prometheus::metric_name(strategy, (name, unit), nature.kind)
            }
        })
    }

    /// How messages name a point.
    pub(crate) fn describe(&self, attributes: &Decoded) -> String {
        let mut out = format!("metric `{}`", crop(self.metric.name));
        let shown = &attributes.pairs[..attributes.pairs.len().min(NAMED_MAX)];
        for (i, pair) in shown.iter().enumerate() {
            let value = pair.value.as_ref().map(value::text).unwrap_or_default();
            out.push_str(if i == 0 { " {" } else { ", " });
            out.push_str(&format!("{}=\"{}\"", crop(&pair.key), crop(&value)));
        }
        match (shown.len(), attributes.count) {
            (0, 0) => {}
            (0, _) => out.push_str(" {…}"),
            (shown, count) if shown == count => out.push('}'),
            _ => out.push_str(", …}"),
        }
        out
    }
}

fn has_repeated_key(pairs: &[KeyValue]) -> bool {
    pairs.iter().enumerate().any(|(i, pair)| pairs[..i].iter().any(|seen| seen.key == pair.key))
}

/// The beginning of a text that a sender chose, short enough for a message.
pub(crate) fn crop(text: &str) -> &str {
    &text[..text.floor_char_boundary(64)]
}

impl Admission<'_> {
    /// The series of a data point with these attributes, whose hash is given beside them.
    #[inline]
    pub(crate) fn series(
        &mut self,
        context: &MetricContext<'_>,
        (attributes, hash): (Attributes<'_>, u128),
        part: Part,
    ) -> Result<Resolved, Refusal> {
        let memory = self.shared.memory;
        let key = context.key.wrapping_add(hash).wrapping_add(part.key(&memory.hasher));
        if let Some(series) = self.remembered(key) {
            return Ok(series);
        }
        let config = self.shared.config;
        let decoded = attributes.decode(config.labels_max, config.label_bytes_max)?;
        let def = self.define(context, &decoded, part)?;
        let series = self.resolve(&def)?;
        // Hashes of the same runs in another order are equal: of a repeated key another value would win then.
        if !has_repeated_key(&decoded.pairs) {
            self.known.insert(key, series);
        }
        Ok(series)
    }

    /// The series remembered under `key`, if there is one and it may be used.
    #[inline]
    pub(crate) fn remembered(&mut self, key: u128) -> Option<Resolved> {
        let found = self.known.find(key).filter(|_| !self.is_repeat);
        self.hits += u64::from(found.is_some());
        self.misses += u64::from(found.is_none());
        found
    }

    /// The store's name for a series; a full registry rejects the point, not the request.
    pub(crate) fn resolve(&self, def: &SeriesDef) -> Result<Resolved, Refusal> {
        self.shared.registry.resolve(self.shared.tenant, def).map_err(|cause| match cause.kind() {
            store::ErrorKind::Exhausted => {
                Refusal::Reject(Reason::SeriesLimit, format!("{cause}; series already known go on"))
            }
            _ => Refusal::Fail(Error::Store(cause)),
        })
    }

    fn define(
        &mut self,
        context: &MetricContext<'_>,
        attributes: &Decoded,
        part: Part,
    ) -> Result<SeriesDef, Refusal> {
        let strategy = self.shared.config.translation_strategy;
        let mut labels = self.labels(attributes)?;
        labels.splice(..0, context.scope.labels.iter().cloned());
        if let Part::Quantile(quantile) = part {
            labels.push(("quantile".to_owned(), value::double(quantile)));
        }
        let labels = Labels::new(labels);
        let (mut prom_labels, joined) = prometheus::translate(strategy, &labels);
        for _ in 0..joined {
            self.tally.adjust(Reason::LabelsMerged);
        }
        let emitter = context.emitter;
        for (name, value) in &emitter.promoted {
            // What a point says of itself is closer than what its resource says.
            if !prom_labels.iter().any(|(seen, _)| seen == name) {
                prom_labels.push((name.clone(), value.clone()));
            }
        }
        prom_labels.extend_from_slice(&emitter.identity);
        Ok(SeriesDef {
            metric: format!("{}{}", context.metric.name, part.suffix()),
            labels,
            resource_id: emitter.id,
            prom_name: format!("{}{}", context.prom_name(strategy), part.suffix()),
            prom_labels: Labels::new(prom_labels),
            kind: context.metric.nature.kind,
            temporality: context.metric.nature.temporality,
            unit: context.metric.unit.to_owned(),
            help: context.metric.help.to_owned(),
        })
    }

    /// The attributes as labels. Too many or too long ones reject the point: cutting could make two series one.
    fn labels(&mut self, attributes: &Decoded) -> Result<Vec<(String, String)>, Refusal> {
        let config = self.shared.config;
        let Decoded { pairs, count, too_long } = attributes;
        if *count > config.labels_max {
            let words = format!("{count} attributes, the limit is {}", config.labels_max);
            return Err(Refusal::Reject(Reason::LabelsTooMany, words));
        }
        if *too_long > 0 {
            let limit = config.label_bytes_max;
            let words = format!("an attribute of {too_long} bytes as sent, the limit is {limit}");
            return Err(Refusal::Reject(Reason::LabelTooLong, words));
        }
        let mut labels = Vec::with_capacity(pairs.len() + 1);
        for pair in pairs {
            let text = pair.value.as_ref().map(value::text).unwrap_or_default();
            let bytes = pair.key.len().max(text.len());
            if bytes > config.label_bytes_max {
                let words = format!(
                    "attribute `{}` has {bytes} bytes, the limit is {}",
                    crop(&pair.key),
                    config.label_bytes_max
                );
                return Err(Refusal::Reject(Reason::LabelTooLong, words));
            }
            if pair.key.is_empty() {
                self.tally.adjust(Reason::AttributeInvalid);
            } else if labels.iter().any(|(key, _)| *key == pair.key) {
                self.tally.adjust(Reason::AttributeInvalid); // The last one stays.
                labels.push((pair.key.clone(), text.into_owned()));
            } else {
                labels.push((pair.key.clone(), text.into_owned()));
            }
        }
        Ok(labels)
    }
}
