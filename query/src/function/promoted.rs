//! `attribute_map(map, key, values, ...)`: a typed attribute map with the attributes that stand in columns of their own.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct AttributeMap {
    signature: Signature,
}

impl AttributeMap {
    pub(super) fn new() -> Self {
        Self { signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for AttributeMap {
    fn name(&self) -> &'static str {
        "attribute_map"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types.first() {
            Some(map @ DataType::Map(_, _)) if arg_types.len() % 2 == 1 => Ok(map.clone()),
            _ => plan_err!("attribute_map takes a map, and keys with their values"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let mut arrays = args.args.iter().map(|arg| arg.to_array(rows));
        let Some(map) = arrays.next().transpose()? else {
            return plan_err!("attribute_map takes a map");
        };
        let rest: Vec<ArrayRef> = arrays.collect::<Result<_>>()?;
        let map = map.as_map_opt().ok_or_else(|| {
            DataFusionError::Execution("attributes are read from a map".to_owned())
        })?;
        let mut columns = Vec::with_capacity(rest.len() / 2);
        for pair in rest.chunks_exact(2) {
            let key = pair[0].as_string_opt::<i32>().filter(|keys| !keys.is_empty());
            columns.extend(key.map(|keys| (keys.value(0).to_owned(), &pair[1])));
        }
        let whole = store::with_promoted(map, &columns)
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(ColumnarValue::Array(Arc::new(whole)))
    }
}
