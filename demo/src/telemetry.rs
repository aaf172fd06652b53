//! What the shop and its customers tell of themselves, by the OpenTelemetry SDK as it comes.

use std::time::Duration;

use anyhow::Result;
use opentelemetry::metrics::{Histogram, MeterProvider};
use opentelemetry::trace::TracerProvider;
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};

/// Between two exports of metrics: what reacts to them is no quicker.
const EXPORT_EVERY: Duration = Duration::from_millis(250);
/// Share of the purchases that are traced.
const TRACED: f64 = 0.2;
/// Upper bounds of durations, seconds.
const BOUNDS_S: [f64; 17] = [
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0,
    2.5,
];

/// The exporters of this process.
pub(crate) struct Telemetry {
    meters: SdkMeterProvider,
    tracers: SdkTracerProvider,
}

impl Telemetry {
    /// Starts to export to `otlp`, an address of gRPC. To be called inside a runtime.
    pub(crate) fn start(otlp: &str, service: &'static str, instance: &str) -> Result<Self> {
        let identity = [
            KeyValue::new("service.instance.id", instance.to_owned()),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        ];
        let resource =
            Resource::builder().with_service_name(service).with_attributes(identity).build();
        let metrics = MetricExporter::builder().with_tonic().with_endpoint(otlp).build()?;
        let reader = PeriodicReader::builder(metrics).with_interval(EXPORT_EVERY).build();
        let meters = SdkMeterProvider::builder().with_resource(resource.clone());
        let spans = SpanExporter::builder().with_tonic().with_endpoint(otlp).build()?;
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(TRACED)));
        let tracers = SdkTracerProvider::builder().with_resource(resource).with_sampler(sampler);
        Ok(Self {
            meters: meters.with_reader(reader).build(),
            tracers: tracers.with_batch_exporter(spans).build(),
        })
    }

    /// A histogram of durations in seconds.
    pub(crate) fn durations(&self, name: &'static str) -> Histogram<f64> {
        let meter = self.meters.meter("headrope-demo");
        meter.f64_histogram(name).with_unit("s").with_boundaries(BOUNDS_S.to_vec()).build()
    }

    /// Makes spans.
    pub(crate) fn tracer(&self) -> SdkTracer {
        self.tracers.tracer("headrope-demo")
    }

    /// Sends what is left; a receiver that is gone already is nobody's problem here.
    pub(crate) async fn stop(self) {
        let last = tokio::task::spawn_blocking(move || {
            let limit = Duration::from_secs(1);
            drop(self.meters.shutdown_with_timeout(limit));
            drop(self.tracers.shutdown_with_timeout(limit));
        });
        drop(tokio::time::timeout(Duration::from_secs(3), last).await);
    }
}

/// A child of `parent` with attributes, as its own context; it ends when the last copy of that does.
pub(crate) fn child(
    tracer: &SdkTracer,
    parent: &Context,
    name: &'static str,
    attributes: Vec<KeyValue>,
) -> Context {
    use opentelemetry::trace::{SpanKind, TraceContextExt, Tracer};
    let span = tracer.span_builder(name).with_kind(SpanKind::Client).with_attributes(attributes);
    let span = tracer.build_with_context(span, parent);
    parent.with_span(span)
}
