//! Properties of series and resources as Arrow columns, built from the snapshot's registry only when asked for.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder, TimestampNanosecondArray, UInt64Array};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use model::attribute::{Attribute, AttributeValue};
use model::metric::{MetricKind, Temporality};
use model::semconv;
use store::schema::{columns, map_builder, map_of, time_ns};
use store::{Resource, Series};

use super::View;

/// A property of a series or of the resource that emitted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dimension {
    /// Metric name as sent.
    Metric,
    /// Attributes of the data points.
    Labels,
    /// One of them.
    Label(String),
    /// Prometheus name.
    PromName,
    /// Prometheus labels.
    PromLabels,
    /// What it measures, in words.
    Kind,
    /// Totals or increments, in words.
    Temporality,
    /// Unit as sent.
    Unit,
    /// Description as sent.
    Help,
    /// Identity of the resource.
    ResourceId,
    /// The first of these resource attributes that is there.
    Resource(&'static [&'static str]),
    /// All resource attributes.
    ResourceAttributes,
    /// Time of the newest row.
    LastTime,
    /// The series' identity.
    SeriesId,
}

/// Resource columns and the attributes they show, first present wins.
const RESOURCE_COLUMNS: [(&str, &[&str]); 13] = [
    (columns::SERVICE_NAME, &[semconv::SERVICE_NAME]),
    (columns::SERVICE_NAMESPACE, &[semconv::SERVICE_NAMESPACE]),
    (columns::SERVICE_INSTANCE_ID, &[semconv::SERVICE_INSTANCE_ID]),
    (columns::SERVICE_VERSION, &[semconv::SERVICE_VERSION]),
    (columns::SERVICE_CRITICALITY, &[semconv::SERVICE_CRITICALITY]),
    (columns::DEPLOYMENT_ENVIRONMENT, &[semconv::DEPLOYMENT_ENVIRONMENT, "deployment.environment"]),
    (columns::HOST_NAME, &[semconv::HOST_NAME]),
    (columns::CONTAINER_ID, &[semconv::CONTAINER_ID]),
    (columns::K8S_CLUSTER, &["k8s.cluster.name"]),
    (columns::K8S_NAMESPACE, &["k8s.namespace.name"]),
    (columns::K8S_POD, &["k8s.pod.name"]),
    (columns::K8S_NODE, &["k8s.node.name"]),
    (
        columns::K8S_WORKLOAD_NAME,
        &[
            "k8s.deployment.name",
            "k8s.statefulset.name",
            "k8s.daemonset.name",
            "k8s.cronjob.name",
            "k8s.job.name",
        ],
    ),
];

/// Resource columns and the attributes they show.
pub(crate) fn resource_column_keys() -> impl Iterator<Item = (&'static str, &'static [&'static str])>
{
    RESOURCE_COLUMNS.into_iter()
}

impl Dimension {
    /// Type of the column.
    pub(crate) fn data_type(&self) -> DataType {
        match self {
            Self::Labels | Self::PromLabels | Self::ResourceAttributes => map_of(DataType::Utf8),
            Self::ResourceId | Self::SeriesId => DataType::UInt64,
            Self::LastTime => time_ns(),
            _ => DataType::Utf8,
        }
    }

    /// The column for `series`, in their order.
    pub(crate) fn array(
        &self,
        series: &[Arc<Series>],
        view: &View,
    ) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Self::Labels => maps_of(series.iter().map(|s| s.def.labels.iter()))?,
            Self::PromLabels => maps_of(series.iter().map(|s| s.def.prom_labels.iter()))?,
            Self::ResourceAttributes => resource_maps(
                series.iter().map(|s| view.snapshot.resource(view.tenant, s.def.resource_id)),
            )?,
            Self::ResourceId => {
                Arc::new(UInt64Array::from_iter_values(series.iter().map(|s| s.def.resource_id.0)))
            }
            Self::SeriesId => {
                Arc::new(UInt64Array::from_iter_values(series.iter().map(|s| s.id.0)))
            }
            Self::LastTime => Arc::new(
                series
                    .iter()
                    .map(|s| s.last_time().map(|time| time.0))
                    .collect::<TimestampNanosecondArray>()
                    .with_timezone("UTC"),
            ),
            Self::Resource(keys) => resource_texts(series, view, keys),
            _ => {
                let mut texts = StringBuilder::with_capacity(series.len(), series.len() * 16);
                series.iter().for_each(|series| texts.append_option(self.text(series)));
                Arc::new(texts.finish())
            }
        })
    }

    /// The text properties; absent ones are null.
    fn text<'a>(&self, series: &'a Series) -> Option<&'a str> {
        let some = |text: &'a str| (!text.is_empty()).then_some(text);
        match self {
            Self::Metric => Some(&series.def.metric),
            Self::PromName => Some(&series.def.prom_name),
            Self::Label(name) => series.def.labels.value(name),
            Self::Kind => Some(kind_word(series.def.kind)),
            Self::Temporality => Some(temporality_word(series.def.temporality)),
            Self::Unit => some(&series.def.unit),
            Self::Help => some(&series.def.help),
            _ => None,
        }
    }
}

fn resource_texts(series: &[Arc<Series>], view: &View, keys: &[&str]) -> ArrayRef {
    let mut texts = StringBuilder::with_capacity(series.len(), series.len() * 16);
    for series in series {
        let resource = view.snapshot.resource(view.tenant, series.def.resource_id);
        texts.append_option(resource.as_deref().and_then(|resource| first(resource, keys)));
    }
    Arc::new(texts.finish())
}

/// The first of these attributes that `resource` has as text.
pub(crate) fn first<'a>(resource: &'a Resource, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| resource.text(key))
}

/// A map column of text.
pub(crate) fn maps_of<'a, I>(rows: impl Iterator<Item = I>) -> Result<ArrayRef, ArrowError>
where
    I: Iterator<Item = (&'a str, &'a str)>,
{
    let mut maps = map_builder(StringBuilder::new());
    for row in rows {
        for (key, value) in row {
            maps.keys().append_value(key);
            maps.values().append_value(value);
        }
        maps.append(true)?;
    }
    Ok(Arc::new(maps.finish()))
}

/// A map column of all attributes of each resource, empty where the resource is unknown.
pub(crate) fn resource_maps(
    resources: impl Iterator<Item = Option<Arc<Resource>>>,
) -> Result<ArrayRef, ArrowError> {
    let mut maps = map_builder(StringBuilder::new());
    for resource in resources {
        for Attribute { key, value } in resource.iter().flat_map(|r| &r.def.attributes) {
            maps.keys().append_value(key);
            maps.values().append_value(text(value));
        }
        maps.append(true)?;
    }
    Ok(Arc::new(maps.finish()))
}

/// An attribute's value as text: lists and maps as JSON, bytes in hexadecimal.
pub(crate) fn text(value: &AttributeValue) -> String {
    match value {
        AttributeValue::Str(text) => text.clone(),
        other => json(other),
    }
}

fn json(value: &AttributeValue) -> String {
    match value {
        AttributeValue::Str(text) => crate::result::json_text(text),
        AttributeValue::Bool(truth) => truth.to_string(),
        AttributeValue::Int(number) => number.to_string(),
        AttributeValue::Double(number) => number.to_string(),
        AttributeValue::Bytes(bytes) => {
            let mut text = String::with_capacity(bytes.len() * 2);
            crate::function::push_hex(&mut text, bytes);
            text
        }
        AttributeValue::Array(values) => {
            let items: Vec<String> = values.iter().map(json).collect();
            format!("[{}]", items.join(","))
        }
        AttributeValue::Map(entries) => {
            let pair = |entry: &Attribute| {
                format!("{}:{}", crate::result::json_text(&entry.key), json(&entry.value))
            };
            let items: Vec<String> = entries.iter().map(pair).collect();
            format!("{{{}}}", items.join(","))
        }
    }
}

/// The lower-case word for a kind, as Prometheus' metadata uses it where it has one.
pub(crate) const fn kind_word(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Unknown => "unknown",
        MetricKind::Gauge => "gauge",
        MetricKind::Counter => "counter",
        MetricKind::Histogram => "histogram",
        MetricKind::ExponentialHistogram => "exponential_histogram",
        MetricKind::Summary => "summary",
    }
}

const fn temporality_word(temporality: Temporality) -> &'static str {
    match temporality {
        Temporality::Unspecified => "unspecified",
        Temporality::Delta => "delta",
        Temporality::Cumulative => "cumulative",
    }
}
