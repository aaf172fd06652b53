//! Metrics: from the bytes of OTLP's data points to samples, the histogram tables and `exemplars`.
//!
//! Nothing is decoded into messages: a point's numbers are read where they stand, and its series is recognised by the
//! hash of its attributes' bytes. Only what was never seen before is decoded.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use model::metric::{MetricKind, Temporality};
use model::time::Timestamp;
use store::Samples;
use store::schema::Table;

use crate::admission::{Admission, Refusal};
use crate::admit::Reason;
use crate::budget::Reservation;
use crate::error::Error;
use crate::prometheus;
use crate::proto::shape::{self, Shape};
use crate::proto::{Fault, Message, low_u32};
use crate::recent::KeyHasher;
use crate::resource::Emitter;
use crate::series::{Attributes, MetricContext, NAMED_MAX, Nature};

mod exemplar;
mod fold;
pub(crate) mod histogram;
mod number;
pub(crate) mod rows;
pub(crate) mod scope;

use rows::{Rows, SampleRow};
use scope::Scope;

pub(crate) const FLAG_STALE: u8 = 1;
const FLAG_NO_RECORDED_VALUE: u8 = 2;

/// How deep a data point stands in a request: resource, scope, metric, data, point.
const POINT_LEVEL: u32 = 5;

/// The rows of a request, and the emitters whose `target_info` is among them.
pub(crate) struct Decoded {
    pub(crate) samples: Samples,
    pub(crate) tables: Vec<(Table, RecordBatch)>,
    pub(crate) informed: Vec<Arc<Emitter>>,
}

/// Admits every data point of the request in `body`, an `ExportMetricsServiceRequest`. Memory for rows is taken from
/// `held`.
pub(crate) fn admit(
    admission: &mut Admission<'_>,
    body: &[u8],
    held: &mut Reservation,
) -> Result<Decoded, Error> {
    let request = Message::of_body(body);
    let mut metrics = Metrics { admission, rows: Rows::new(held), informed: Vec::new() };
    let walked = shape::check(request, &shape::METRICS, shape::DEPTH_MAX)
        .map_err(Refusal::from)
        .and_then(|()| metrics.request(request));
    let Metrics { admission, mut rows, informed } = metrics;
    let folded = walked.map_err(Error::from).and_then(|()| {
        rows.fold_duplicates(&mut admission.tally);
        rows.finish()
    });
    match folded {
        Ok((samples, tables)) => Ok(Decoded { samples, tables, informed }),
        Err(error) => {
            informed.iter().for_each(|emitter| emitter.forget_info());
            Err(error)
        }
    }
}

struct Metrics<'r, 'a> {
    admission: &'r mut Admission<'a>,
    rows: Rows<'r>,
    informed: Vec<Arc<Emitter>>,
}

/// What every kind of point has: when it was taken, since when it counts, and the bits of `flags`.
#[derive(Clone, Copy)]
pub(crate) struct Stamp {
    pub(crate) time: Timestamp,
    pub(crate) start_ms: Option<i64>,
    pub(crate) flags: u8,
}

/// The times and flags of a point as sent.
#[derive(Clone, Copy, Default)]
struct RawStamp {
    time_unix_nano: u64,
    start_unix_nano: u64,
    flags: u32,
}

/// The parts of a metric that come before its points.
#[derive(Clone, Copy, Default)]
struct Head<'b> {
    name: &'b str,
    help: &'b str,
    unit: &'b str,
    /// Field number of the kind of data it has; 0 for none.
    data: u32,
    /// Of several parts of data the first that counts: a part of another kind makes those before it void.
    first: usize,
}

impl<'a> Metrics<'_, 'a> {
    fn hasher(&self) -> &'a KeyHasher {
        &self.admission.shared.memory.hasher
    }
}

impl Metrics<'_, '_> {
    fn request(&mut self, request: Message<'_>) -> Result<(), Refusal> {
        for field in request.fields() {
            let field = field?;
            if field.number == 1 {
                self.of_resource(field.message()?)?;
            }
        }
        Ok(())
    }

    fn of_resource(&mut self, message: Message<'_>) -> Result<(), Refusal> {
        let emitter = self.admission.emitter_of_metrics(message)?;
        let mut newest_ms = None;
        for field in message.fields() {
            let field = field?;
            if field.number == 2 {
                newest_ms = newest_ms.max(self.of_scope(&emitter, field.message()?)?);
            }
        }
        newest_ms.map_or(Ok(()), |ms| self.inform(&emitter, ms))
    }

    /// Admits the metrics of a scope. Returns the time of the newest row, in ms.
    fn of_scope(
        &mut self,
        emitter: &Emitter,
        message: Message<'_>,
    ) -> Result<Option<i64>, Refusal> {
        let scope = Scope::read(message, self.admission)?;
        let mut newest_ms = None;
        for field in message.fields() {
            let field = field?;
            if field.number == 2 {
                newest_ms = newest_ms.max(self.metric((emitter, &scope), field.message()?)?);
            }
        }
        Ok(newest_ms)
    }

    /// Admits the points of a metric. Returns the time of the newest row, in ms.
    fn metric(
        &mut self,
        (emitter, scope): (&Emitter, &Scope),
        metric: Message<'_>,
    ) -> Result<Option<i64>, Refusal> {
        let head = Head::read(metric)?;
        let (nature, n_points) = nature(metric, head)?;
        self.admission.tally.receive(n_points);
        let misnamed = self.misnamed(head.name);
        let is_kept = misnamed.is_none();
        if let Some(reason) = misnamed {
            self.admission.tally.reject_many(reason, n_points, || {
                format!("metric `{}`", crate::series::crop(head.name))
            });
        } else if head.data == 0 {
            self.admission.tally.note_missing_data(|| format!("metric `{}`", head.name));
        }
        self.rows.newest_ms = None;
        let context = MetricContext::new(self.admission, (emitter, scope), head.described(nature));
        for (number, is_used, data) in head.parts(metric) {
            for field in data?.fields() {
                let field = field?;
                if field.number != 1 {
                    continue;
                }
                let point = field.message()?;
                if is_kept && is_used {
                    self.point(&context, number, point)?;
                } else {
                    shape::check(point, point_shape(number), shape::DEPTH_MAX - POINT_LEVEL)?;
                }
            }
        }
        Ok(self.rows.newest_ms)
    }

    /// Why a metric cannot have this name, if so.
    fn misnamed(&self, name: &str) -> Option<Reason> {
        if !name.contains(|c: char| c.is_ascii_alphanumeric() || c == ':') {
            return Some(Reason::MetricNameEmpty);
        }
        let bytes_max = self.admission.shared.config.metric_name_bytes_max;
        (name.len() > bytes_max).then_some(Reason::MetricNameTooLong)
    }

    /// Admits one point of a metric whose data stands in field `number`.
    #[inline]
    fn point(
        &mut self,
        context: &MetricContext<'_>,
        number: u32,
        point: Message<'_>,
    ) -> Result<(), Refusal> {
        let outcome = match number {
            5 | 7 => self.number(context, point),
            9 => self.histogram(context, point),
            10 => self.exponential(context, point),
            _ => self.summary(context, point),
        };
        self.rows.hold()?;
        let Err(Refusal::Reject(reason, words)) = outcome else { return outcome };
        // Whoever refused the point did not look at all of it.
        shape::check(point, point_shape(number), shape::DEPTH_MAX - POINT_LEVEL)?;
        let attributes = Attributes::new(point, attributes_field(number));
        let bytes_max = self.admission.shared.config.label_bytes_max;
        let named = attributes.decode(NAMED_MAX, bytes_max)?;
        self.admission.tally.reject(reason, || format!("{}, {words}", context.describe(&named)));
        Ok(())
    }

    fn stamp(&mut self, raw: RawStamp) -> Result<Stamp, Refusal> {
        let time = self.admission.window.check(raw.time_unix_nano)?;
        let start_ms = match i64::try_from(raw.start_unix_nano) {
            Ok(0) => None,
            Ok(start) if start <= time.0 => Some(Timestamp(start).ms()),
            Ok(_) | Err(_) => {
                self.admission.tally.adjust(Reason::StartTimeDropped);
                None
            }
        };
        // Bit 0 of OTLP's flags: no recorded value.
        let flags = if raw.flags & 1 == 0 { 0 } else { FLAG_STALE | FLAG_NO_RECORDED_VALUE };
        Ok(Stamp { time, start_ms, flags })
    }

    /// Writes the resource's `target_info` if it is due.
    fn inform(&mut self, emitter: &Arc<Emitter>, ms: i64) -> Result<(), Refusal> {
        let Some(def) = emitter.target_info.as_ref().filter(|_| emitter.is_info_due(ms)) else {
            return Ok(());
        };
        match self.admission.resolve(def) {
            Ok(series) => {
                let stamp = Stamp { time: Timestamp::from_ms(ms), start_ms: None, flags: 0 };
                self.rows.push_sample(SampleRow { series: series.at, stamp, value: 1.0 });
                self.rows.last_is_part();
                self.informed.push(Arc::clone(emitter));
                Ok(())
            }
            // The sender did not ask for this series: it is no point of theirs that is refused.
            Err(Refusal::Reject(..)) => {
                emitter.forget_info();
                Ok(())
            }
            Err(refusal) => Err(refusal),
        }
    }
}

impl<'b> Head<'b> {
    fn read(metric: Message<'b>) -> Result<Self, Fault> {
        let mut head = Self::default();
        let mut n_data = 0;
        for field in metric.fields() {
            let field = field?;
            match field.number {
                1 => head.name = field.text()?,
                2 => head.help = field.text()?,
                3 => head.unit = field.text()?,
                5 | 7 | 9 | 10 | 11 => {
                    if head.data != field.number {
                        (head.data, head.first) = (field.number, n_data);
                    }
                    n_data += 1;
                }
                _ => {}
            }
        }
        Ok(head)
    }

    /// The parts of the metric's data: the field number, whether it counts, and the message.
    fn parts(
        self,
        metric: Message<'b>,
    ) -> impl Iterator<Item = (u32, bool, Result<Message<'b>, Fault>)> {
        // Framing was checked: what is no field does not come up here.
        let data = metric.fields().flatten().filter(|field| matches!(field.number, 5 | 7 | 9..=11));
        data.enumerate().map(move |(i, field)| (field.number, i >= self.first, field.message()))
    }

    fn described(self, nature: Nature) -> crate::series::Described<'b> {
        crate::series::Described { name: self.name, help: self.help, unit: self.unit, nature }
    }
}

/// What the data says of the metric, and how many points it has.
fn nature(metric: Message<'_>, head: Head<'_>) -> Result<(Nature, usize), Fault> {
    let (mut temporality, mut is_monotonic, mut n_points) = (0, false, 0);
    for (_, is_used, data) in head.parts(metric) {
        for field in data?.fields() {
            let field = field?;
            match field.number {
                _ if !is_used => {}
                1 => n_points += 1,
                2 if head.data != 5 && head.data != 11 => {
                    temporality = low_u32(field.varint()?).cast_signed();
                }
                3 if head.data == 7 => is_monotonic = field.varint()? != 0,
                _ => {}
            }
        }
    }
    let temporality = prometheus::temporality(temporality);
    let (kind, temporality) = match head.data {
        7 if is_monotonic => (MetricKind::Counter, temporality),
        7 => (MetricKind::Gauge, temporality),
        9 => (MetricKind::Histogram, temporality),
        10 => (MetricKind::ExponentialHistogram, temporality),
        11 => (MetricKind::Summary, Temporality::Cumulative),
        _ => (MetricKind::Gauge, Temporality::Unspecified),
    };
    Ok((Nature { kind, temporality, is_sum: head.data == 7 }, n_points))
}

/// The shape of the points of data in field `number` of a metric.
fn point_shape(number: u32) -> &'static Shape {
    match number {
        5 | 7 => &shape::NUMBER_POINT,
        9 => &shape::HISTOGRAM_POINT,
        10 => &shape::EXPONENTIAL_POINT,
        _ => &shape::SUMMARY_POINT,
    }
}

/// The field of such a point that holds its attributes.
const fn attributes_field(number: u32) -> u32 {
    match number {
        9 => 9,
        10 => 1,
        _ => 7,
    }
}

/// Which bounds a histogram point has, by their id, and the bounds.
pub(crate) type BoundsById = BTreeMap<u64, Vec<f64>>;

#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
