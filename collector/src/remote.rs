//! Remote write: from the bytes of Prometheus' `WriteRequest` (1.0) and `Request` (2.0) to the same rows as OTLP's.
//!
//! Names come as Prometheus has them and stay as they are. A series is recognised by the hash of its labels as sent.
//! What is wrong with one series is no reason to refuse the others.

use arrow::array::RecordBatch;
use model::id::{ResourceId, SeriesId};
use model::metric::{MetricKind, SeriesDef, Temporality, is_stale};
use store::schema::Table;
use store::{Resolved, Samples};

use crate::admission::{Admission, Refusal};
use crate::admit::Reason;
use crate::budget::Reservation;
use crate::error::Error;
use crate::metrics::rows::{Rows, SampleRow};
use crate::metrics::{FLAG_STALE, Stamp};
use crate::proto::{Fault, Field, Message};

mod exemplar;
mod histogram;
mod label;
mod metadata;
mod v1;
mod v2;

pub(crate) use metadata::{Families, Family};

/// Which messages a request is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// `prometheus.WriteRequest`.
    V1,
    /// `io.prometheus.write.v2.Request`.
    V2,
}

/// How many rows of each kind came of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Samples that are one number.
    pub(crate) samples: usize,
    /// Native histograms.
    pub(crate) histograms: usize,
    /// Exemplars.
    pub(crate) exemplars: usize,
}

/// The rows of a request.
pub(crate) struct Decoded {
    pub(crate) samples: Samples,
    pub(crate) tables: Vec<(Table, RecordBatch)>,
    pub(crate) written: Written,
}

/// Admits every sample, histogram and exemplar of the request in `body`. Memory for rows is taken from `held`.
pub(crate) fn admit(
    admission: &mut Admission<'_>,
    version: Version,
    body: &[u8],
    held: &mut Reservation,
) -> Result<Decoded, Error> {
    let keys = Class::keys(admission);
    let mut write = Write { admission, rows: Rows::new(held), keys };
    let request = Message::of_body(body);
    match version {
        Version::V1 => write.v1(request),
        Version::V2 => write.v2(request),
    }?;
    let Write { admission, mut rows, .. } = write;
    rows.fold_duplicates(&mut admission.tally);
    let (samples, histograms) = (rows.samples.len(), rows.points.len());
    let written = Written { samples, histograms, exemplars: rows.exemplars.len() };
    let (samples, tables) = rows.finish()?;
    Ok(Decoded { samples, tables, written })
}

struct Write<'r, 'a> {
    admission: &'r mut Admission<'a>,
    rows: Rows<'r>,
    /// What is added to the hash of labels, for each [`Class`].
    keys: [u128; 2],
}

/// What a `TimeSeries` says of itself.
struct Header<'b, L> {
    labels: L,
    /// Hash of the labels as sent.
    key: u128,
    items: Items<'b>,
    /// Since when all of them count, in ms; 0 for unknown.
    created_ms: i64,
    fields: Fields,
}

/// Samples, histograms and exemplars of a `TimeSeries`.
#[derive(Clone, Copy)]
struct Items<'b> {
    /// How many samples and histograms it has.
    n: usize,
    has_exemplars: bool,
    /// What it says from the first of them on: labels, which come before, are not read again.
    message: Message<'b>,
}

impl<'b> Items<'b> {
    /// Those of a series without any.
    fn none(message: Message<'b>) -> Self {
        Self { n: 0, has_exemplars: false, message: message.end() }
    }

    /// Counts a field of `message` if it is an item.
    #[inline]
    fn add(&mut self, message: Message<'b>, field: &Field<'b>, fields: Fields) {
        let is_row = field.number == fields.samples || field.number == fields.histograms;
        let is_exemplar = field.number == fields.exemplars;
        if (is_row || is_exemplar) && self.n == 0 && !self.has_exemplars {
            self.message = message.from(field);
        }
        self.n += usize::from(is_row);
        self.has_exemplars |= is_exemplar;
    }
}

/// The field numbers of a `TimeSeries`, which the versions have in different order.
#[derive(Clone, Copy)]
struct Fields {
    samples: u32,
    exemplars: u32,
    histograms: u32,
}

/// Where the labels of a series come from.
trait Labelled {
    /// The labels in the order sent, or what is wrong with them.
    fn labels(&self) -> Result<Vec<(&str, &str)>, Refusal>;

    /// The labels of an exemplar.
    fn of_exemplar<'s>(&'s self, exemplar: Message<'s>)
    -> Result<Vec<(&'s str, &'s str)>, Refusal>;

    /// What the series itself says of its metric, if it does.
    fn family(&self) -> Option<Family>;
}

/// A series with everything to store its rows.
#[derive(Clone, Copy)]
struct Target {
    float: Option<Resolved>,
    native: Option<Resolved>,
}

impl Write<'_, '_> {
    /// Admits one series.
    fn series<L: Labelled>(&mut self, header: &Header<'_, L>) -> Result<(), Refusal> {
        self.admission.tally.receive(header.items.n);
        let mut target = Target { float: None, native: None };
        let mut newest = None;
        for field in header.items.message.fields() {
            let field = field?;
            let outcome = if field.number == header.fields.samples {
                self.sample(header, &mut target, field.message()?)
            } else if field.number == header.fields.histograms {
                self.histogram(header, &mut target, field.message()?)
            } else {
                continue;
            };
            match outcome {
                Ok(stamp) => newest = newest.max(Some(stamp.time)),
                Err(Refusal::Reject(reason, words)) => {
                    self.admission
                        .tally
                        .reject(reason, || format!("{}, {words}", describe(header)));
                }
                Err(refusal) => return Err(refusal),
            }
        }
        self.rows.hold()?;
        if header.items.has_exemplars {
            self.exemplars(header, target, newest)?;
        }
        Ok(())
    }

    /// Admits a `Sample`. Returns when it was taken.
    fn sample<L: Labelled>(
        &mut self,
        header: &Header<'_, L>,
        target: &mut Target,
        message: Message<'_>,
    ) -> Result<Stamp, Refusal> {
        let (mut value, mut time_ms, mut start_ms) = (0.0, 0, 0);
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => value = field.double()?,
                2 => time_ms = field.varint()?.cast_signed(),
                3 => start_ms = field.varint()?.cast_signed(),
                _ => {}
            }
        }
        let mut stamp = self.stamp(header, time_ms, start_ms)?;
        if is_stale(value) {
            stamp.flags |= FLAG_STALE;
        }
        let series = match target.float {
            Some(series) => series,
            None => self.resolve(header, Class::Float)?,
        };
        target.float = Some(series);
        self.rows.push_sample(SampleRow { series: series.at, stamp, value });
        Ok(stamp)
    }

    fn stamp<L>(
        &mut self,
        header: &Header<'_, L>,
        time_ms: i64,
        start_ms: i64,
    ) -> Result<Stamp, Refusal> {
        let time = self.admission.window.check_ms(time_ms)?;
        let start_ms = match if start_ms == 0 { header.created_ms } else { start_ms } {
            0 => None,
            start if start <= time_ms => Some(start),
            _ => {
                self.admission.tally.adjust(Reason::StartTimeDropped);
                None
            }
        };
        Ok(Stamp { time, start_ms, flags: 0 })
    }

    /// The series in the store, by its remembered hash or by its labels.
    fn resolve<L: Labelled>(
        &mut self,
        header: &Header<'_, L>,
        class: Class,
    ) -> Result<Resolved, Refusal> {
        let key = header.key.wrapping_add(self.keys[class as usize]);
        if let Some(series) = self.admission.remembered(key) {
            return Ok(series);
        }
        let labels = header.labels.labels()?;
        let (name, labels) = label::checked(&labels, self.admission.shared.config)?;
        let family = header.labels.family();
        let family = family.or_else(|| self.admission.shared.memory.families.of_series(&name));
        let family = family.unwrap_or_default();
        let (kind, temporality) = match class {
            Class::Native => (MetricKind::ExponentialHistogram, Temporality::Cumulative),
            Class::Float => family.of_samples(),
        };
        let def = SeriesDef {
            metric: name.clone(),
            labels: labels.clone(),
            resource_id: ResourceId::default(),
            prom_name: name,
            prom_labels: labels,
            kind,
            temporality,
            unit: family.unit,
            help: family.help,
        };
        let series = self.admission.resolve(&def)?;
        self.admission.known.insert(key, series);
        Ok(series)
    }
}

/// What rows a series has: one name may have both.
#[derive(Clone, Copy)]
enum Class {
    Float = 0,
    Native = 1,
}

impl Class {
    /// What is added to the hash of labels. Remote write has no resource, so the tenant stands in here.
    fn keys(admission: &Admission<'_>) -> [u128; 2] {
        let tenant = admission.shared.tenant.0.to_le_bytes();
        let hasher = &admission.shared.memory.hasher;
        [&b"remote write"[..], b"remote write, native"]
            .map(|class| hasher.hash(&[class, &tenant].concat()))
    }
}

/// How messages name a series.
fn describe<L: Labelled>(header: &Header<'_, L>) -> String {
    let Ok(labels) = header.labels.labels() else {
        return "a series whose labels cannot be read".to_owned();
    };
    let name = labels.iter().find(|(name, _)| *name == "__name__").map_or("", |(_, value)| value);
    let mut out = format!("series `{}`", crate::series::crop(name));
    let others: Vec<_> = labels.iter().filter(|(name, _)| *name != "__name__").collect();
    for (i, (name, value)) in others.iter().take(3).enumerate() {
        out.push_str(if i == 0 { " {" } else { ", " });
        out.push_str(&format!("{}=\"{}\"", crate::series::crop(name), crate::series::crop(value)));
    }
    match others.len() {
        0 => {}
        1..=3 => out.push('}'),
        _ => out.push_str(", …}"),
    }
    out
}

impl Target {
    /// The series exemplars belong to.
    fn id(self) -> Option<SeriesId> {
        self.native.or(self.float).map(|series| series.id)
    }
}

/// Counts messages in field `number` without looking into them.
fn count(message: Message<'_>, numbers: [u32; 2]) -> Result<usize, Fault> {
    let mut n = 0;
    for field in message.fields() {
        n += usize::from(numbers.contains(&field?.number));
    }
    Ok(n)
}

#[cfg(test)]
pub(crate) mod tests;
