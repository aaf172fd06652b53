//! The customers: purchases at a steady rate through the front door, whether or not the ones before have ended.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanKind, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior};

use crate::shop::ITEMS;
use crate::state::client;
use crate::telemetry::Telemetry;

/// Purchases under way at once; a customer who would be one more goes away, which counts as a failure.
const UNDER_WAY_MAX: usize = 500;
const RATE_MAX: u32 = 5_000;

/// Where the shop is, and how much it has to do.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Front door
    #[arg(long)]
    url: String,
    /// OTLP over gRPC
    #[arg(long)]
    otlp: String,
    /// Purchases a second
    #[arg(long, default_value_t = 100)]
    rate: u32,
}

/// Buys until it is asked to end.
pub(crate) async fn run(args: Args) -> Result<()> {
    ensure!((1..=RATE_MAX).contains(&args.rate), "a rate from 1 to {RATE_MAX}, please");
    let telemetry = Telemetry::start(&args.otlp, "customers", "1")?;
    let durations = telemetry.durations("http.client.request.duration");
    let (tracer, client) = (telemetry.tracer(), client()?);
    let free = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / args.rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let buy_all = async {
        for n in 0_u32.. {
            ticks.tick().await;
            let record = {
                let durations = durations.clone();
                move |since: Instant, status: i64| {
                    let status = KeyValue::new("http.response.status_code", status);
                    durations.record(since.elapsed().as_secs_f64(), &[status]);
                }
            };
            let begun = Instant::now();
            let Ok(permit) = Arc::clone(&free).try_acquire_owned() else {
                record(begun, 503);
                continue;
            };
            let span = tracer.span_builder("buy").with_kind(SpanKind::Client);
            let context =
                Context::new().with_span(tracer.build_with_context(span, &Context::new()));
            let mut request = client.get(format!("{}/checkout?item={}", args.url, n % ITEMS + 1));
            let mut headers = HashMap::new();
            TraceContextPropagator::new().inject_context(&context, &mut headers);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            tokio::spawn(async move {
                let answer = request.send().await;
                let status = answer.map_or(504, |answer| i64::from(answer.status().as_u16()));
                record(begun, status);
                context.span().set_attribute(KeyValue::new("http.response.status_code", status));
                context.span().end();
                drop(permit);
            });
        }
    };
    tokio::select! {
        () = buy_all => {}
        () = crate::process::asked_to_end() => {}
    }
    telemetry.stop().await;
    Ok(())
}
