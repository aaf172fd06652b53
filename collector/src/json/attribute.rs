//! Values, attributes, resources and scopes in OTLP/JSON.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::node::{Fault, Node};

pub(super) fn any_value(node: &Node<'_>) -> Result<AnyValue, Fault> {
    let value = if let Some(text) = node.message("stringValue", Node::as_text)? {
        Some(Value::StringValue(text))
    } else if let Some(truth) = node.message("boolValue", Node::as_truth)? {
        Some(Value::BoolValue(truth))
    } else if let Some(number) = node.message("intValue", Node::as_i64)? {
        Some(Value::IntValue(number))
    } else if let Some(number) = node.message("doubleValue", Node::as_double)? {
        Some(Value::DoubleValue(number))
    } else if let Some(array) = node.message("arrayValue", array)? {
        Some(Value::ArrayValue(array))
    } else if let Some(map) = node.message("kvlistValue", map)? {
        Some(Value::KvlistValue(map))
    } else {
        node.message("bytesValue", Node::as_bytes)?.map(Value::BytesValue)
    };
    Ok(AnyValue { value })
}

fn array(node: &Node<'_>) -> Result<ArrayValue, Fault> {
    Ok(ArrayValue { values: node.each("values", any_value)? })
}

fn map(node: &Node<'_>) -> Result<KeyValueList, Fault> {
    Ok(KeyValueList { values: node.each("values", key_value)? })
}

pub(super) fn key_value(node: &Node<'_>) -> Result<KeyValue, Fault> {
    Ok(KeyValue {
        key: node.text("key")?,
        value: node.message("value", any_value)?,
        key_strindex: 0,
    })
}

pub(super) fn resource(node: &Node<'_>) -> Result<Resource, Fault> {
    Ok(Resource {
        attributes: node.each("attributes", key_value)?,
        dropped_attributes_count: node.u32("droppedAttributesCount")?,
        entity_refs: Vec::new(),
    })
}

pub(super) fn scope(node: &Node<'_>) -> Result<InstrumentationScope, Fault> {
    Ok(InstrumentationScope {
        name: node.text("name")?,
        version: node.text("version")?,
        attributes: node.each("attributes", key_value)?,
        dropped_attributes_count: node.u32("droppedAttributesCount")?,
    })
}
