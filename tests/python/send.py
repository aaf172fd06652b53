"""Sends two spans, two log records and three metrics through the OpenTelemetry SDK, then flushes.

Usage: send.py grpc|http, with OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_SERVICE_NAME set.
"""

import logging
import sys

from opentelemetry import metrics, trace
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

if sys.argv[1] == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
else:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

tracer_provider = TracerProvider()
tracer_provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
meter_provider = MeterProvider(metric_readers=[PeriodicExportingMetricReader(OTLPMetricExporter())])
logger_provider = LoggerProvider()
logger_provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
logging.getLogger().addHandler(LoggingHandler(logger_provider=logger_provider))
logging.getLogger().setLevel(logging.INFO)

tracer = tracer_provider.get_tracer("shop")
meter = meter_provider.get_meter("shop")
log = logging.getLogger("shop")

log.info("started")
orders = meter.create_counter("orders", unit="1", description="orders placed")
orders.add(1, {"currency": "CNY"})
orders.add(2, {"currency": "CNY"})
duration = meter.create_histogram(
    "pay.duration", unit="s", explicit_bucket_boundaries_advisory=[0.1, 0.5, 1.0]
)
duration.record(0.05)
duration.record(0.3)
meter.create_up_down_counter("pool.connections").add(4)
with tracer.start_as_current_span("GET /pay", kind=SpanKind.SERVER) as span:
    with tracer.start_as_current_span("SELECT orders", kind=SpanKind.CLIENT):
        pass
    log.error("card %d declined", 4711)
    span.set_status(Status(StatusCode.ERROR, "declined"))

for provider in (tracer_provider, meter_provider, logger_provider):
    if provider.force_flush() is False:
        sys.exit(f"{provider} could not flush")
    provider.shutdown()
