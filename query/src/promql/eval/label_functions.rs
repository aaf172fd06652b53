//! `label_replace` and `label_join`.

use super::call::string;
use super::column::{Column, Grid, merge_same};
use super::{EvalError, Evaluator, execution};
use crate::promql::ast::Call;
use crate::promql::labels::NAME;
use crate::promql::matchers::replacing;
use crate::promql::number::is_label_name;

/// Longest value that is made, in bytes: each function may make it many times as long as what it reads.
const VALUE_BYTES_MAX: usize = 64 << 10;

impl Evaluator<'_> {
    /// Refuses a value that would be too long, before it is made, and counts one that would not.
    fn room_for_value(&self, call: &Call, bytes: usize) -> Result<(), EvalError> {
        self.options.stop.check()?;
        if bytes > VALUE_BYTES_MAX {
            return Err(execution(format!(
                "{}() makes a label value of up to {bytes} bytes, the limit is {VALUE_BYTES_MAX}",
                call.function.name
            )));
        }
        self.take(|memory| memory.grow(bytes as u64))
    }

    pub(super) fn label_replace(
        &mut self,
        call: &Call,
        grid: Grid,
    ) -> Result<Vec<Column>, EvalError> {
        let (target, replacement) = (string(&call.args[1]), string(&call.args[2]));
        let (source, pattern) = (string(&call.args[3]), string(&call.args[4]));
        let regex = replacing(&pattern).map_err(|_| {
            execution(format!("invalid regular expression in label_replace(): {pattern}"))
        })?;
        if !is_label_name(&target) {
            let text = format!("invalid destination label name in label_replace(): {target}");
            return Err(execution(text));
        }
        let n_references = replacement.matches('$').count();
        let mut columns = self.vector(&call.args[0], grid)?;
        for column in &mut columns {
            let labels = column.labels.clone();
            if !regex.matches(labels.value(&source)) {
                continue;
            }
            // A reference is at most all of what was read.
            let bytes = labels.value(&source).len().saturating_mul(n_references);
            self.room_for_value(call, bytes.saturating_add(replacement.len()))?;
            let Some(value) = regex.expand(labels.value(&source), &replacement) else { continue };
            column.labels = labels.with(&target, &value);
            column.drop_name &= target.as_ref() != NAME;
        }
        merge_same(columns)
    }

    pub(super) fn label_join(&mut self, call: &Call, grid: Grid) -> Result<Vec<Column>, EvalError> {
        let (target, separator) = (string(&call.args[1]), string(&call.args[2]));
        let sources: Vec<_> = call.args[3..].iter().map(string).collect();
        if let Some(bad) = sources.iter().find(|source| !is_label_name(source)) {
            let text = format!("invalid source label name in label_join(): {bad}");
            return Err(execution(text));
        }
        if !is_label_name(&target) {
            let text = format!("invalid destination label name in label_join(): {target}");
            return Err(execution(text));
        }
        let mut columns = self.vector(&call.args[0], grid)?;
        for column in &mut columns {
            let labels = column.labels.clone();
            let values: Vec<&str> = sources.iter().map(|s| labels.value(s)).collect();
            let bytes = values.iter().map(|value| value.len().saturating_add(separator.len()));
            self.room_for_value(call, bytes.fold(0, usize::saturating_add))?;
            column.labels = labels.with(&target, &values.join(&separator));
            column.drop_name &= target.as_ref() != NAME;
        }
        merge_same(columns)
    }
}
