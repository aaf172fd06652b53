//! What a target answers: from the bytes of an exposition format to samples. Pure; called by `scrape::cycle`.
//!
//! A body is read whole before anything is kept, so that a fault in its last line undoes the scrape. Names and values of
//! labels point into the body wherever nothing is escaped.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::remote_write::{Histogram, Meta};

mod convert;
mod created;
mod float;
mod protobuf;
mod text;

/// The formats there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus' text format, 0.0.4 and 1.0.0.
    Text,
    /// OpenMetrics text, 0.0.1 and 1.0.0.
    OpenMetrics,
    /// Length-delimited `io.prometheus.client.MetricFamily`.
    Protobuf,
}

/// Which histograms are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Native ones, where the format has them.
    pub native: bool,
    /// Classic ones even where a native one of the same name is kept.
    pub classic_too: bool,
    /// Classic ones as native ones with custom bounds.
    pub fold_classic: bool,
    /// Bytes that the body may take in memory, where it is more than [`PARSED_BYTES_MAX`].
    pub parsed_bytes_max: usize,
}

/// Bytes of memory that a body may take apart: some 250,000 samples.
pub(crate) const PARSED_BYTES_MAX: usize = 64 << 20;
/// Labels of one sample.
const LABELS_MAX: usize = 10_000;

/// Memory that a body may still take: a few bytes of it may ask for very many.
#[derive(Debug)]
pub(crate) struct Room(usize);

impl Default for Room {
    fn default() -> Self {
        Self(PARSED_BYTES_MAX)
    }
}

impl Room {
    fn take(&mut self, bytes: usize) -> Result<(), &'static str> {
        let left = self.0.checked_sub(bytes);
        self.0 = left.ok_or(
            "what is exposed takes more than 64 MiB of memory, or as much as `body_size_limit` where that is more",
        )?;
        Ok(())
    }
}

/// A body taken apart.
#[derive(Debug, Default)]
pub(crate) struct Exposition<'a> {
    /// In the order of the body.
    pub samples: Vec<Sample<'a>>,
    /// What is said of metrics, each family once.
    pub families: Vec<Arc<Meta>>,
    labels: Vec<Label<'a>>,
    exemplars: Vec<ExemplarParts<'a>>,
    room: Room,
}

/// Name and value.
pub(crate) type Label<'a> = (Cow<'a, str>, Cow<'a, str>);

/// One sample.
#[derive(Clone, Debug)]
pub(crate) struct Sample<'a> {
    /// Name and labels as they are written: equal texts are the same series.
    pub series: Cow<'a, str>,
    labels: Range<usize>,
    pub value: Measured,
    /// The time the target gives it, in ms.
    pub at_ms: Option<i64>,
    /// Since when it counts, in ms; 0 when unknown.
    pub start_ms: i64,
    exemplars: Range<usize>,
    /// Number of its family.
    pub family: Option<usize>,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Measured {
    Float(f64),
    Histogram(Box<Histogram>),
}

/// An exemplar whose time may be missing.
#[derive(Clone, Debug)]
pub(crate) struct ExemplarParts<'a> {
    pub labels: Vec<Label<'a>>,
    pub value: f64,
    pub at_ms: Option<i64>,
}

impl<'a> Exposition<'a> {
    /// The labels of `sample` as exposed, the name first as `__name__`.
    pub(crate) fn labels(&self, sample: &Sample<'a>) -> &[Label<'a>] {
        &self.labels[sample.labels.clone()]
    }

    /// Its exemplars.
    pub(crate) fn exemplars(&self, sample: &Sample<'a>) -> &[ExemplarParts<'a>] {
        &self.exemplars[sample.exemplars.clone()]
    }
}

/// Why a body cannot be read, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Line and column of a text, or the byte of a binary body.
    pub place: Place,
    pub reason: String,
}

/// A place in a body, counted from 1; a byte from 0.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Line(usize, usize),
    Byte(usize),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Line(line, column) => write!(f, "line {line}, column {column}: {}", self.reason),
            Place::Byte(byte) => write!(f, "byte {byte}: {}", self.reason),
        }
    }
}

/// Reads `body`.
pub(crate) fn parse<'a>(
    body: &'a [u8],
    format: Format,
    wanted: Wanted,
) -> Result<Exposition<'a>, Fault> {
    let room = Room(wanted.parsed_bytes_max.max(PARSED_BYTES_MAX));
    let mut exposition = match format {
        Format::Text => text::parse(body, text::Dialect::Prometheus, room)?,
        Format::OpenMetrics => {
            let mut exposition = text::parse(body, text::Dialect::OpenMetrics, room)?;
            created::take_out(&mut exposition);
            exposition
        }
        Format::Protobuf => protobuf::parse(body, wanted, room)?,
    };
    if wanted.fold_classic {
        convert::fold(&mut exposition, wanted.classic_too);
    }
    Ok(exposition)
}

#[cfg(test)]
mod tests;
