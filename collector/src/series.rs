//! From a data point's attributes to the id of its series: by a remembered hash, else by translation and the store.

use std::cell::OnceCell;

use model::metric::{Labels, MetricKind, SeriesDef, Temporality};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use store::Resolved;

use crate::admission::{Admission, Refusal};
use crate::admit::Reason;
use crate::error::Error;
use crate::prometheus;
use crate::resource::Emitter;
use crate::stats::add;
use crate::value;

/// One metric of one resource.
pub(crate) struct MetricContext<'a> {
    pub(crate) emitter: &'a Emitter,
    pub(crate) metric: &'a Metric,
    pub(crate) kind: MetricKind,
    pub(crate) temporality: Temporality,
    /// Whether it is a sum: those that are not monotonic are gauges, yet never get a gauge's `_ratio`.
    pub(crate) is_sum: bool,
    key: u128,
    prom_name: OnceCell<String>,
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

    fn write_key(self, out: &mut Vec<u8>) {
        match self {
            Self::Whole => out.push(0),
            Self::Sum => out.push(1),
            Self::Count => out.push(2),
            Self::Quantile(quantile) => {
                out.push(3);
                out.extend(quantile.to_bits().to_le_bytes());
            }
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
        emitter: &'a Emitter,
        metric: &'a Metric,
        nature: Nature,
    ) -> Self {
        let Nature { kind, temporality, is_sum } = nature;
        let scratch = &mut admission.scratch;
        scratch.clear();
        scratch.extend(emitter.key.to_le_bytes());
        scratch.extend([kind as u8, temporality as u8, u8::from(is_sum)]);
        value::write_bytes(scratch, 0, metric.name.as_bytes());
        value::write_bytes(scratch, 0, metric.unit.as_bytes());
        let key = admission.shared.memory.hasher.hash(scratch);
        Self { emitter, metric, kind, temporality, is_sum, key, prom_name: OnceCell::new() }
    }

    fn prom_name(&self) -> &str {
        self.prom_name.get_or_init(|| {
            let (name, unit) = (&self.metric.name, &self.metric.unit);
            if self.is_sum {
                prometheus::sum_name(name, unit, self.kind == MetricKind::Counter)
            } else {
                prometheus::metric_name(name, unit, self.kind)
            }
        })
    }

    /// How messages name a point.
    pub(crate) fn describe(&self, pairs: &[KeyValue]) -> String {
        let mut out = format!("metric `{}`", crop(&self.metric.name));
        for (i, pair) in pairs.iter().take(3).enumerate() {
            let value = pair.value.as_ref().map(value::text).unwrap_or_default();
            out.push_str(if i == 0 { " {" } else { ", " });
            out.push_str(&format!("{}=\"{}\"", crop(&pair.key), crop(&value)));
        }
        match pairs.len() {
            0 => {}
            1..=3 => out.push('}'),
            _ => out.push_str(", …}"),
        }
        out
    }
}

/// The beginning of a text that a sender chose, short enough for a message.
pub(crate) fn crop(text: &str) -> &str {
    &text[..text.floor_char_boundary(64)]
}

impl Admission<'_> {
    /// The series of a data point with attributes `pairs`.
    pub(crate) fn series(
        &mut self,
        context: &MetricContext<'_>,
        pairs: &[KeyValue],
        part: Part,
    ) -> Result<Resolved, Refusal> {
        self.scratch.clear();
        self.scratch.extend(context.key.to_le_bytes());
        part.write_key(&mut self.scratch);
        value::write_key(&mut self.scratch, pairs);
        let key = self.shared.memory.hasher.hash(&self.scratch);
        if let Some(series) = self.shared.memory.series.find(key) {
            add(&self.shared.memory.hits, 1);
            return Ok(series);
        }
        add(&self.shared.memory.misses, 1);
        let def = self.define(context, pairs, part)?;
        let series = self.resolve(&def)?;
        self.shared.memory.series.insert(key, series);
        Ok(series)
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
        pairs: &[KeyValue],
        part: Part,
    ) -> Result<SeriesDef, Refusal> {
        let mut labels = self.labels(pairs)?;
        if let Part::Quantile(quantile) = part {
            labels.push(("quantile".to_owned(), value::double(quantile)));
        }
        let labels = Labels::new(labels);
        let (mut prom_labels, joined) = prometheus::translate(&labels);
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
            prom_name: format!("{}{}", context.prom_name(), part.suffix()),
            prom_labels: Labels::new(prom_labels),
            kind: context.kind,
            temporality: context.temporality,
            unit: context.metric.unit.clone(),
            help: context.metric.description.clone(),
        })
    }

    /// The attributes as labels. Too many or too long ones reject the point: cutting could make two series one.
    fn labels(&mut self, pairs: &[KeyValue]) -> Result<Vec<(String, String)>, Refusal> {
        let config = self.shared.config;
        if pairs.len() > config.labels_max {
            let words = format!("{} attributes, the limit is {}", pairs.len(), config.labels_max);
            return Err(Refusal::Reject(Reason::LabelsTooMany, words));
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
            } else {
                labels.push((pair.key.clone(), text.into_owned()));
            }
        }
        Ok(labels)
    }
}
