//! `read`: remote read, as samples or as streamed XOR chunks.

mod chunk;
mod message;

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use model::matcher::{MatchOp, Matcher};
use prost::Message;
use query::promql::histogram::{Histogram, ResetHint, spans};
use query::promql::{Labels, SeriesValues};
use query::{Holding, RawQuery};

use super::App;
use super::answer::Failure;
use crate::http::BODY_MAX;
use message::{
    BucketSpan, Chunk, ChunkedReadResponse, ChunkedSeries, Count, Label, LabelMatcher, Query,
    ReadRequest, ResponseType, Sample, TimeSeries, ZeroCount,
};

/// Queries of one request at most.
const QUERIES_MAX: usize = 10;
/// Matchers of a query: each regular expression takes memory once compiled.
const MATCHERS_MAX: usize = 100;
/// Bytes of a request once unpacked, at most.
const UNPACKED_MAX: usize = 8 << 20;
/// Chunks of one frame at most: with 120 samples each it stays far below upstream's 50 MiB.
const CHUNKS_A_FRAME: usize = 1_000;

pub(super) async fn read(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Failure> {
    let request = decoded(request).await?;
    if request.queries.len() > QUERIES_MAX {
        let words =
            format!("{} queries in one request, the limit is {QUERIES_MAX}", request.queries.len());
        return Err(Failure::bad_data(words));
    }
    let memory = app.engine.hold()?;
    let mut results = Vec::with_capacity(request.queries.len());
    for query in &request.queries {
        if query.matchers.len() > MATCHERS_MAX {
            let words = format!("{} matchers, the limit is {MATCHERS_MAX}", query.matchers.len());
            return Err(Failure::bad_data(words));
        }
        let raw = RawQuery {
            matchers: query.matchers.iter().map(matcher).collect::<Result<_, _>>()?,
            range_ms: times(query)?,
        };
        let found = app.engine.raw(raw).await?;
        // As protobuf it takes no more.
        memory.grow(2 * found.iter().map(bytes).sum::<usize>())?;
        results.push(found);
    }
    let has_histograms = results.iter().flatten().any(|series| !series.histograms.is_empty());
    match wanted(&request.accepted_response_types, has_histograms)? {
        ResponseType::Samples => {
            // Long work: not on the threads of the network.
            let packed = app.engine.apart(move |_| Ok(samples(results))).await?;
            drop(memory);
            let too_much =
                |error| Failure::bad_data(format!("the answer cannot be packed: {error}"));
            let headers = [(CONTENT_TYPE, "application/x-protobuf"), (CONTENT_ENCODING, "snappy")];
            Ok((headers, packed.map_err(too_much)?).into_response())
        }
        ResponseType::StreamedXorChunks => Ok(chunks(results, memory)),
    }
}

/// Memory of a series and its samples, bytes, about.
fn bytes(series: &SeriesValues) -> usize {
    let labels: usize = series.labels.iter().map(|(k, v)| k.len() + v.len() + 64).sum();
    let buckets = |h: &Histogram| 16 * (h.positive.len() + h.negative.len());
    let histograms: usize = series.histograms.iter().map(|(_, h)| 128 + buckets(h)).sum();
    labels + 16 * series.floats.len() + histograms
}

async fn decoded(request: Request) -> Result<ReadRequest, Failure> {
    let coding = request.headers().get(CONTENT_ENCODING).map_or(&b"snappy"[..], |c| c.as_bytes());
    if coding != b"snappy" {
        return Err(Failure::bad_data("the body of a remote read is compressed with snappy"));
    }
    let too_long = |_| Failure::bad_data(format!("the body is longer than {BODY_MAX} bytes"));
    let body = to_bytes(request.into_body(), BODY_MAX).await.map_err(too_long)?;
    let broken = |error: snap::Error| Failure::bad_data(format!("the body is no snappy: {error}"));
    let length = snap::raw::decompress_len(&body).map_err(broken)?;
    if length > UNPACKED_MAX {
        return Err(Failure::bad_data(format!(
            "the request has {length} bytes unpacked, the limit is {UNPACKED_MAX}"
        )));
    }
    let bytes = snap::raw::Decoder::new().decompress_vec(&body).map_err(broken)?;
    ReadRequest::decode(bytes.as_slice())
        .map_err(|error| Failure::bad_data(format!("the body is no ReadRequest: {error}")))
}

fn matcher(wire: &LabelMatcher) -> Result<Matcher, Failure> {
    let op = match wire.kind {
        0 => MatchOp::Equal,
        1 => MatchOp::NotEqual,
        2 => MatchOp::Regex,
        3 => MatchOp::NotRegex,
        other => return Err(Failure::bad_data(format!("there is no matcher of type {other}"))),
    };
    Ok(Matcher::new(wire.name.as_str(), op, wire.value.as_str()))
}

fn times(query: &Query) -> Result<(i64, i64), Failure> {
    let (start, end) = (query.start_timestamp_ms, query.end_timestamp_ms);
    if end < start {
        return Err(Failure::bad_data("end timestamp must not be before start time"));
    }
    Ok((start, end))
}

/// The first type asked for that can hold the answer; none at all asks for samples. Histograms have no chunks here.
fn wanted(accepted: &[i32], has_histograms: bool) -> Result<ResponseType, Failure> {
    let known = accepted.iter().filter_map(|kind| ResponseType::try_from(*kind).ok());
    let mut known = known.filter(|kind| *kind == ResponseType::Samples || !has_histograms);
    match known.next() {
        Some(kind) => Ok(kind),
        None if accepted.is_empty() => Ok(ResponseType::Samples),
        None if has_histograms => Err(Failure::bad_data(
            "native histograms are sent as samples only: accept the response type SAMPLES as well",
        )),
        None => Err(Failure::bad_data(format!(
            "server does not support any of the requested response types: {accepted:?}"
        ))),
    }
}

fn label_list(labels: &Labels) -> Vec<Label> {
    let label =
        |(name, value): (&str, &str)| Label { name: name.to_owned(), value: value.to_owned() };
    labels.iter().map(label).collect()
}

/// The answer, compressed.
fn samples(results: Vec<Vec<SeriesValues>>) -> Result<Vec<u8>, snap::Error> {
    let series = |series: SeriesValues| TimeSeries {
        labels: label_list(&series.labels),
        samples: series
            .floats
            .iter()
            .map(|(timestamp, value)| Sample { value: *value, timestamp: *timestamp })
            .collect(),
        histograms: series.histograms.iter().map(|(t, h)| histogram(*t, h)).collect(),
    };
    let mut out = Vec::new();
    for found in results {
        let mut result = Vec::new();
        // One series at a time, each dropped once it is written.
        for one in found.into_iter().map(series) {
            prost::encoding::message::encode(1, &one, &mut result);
        }
        prost::encoding::bytes::encode(1, &result, &mut out);
    }
    snap::raw::Encoder::new().compress_vec(&out)
}

fn histogram(timestamp: i64, histogram: &Histogram) -> message::Histogram {
    let side = |buckets: &[(i32, f64)]| {
        let (spans, counts) = spans(buckets);
        let span = |(offset, length)| BucketSpan { offset, length };
        (spans.into_iter().map(span).collect(), counts)
    };
    let (positive_spans, positive_counts) = side(&histogram.positive);
    let (negative_spans, negative_counts) = side(&histogram.negative);
    message::Histogram {
        count: Some(Count::Float(histogram.count)),
        sum: histogram.sum,
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        zero_count: Some(ZeroCount::Float(histogram.zero_count)),
        negative_spans,
        negative_counts,
        positive_spans,
        positive_counts,
        reset_hint: match histogram.reset_hint {
            ResetHint::Unknown => 0,
            ResetHint::Reset => 1,
            ResetHint::NotReset => 2,
            ResetHint::Gauge => 3,
        },
        timestamp,
        custom_values: histogram.custom_values.to_vec(),
    }
}

/// One series after the other, encoded when the client has room for it.
fn chunks(results: Vec<Vec<SeriesValues>>, memory: Holding) -> Response {
    let series = results.into_iter().zip(0_i64..).flat_map(|(found, query_index)| {
        found.into_iter().map(move |series| (query_index, series))
    });
    let frames = series.map(move |(query_index, series)| {
        let _held = &memory;
        let labels = label_list(&series.labels);
        let chunks: Vec<Chunk> = series.floats.chunks(chunk::SAMPLES_MAX).map(xor).collect();
        let mut out = BytesMut::new();
        for part in chunks.chunks(CHUNKS_A_FRAME) {
            let one = ChunkedSeries { labels: labels.clone(), chunks: part.to_vec() };
            frame(&mut out, &ChunkedReadResponse { chunked_series: vec![one], query_index });
        }
        Ok::<Bytes, std::convert::Infallible>(out.freeze())
    });
    let kind = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
    ([(CONTENT_TYPE, kind)], Body::from_stream(stream::iter(frames))).into_response()
}

fn xor(samples: &[(i64, f64)]) -> Chunk {
    let time = |sample: Option<&(i64, f64)>| sample.map_or(0, |(t, _)| *t);
    Chunk {
        min_time_ms: time(samples.first()),
        max_time_ms: time(samples.last()),
        kind: 1,
        data: chunk::encode(samples),
    }
}

/// Length (varint), CRC32C (big-endian), message.
fn frame(out: &mut BytesMut, message: &ChunkedReadResponse) {
    let bytes = message.encode_to_vec();
    prost::encoding::encode_varint(bytes.len() as u64, out);
    out.put_u32(crc32c::crc32c(&bytes));
    out.extend_from_slice(&bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_type_that_can_hold_the_answer_is_taken() {
        let (samples, chunks) = (0, 1);
        assert_eq!(wanted(&[], true).unwrap(), ResponseType::Samples);
        assert_eq!(wanted(&[chunks, samples], false).unwrap(), ResponseType::StreamedXorChunks);
        assert_eq!(wanted(&[chunks, samples], true).unwrap(), ResponseType::Samples);
        assert_eq!(wanted(&[9, samples], false).unwrap(), ResponseType::Samples);
        wanted(&[chunks], true).unwrap_err();
        wanted(&[9], false).unwrap_err();
    }
}
