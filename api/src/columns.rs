//! The answer of `POST query` as binary columns (`application/vnd.headrope.columns`): encoder and total decoder.
//!
//! `server` encodes, `ui` decodes. The bytes are fixed in `docs/format/columns.md`; change both together. Decoding
//! never panics and never allocates more than a small multiple of the input.

mod frame;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::ApiError;
use crate::query::{Explained, QueryAnswer, ResultKind, Series, Stats};
use frame::{Frame, Frames, Kind};

/// Media type, for `Accept` and `Content-Type`.
pub const MEDIA_TYPE: &str = "application/vnd.headrope.columns";

/// First bytes of a body.
pub const MAGIC: [u8; 4] = *b"HRCO";

/// Version written, and the only one read.
pub const VERSION: u8 = 1;

/// Id of the frame that ends the body; no query may use it.
pub const BODY_ID: u32 = u32::MAX;

const NS_PER_MS: i64 = model::time::NS_PER_MS;

/// Why a body could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It does not begin with the magic bytes.
    #[error("not columns: the magic bytes are missing")]
    Magic,
    /// Another version than [`VERSION`].
    #[error("columns of version {0} cannot be read, only version {VERSION}")]
    Version(u8),
    /// It ends before its end frame.
    #[error("columns are cut off at byte {0}")]
    Truncated(usize),
    /// A frame contradicts the format.
    #[error("columns are corrupt at byte {at}: {what}")]
    Corrupt {
        /// Byte offset of the frame.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
}

/// Payload of a schema frame.
#[derive(Default, Serialize, Deserialize)]
struct Schema {
    result: ResultKind,
    #[serde(default)]
    unit: String,
    #[serde(default)]
    step_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    series: Vec<BTreeMap<String, String>>,
}

/// Payload of a stats frame.
#[derive(Default, Serialize, Deserialize)]
struct Cost {
    #[serde(flatten)]
    stats: Stats,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    explain: Option<Explained>,
}

/// Writes a body, answer by answer, so that it can be streamed.
#[derive(Debug)]
pub struct Encoder {
    bytes: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// An encoder whose first bytes are the header.
    #[must_use]
    pub fn new() -> Self {
        let mut bytes = Vec::with_capacity(4096);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[VERSION, 0, 0, 0]);
        Self { bytes }
    }

    /// Appends all frames of one answer. Missing values are written as absent, surplus ones left out.
    pub fn answer(&mut self, answer: &QueryAnswer) {
        let out = &mut self.bytes;
        let id = answer.id;
        if let Some(error) = &answer.error {
            frame::write(out, id, Kind::Error, 0, &json(error));
        } else {
            let schema = Schema {
                result: answer.result,
                unit: answer.unit.clone(),
                step_ms: answer.step_ms,
                text: answer.text.clone(),
                series: answer.series.iter().map(|series| series.labels.clone()).collect(),
            };
            frame::write(out, id, Kind::Schema, 0, &json(&schema));
            let n_times = u32::try_from(answer.times_ms.len()).unwrap_or(u32::MAX);
            frame::write(out, id, Kind::Times, n_times, &frame::pack_times(&answer.times_ms));
            for (series_idx, series) in (0u32..).zip(&answer.series) {
                let payload = frame::pack_values(series_idx, &series.values, answer.times_ms.len());
                frame::write(out, id, Kind::Values, n_times, &payload);
            }
        }
        let cost = Cost {
            stats: answer.stats,
            warnings: answer.warnings.clone(),
            infos: answer.infos.clone(),
            explain: answer.explain.clone(),
        };
        frame::write(out, id, Kind::Stats, 0, &json(&cost));
        frame::write(out, id, Kind::End, 0, &[]);
    }

    /// Takes the bytes written since the last call: one chunk of a streamed body.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Ends the body and gives the bytes not taken yet.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        frame::write(&mut self.bytes, BODY_ID, Kind::End, 0, &[]);
        self.bytes
    }
}

/// All answers as one body.
#[must_use]
pub fn encode(answers: &[QueryAnswer]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    answers.iter().for_each(|answer| encoder.answer(answer));
    encoder.finish()
}

/// Reads a whole body.
///
/// Answers come in the order of their end frames. Frames of unknown kinds are skipped: they are of later versions.
///
/// # Errors
/// When the body is cut off, damaged or of another version.
pub fn decode(bytes: &[u8]) -> Result<Vec<QueryAnswer>, Error> {
    let mut open: BTreeMap<u32, QueryAnswer> = BTreeMap::new();
    let mut done = Vec::new();
    for frame in Frames::open(bytes)? {
        let frame = frame?;
        if frame.id == BODY_ID {
            return match (frame.kind, open.is_empty()) {
                (Some(Kind::End), true) => Ok(done),
                _ => Err(frame.corrupt("the body ends while an answer is open")),
            };
        }
        if frame.kind == Some(Kind::End) {
            match open.remove(&frame.id) {
                Some(answer) => done.push(answer),
                None => return Err(frame.corrupt("an answer ends before it began")),
            }
        } else {
            let answer = open.entry(frame.id).or_default();
            answer.id = frame.id;
            apply(&frame, answer)?;
        }
    }
    Err(Error::Truncated(bytes.len()))
}

/// Adds what `frame` tells to its answer.
fn apply(frame: &Frame<'_>, answer: &mut QueryAnswer) -> Result<(), Error> {
    match frame.kind {
        Some(Kind::Schema) => {
            let schema: Schema = unjson(frame)?;
            answer.result = schema.result;
            answer.unit = schema.unit;
            answer.step_ms = schema.step_ms;
            answer.text = schema.text;
            let series = |labels| Series { labels, values: Vec::new() };
            answer.series = schema.series.into_iter().map(series).collect();
        }
        Some(Kind::Times) => answer.times_ms = frame::unpack_times(frame)?,
        Some(Kind::Values) => {
            let (series_idx, values) = frame::unpack_values(frame)?;
            if values.len() != answer.times_ms.len() {
                return Err(frame.corrupt("as many values as times are expected"));
            }
            match answer.series.get_mut(series_idx) {
                Some(series) => series.values = values,
                None => return Err(frame.corrupt("values of a series that the schema lacks")),
            }
        }
        Some(Kind::Stats) => {
            let cost: Cost = unjson(frame)?;
            answer.stats = cost.stats;
            answer.warnings = cost.warnings;
            answer.infos = cost.infos;
            answer.explain = cost.explain;
        }
        Some(Kind::Error) => answer.error = Some(unjson::<ApiError>(frame)?),
        Some(Kind::End) | None => {}
    }
    Ok(())
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("maps with text keys and finite numbers always serialize")
}

fn unjson<'a, T: Deserialize<'a>>(frame: &Frame<'a>) -> Result<T, Error> {
    serde_json::from_slice(frame.payload).map_err(|_| frame.corrupt("the JSON is not as expected"))
}
