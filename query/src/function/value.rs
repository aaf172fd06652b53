//! `sample_value(scale, v_ctr, v_int, v_f64)`: the reader's side of the value columns (`docs/format/segment.md`).

use std::sync::Arc;

use arrow::array::{Array, Float64Array, Float64Builder};
use arrow::datatypes::{DataType, Float64Type, Int8Type, Int64Type};
use datafusion::common::cast::as_primitive_array;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

/// Powers of ten as literals: `powf` of other C libraries may be off by a bit.
const POWERS: [f64; 19] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18,
];

/// Their reciprocals, as literals too: multiplying by 0.001 is not dividing by 1000.
const FRACTIONS: [f64; 19] = [
    1e0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12, 1e-13, 1e-14,
    1e-15, 1e-16, 1e-17, 1e-18,
];

#[expect(clippy::cast_precision_loss, reason = "the writer keeps |scaled| below 2^53")]
const fn as_f64(scaled: i64) -> f64 {
    scaled as f64
}

/// `scaled / 10^scale` for a scale from 0 up, `scaled * 10^scale` below 0; `None` beyond 18 digits.
pub(crate) fn decode(scale: i8, scaled: i64) -> Option<f64> {
    let digits = usize::from(scale.unsigned_abs());
    if scale >= 0 {
        POWERS.get(digits).map(|power| as_f64(scaled) / power)
    } else {
        FRACTIONS.get(digits).map(|fraction| as_f64(scaled) * fraction)
    }
}

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct SampleValue {
    signature: Signature,
}

impl SampleValue {
    pub(super) fn new() -> Self {
        let types = vec![DataType::Int8, DataType::Int64, DataType::Int64, DataType::Float64];
        Self { signature: Signature::exact(types, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for SampleValue {
    fn name(&self) -> &'static str {
        "sample_value"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let scale = as_primitive_array::<Int8Type>(&arrays[0])?;
        let counter = as_primitive_array::<Int64Type>(&arrays[1])?;
        let integer = as_primitive_array::<Int64Type>(&arrays[2])?;
        let float = as_primitive_array::<Float64Type>(&arrays[3])?;
        if float.null_count() == 0 {
            return Ok(ColumnarValue::Array(Arc::new(float.clone())));
        }
        let mut values = Float64Builder::with_capacity(float.len());
        for row in 0..float.len() {
            if float.is_valid(row) {
                values.append_value(float.value(row));
                continue;
            }
            let scaled = if counter.is_valid(row) { counter } else { integer };
            if scaled.is_null(row) || scale.is_null(row) {
                values.append_null();
                continue;
            }
            let scale = scale.value(row);
            let value = decode(scale, scaled.value(row)).ok_or_else(|| {
                DataFusionError::Execution(format!("value scale {scale} is out of range"))
            })?;
            values.append_value(value);
        }
        let values: Float64Array = values.finish();
        Ok(ColumnarValue::Array(Arc::new(values)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_divide_and_multiply_by_exact_powers() {
        assert_eq!(decode(2, 12_345), Some(123.45));
        assert_eq!(decode(0, -7), Some(-7.0));
        assert_eq!(decode(-3, 5), Some(5.0 * 0.001));
        assert_ne!(decode(-3, 9), decode(3, 9), "not the same bits");
        assert_eq!(decode(15, 1), Some(1e-15));
        assert_eq!(decode(19, 1), None);
        assert_eq!(decode(i8::MIN, 1), None);
        assert_eq!(decode(1, 3).unwrap().to_bits(), 0.3_f64.to_bits());
    }
}
