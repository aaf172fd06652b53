//! The write path from the wire to the store: receive, decode, admit. Called by `server`, which mounts the routes.
//!
//! A request is acknowledged only after the store has made its rows durable. The good part of a request is kept, the
//! rest is counted by reason and told to the sender as OTLP's partial success.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use model::id::TenantId;
use model::time::Clock;
use store::{Ingest, Samples, Store};

mod admission;
mod admit;
mod any;
mod attributes;
mod body;
mod budget;
mod columns;
mod config;
mod decode;
mod duration;
mod error;
#[cfg(test)]
mod fixture;
mod footprint;
mod grpc;
mod http;
mod ids;
mod inflate;
mod json;
mod logs;
mod memory;
mod metrics;
mod prometheus;
mod proto;
mod recent;
mod records;
mod registry;
mod resource;
mod series;
mod sparse;
mod stats;
mod status;
mod success;
mod traces;
mod value;

pub use config::Config;
pub use error::{Error, ErrorKind};
pub use stats::{Counter, Signal, SignalStats, Stats};

use admission::{Admission, Shared};
use admit::{Tally, Window};
use budget::{Budget, Reservation};
use decode::{Format, Request};
use inflate::Encoding;
use memory::Memory;
use stats::{SignalCounters, add};

/// Bodies up to here are decoded where they are read; larger ones take longer than an async task may.
const INLINE_BYTES_MAX: usize = 8 << 10;

/// Takes OTLP in. Shared by all connections.
pub struct Collector {
    store: Arc<Store>,
    config: Config,
    clock: Arc<dyn Clock>,
    memory: Memory,
    budget: Arc<Budget>,
    counters: [SignalCounters; Signal::ALL.len()],
}

/// What the sender is told of a request that was stored.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Items that were not stored.
    pub(crate) rejected: i64,
    /// Why; empty when all is well.
    pub(crate) message: String,
}

/// A body that was read but not looked at.
pub(crate) struct Received {
    signal: Signal,
    format: Format,
    encoding: Encoding,
    body: Bytes,
    held: Reservation,
}

/// A request ready for the store.
struct Admitted {
    samples: Samples,
    tables: Vec<(store::schema::Table, arrow::array::RecordBatch)>,
    informed: Vec<Arc<resource::Emitter>>,
    tally: Tally,
    /// Given back only when the rows are in the store.
    _held: Reservation,
}

impl Collector {
    /// A collector that hands what it admits to `store`.
    #[must_use]
    pub fn new(store: Arc<Store>, config: Config, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            store,
            memory: Memory::new(&config),
            budget: Budget::new(config.bytes_in_flight_max),
            counters: Default::default(),
            config,
            clock,
        })
    }

    /// `POST /v1/metrics`, `/v1/logs` and `/v1/traces`: protobuf and JSON, plain, gzip and zstd.
    pub fn http_routes(self: &Arc<Self>) -> axum::Router {
        http::routes(self)
    }

    /// The three OTLP services over gRPC, gzip and zstd; for a listener that speaks HTTP/2.
    pub fn grpc_routes(self: &Arc<Self>) -> axum::Router {
        grpc::routes(self)
    }

    /// All counters and gauges as they stand.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let of = |signal: Signal| self.counters(signal).snapshot();
        Stats {
            metrics: of(Signal::Metrics),
            logs: of(Signal::Logs),
            traces: of(Signal::Traces),
            series_cache_hits: self.memory.hits.load(Ordering::Relaxed),
            series_cache_misses: self.memory.misses.load(Ordering::Relaxed),
            in_flight_bytes: u64::try_from(self.budget.held()).unwrap_or(u64::MAX),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    fn counters(&self, signal: Signal) -> &SignalCounters {
        &self.counters[signal as usize]
    }

    /// Decodes, admits and stores a body; answers only when its rows are durable.
    pub(crate) async fn ingest(self: &Arc<Self>, received: Received) -> Result<Outcome, Error> {
        let signal = received.signal;
        add(&self.counters(signal).wire_bytes, len_u64(received.body.len()));
        let outcome = self.store(received).await;
        if let Err(error) = &outcome {
            self.refuse(signal, error);
        }
        outcome
    }

    /// Counts a request that was refused as a whole.
    pub(crate) fn refuse(&self, signal: Signal, error: &Error) {
        add(&self.counters(signal).requests_refused, 1);
        if error.kind() == ErrorKind::Corrupt {
            tracing::error!(signal = signal.name(), %error, "request failed");
        } else {
            tracing::debug!(signal = signal.name(), %error, "request refused");
        }
    }

    async fn store(self: &Arc<Self>, received: Received) -> Result<Outcome, Error> {
        let signal = received.signal;
        let admitted =
            if received.body.len() <= INLINE_BYTES_MAX && received.encoding == Encoding::Identity {
                self.admit(received)?
            } else {
                let collector = Arc::clone(self);
                tokio::task::spawn_blocking(move || collector.admit(received)).await.map_err(
                    |cause| Error::Internal(format!("decoding a request failed: {cause}")),
                )??
            };
        let n_rows = |(_, batch): &(_, arrow::array::RecordBatch)| batch.num_rows();
        let rows = admitted.samples.len() + admitted.tables.iter().map(n_rows).sum::<usize>();
        if rows > 0 {
            let (samples, tables) = (admitted.samples, admitted.tables);
            let batch = Ingest { samples, tables, ..Ingest::default() };
            if let Err(cause) = self.store.ingest(batch).await {
                if matches!(cause, store::Error::StaleSeries { .. }) {
                    self.memory.forget_series(); // The sender's repeat resolves them again.
                }
                admitted.informed.iter().for_each(|emitter| emitter.forget_info());
                return Err(Error::Store(cause));
            }
        }
        let tally = admitted.tally;
        self.counters(signal).count(&tally, rows);
        if tally.rejected() > 0 && self.counters(signal).may_warn(self.clock.now()) {
            tracing::warn!(
                signal = signal.name(),
                rejected = tally.rejected(),
                received = tally.received(),
                reasons = tally.message(),
                "records rejected; the next warning comes in another minute, the counters have them all"
            );
        }
        let rejected = i64::try_from(tally.rejected()).unwrap_or(i64::MAX);
        Ok(Outcome { rejected, message: tally.message() })
    }

    /// Inflates, decodes and admits: everything that takes processor time.
    fn admit(&self, received: Received) -> Result<Admitted, Error> {
        let Received { signal, format, encoding, body, mut held } = received;
        let body = inflate::inflate(encoding, body, &self.config, &mut held)?;
        add(&self.counters(signal).decoded_bytes, len_u64(body.len()));
        let request = decode::decode(signal, format, &body, &mut held)?;
        drop(body);
        let now = self.clock.now();
        let window = match signal {
            Signal::Metrics => Window::of_samples(&self.config, now),
            Signal::Logs | Signal::Traces => Window::of_records(&self.config, now),
        };
        let shared = Shared {
            config: &self.config,
            memory: &self.memory,
            registry: &*self.store,
            tenant: TenantId::default(),
        };
        let mut admission = Admission::new(shared, window, Tally::new(signal));
        let (samples, tables, informed) = match &request {
            Request::Metrics(request) => {
                let decoded = metrics::admit(&mut admission, request)?;
                (decoded.samples, decoded.tables, decoded.informed)
            }
            Request::Logs(body) => {
                let tables = logs::admit(&mut admission, body, &mut held)?;
                (Samples::default(), tables, Vec::new())
            }
            Request::Traces(body) => {
                let tables = traces::admit(&mut admission, body, &mut held)?;
                (Samples::default(), tables, Vec::new())
            }
        };
        Ok(Admitted { samples, tables, informed, tally: admission.tally, _held: held })
    }
}

fn len_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
