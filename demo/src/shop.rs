//! One instance of the shop: a purchase counts the cart in Redis and takes the item from the stock in PostgreSQL. A fault
//! makes every request slow, the check of its health included: it still answers, which is why no health check finds it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use opentelemetry::metrics::Histogram;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanKind, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracer;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::output::warn;
use crate::redis::Redis;
use crate::state::Faulty;
use crate::telemetry::{Telemetry, child};

/// Items in stock, by number from 1.
pub(crate) const ITEMS: u32 = 100;
/// The table of the stock; made by whichever instance comes first.
const SCHEMA: &str =
    "CREATE TABLE IF NOT EXISTS stock (item int PRIMARY KEY, sold bigint NOT NULL);
    INSERT INTO stock SELECT n, 0 FROM generate_series(1, 100) n ON CONFLICT DO NOTHING";
const TAKE: &str = "UPDATE stock SET sold = sold + 1 WHERE item = $1 RETURNING sold";

/// Where an instance listens, and whom it needs.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    name: String,
    #[arg(long)]
    listen: SocketAddr,
    /// OTLP over gRPC
    #[arg(long)]
    otlp: String,
    /// `host:port`
    #[arg(long)]
    postgres: SocketAddr,
    /// `host:port`
    #[arg(long)]
    redis: SocketAddr,
}

struct Shop {
    postgres: tokio_postgres::Client,
    take: tokio_postgres::Statement,
    redis: Mutex<Redis>,
    durations: Histogram<f64>,
    tracer: SdkTracer,
    slow_ms: AtomicU64,
}

/// Serves until it is asked to end.
pub(crate) async fn run(args: Args) -> Result<()> {
    let telemetry = Telemetry::start(&args.otlp, "shop", &args.name)?;
    let mut settings = tokio_postgres::Config::new();
    settings.host(args.postgres.ip().to_string()).port(args.postgres.port());
    settings.user("shop").dbname("postgres").application_name(&args.name);
    let (postgres, connection) =
        settings.connect(tokio_postgres::NoTls).await.context("PostgreSQL")?;
    let connection = tokio::spawn(connection);
    prepare(&postgres).await.context("the stock")?;
    let shop = Arc::new(Shop {
        take: postgres.prepare(TAKE).await?,
        postgres,
        redis: Mutex::new(Redis::connect(&args.redis.to_string()).await?),
        durations: telemetry.durations("http.server.request.duration"),
        tracer: telemetry.tracer(),
        slow_ms: AtomicU64::new(0),
    });
    let routes = Router::new()
        .route("/checkout", get(checkout))
        .route("/healthy", get(healthy))
        .route("/fault", post(fault))
        .with_state(shop);
    let listener = TcpListener::bind(args.listen).await?;
    let ended = async {
        tokio::select! {
            () = crate::process::asked_to_end() => {}
            ended = connection => warn(&format!("PostgreSQL went away: {ended:?}")),
        }
    };
    tokio::select! {
        served = axum::serve(listener, routes) => served?,
        () = ended => {}
    }
    telemetry.stop().await;
    Ok(())
}

/// Two instances that make the same table at once would be in each other's way.
async fn prepare(postgres: &tokio_postgres::Client) -> Result<()> {
    postgres.batch_execute("SELECT pg_advisory_lock(1)").await?;
    postgres.batch_execute(SCHEMA).await?;
    Ok(postgres.batch_execute("SELECT pg_advisory_unlock(1)").await?)
}

#[derive(Deserialize)]
struct Purchase {
    item: i32,
}

async fn checkout(
    State(shop): State<Arc<Shop>>,
    Query(purchase): Query<Purchase>,
    headers: HeaderMap,
) -> Result<String, (StatusCode, String)> {
    let begun = Instant::now();
    let caller: HashMap<String, String> = headers
        .iter()
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
        .collect();
    let caller = TraceContextPropagator::new().extract_with_context(&Context::new(), &caller);
    let span = shop.tracer.span_builder("GET /checkout").with_kind(SpanKind::Server);
    let span = shop.tracer.build_with_context(span, &caller);
    let context = caller.with_span(span);
    let sold = shop.sell(purchase.item, &context).await;
    let status = if sold.is_ok() { 200 } else { 500 };
    if let Err(error) = &sold {
        context.span().set_status(opentelemetry::trace::Status::error(format!("{error:#}")));
    }
    context.span().set_attribute(KeyValue::new("http.response.status_code", status));
    context.span().end();
    let of = [
        KeyValue::new("http.request.method", "GET"),
        KeyValue::new("http.route", "/checkout"),
        KeyValue::new("http.response.status_code", status),
    ];
    shop.durations.record(begun.elapsed().as_secs_f64(), &of);
    let sold = sold.map_err(|error| {
        warn(&format!("a purchase failed: {error:#}"));
        (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n"))
    })?;
    Ok(format!("sold {sold}\n"))
}

impl Shop {
    /// How many of an item were sold by now.
    async fn sell(&self, item: i32, context: &Context) -> Result<i64> {
        let system = |name: &'static str| vec![KeyValue::new("db.system.name", name)];
        {
            let span = child(&self.tracer, context, "INCR cart", system("redis"));
            let cart = format!("cart:{item}");
            self.redis.lock().await.ask(&["INCR", &cart]).await?;
            span.span().end();
        }
        self.wait().await;
        let span = child(&self.tracer, context, "UPDATE stock", system("postgresql"));
        let row = self.postgres.query_one(&self.take, &[&item]).await?;
        span.span().end();
        Ok(row.try_get(0)?)
    }

    /// The fault.
    async fn wait(&self) {
        let slow_ms = self.slow_ms.load(Ordering::Relaxed);
        if slow_ms > 0 {
            tokio::time::sleep(Duration::from_millis(slow_ms)).await;
        }
    }
}

/// Asks what a purchase asks, and as slowly.
async fn healthy(State(shop): State<Arc<Shop>>) -> Result<&'static str, (StatusCode, String)> {
    let asked = async {
        shop.redis.lock().await.ask(&["PING"]).await?;
        shop.wait().await;
        shop.postgres.query_one("SELECT 1", &[]).await?;
        anyhow::Ok("healthy\n")
    };
    asked.await.map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n")))
}

#[derive(Deserialize)]
struct Wanted {
    slow_ms: u64,
}

async fn fault(State(shop): State<Arc<Shop>>, Query(wanted): Query<Wanted>) -> Json<Faulty> {
    shop.slow_ms.store(wanted.slow_ms, Ordering::Relaxed);
    Json(Faulty { slow_ms: wanted.slow_ms, at_ns: now_ns() })
}

/// Nanoseconds since the epoch.
fn now_ns() -> i64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "what is measured has its times by the real clock"
    )]
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
