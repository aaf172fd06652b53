//! `time_bucket(interval, time)`: the start of the bucket `time` falls into, buckets counted from the epoch.

use arrow::datatypes::{DataType, IntervalMonthDayNano};
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::functions::datetime;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use crate::config::duration_text;

/// The function: `date_bin` that also takes an interval written as `'5m'`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct TimeBucket {
    signature: Signature,
}

impl TimeBucket {
    pub(super) fn new() -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable) }
    }
}

/// An interval given as text becomes one of nanoseconds; any other is passed on.
fn interval(value: ScalarValue) -> Result<ScalarValue> {
    let Some(text) = value.try_as_str() else {
        return Ok(value);
    };
    let ns = text
        .and_then(|text| duration_text::parse(text.trim()))
        .and_then(|width| i64::try_from(width.as_nanos()).ok())
        .filter(|ns| *ns > 0);
    let Some(ns) = ns else {
        return plan_err!(
            "time_bucket takes an interval such as '5m' or INTERVAL '5 minutes', not '{}'",
            text.unwrap_or("null")
        );
    };
    Ok(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, 0, ns))))
}

impl ScalarUDFImpl for TimeBucket {
    fn name(&self) -> &'static str {
        "time_bucket"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types {
            [DataType::Interval(_) | DataType::Utf8 | DataType::Utf8View, time]
                if matches!(time, DataType::Timestamp(_, _)) =>
            {
                Ok(time.clone())
            }
            _ => plan_err!("time_bucket takes an interval and a time, as time_bucket('5m', time)"),
        }
    }

    fn simplify(&self, mut args: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let Some(Expr::Literal(width, metadata)) = args.first() else {
            return Ok(ExprSimplifyResult::Original(args));
        };
        args[0] = Expr::Literal(interval(width.clone())?, metadata.clone());
        Ok(ExprSimplifyResult::Simplified(datetime::date_bin().call(args)))
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ColumnarValue::Scalar(width) = &args.args[0] else {
            return Err(DataFusionError::Plan("time_bucket takes a constant interval".to_owned()));
        };
        args.args[0] = ColumnarValue::Scalar(interval(width.clone())?);
        datetime::date_bin().invoke_with_args(args)
    }
}
