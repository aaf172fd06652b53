//! Length-delimited `io.prometheus.client.MetricFamily`: what the text formats have, and native histograms.
//!
//! Source: `io/prometheus/client/metrics.proto` of the client model.

use std::borrow::Cow;
use std::sync::Arc;

use super::{
    ExemplarParts, Exposition, Fault, LABELS_MAX, Label, Measured, Place, Room, Sample, Wanted,
    float,
};
use crate::remote_write::{Count, Histogram, Kind, Meta, Side};

mod wire;

use wire::{Field, Message, Oops};

/// Exponential schemas that are taken, finer ones than 8 to be made coarser by the receiver, and that of bounds of its own.
const SCHEMA_MIN: i32 = -4;
const SCHEMA_MAX: i32 = 52;
const SCHEMA_CUSTOM: i32 = -53;

/// Reads a body.
pub(super) fn parse(body: &[u8], wanted: Wanted, room: Room) -> Result<Exposition<'_>, Fault> {
    let mut out = Exposition { room, ..Exposition::default() };
    let mut rest = Message::of_body(body);
    let mut read = || -> Result<(), Oops> {
        while !rest.is_empty() {
            family(rest.delimited()?, wanted, &mut out)?;
        }
        Ok(())
    };
    match read() {
        Ok(()) => Ok(out),
        Err(Oops { at, reason }) => {
            Err(Fault { place: Place::Byte(at), reason: reason.to_owned() })
        }
    }
}

/// What is going on in a family, and where its samples go.
struct Family<'a, 'o> {
    name: &'a str,
    kind: Kind,
    number: usize,
    wanted: Wanted,
    /// The metric being read: where faults are.
    metric: Message<'a>,
    out: &'o mut Exposition<'a>,
}

fn family<'a>(
    mut message: Message<'a>,
    wanted: Wanted,
    out: &mut Exposition<'a>,
) -> Result<(), Oops> {
    let (mut name, mut help, mut unit, mut kind) = ("", "", "", Kind::Counter);
    let begun = message;
    while let Some(field) = message.next()? {
        match field.number {
            1 => name = field.text()?,
            2 => help = field.text()?,
            3 => kind = kind_of(&field)?,
            5 => unit = field.text()?,
            _ => {}
        }
    }
    if name.is_empty() {
        return Err(begun.oops("a metric family has no name"));
    }
    let number = out.families.len();
    let meta = Meta { family: name.to_owned(), kind, help: help.to_owned(), unit: unit.to_owned() };
    out.families.push(Arc::new(meta));
    let mut family = Family { name, kind, number, wanted, metric: begun, out };
    let mut message = begun;
    while let Some(field) = message.next()? {
        if field.number == 4 {
            family.metric(field.message()?)?;
        }
    }
    Ok(())
}

fn kind_of(field: &Field<'_>) -> Result<Kind, Oops> {
    Ok(match field.uint()? {
        0 => Kind::Counter,
        1 => Kind::Gauge,
        2 => Kind::Summary,
        4 => Kind::Histogram,
        5 => Kind::GaugeHistogram,
        _ => Kind::Unknown,
    })
}

/// What all samples of a metric share.
struct Common<'a> {
    labels: Vec<Label<'a>>,
    at_ms: Option<i64>,
    start_ms: i64,
}

impl<'a> Family<'a, '_> {
    fn metric(&mut self, mut message: Message<'a>) -> Result<(), Oops> {
        self.metric = message;
        let mut common = Common { labels: Vec::new(), at_ms: None, start_ms: 0 };
        let mut value = None;
        while let Some(field) = message.next()? {
            match field.number {
                1 => {
                    self.room(size_of::<Label<'_>>())?;
                    common.labels.push(label(field.message()?)?);
                }
                6 => common.at_ms = Some(field.int()?).filter(|ms| *ms != 0),
                2..=5 | 7 => value = Some(field),
                _ => {}
            }
        }
        let Some(field) = value else { return Ok(()) };
        let message = field.message()?;
        match field.number {
            3 => self.counter(message, common),
            4 => self.summary(message, common),
            7 => self.histogram(message, common),
            _ => {
                let value = single(message)?;
                self.push("", &common, None, (Measured::Float(value), Vec::new()))
            }
        }
    }

    fn counter(&mut self, mut message: Message<'a>, mut common: Common<'a>) -> Result<(), Oops> {
        let (mut value, mut exemplars) = (0.0, Vec::new());
        while let Some(field) = message.next()? {
            match field.number {
                1 => value = field.double()?,
                2 => exemplars.push(exemplar(field.message()?)?),
                3 => common.start_ms = time_ms(field.message()?)?,
                _ => {}
            }
        }
        self.push("", &common, None, (Measured::Float(value), exemplars))
    }

    fn summary(&mut self, mut message: Message<'a>, mut common: Common<'a>) -> Result<(), Oops> {
        let (mut count, mut sum, mut quantiles) = (0.0, 0.0, Vec::new());
        while let Some(field) = message.next()? {
            match field.number {
                1 => count = as_float(field.uint()?),
                2 => sum = field.double()?,
                3 => {
                    let (mut inside, mut quantile, mut value) = (field.message()?, 0.0, 0.0);
                    while let Some(field) = inside.next()? {
                        match field.number {
                            1 => quantile = field.double()?,
                            2 => value = field.double()?,
                            _ => {}
                        }
                    }
                    self.room(size_of::<(f64, f64)>())?;
                    quantiles.push((quantile, value));
                }
                4 => common.start_ms = time_ms(field.message()?)?,
                _ => {}
            }
        }
        for (quantile, value) in quantiles {
            let extra = ("quantile", float::open_metrics(quantile));
            self.push("", &common, Some(extra), (Measured::Float(value), Vec::new()))?;
        }
        self.push("_sum", &common, None, (Measured::Float(sum), Vec::new()))?;
        self.push("_count", &common, None, (Measured::Float(count), Vec::new()))
    }

    fn histogram(&mut self, message: Message<'a>, mut common: Common<'a>) -> Result<(), Oops> {
        let parts = Parts::read(message, &mut self.out.room)?;
        common.start_ms = parts.start_ms;
        let native = self.wanted.native && parts.is_native();
        if !native || self.wanted.classic_too {
            self.classic(&parts, &common)?;
        }
        if native {
            let mut exemplars = parts.exemplars;
            if exemplars.is_empty() {
                exemplars = parts.buckets.into_iter().flat_map(|bucket| bucket.exemplar).collect();
            }
            let gauge = self.kind == Kind::GaugeHistogram;
            let histogram = Histogram { gauge, ..parts.histogram };
            let value = Measured::Histogram(Box::new(histogram));
            self.push("", &common, None, (value, exemplars))?;
        }
        Ok(())
    }

    /// A series for each bucket, and sum and count.
    fn classic(&mut self, parts: &Parts<'a>, common: &Common<'a>) -> Result<(), Oops> {
        let count = count_as_float(parts.histogram.count);
        for bucket in &parts.buckets {
            let extra = ("le", float::open_metrics(bucket.bound));
            let exemplars = bucket.exemplar.iter().cloned().collect();
            let value = (Measured::Float(bucket.count), exemplars);
            self.push("_bucket", common, Some(extra), value)?;
        }
        if parts.buckets.last().is_none_or(|last| last.bound < f64::INFINITY) {
            let extra = ("le", "+Inf".to_owned());
            let value = (Measured::Float(count), Vec::new());
            self.push("_bucket", common, Some(extra), value)?;
        }
        let sum = Measured::Float(parts.histogram.sum);
        self.push("_sum", common, None, (sum, Vec::new()))?;
        self.push("_count", common, None, (Measured::Float(count), Vec::new()))
    }

    /// Counts what is about to be kept.
    fn room(&mut self, bytes: usize) -> Result<(), Oops> {
        self.out.room.take(bytes).map_err(|reason| self.metric.oops(reason))
    }

    fn push(
        &mut self,
        suffix: &str,
        common: &Common<'a>,
        extra: Option<(&'static str, String)>,
        (value, exemplars): (Measured, Vec<ExemplarParts<'a>>),
    ) -> Result<(), Oops> {
        let n_labels = common.labels.len() + 2;
        if n_labels > LABELS_MAX {
            return Err(self.metric.oops("a metric has more than 10,000 labels"));
        }
        // The key repeats names and values, with their lengths.
        let text = |(name, value): &Label<'_>| name.len() + value.len() + 16;
        let text: usize = common.labels.iter().map(text).sum();
        let bytes = size_of::<Sample<'_>>() + n_labels * size_of::<Label<'_>>() + text;
        self.room(bytes)?;
        let name = match suffix {
            "" => Cow::Borrowed(self.name),
            _ => Cow::Owned(format!("{}{suffix}", self.name)),
        };
        let native = matches!(value, Measured::Histogram(_));
        // Equal labels in equal order give equal texts, which no other labels give: a byte that is in no name parts them.
        let mut series = name.clone().into_owned();
        let begin = self.out.labels.len();
        self.out.labels.push((Cow::Borrowed("__name__"), name));
        self.out.labels.extend(common.labels.iter().cloned());
        self.out.labels.extend(extra.map(|(name, value)| (Cow::Borrowed(name), Cow::Owned(value))));
        for (name, value) in &self.out.labels[begin + 1..] {
            series.push_str(&format!("\u{1}{}:{name}\u{1}{}:{value}", name.len(), value.len()));
        }
        if native {
            series.push('\u{2}');
        }
        let from = self.out.exemplars.len();
        self.out.exemplars.extend(exemplars);
        self.out.samples.push(Sample {
            series: Cow::Owned(series),
            labels: begin..self.out.labels.len(),
            value,
            at_ms: common.at_ms,
            start_ms: common.start_ms,
            exemplars: from..self.out.exemplars.len(),
            family: Some(self.number),
        });
        Ok(())
    }
}

/// A classic bucket: cumulative.
struct Bucket<'a> {
    bound: f64,
    count: f64,
    exemplar: Option<ExemplarParts<'a>>,
}

/// A histogram of either sort, or both.
struct Parts<'a> {
    histogram: Histogram,
    buckets: Vec<Bucket<'a>>,
    exemplars: Vec<ExemplarParts<'a>>,
    start_ms: i64,
}

impl<'a> Parts<'a> {
    fn read(mut message: Message<'a>, room: &mut Room) -> Result<Self, Oops> {
        let mut parts = Parts {
            histogram: Histogram::default(),
            buckets: Vec::new(),
            exemplars: Vec::new(),
            start_ms: 0,
        };
        // A float count wins over an integer one, if it is there: such a histogram is one of floats.
        let (mut count, mut zero) = ((0, 0.0), (0, 0.0));
        let native = &mut parts.histogram;
        while let Some(field) = message.next()? {
            // Each byte of a packed list may be a number.
            let bytes = match field.number {
                3 => size_of::<Bucket<'_>>(),
                9 | 12 => size_of::<(i32, u32)>(),
                10 | 11 | 13 | 14 => field.len().saturating_mul(size_of::<i64>()),
                16 => size_of::<ExemplarParts<'_>>(),
                _ => 0,
            };
            room.take(bytes).map_err(|reason| message.oops(reason))?;
            match field.number {
                1 => count.0 = field.uint()?,
                2 => native.sum = field.double()?,
                3 => parts.buckets.push(bucket(field.message()?)?),
                4 => count.1 = field.double()?,
                5 => native.schema = field.sint32()?,
                6 => native.zero_threshold = field.double()?,
                7 => zero.0 = field.uint()?,
                8 => zero.1 = field.double()?,
                9 => native.negative.spans.push(span(field.message()?)?),
                10 => field.sints(&mut native.negative.deltas)?,
                11 => field.doubles(&mut native.negative.counts)?,
                12 => native.positive.spans.push(span(field.message()?)?),
                13 => field.sints(&mut native.positive.deltas)?,
                14 => field.doubles(&mut native.positive.counts)?,
                15 => parts.start_ms = time_ms(field.message()?)?,
                16 => parts.exemplars.push(exemplar(field.message()?)?),
                _ => {}
            }
        }
        let floats = count.1 > 0.0 || zero.1 > 0.0;
        native.count = if floats { Count::Float(count.1) } else { Count::Int(count.0) };
        native.zero_count = if floats { Count::Float(zero.1) } else { Count::Int(zero.0) };
        let begun = message;
        if !matches!(native.schema, SCHEMA_CUSTOM | SCHEMA_MIN..=SCHEMA_MAX) {
            return Err(begun.oops("the schema of a native histogram is none there is"));
        }
        for side in [&native.positive, &native.negative] {
            check(side, floats).map_err(|reason| begun.oops(reason))?;
        }
        Ok(parts)
    }

    /// A span, even one of no buckets, or a zero bucket marks a native histogram.
    fn is_native(&self) -> bool {
        let native = &self.histogram;
        let spans = !native.positive.spans.is_empty() || !native.negative.spans.is_empty();
        spans || native.zero_threshold > 0.0 || count_as_float(native.zero_count) > 0.0
    }
}

/// As many buckets as the spans say.
fn check(side: &Side, floats: bool) -> Result<(), &'static str> {
    let expected: u64 = side.spans.iter().map(|(_, length)| u64::from(*length)).sum();
    let found = if floats { side.counts.len() } else { side.deltas.len() };
    match expected == found as u64 {
        true => Ok(()),
        false => Err("the spans of a histogram do not say how many buckets there are"),
    }
}

fn bucket(mut message: Message<'_>) -> Result<Bucket<'_>, Oops> {
    let mut bucket = Bucket { bound: 0.0, count: 0.0, exemplar: None };
    while let Some(field) = message.next()? {
        match field.number {
            1 => bucket.count = as_float(field.uint()?),
            2 => bucket.bound = field.double()?,
            3 => bucket.exemplar = Some(exemplar(field.message()?)?),
            4 if field.double()? > 0.0 => bucket.count = field.double()?,
            _ => {}
        }
    }
    Ok(bucket)
}

fn span(mut message: Message<'_>) -> Result<(i32, u32), Oops> {
    let mut span = (0, 0);
    while let Some(field) = message.next()? {
        match field.number {
            1 => span.0 = field.sint32()?,
            2 => span.1 = field.uint32()?,
            _ => {}
        }
    }
    Ok(span)
}

fn exemplar(mut message: Message<'_>) -> Result<ExemplarParts<'_>, Oops> {
    let mut exemplar = ExemplarParts { labels: Vec::new(), value: 0.0, at_ms: None };
    while let Some(field) = message.next()? {
        match field.number {
            1 => exemplar.labels.push(label(field.message()?)?),
            2 => exemplar.value = field.double()?,
            3 => exemplar.at_ms = Some(time_ms(field.message()?)?),
            _ => {}
        }
    }
    Ok(exemplar)
}

fn label(mut message: Message<'_>) -> Result<Label<'_>, Oops> {
    let mut label = ("", "");
    while let Some(field) = message.next()? {
        match field.number {
            1 => label.0 = field.text()?,
            2 => label.1 = field.text()?,
            _ => {}
        }
    }
    Ok((Cow::Borrowed(label.0), Cow::Borrowed(label.1)))
}

/// A `Timestamp` in ms.
fn time_ms(mut message: Message<'_>) -> Result<i64, Oops> {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    while let Some(field) = message.next()? {
        match field.number {
            1 => seconds = field.int()?,
            2 => nanos = field.int()?,
            _ => {}
        }
    }
    Ok(seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000))
}

/// The value of a gauge or of something untyped.
fn single(mut message: Message<'_>) -> Result<f64, Oops> {
    let mut value = 0.0;
    while let Some(field) = message.next()? {
        if field.number == 1 {
            value = field.double()?;
        }
    }
    Ok(value)
}

#[expect(clippy::cast_precision_loss, reason = "as every format that has only floats")]
const fn as_float(count: u64) -> f64 {
    count as f64
}

const fn count_as_float(count: Count) -> f64 {
    match count {
        Count::Int(count) => as_float(count),
        Count::Float(count) => count,
    }
}

#[cfg(test)]
mod tests;
