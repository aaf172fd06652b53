//! Subqueries: an instant expression on its own grid, seen as a range vector.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::Arc;

use super::column::{Cell, Column, Grid};
use super::select::Reference;
use super::window::Track;
use super::{EvalError, Evaluator};
use crate::promql::ast::Subquery;
use crate::promql::histogram::{Histogram, ResetHint};

impl Evaluator<'_> {
    /// The inner expression at every multiple of the step that any window of `grid` covers.
    pub(super) fn subquery(
        &mut self,
        subquery: &Subquery,
        grid: Grid,
    ) -> Result<Vec<Track<'static>>, EvalError> {
        let step = subquery.step.as_ref().map_or(self.options.subquery_step_ms, |step| step.ms);
        let reference = Reference { at: subquery.at, offset_ms: subquery.offset.ms };
        let (first, last) = reference.bounds(grid);
        let before = first.saturating_sub(subquery.range.ms);
        let start = (before.div_euclid(step) + 1).saturating_mul(step);
        if start > last {
            return Ok(Vec::new());
        }
        let len = usize::try_from((last - start) / step).unwrap_or(usize::MAX - 1) + 1;
        let inner = Grid { start, step, len };
        self.room(1, inner)?;
        self.tally.enter();
        let columns = self.vector(&subquery.expr, inner);
        self.tally.leave();
        let columns = columns?;
        Ok(columns.into_iter().map(|column| track(column, inner)).collect())
    }
}

fn track(column: Column, grid: Grid) -> Track<'static> {
    let (mut t, mut v, mut h_t, mut h) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (time, cell) in grid.times().zip(column.cells) {
        match cell {
            Cell::None => {}
            Cell::Float(value) => {
                t.push(time);
                v.push(value);
            }
            Cell::Histogram(histogram) => {
                h_t.push(time);
                h.push(without_reset_hint(histogram));
            }
        }
    }
    Track {
        labels: column.labels,
        drop_name: column.drop_name,
        t: Cow::Owned(t),
        v: Cow::Owned(v),
        start_t: Cow::Borrowed(&[]),
        h_t: Cow::Owned(h_t),
        h: Cow::Owned(h),
        h_start_t: Cow::Borrowed(&[]),
        is_delta: false,
        buckets: &[],
        float_breaks: OnceCell::new(),
        histogram_breaks: OnceCell::new(),
    }
}

/// A hint speaks of the sample before in the series, which need not be the one before on the grid.
fn without_reset_hint(mut histogram: Arc<Histogram>) -> Arc<Histogram> {
    if matches!(histogram.reset_hint, ResetHint::Reset | ResetHint::NotReset) {
        Arc::make_mut(&mut histogram).reset_hint = ResetHint::Unknown;
    }
    histogram
}
