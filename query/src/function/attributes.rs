//! `attributes(map, ...)`: typed attribute maps as one map of text, in the order of the arguments.

use std::sync::Arc;

use arrow::array::StringBuilder;
use arrow::datatypes::DataType;
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use super::attr::Map;

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Attributes {
    signature: Signature,
}

impl Attributes {
    pub(super) fn new() -> Self {
        Self { signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Attributes {
    fn name(&self) -> &'static str {
        "attributes"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        if arg_types.is_empty() || !arg_types.iter().all(|t| matches!(t, DataType::Map(_, _))) {
            return plan_err!("attributes takes maps");
        }
        Ok(store::schema::map_of(DataType::Utf8))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let maps = args
            .args
            .iter()
            .map(|map| Map::of(&map.to_array(args.number_rows)?))
            .collect::<Result<Vec<_>>>()?;
        let mut merged = store::schema::map_builder(StringBuilder::new());
        for row in 0..args.number_rows {
            for (key, value) in maps.iter().flat_map(|map| map.entries(row)) {
                merged.keys().append_value(key);
                merged.values().append_value(value);
            }
            merged.append(true)?;
        }
        Ok(ColumnarValue::Array(Arc::new(merged.finish())))
    }
}
