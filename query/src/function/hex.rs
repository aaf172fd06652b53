//! `hex_id(bytes)`: trace and span ids as lower-case hexadecimal text.

use std::sync::Arc;

use arrow::array::{Array, FixedSizeBinaryArray, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct HexId {
    signature: Signature,
}

impl HexId {
    pub(super) fn new() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for HexId {
    fn name(&self) -> &'static str {
        "hex_id"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types {
            [DataType::FixedSizeBinary(_)] => Ok(DataType::Utf8),
            _ => exec_err!("hex_id takes a trace or span id"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let array = args.args[0].to_array(args.number_rows)?;
        let Some(ids) = array.as_any().downcast_ref::<FixedSizeBinaryArray>() else {
            return exec_err!("hex_id takes a trace or span id");
        };
        let width = usize::try_from(ids.value_length()).unwrap_or(0);
        let mut texts = StringBuilder::with_capacity(ids.len(), ids.len() * width * 2);
        let mut text = String::with_capacity(width * 2);
        for row in 0..ids.len() {
            if ids.is_null(row) {
                texts.append_null();
                continue;
            }
            text.clear();
            push_hex(&mut text, ids.value(row));
            texts.append_value(&text);
        }
        Ok(ColumnarValue::Array(Arc::new(texts.finish())))
    }
}

/// Appends two digits a byte.
pub(crate) fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 15)]);
    }
}
