//! The write path from the wire to the store: receive, decode, admit. Called by `server`, which mounts the routes.
//!
//! A request is acknowledged only after the store has made its rows durable. The good part of a request is kept, the
//! rest is counted by reason and told to the sender as OTLP's partial success.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use model::id::TenantId;
use model::time::Clock;
use store::{Delivery, Ingest, Samples, Store};

mod admission;
mod admit;
mod any;
mod attributes;
mod body;
mod budget;
mod columns;
mod config;
mod decode;
mod delivery;
mod duration;
mod error;
#[cfg(test)]
mod fixture;
mod grpc;
mod http;
mod ids;
mod inflate;
mod json;
mod known;
mod logs;
mod memory;
mod metrics;
mod prometheus;
mod proto;
mod recent;
mod records;
mod registry;
mod remote;
mod resource;
mod series;
mod sparse;
mod stats;
mod status;
mod success;
mod traces;
mod translation;
mod value;
mod write;

pub use config::Config;
pub use error::{Error, ErrorKind};
pub use stats::{Counter, Signal, SignalStats, Stats};
pub use translation::TranslationStrategy;

use admission::{Admission, Shared};
use admit::{Tally, Window};
use budget::{Budget, Reservation};
use decode::{Format, Request};
use inflate::Encoding;
use memory::Memory;
use remote::Written;
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
    /// How many rows were stored, by kind; of remote write only.
    pub(crate) written: Written,
}

/// A body that was read but not looked at.
pub(crate) struct Received {
    signal: Signal,
    format: Format,
    encoding: Encoding,
    body: Bytes,
    /// What the sender calls it.
    delivery: Option<Delivery>,
    held: Reservation,
}

/// A request ready for the store.
struct Admitted {
    /// The body as inflated, to admit it again when the store let go of a series in between.
    body: Bytes,
    request: (Signal, Format),
    samples: Samples,
    tables: Vec<(store::schema::Table, arrow::array::RecordBatch)>,
    informed: Vec<Arc<resource::Emitter>>,
    tally: Tally,
    written: Written,
    /// Given back only when the rows are in the store.
    held: Reservation,
}

impl Collector {
    /// A collector that hands what it admits to `store`.
    #[must_use]
    pub fn new(store: Arc<Store>, config: Config, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            memory: Memory::new(&config),
            budget: Budget::new(config.bytes_in_flight_max, Arc::clone(store.memory())),
            counters: Default::default(),
            store,
            config,
            clock,
        })
    }

    /// `POST /v1/metrics`, `/v1/logs` and `/v1/traces`: protobuf and JSON, plain, gzip and zstd.
    pub fn http_routes(self: &Arc<Self>) -> axum::Router {
        http::routes(self)
    }

    /// `POST /api/v1/write`, also below `/prometheus`: Prometheus' remote write 1.0 and 2.0.
    pub fn write_routes(self: &Arc<Self>) -> axum::Router {
        write::routes(self)
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
            in_flight_bytes: self.budget.held(),
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
        let (signal, delivery) = (received.signal, received.delivery);
        let is_small =
            received.body.len() <= INLINE_BYTES_MAX && received.encoding == Encoding::Identity;
        let admitted = if is_small {
            self.inflate_and_admit(received)?
        } else {
            self.off_the_reactor(move |collector| collector.inflate_and_admit(received)).await?
        };
        let (outcome, tally, rows) = match self.keep(admitted, delivery).await {
            Ok(kept) => kept,
            Err(Unkept::Failed(error)) => return Err(error),
            // The store let go of a series that we remembered: all are looked up again, once.
            Err(Unkept::Stale { body, request, held }) => {
                let again = move |collector: &Self| collector.admit(body, request, (held, true));
                let admitted = self.off_the_reactor(again).await?;
                self.keep(admitted, delivery).await.map_err(|failed| match failed {
                    Unkept::Failed(error) => error,
                    Unkept::Stale { .. } => {
                        Error::Internal("a series went while it was looked up".to_owned())
                    }
                })?
            }
        };
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
        Ok(outcome)
    }

    /// Runs what takes processor time where it holds nobody up.
    async fn off_the_reactor(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<Admitted, Error> + Send + 'static,
    ) -> Result<Admitted, Error> {
        let collector = Arc::clone(self);
        let work = tokio::task::spawn_blocking(move || work(&collector)).await;
        work.map_err(|cause| Error::Internal(format!("decoding a request failed: {cause}")))?
    }

    /// Makes the rows durable. Returns what the sender is told, with what became of each item and how many rows it made.
    async fn keep(
        &self,
        admitted: Admitted,
        delivery: Option<Delivery>,
    ) -> Result<(Outcome, Tally, usize), Unkept> {
        let Admitted { body, request, samples, tables, informed, tally, written, held } = admitted;
        let n_rows = |(_, batch): &(_, arrow::array::RecordBatch)| batch.num_rows();
        let rows = samples.len() + tables.iter().map(n_rows).sum::<usize>();
        if rows > 0 {
            let batch = Ingest { tenant: TenantId::default(), samples, tables, delivery };
            if let Err(cause) = self.store.ingest(batch).await {
                informed.iter().for_each(|emitter| emitter.forget_info());
                return Err(match cause {
                    store::Error::StaleSeries { .. } => Unkept::Stale { body, request, held },
                    cause => Unkept::Failed(Error::Store(cause)),
                });
            }
        }
        drop(held);
        let rejected = i64::try_from(tally.rejected()).unwrap_or(i64::MAX);
        Ok((Outcome { rejected, message: tally.message(), written }, tally, rows))
    }

    /// Inflates, decodes and admits: everything that takes processor time.
    fn inflate_and_admit(&self, received: Received) -> Result<Admitted, Error> {
        let Received { signal, format, encoding, body, mut held, .. } = received;
        let body = inflate::inflate(encoding, body, &self.config, &mut held)?;
        add(&self.counters(signal).decoded_bytes, len_u64(body.len()));
        self.admit(body, (signal, format), (held, false))
    }

    /// Decodes and admits; `is_repeat` when series must not be taken from memory.
    fn admit(
        &self,
        body: Bytes,
        (signal, format): (Signal, Format),
        (mut held, is_repeat): (Reservation, bool),
    ) -> Result<Admitted, Error> {
        let request = decode::decode(signal, format, &body, &mut held)?;
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
        admission.is_repeat = is_repeat;
        let (mut samples, mut informed, mut written) = <(Samples, Vec<_>, Written)>::default();
        let tables = match &request {
            Request::Metrics(request) => {
                let decoded = metrics::admit(&mut admission, request, &mut held)?;
                (samples, informed) = (decoded.samples, decoded.informed);
                decoded.tables
            }
            Request::Write(version, request) => {
                let decoded = remote::admit(&mut admission, *version, request, &mut held)?;
                (samples, written) = (decoded.samples, decoded.written);
                decoded.tables
            }
            Request::Logs(body) => logs::admit(&mut admission, body, &mut held)?,
            Request::Traces(body) => traces::admit(&mut admission, body, &mut held)?,
        };
        self.memory.count(admission.hits, admission.misses);
        let (tally, request) = (admission.tally, (signal, format));
        Ok(Admitted { body, request, samples, tables, informed, tally, written, held })
    }
}

/// Why rows were not kept.
enum Unkept {
    /// Series have to be looked up again.
    Stale { body: Bytes, request: (Signal, Format), held: Reservation },
    /// They cannot be kept.
    Failed(Error),
}

fn len_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
