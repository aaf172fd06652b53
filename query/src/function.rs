//! The SQL functions of our own, beside DataFusion's.
//!
//! `attr`, `time_bucket` and `sample_value` are documented for users; `attributes` and `hex_id` make columns.

use std::sync::Arc;

use datafusion::logical_expr::{Expr, ScalarUDF};

mod attr;
mod attributes;
mod bucket;
mod hex;
mod promoted;
mod size;
mod value;

pub(crate) use hex::push_hex;
pub(crate) use size::bounded;

/// Every function of our own, to be registered with a session.
pub(crate) fn all() -> Vec<Arc<ScalarUDF>> {
    vec![
        attr_udf(),
        attributes_udf(),
        attribute_map_udf(),
        time_bucket_udf(),
        hex_id_udf(),
        sample_value_udf(),
    ]
}

fn attr_udf() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(attr::Attr::new()))
}

fn attributes_udf() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(attributes::Attributes::new()))
}

fn attribute_map_udf() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(promoted::AttributeMap::new()))
}

fn time_bucket_udf() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(bucket::TimeBucket::new()))
}

fn hex_id_udf() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(hex::HexId::new()))
}

fn sample_value_udf() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(value::SampleValue::new()))
}

/// `attr(maps..., key)`: the value of `key` in the first map that has it, as text.
pub(crate) fn attr(mut maps: Vec<Expr>, key: Expr) -> Expr {
    maps.push(key);
    attr_udf().call(maps)
}

/// `attributes(maps...)`: typed maps as one map of text.
pub(crate) fn attributes(maps: Vec<Expr>) -> Expr {
    attributes_udf().call(maps)
}

/// `attribute_map(map, key, values, ...)`: the map with attributes that stand in columns.
pub(crate) fn attribute_map(args: Vec<Expr>) -> Expr {
    attribute_map_udf().call(args)
}

/// `hex_id(bytes)`: lower-case hexadecimal digits.
pub(crate) fn hex_id(bytes: Expr) -> Expr {
    hex_id_udf().call(vec![bytes])
}

/// `sample_value(scale, v_ctr, v_int, v_f64)`: the value stored in the four value columns.
pub(crate) fn sample_value(columns: Vec<Expr>) -> Expr {
    sample_value_udf().call(columns)
}
