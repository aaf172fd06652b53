//! `attr(map, key)` and `attr(map, map, ..., key)`: one attribute as text, null where it is absent.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, MapArray, StringArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Attr {
    signature: Signature,
}

impl Attr {
    pub(super) fn new() -> Self {
        Self { signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Attr {
    fn name(&self) -> &'static str {
        "attr"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let Some((key, maps)) = arg_types.split_last() else {
            return plan_err!("attr takes a map and a key, as attr(labels, 'cpu.mode')");
        };
        let is_text = matches!(key, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        let are_maps = maps.iter().all(|map| matches!(map, DataType::Map(_, _)));
        if maps.is_empty() || !is_text || !are_maps {
            return plan_err!("attr takes a map and a key, as attr(labels, 'cpu.mode')");
        }
        Ok(DataType::Utf8)
    }

    /// `attr(attributes(a, b), key)` reads `a` and `b` without building the map of both.
    fn simplify(&self, args: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let merged = |arg: &Expr| matches!(arg, Expr::ScalarFunction(call) if call.func.name() == "attributes");
        if !args.iter().any(merged) {
            return Ok(ExprSimplifyResult::Original(args));
        }
        let flat = args.into_iter().flat_map(|arg| match arg {
            Expr::ScalarFunction(call) if call.func.name() == "attributes" => call.args,
            other => vec![other],
        });
        let call = super::attr_udf().call(flat.collect());
        Ok(ExprSimplifyResult::Simplified(call))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some((key, maps)) = args.args.split_last() else {
            return plan_err!("attr takes a map and a key");
        };
        let keys = text_of(&key.to_array(1.max(args.number_rows))?)?;
        let maps = maps
            .iter()
            .map(|map| Map::of(&map.to_array(args.number_rows)?))
            .collect::<Result<Vec<_>>>()?;
        let mut found = StringBuilder::new();
        for row in 0..args.number_rows {
            let key = keys.is_valid(row).then(|| keys.value(row));
            found.append_option(key.and_then(|key| maps.iter().find_map(|map| map.at(row, key))));
        }
        Ok(ColumnarValue::Array(Arc::new(found.finish())))
    }
}

/// A map column with text values; look-up scans the few entries of a row.
pub(super) struct Map {
    map: MapArray,
    keys: StringArray,
    values: StringArray,
}

impl Map {
    /// Values that are no text are cast: `true`, `42`, shortest form of a double.
    pub(super) fn of(array: &ArrayRef) -> Result<Self> {
        let map = array.as_any().downcast_ref::<MapArray>().ok_or_else(|| {
            DataFusionError::Execution("attributes are read from a map".to_owned())
        })?;
        Ok(Self { map: map.clone(), keys: text_of(map.keys())?, values: text_of(map.values())? })
    }

    /// Entries of `row`, nulls left out.
    pub(super) fn entries(&self, row: usize) -> impl Iterator<Item = (&str, &str)> {
        let at = |i: usize| usize::try_from(self.map.value_offsets()[i]).unwrap_or(0);
        let range = if self.map.is_null(row) { 0..0 } else { at(row)..at(row + 1) };
        range
            .filter(|&i| self.values.is_valid(i))
            .map(|i| (self.keys.value(i), self.values.value(i)))
    }

    fn at(&self, row: usize, key: &str) -> Option<&str> {
        self.entries(row).find(|(name, _)| *name == key).map(|(_, value)| value)
    }
}

fn text_of(array: &ArrayRef) -> Result<StringArray> {
    let text = cast(array, &DataType::Utf8)?;
    text.as_any()
        .downcast_ref::<StringArray>()
        .cloned()
        .ok_or_else(|| DataFusionError::Internal("cast to text gave no text".to_owned()))
}
