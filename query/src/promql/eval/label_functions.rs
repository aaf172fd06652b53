//! `label_replace` and `label_join`.

use super::call::string;
use super::column::{Column, Grid, merge_same};
use super::{EvalError, Evaluator, execution};
use crate::promql::ast::Call;
use crate::promql::labels::NAME;
use crate::promql::matchers::anchored;
use crate::promql::number::is_label_name;

impl Evaluator<'_> {
    pub(super) fn label_replace(
        &mut self,
        call: &Call,
        grid: Grid,
    ) -> Result<Vec<Column>, EvalError> {
        let (target, replacement) = (string(&call.args[1]), string(&call.args[2]));
        let (source, pattern) = (string(&call.args[3]), string(&call.args[4]));
        let regex = anchored(&pattern).map_err(|_| {
            execution(format!("invalid regular expression in label_replace(): {pattern}"))
        })?;
        if !is_label_name(&target) {
            let text = format!("invalid destination label name in label_replace(): {target}");
            return Err(execution(text));
        }
        let columns = self.vector(&call.args[0], grid)?;
        let replaced = columns.into_iter().map(|mut column| {
            if let Some(found) = regex.captures(column.labels.value(&source)) {
                let mut value = String::new();
                found.expand(&replacement, &mut value);
                column.labels = column.labels.with(&target, &value);
                column.drop_name &= target.as_ref() != NAME;
            }
            column
        });
        merge_same(replaced.collect())
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
        let columns = self.vector(&call.args[0], grid)?;
        let joined = columns.into_iter().map(|mut column| {
            let values: Vec<&str> = sources.iter().map(|s| column.labels.value(s)).collect();
            let value = values.join(&separator);
            column.labels = column.labels.with(&target, &value);
            column.drop_name &= target.as_ref() != NAME;
            column
        });
        merge_same(joined.collect())
    }
}
