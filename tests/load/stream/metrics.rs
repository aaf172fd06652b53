//! A fleet's scrapes, or a recording, as remote write 1.0, remote write 2.0 or OTLP.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Result;

use super::{Bodies, Stream};
use crate::fleet::{Fleet, Series};
use crate::proto::{bytes, fixed, integer, message, varint};
use crate::recording::Recording;

/// How metrics are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Prometheus remote write 1.0, snappy.
    RemoteWrite1,
    /// Prometheus remote write 2.0, snappy.
    RemoteWrite2,
    /// OTLP over HTTP, protobuf, not compressed.
    Otlp,
}

impl Protocol {
    /// Its name on the command line and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RemoteWrite1 => "remote write 1.0",
            Self::RemoteWrite2 => "remote write 2.0",
            Self::Otlp => "OTLP/HTTP",
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::RemoteWrite1 | Self::RemoteWrite2 => "/api/v1/write",
            Self::Otlp => "/v1/metrics",
        }
    }

    const fn headers(self) -> &'static str {
        match self {
            Self::RemoteWrite1 => {
                "content-type: application/x-protobuf\r\ncontent-encoding: snappy\r\n\
                 x-prometheus-remote-write-version: 0.1.0\r\n"
            }
            Self::RemoteWrite2 => {
                "content-type: application/x-protobuf;proto=io.prometheus.write.v2.Request\r\n\
                 content-encoding: snappy\r\nx-prometheus-remote-write-version: 2.0.0\r\n"
            }
            Self::Otlp => "content-type: application/x-protobuf\r\n",
        }
    }
}

/// How much of what is sent.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How it is encoded.
    pub protocol: Protocol,
    /// Number of the first scrape: 0 is the one at the fleet's start.
    pub first: i64,
    /// Scrapes of every target.
    pub scrapes: i64,
    /// Connections that send at once; a target always uses the same.
    pub clients: usize,
    /// Targets in one request.
    pub targets_per_request: usize,
}

/// Every scrape of `fleet`, encoded into a file in `dir`.
///
/// # Errors
///
/// When the file cannot be written.
pub fn metrics(fleet: &mut Fleet, load: Load, dir: &Path) -> Result<Stream> {
    let mut bodies = Bodies::new(dir, load.clients)?;
    let mut encoder = Encoder::new(load.protocol);
    let shares: Vec<Vec<usize>> = (0..load.clients)
        .map(|client| (client..fleet.targets()).step_by(load.clients).collect())
        .collect();
    for k in load.first..load.first + load.scrapes {
        for (client, share) in shares.iter().enumerate() {
            for targets in share.chunks(load.targets_per_request) {
                for &target in targets {
                    encoder.target(fleet, target, fleet.time_ms(target, k));
                }
                let (body, items) = encoder.finish()?;
                bodies.push(client, &body, items)?;
            }
        }
        fleet.advance();
    }
    // A double and a time each: what a column without any encoding takes.
    let plain_bytes =
        16 * bodies.clients.iter().flatten().map(|request| request.items).sum::<u64>();
    bodies.finish(load.protocol.path(), load.protocol.headers(), plain_bytes)
}

/// A recording as remote write 1.0 by one client, in the order it was recorded, `shift_ms` later.
///
/// # Errors
///
/// When the file cannot be written.
pub fn recorded(recording: &Recording, shift_ms: i64, dir: &Path) -> Result<Stream> {
    const SAMPLES: usize = 5_000;
    let protocol = Protocol::RemoteWrite1;
    let mut bodies = Bodies::new(dir, 1)?;
    let mut order: Vec<(i64, usize, u64)> = Vec::with_capacity(recording.len());
    for (place, series) in recording.series.iter().enumerate() {
        order.extend(series.samples.iter().map(|&(time, bits)| (time + shift_ms, place, bits)));
    }
    order.sort_unstable();
    for samples in order.chunks(SAMPLES) {
        let mut body = Vec::new();
        for &(time_ms, place, bits) in samples {
            message(&mut body, 1, |series| {
                let labels = recording.series[place].labels.iter();
                labels.for_each(|(name, value)| label(series, name, value));
                sample(series, bits, time_ms);
            });
        }
        bodies.push(0, &snap::raw::Encoder::new().compress_vec(&body)?, samples.len() as u64)?;
    }
    bodies.finish(protocol.path(), protocol.headers(), 0)
}

/// Bodies of one protocol. Keeps what does not change from scrape to scrape.
struct Encoder {
    protocol: Protocol,
    body: Vec<u8>,
    items: u64,
    /// Remote write 1.0: the labels of each series as they stand on the wire, by target.
    labels: HashMap<usize, Vec<Vec<u8>>>,
    symbols: Symbols,
}

#[derive(Default)]
struct Symbols {
    places: HashMap<String, u64>,
    list: Vec<u8>,
}

impl Symbols {
    /// The place of `text` in the table; it is added when new. Place 0 is the empty text.
    fn place(&mut self, text: &str) -> u64 {
        if self.places.is_empty() {
            self.places.insert(String::new(), 0);
            bytes(&mut self.list, 4, b"");
        }
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place = self.places.len() as u64;
        self.places.insert(text.to_owned(), place);
        bytes(&mut self.list, 4, text.as_bytes());
        place
    }
}

impl Encoder {
    fn new(protocol: Protocol) -> Self {
        let (labels, symbols) = (HashMap::new(), Symbols::default());
        Self { protocol, body: Vec::new(), items: 0, labels, symbols }
    }

    fn target(&mut self, fleet: &Fleet, target: usize, time_ms: i64) {
        let series = fleet.target(target);
        self.items += series.len() as u64;
        match self.protocol {
            Protocol::RemoteWrite1 => self.remote_write_1(target, series, time_ms),
            Protocol::RemoteWrite2 => {
                series.iter().for_each(|one| self.remote_write_2(one, time_ms));
            }
            Protocol::Otlp => otlp(&mut self.body, series, time_ms),
        }
    }

    fn remote_write_1(&mut self, target: usize, series: &[Series], time_ms: i64) {
        let encode = |one: &Series| {
            let mut labels = Vec::new();
            label(&mut labels, "__name__", one.name);
            one.labels.iter().for_each(|(name, value)| label(&mut labels, name, value));
            labels
        };
        let known =
            self.labels.entry(target).or_insert_with(|| series.iter().map(encode).collect());
        for (one, labels) in series.iter().zip(known) {
            message(&mut self.body, 1, |out| {
                out.extend_from_slice(labels);
                sample(out, one.value().to_bits(), time_ms);
            });
        }
    }

    fn remote_write_2(&mut self, series: &Series, time_ms: i64) {
        let mut refs = Vec::new();
        let pairs = series.labels.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in std::iter::once(("__name__", series.name)).chain(pairs) {
            let places = [self.symbols.place(name), self.symbols.place(value)];
            places.into_iter().for_each(|place| varint(&mut refs, place));
        }
        message(&mut self.body, 5, |out| {
            bytes(out, 1, &refs);
            sample(out, series.value().to_bits(), time_ms);
            let kind = if series.is_counter { 1 } else { 2 };
            message(out, 5, |metadata| integer(metadata, 1, kind));
        });
    }

    fn finish(&mut self) -> Result<(Vec<u8>, u64)> {
        let mut body = std::mem::take(&mut std::mem::take(&mut self.symbols).list);
        body.append(&mut self.body);
        let items = std::mem::take(&mut self.items);
        if self.protocol != Protocol::Otlp {
            body = snap::raw::Encoder::new().compress_vec(&body)?;
        }
        Ok((body, items))
    }
}

fn label(out: &mut Vec<u8>, name: &str, value: &str) {
    message(out, 1, |pair| {
        bytes(pair, 1, name.as_bytes());
        bytes(pair, 2, value.as_bytes());
    });
}

fn sample(out: &mut Vec<u8>, bits: u64, time_ms: i64) {
    message(out, 2, |sample| {
        fixed(sample, 1, bits);
        integer(sample, 2, time_ms.cast_unsigned());
    });
}

/// A text attribute in field `field`.
pub(super) fn attribute(out: &mut Vec<u8>, field: u64, key: &str, value: &str) {
    message(out, field, |pair| {
        bytes(pair, 1, key.as_bytes());
        message(pair, 2, |any| bytes(any, 1, value.as_bytes()));
    });
}

/// One `ResourceMetrics` a target: job and instance name the resource, the other labels stand on each point.
fn otlp(body: &mut Vec<u8>, series: &[Series], time_ms: i64) {
    let is_resource = |name: &str| matches!(name, "instance" | "job");
    message(body, 1, |resource_metrics| {
        message(resource_metrics, 1, |resource| {
            for (name, value) in &series[0].labels {
                match *name {
                    "instance" => attribute(resource, 1, "service.instance.id", value),
                    "job" => attribute(resource, 1, "service.name", value),
                    _ => {}
                }
            }
        });
        message(resource_metrics, 2, |scope| {
            for family in series.chunk_by(|a, b| a.name == b.name) {
                message(scope, 2, |metric| {
                    bytes(metric, 1, family[0].name.as_bytes());
                    let field = if family[0].is_counter { 7 } else { 5 };
                    message(metric, field, |data| {
                        for one in family {
                            message(data, 1, |point| {
                                fixed(point, 3, time_ms.cast_unsigned() * 1_000_000);
                                fixed(point, 4, one.value().to_bits());
                                let labels = one.labels.iter();
                                labels
                                    .filter(|(name, _)| !is_resource(name))
                                    .for_each(|(name, value)| attribute(point, 7, name, value));
                            });
                        }
                        if field == 7 {
                            integer(data, 2, 2); // Cumulative.
                            integer(data, 3, 1); // Monotonic.
                        }
                    });
                });
            }
        });
    });
}
