//! Bounds on functions whose result grows with a number in the query: `repeat('x', 1000000000)` and its like
//! allocate outside the memory pool, so the size is checked before they run.

use std::sync::Arc;

use arrow::array::Array;
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::cast::as_primitive_array;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

/// Bytes or items one call may be asked to make for a row, and for all rows of a batch.
const ROW_MAX: i64 = 1 << 20;
const BATCH_MAX: i64 = 1 << 26;

/// Names of the functions that need a bound, with the position of their size argument from the left.
const GROWING: [(&str, usize); 6] = [
    ("repeat", 1),
    ("lpad", 1),
    ("rpad", 1),
    ("array_repeat", 1),
    ("array_resize", 1),
    ("space", 0),
];

/// Names of the functions that make a list from a first to a last number.
const RANGES: [&str; 2] = ["range", "generate_series"];

/// The function itself, or, when it can grow without bound, one that refuses to.
pub(crate) fn bounded(function: &Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    let growing = GROWING.iter().find(|(name, _)| *name == function.name());
    let size = match growing {
        Some((_, argument)) => Size::Argument(*argument),
        None if RANGES.contains(&function.name()) => Size::Span,
        None => return function.clone(),
    };
    Arc::new(ScalarUDF::new_from_impl(Bounded { inner: function.clone(), size }))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Size {
    /// The argument is the size.
    Argument(usize),
    /// The size is last minus first, by step.
    Span,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    size: Size,
}

/// The argument as integers; `None` when it is none, as in a range of dates.
fn integers(argument: Option<&ColumnarValue>) -> Option<Vec<Option<i64>>> {
    let argument = argument?;
    if !argument.data_type().is_integer() {
        return None;
    }
    let array = cast(&argument.to_array(1).ok()?, &DataType::Int64).ok()?;
    let array = as_primitive_array::<Int64Type>(&array).ok()?;
    Some((0..array.len()).map(|row| array.is_valid(row).then(|| array.value(row))).collect())
}

impl Bounded {
    /// Size asked for, row by row; a constant counts for every row.
    fn sizes(&self, args: &[ColumnarValue]) -> Option<Vec<i64>> {
        match self.size {
            Size::Argument(i) => {
                Some(integers(args.get(i))?.into_iter().map(Option::unwrap_or_default).collect())
            }
            Size::Span => {
                let first = if args.len() == 1 { vec![Some(0)] } else { integers(args.first())? };
                let last = integers(args.get(usize::from(args.len() > 1)))?;
                let step = integers(args.get(2)).unwrap_or_else(|| vec![Some(1)]);
                let at = |values: &[Option<i64>], row: usize| {
                    values.get(row).or(values.first()).copied().flatten().unwrap_or_default()
                };
                let rows = first.len().max(last.len()).max(step.len());
                let span = |row| {
                    let width = at(&last, row).saturating_sub(at(&first, row)).saturating_abs();
                    width / at(&step, row).saturating_abs().max(1)
                };
                Some((0..rows).map(span).collect())
            }
        }
    }

    fn check(&self, args: &ScalarFunctionArgs) -> Result<()> {
        let Some(sizes) = self.sizes(&args.args) else {
            return Ok(());
        };
        let largest = sizes.iter().copied().max().unwrap_or_default();
        let rows = i64::try_from(args.number_rows).unwrap_or(i64::MAX);
        let sum = match sizes.as_slice() {
            [one] => one.saturating_mul(rows),
            many => many.iter().copied().fold(0, i64::saturating_add),
        };
        if largest > ROW_MAX || sum > BATCH_MAX {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "{}() would make {largest} items in a row and {sum} in a batch, the limits are {ROW_MAX} and {BATCH_MAX}",
                self.inner.name()
            )));
        }
        Ok(())
    }
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.check(&args)?;
        self.inner.invoke_with_args(args)
    }
}
