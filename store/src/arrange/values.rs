//! The value columns `scale`, `v_ctr`, `v_int`, `v_f64`: filled series by series, read row by row.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Float64Builder, Int8Array, Int8Builder, Int64Array,
    Int64Builder, RecordBatch,
};
use arrow::datatypes::{Float64Type, Int8Type, Int64Type};
use model::metric::MetricKind;

use crate::schema::columns;
use crate::segment::value::{Layout, choose, join, split};

/// Fills the four columns.
pub(crate) struct ValueBuilder {
    scale: Int8Builder,
    ctr: Int64Builder,
    int: Int64Builder,
    float: Float64Builder,
}

impl ValueBuilder {
    pub(crate) fn new(rows: usize) -> Self {
        Self {
            scale: Int8Builder::with_capacity(rows),
            ctr: Int64Builder::with_capacity(rows),
            int: Int64Builder::with_capacity(rows),
            float: Float64Builder::with_capacity(rows),
        }
    }

    /// Appends all values of one series, in time order.
    pub(crate) fn push(&mut self, values: &[f64], kind: MetricKind) {
        self.extend(values, choose(values, kind));
    }

    /// Appends values of one series, in time order, in the layout chosen for them.
    pub(crate) fn extend(&mut self, values: &[f64], layout: Layout) {
        values.iter().for_each(|value| self.put(*value, layout));
    }

    /// Likewise, where a value may be missing.
    pub(crate) fn push_optional(&mut self, values: &[Option<f64>], kind: MetricKind) {
        let present: Vec<f64> = values.iter().copied().flatten().collect();
        let layout = choose(&present, kind);
        for value in values {
            match value {
                Some(value) => self.put(*value, layout),
                None => self.row(None, None, None, None),
            }
        }
    }

    fn put(&mut self, value: f64, layout: Layout) {
        let (Layout::Counter(scale) | Layout::Integer(scale)) = layout else {
            return self.row(None, None, None, Some(value));
        };
        match (split(value, scale), layout) {
            (Some(i), Layout::Counter(_)) => self.row(Some(scale), Some(i), None, None),
            (Some(i), Layout::Integer(_) | Layout::Float) => {
                self.row(Some(scale), None, Some(i), None)
            }
            (None, _) => self.row(None, None, None, Some(value)),
        }
    }

    fn row(&mut self, scale: Option<i8>, ctr: Option<i64>, int: Option<i64>, float: Option<f64>) {
        self.scale.append_option(scale);
        self.ctr.append_option(ctr);
        self.int.append_option(int);
        self.float.append_option(float);
    }

    /// `scale`, `v_ctr`, `v_int`, `v_f64`.
    pub(crate) fn finish(mut self) -> [ArrayRef; 4] {
        [
            Arc::new(self.scale.finish()),
            Arc::new(self.ctr.finish()),
            Arc::new(self.int.finish()),
            Arc::new(self.float.finish()),
        ]
    }
}

/// Puts values together again.
pub(crate) struct Values<'a> {
    scale: Option<&'a Int8Array>,
    ctr: &'a Int64Array,
    int: &'a Int64Array,
    float: &'a Float64Array,
}

impl<'a> Values<'a> {
    /// The value columns whose names begin with `prefix`; `None` when the batch lacks one. Without `scale` it is 0.
    pub(crate) fn new(batch: &'a RecordBatch, prefix: &str) -> Option<Self> {
        let column = |name: &str| batch.column_by_name(&format!("{prefix}{name}"));
        Some(Self {
            scale: column(columns::SCALE).and_then(|array| array.as_primitive_opt::<Int8Type>()),
            ctr: column(columns::V_CTR)?.as_primitive_opt::<Int64Type>()?,
            int: column(columns::V_INT)?.as_primitive_opt::<Int64Type>()?,
            float: column(columns::V_F64)?.as_primitive_opt::<Float64Type>()?,
        })
    }

    /// Appends the values of `rows`, NaN where no column has one.
    pub(crate) fn extend(&self, rows: Range<usize>, out: &mut Vec<f64>) {
        let nulls = |array: &dyn Array| {
            array.nulls().map_or(0, |nulls| nulls.slice(rows.start, rows.len()).null_count())
        };
        let n_null_floats = nulls(self.float);
        if n_null_floats == 0 {
            out.extend_from_slice(&self.float.values()[rows]);
            return;
        }
        // Most series are integers of one scale from end to end.
        let whole = [self.ctr, self.int].into_iter().find(|whole| nulls(*whole) == 0);
        match (whole, self.scale) {
            (Some(whole), Some(scale)) if n_null_floats == rows.len() && nulls(scale) == 0 => {
                let scales = &scale.values()[rows.clone()];
                let joined = whole.values()[rows].iter().zip(scales);
                out.extend(joined.map(|(whole, scale)| join(*whole, *scale)));
            }
            _ => out.extend(rows.map(|row| self.value(row).unwrap_or(f64::NAN))),
        }
    }

    /// The value of a row; `None` when no column has one.
    pub(crate) fn value(&self, row: usize) -> Option<f64> {
        if self.float.is_valid(row) {
            return Some(self.float.value(row));
        }
        let scale =
            self.scale.map_or(0, |scale| if scale.is_valid(row) { scale.value(row) } else { 0 });
        let whole = if self.ctr.is_valid(row) {
            self.ctr.value(row)
        } else if self.int.is_valid(row) {
            self.int.value(row)
        } else {
            return None;
        };
        Some(join(whole, scale))
    }
}
