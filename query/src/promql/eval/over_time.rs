//! Functions on windows that do not extrapolate: `*_over_time`, `changes`, `deriv`, smoothing.

mod float;
mod history;
mod mean;
mod regression;
mod rolled;

use super::column::{Cell, Column, Grid};
use super::window::{Notes, Window};
use super::{EvalError, Evaluator, execution, rate};
use crate::promql::annotate::Annotations;
use crate::promql::ast::{Call, ValueType};
use crate::promql::number::{percent_g, quote};
use crate::promql::place::Place;

/// Turns a window into a cell; the numbers are the scalar arguments at this step.
pub(super) type RangeFunction = fn(&Window<'_>, &[f64], &mut Notes<'_>) -> Cell;

/// The function on windows with this name.
pub(super) fn range_function(name: &str) -> Option<RangeFunction> {
    Some(match name {
        "rate" => rate::rate,
        "increase" => rate::increase,
        "delta" => rate::delta,
        "irate" => rate::irate,
        "idelta" => rate::idelta,
        "resets" => history::resets,
        "changes" => history::changes,
        "deriv" => regression::deriv,
        "predict_linear" => regression::predict_linear,
        "double_exponential_smoothing" => regression::smoothing,
        "avg_over_time" => mean::avg,
        "sum_over_time" => mean::sum,
        "stddev_over_time" => mean::stddev,
        "stdvar_over_time" => mean::stdvar,
        "min_over_time" => float::min,
        "max_over_time" => float::max,
        "quantile_over_time" => float::quantile,
        "mad_over_time" => float::mad,
        "ts_of_min_over_time" => float::time_of_min,
        "ts_of_max_over_time" => float::time_of_max,
        "count_over_time" => history::count,
        "last_over_time" => history::last,
        "first_over_time" => history::first,
        "present_over_time" => history::present,
        "ts_of_first_over_time" => history::time_of_first,
        "ts_of_last_over_time" => history::time_of_last,
        _ => return None,
    })
}

pub(super) use float::quantile_of;
pub(super) use history::{Kind, Point, points};
pub(super) use mean::{Mean, Sum};

impl Evaluator<'_> {
    pub(super) fn range_call(&mut self, call: &Call, grid: Grid) -> Result<Vec<Column>, EvalError> {
        let name = call.function.name;
        let function = range_function(name)
            .ok_or_else(|| execution(format!("function {name} is not implemented")))?;
        let at = call.args.iter().position(|arg| arg.value_type() == ValueType::Matrix);
        let arg = &call.args[at.unwrap_or(0)];
        let mut numbers = Vec::new();
        for other in call.args.iter().filter(|arg| arg.value_type() == ValueType::Scalar) {
            numbers.push(self.scalar(other, grid)?);
        }
        // Also of `quantile_over_time`, whose first argument is not the range.
        let place = call.args[0].place();
        // The numbers of a step, and whether the name was remarked on: once a series, not once a step.
        let state = || (vec![0.0; numbers.len()], !matches!(name, "rate" | "increase"));
        let columns =
            self.windows((arg, name), grid, state, |evaluator, state, step, window| {
                let (now, is_remarked) = state;
                for (slot, values) in now.iter_mut().zip(&numbers) {
                    *slot = values[step];
                }
                if name == "double_exponential_smoothing" {
                    check_factors(now)?;
                }
                let annotations = &mut evaluator.annotations;
                let mut notes = Notes { annotations, labels: &window.track.labels, place };
                let cell = match window.buckets.is_empty() {
                    true => function(window, now, &mut notes),
                    false => rolled::cell(name, window),
                };
                if !*is_remarked && matches!(cell, Cell::Float(_)) {
                    rate::note_odd_name(&mut notes);
                    *is_remarked = true;
                }
                Ok(cell)
            })?;
        if matches!(name, "last_over_time" | "first_over_time") {
            return Ok(columns);
        }
        let delayed = self.options.delayed_name_removal;
        self.unique(columns.into_iter().map(|column| column.without_name(delayed)).collect())
    }
}

/// Factors of the smoothing lie between 0 and 1, exclusive.
fn check_factors(factors: &[f64]) -> Result<(), EvalError> {
    for (value, (name, short)) in factors.iter().zip([("smoothing", "sf"), ("trend", "tf")]) {
        // No number is no error: it makes the answer none.
        if *value <= 0.0 || *value >= 1.0 {
            let text = format!("invalid {name} factor. Expected: 0 < {short} < 1, got: {value:.6}");
            return Err(execution(text));
        }
    }
    Ok(())
}

impl Annotations {
    /// Warns about a quantile that is none.
    pub(super) fn quantile(&mut self, q: f64, place: Place) {
        if q.is_nan() || !(0.0..=1.0).contains(&q) {
            let got = percent_g(q);
            let text = format!("quantile value should be between 0 and 1, got {got}");
            self.warn(place, text);
        }
    }
}

impl Notes<'_> {
    /// For functions of floats only: histograms beside floats are ignored, and said so.
    pub(super) fn floats_only(&mut self, window: &Window<'_>) {
        if !window.histograms.is_empty() && !window.floats.is_empty() {
            self.ignored_histograms();
        }
    }

    pub(super) fn odd_name(&mut self) {
        let metric = quote(self.metric());
        let text = format!(
            "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {metric}"
        );
        self.annotations.info(self.place, text);
    }
}
