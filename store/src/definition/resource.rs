//! Resources as rows: canonical attributes have columns of their own, the rest stands in typed maps.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Float64Builder, Int64Array, Int64Builder, MapArray,
    MapBuilder, RecordBatch, StringArray, StringBuilder, TimestampMillisecondArray, UInt64Array,
};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMillisecondType, UInt64Type};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::attribute::{Attribute, AttributeValue};
use model::id::ResourceId;
use serde_json::Value;

use crate::definition::{Sighting, column};
use crate::error::Error;
use crate::registry::{Resource, ResourceDef};
use crate::schema::{Table, columns, map_builder, segment_schema};

/// Text columns that hold one attribute verbatim; it is not repeated in the maps.
const VERBATIM: [(&str, &str); 13] = [
    (columns::SERVICE_NAME, "service.name"),
    (columns::SERVICE_NAMESPACE, "service.namespace"),
    (columns::SERVICE_INSTANCE_ID, "service.instance.id"),
    (columns::SERVICE_VERSION, "service.version"),
    (columns::SERVICE_CRITICALITY, "service.criticality"),
    (columns::DEPLOYMENT_ENVIRONMENT, "deployment.environment.name"),
    (columns::HOST_NAME, "host.name"),
    (columns::CONTAINER_ID, "container.id"),
    (columns::K8S_CLUSTER, "k8s.cluster.name"),
    (columns::K8S_NAMESPACE, "k8s.namespace.name"),
    (columns::K8S_POD, "k8s.pod.name"),
    (columns::K8S_NODE, "k8s.node.name"),
    (columns::TELEMETRY_SDK_LANGUAGE, "telemetry.sdk.language"),
];
const PID: &str = "process.pid";
/// Attributes that name a workload, with its kind; the closest owner of a pod first.
const WORKLOADS: [(&str, &str); 5] = [
    ("k8s.deployment.name", "deployment"),
    ("k8s.statefulset.name", "statefulset"),
    ("k8s.daemonset.name", "daemonset"),
    ("k8s.cronjob.name", "cronjob"),
    ("k8s.job.name", "job"),
];

struct Typed {
    text: MapBuilder<StringBuilder, StringBuilder>,
    int: MapBuilder<StringBuilder, Int64Builder>,
    float: MapBuilder<StringBuilder, Float64Builder>,
    truth: MapBuilder<StringBuilder, BooleanBuilder>,
    json: MapBuilder<StringBuilder, StringBuilder>,
}

impl Typed {
    fn new() -> Self {
        Self {
            text: map_builder(StringBuilder::new()),
            int: map_builder(Int64Builder::new()),
            float: map_builder(Float64Builder::new()),
            truth: map_builder(BooleanBuilder::new()),
            json: map_builder(StringBuilder::new()),
        }
    }

    fn put(&mut self, attribute: &Attribute) {
        let key = &attribute.key;
        match &attribute.value {
            AttributeValue::Str(text) => {
                self.text.keys().append_value(key);
                self.text.values().append_value(text);
            }
            AttributeValue::Int(number) => {
                self.int.keys().append_value(key);
                self.int.values().append_value(*number);
            }
            AttributeValue::Double(number) => {
                self.float.keys().append_value(key);
                self.float.values().append_value(*number);
            }
            AttributeValue::Bool(truth) => {
                self.truth.keys().append_value(key);
                self.truth.values().append_value(*truth);
            }
            AttributeValue::Bytes(_) | AttributeValue::Array(_) | AttributeValue::Map(_) => {
                self.json.keys().append_value(key);
                self.json.values().append_value(to_json(&attribute.value).to_string());
            }
        }
    }

    fn end_row(&mut self) -> Result<(), arrow::error::ArrowError> {
        self.text.append(true)?;
        self.int.append(true)?;
        self.float.append(true)?;
        self.truth.append(true)?;
        self.json.append(true)
    }

    fn finish(&mut self) -> [ArrayRef; 5] {
        [
            Arc::new(self.text.finish()),
            Arc::new(self.int.finish()),
            Arc::new(self.float.finish()),
            Arc::new(self.truth.finish()),
            Arc::new(self.json.finish()),
        ]
    }
}

/// Rows of table `resources`, in the order given.
pub(crate) fn resource_rows(sightings: &[Sighting<Arc<Resource>>]) -> Result<RecordBatch, Error> {
    let wrap = || Error::arrow("building resource rows");
    let mut typed = Typed::new();
    for sighting in sightings {
        let rest = sighting.of.def.attributes.iter().filter(|attribute| !has_column(attribute));
        rest.for_each(|attribute| typed.put(attribute));
        typed.end_row().map_err(wrap())?;
    }
    let each = || sightings.iter().map(|sighting| sighting.of.as_ref());
    let time = |pick: fn(&Sighting<Arc<Resource>>) -> i64| -> ArrayRef {
        Arc::new(
            TimestampMillisecondArray::from_iter_values(sightings.iter().map(pick))
                .with_timezone("UTC"),
        )
    };
    let mut arrays: Vec<ArrayRef> =
        vec![Arc::new(UInt64Array::from_iter_values(each().map(|resource| resource.id.0)))];
    for name in columns::RESOURCE_TEXTS {
        arrays.push(Arc::new(
            each().map(|resource| canonical(resource, name)).collect::<StringArray>(),
        ));
    }
    arrays.push(Arc::new(each().map(pid).collect::<Int64Array>()));
    arrays.extend(typed.finish());
    arrays.push(time(|sighting| sighting.first_ms));
    arrays.push(time(|sighting| sighting.last_ms));
    RecordBatch::try_new(segment_schema(Table::Resources), arrays).map_err(wrap())
}

fn has_column(attribute: &Attribute) -> bool {
    match &attribute.value {
        AttributeValue::Str(_) => VERBATIM.iter().any(|(_, key)| *key == attribute.key),
        AttributeValue::Int(_) => attribute.key == PID,
        AttributeValue::Bool(_)
        | AttributeValue::Double(_)
        | AttributeValue::Bytes(_)
        | AttributeValue::Array(_)
        | AttributeValue::Map(_) => false,
    }
}

fn pid(resource: &Resource) -> Option<i64> {
    resource.def.attributes.iter().find(|attribute| attribute.key == PID).and_then(|attribute| {
        match attribute.value {
            AttributeValue::Int(pid) => Some(pid),
            AttributeValue::Str(_)
            | AttributeValue::Bool(_)
            | AttributeValue::Double(_)
            | AttributeValue::Bytes(_)
            | AttributeValue::Array(_)
            | AttributeValue::Map(_) => None,
        }
    })
}

/// The value of a canonical text column.
fn canonical<'a>(resource: &'a Resource, name: &str) -> Option<&'a str> {
    let workload =
        || WORKLOADS.iter().find_map(|(key, kind)| resource.text(key).map(|name| (*kind, name)));
    match name {
        columns::K8S_WORKLOAD_KIND => workload().map(|(kind, _)| kind),
        columns::K8S_WORKLOAD_NAME => workload().map(|(_, name)| name),
        _ => VERBATIM
            .iter()
            .find(|(column, _)| *column == name)
            .and_then(|(_, key)| resource.text(key)),
    }
}

/// The resources in a batch with the schema of table `resources`.
pub(crate) fn read_resources(batch: &RecordBatch) -> Vec<(ResourceId, Sighting<ResourceDef>)> {
    let ids = column(batch, columns::RESOURCE_ID).as_primitive::<UInt64Type>();
    let pids = column(batch, columns::PROCESS_PID).as_primitive::<Int64Type>();
    let time = |name: &str| {
        column(batch, name).as_primitive::<TimestampMillisecondType>().values().clone()
    };
    let (firsts, lasts) = (time(columns::FIRST_TIME), time(columns::LAST_TIME));
    let read = |row: usize| {
        let mut attributes = Vec::new();
        for (name, key) in VERBATIM {
            let texts = column(batch, name).as_string::<i32>();
            if texts.is_valid(row) {
                attributes.push((key.to_owned(), AttributeValue::Str(texts.value(row).to_owned())));
            }
        }
        if pids.is_valid(row) {
            attributes.push((PID.to_owned(), AttributeValue::Int(pids.value(row))));
        }
        read_map(batch, columns::ATTRS_STR, row, &mut attributes, |values, i| {
            Some(AttributeValue::Str(values.as_string::<i32>().value(i).to_owned()))
        });
        read_map(batch, columns::ATTRS_INT, row, &mut attributes, |values, i| {
            Some(AttributeValue::Int(values.as_primitive::<Int64Type>().value(i)))
        });
        read_map(batch, columns::ATTRS_F64, row, &mut attributes, |values, i| {
            Some(AttributeValue::Double(values.as_primitive::<Float64Type>().value(i)))
        });
        read_map(batch, columns::ATTRS_BOOL, row, &mut attributes, |values, i| {
            Some(AttributeValue::Bool(values.as_boolean().value(i)))
        });
        read_map(batch, columns::ATTRS_JSON, row, &mut attributes, |values, i| {
            from_json(values.as_string::<i32>().value(i))
        });
        let attributes =
            attributes.into_iter().map(|(key, value)| Attribute { key, value }).collect();
        let sighting =
            Sighting { of: ResourceDef { attributes }, first_ms: firsts[row], last_ms: lasts[row] };
        (ResourceId(ids.value(row)), sighting)
    };
    (0..batch.num_rows()).map(read).collect()
}

fn read_map(
    batch: &RecordBatch,
    name: &str,
    row: usize,
    out: &mut Vec<(String, AttributeValue)>,
    value: impl Fn(&ArrayRef, usize) -> Option<AttributeValue>,
) {
    let map: &MapArray = column(batch, name).as_map();
    let entries = map.value(row);
    let keys = entries.column(0).as_string::<i32>();
    let values = entries.column(1);
    for i in (0..entries.len()).filter(|i| values.is_valid(*i)) {
        out.extend(value(values, i).map(|value| (keys.value(i).to_owned(), value)));
    }
}

fn to_json(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::Str(text) => Value::from(text.as_str()),
        AttributeValue::Bool(truth) => Value::from(*truth),
        AttributeValue::Int(number) => Value::from(*number),
        AttributeValue::Double(number) => Value::from(*number),
        AttributeValue::Bytes(bytes) => Value::from(STANDARD.encode(bytes)),
        AttributeValue::Array(items) => Value::Array(items.iter().map(to_json).collect()),
        AttributeValue::Map(entries) => Value::Object(
            entries.iter().map(|entry| (entry.key.clone(), to_json(&entry.value))).collect(),
        ),
    }
}

/// At the top a JSON string stands for bytes, since text has a map of its own.
fn from_json(text: &str) -> Option<AttributeValue> {
    match serde_json::from_str(text).ok()? {
        Value::String(bytes) => STANDARD.decode(bytes).ok().map(AttributeValue::Bytes),
        value => Some(nested(value)),
    }
}

fn nested(value: Value) -> AttributeValue {
    match value {
        Value::Null => AttributeValue::Str(String::new()),
        Value::Bool(truth) => AttributeValue::Bool(truth),
        Value::Number(number) => number.as_i64().map_or_else(
            || AttributeValue::Double(number.as_f64().unwrap_or(f64::NAN)),
            AttributeValue::Int,
        ),
        Value::String(text) => AttributeValue::Str(text),
        Value::Array(items) => AttributeValue::Array(items.into_iter().map(nested).collect()),
        Value::Object(entries) => AttributeValue::Map(
            entries
                .into_iter()
                .map(|(key, value)| Attribute { key, value: nested(value) })
                .collect(),
        ),
    }
}
