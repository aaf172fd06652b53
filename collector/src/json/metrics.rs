//! Metrics in OTLP/JSON.

use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge,
    Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    Summary, SummaryDataPoint, exemplar, number_data_point,
};

use super::attribute;
use super::node::{Fault, Node};

pub(super) fn resource_metrics(node: &Node<'_>) -> Result<ResourceMetrics, Fault> {
    Ok(ResourceMetrics {
        resource: node.message("resource", attribute::resource)?,
        scope_metrics: node.each("scopeMetrics", scope_metrics)?,
        schema_url: node.text("schemaUrl")?,
    })
}

fn scope_metrics(node: &Node<'_>) -> Result<ScopeMetrics, Fault> {
    Ok(ScopeMetrics {
        scope: node.message("scope", attribute::scope)?,
        metrics: node.each("metrics", metric)?,
        schema_url: node.text("schemaUrl")?,
    })
}

fn metric(node: &Node<'_>) -> Result<Metric, Fault> {
    let data = if let Some(gauge) = node.message("gauge", gauge)? {
        Some(Data::Gauge(gauge))
    } else if let Some(sum) = node.message("sum", sum)? {
        Some(Data::Sum(sum))
    } else if let Some(histogram) = node.message("histogram", histogram)? {
        Some(Data::Histogram(histogram))
    } else if let Some(histogram) = node.message("exponentialHistogram", exponential)? {
        Some(Data::ExponentialHistogram(histogram))
    } else {
        node.message("summary", summary)?.map(Data::Summary)
    };
    Ok(Metric {
        name: node.text("name")?,
        description: node.text("description")?,
        unit: node.text("unit")?,
        metadata: node.each("metadata", attribute::key_value)?,
        data,
    })
}

fn gauge(node: &Node<'_>) -> Result<Gauge, Fault> {
    Ok(Gauge { data_points: node.each("dataPoints", number)? })
}

fn sum(node: &Node<'_>) -> Result<Sum, Fault> {
    Ok(Sum {
        data_points: node.each("dataPoints", number)?,
        aggregation_temporality: temporality(node)?,
        is_monotonic: node.truth("isMonotonic")?,
    })
}

fn histogram(node: &Node<'_>) -> Result<Histogram, Fault> {
    Ok(Histogram {
        data_points: node.each("dataPoints", histogram_point)?,
        aggregation_temporality: temporality(node)?,
    })
}

fn exponential(node: &Node<'_>) -> Result<ExponentialHistogram, Fault> {
    Ok(ExponentialHistogram {
        data_points: node.each("dataPoints", exponential_point)?,
        aggregation_temporality: temporality(node)?,
    })
}

fn summary(node: &Node<'_>) -> Result<Summary, Fault> {
    Ok(Summary { data_points: node.each("dataPoints", summary_point)? })
}

fn temporality(node: &Node<'_>) -> Result<i32, Fault> {
    node.code("aggregationTemporality", |name| {
        AggregationTemporality::from_str_name(name).map(|code| code as i32)
    })
}

fn number(node: &Node<'_>) -> Result<NumberDataPoint, Fault> {
    let value = match node.double("asDouble")? {
        Some(value) => Some(number_data_point::Value::AsDouble(value)),
        None => node.message("asInt", Node::as_i64)?.map(number_data_point::Value::AsInt),
    };
    Ok(NumberDataPoint {
        attributes: node.each("attributes", attribute::key_value)?,
        start_time_unix_nano: node.u64("startTimeUnixNano")?,
        time_unix_nano: node.u64("timeUnixNano")?,
        exemplars: node.each("exemplars", exemplar)?,
        flags: node.u32("flags")?,
        value,
    })
}

fn histogram_point(node: &Node<'_>) -> Result<HistogramDataPoint, Fault> {
    Ok(HistogramDataPoint {
        attributes: node.each("attributes", attribute::key_value)?,
        start_time_unix_nano: node.u64("startTimeUnixNano")?,
        time_unix_nano: node.u64("timeUnixNano")?,
        count: node.u64("count")?,
        sum: node.double("sum")?,
        bucket_counts: node.each("bucketCounts", Node::as_u64)?,
        explicit_bounds: node.each("explicitBounds", Node::as_double)?,
        exemplars: node.each("exemplars", exemplar)?,
        flags: node.u32("flags")?,
        min: node.double("min")?,
        max: node.double("max")?,
    })
}

fn exponential_point(node: &Node<'_>) -> Result<ExponentialHistogramDataPoint, Fault> {
    Ok(ExponentialHistogramDataPoint {
        attributes: node.each("attributes", attribute::key_value)?,
        start_time_unix_nano: node.u64("startTimeUnixNano")?,
        time_unix_nano: node.u64("timeUnixNano")?,
        count: node.u64("count")?,
        sum: node.double("sum")?,
        scale: node.i32("scale")?,
        zero_count: node.u64("zeroCount")?,
        positive: node.message("positive", buckets)?,
        negative: node.message("negative", buckets)?,
        flags: node.u32("flags")?,
        exemplars: node.each("exemplars", exemplar)?,
        min: node.double("min")?,
        max: node.double("max")?,
        zero_threshold: node.double("zeroThreshold")?.unwrap_or_default(),
    })
}

fn buckets(node: &Node<'_>) -> Result<Buckets, Fault> {
    Ok(Buckets {
        offset: node.i32("offset")?,
        bucket_counts: node.each("bucketCounts", Node::as_u64)?,
    })
}

fn summary_point(node: &Node<'_>) -> Result<SummaryDataPoint, Fault> {
    Ok(SummaryDataPoint {
        attributes: node.each("attributes", attribute::key_value)?,
        start_time_unix_nano: node.u64("startTimeUnixNano")?,
        time_unix_nano: node.u64("timeUnixNano")?,
        count: node.u64("count")?,
        sum: node.double("sum")?.unwrap_or_default(),
        quantile_values: node.each("quantileValues", quantile)?,
        flags: node.u32("flags")?,
    })
}

fn quantile(node: &Node<'_>) -> Result<ValueAtQuantile, Fault> {
    Ok(ValueAtQuantile {
        quantile: node.double("quantile")?.unwrap_or_default(),
        value: node.double("value")?.unwrap_or_default(),
    })
}

fn exemplar(node: &Node<'_>) -> Result<Exemplar, Fault> {
    let value = match node.double("asDouble")? {
        Some(value) => Some(exemplar::Value::AsDouble(value)),
        None => node.message("asInt", Node::as_i64)?.map(exemplar::Value::AsInt),
    };
    Ok(Exemplar {
        filtered_attributes: node.each("filteredAttributes", attribute::key_value)?,
        time_unix_nano: node.u64("timeUnixNano")?,
        span_id: node.id("spanId")?,
        trace_id: node.id("traceId")?,
        value,
    })
}
