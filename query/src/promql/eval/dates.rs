//! Calendar functions, in UTC.

use model::time::{civil_from_days, days_from_civil};

use super::column::{Cell, Column, Grid};
use super::{EvalError, Evaluator};
use crate::promql::ast::Call;
use crate::promql::labels::Labels;
use crate::promql::number::to_i64;

pub(super) fn is_date(name: &str) -> bool {
    matches!(
        name,
        "year"
            | "month"
            | "day_of_month"
            | "day_of_week"
            | "day_of_year"
            | "days_in_month"
            | "hour"
            | "minute"
    )
}

impl Evaluator<'_> {
    pub(super) fn date(&mut self, call: &Call, grid: Grid) -> Result<Vec<Column>, EvalError> {
        let name = call.function.name;
        let Some(arg) = call.args.first() else {
            let cells = grid.times().map(|t| Cell::Float(part(name, t as f64 / 1000.0)));
            return Ok(vec![Column::new(Labels::empty(), cells.collect())]);
        };
        let columns = self.vector(arg, grid)?;
        self.map_cells(columns, |_, cell| cell.float().map(|s| part(name, s)).into())
    }
}

/// The named part of the time `seconds` after the epoch.
fn part(name: &str, seconds: f64) -> f64 {
    let seconds = to_i64(seconds);
    let days = seconds.div_euclid(86_400);
    let of_day = seconds.rem_euclid(86_400);
    // Beyond these years the calendar's arithmetic would overflow.
    let days = days.clamp(-100_000_000_000, 100_000_000_000);
    let (year, month, day) = civil_from_days(days);
    let value = match name {
        "year" => year,
        "month" => month,
        "day_of_month" => day,
        "day_of_week" => (days + 4).rem_euclid(7),
        "day_of_year" => days - days_from_civil(year, 1, 1) + 1,
        "days_in_month" => {
            let (next_year, next_month) =
                if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            days_from_civil(next_year, next_month, 1) - days_from_civil(year, month, 1)
        }
        "hour" => of_day / 3_600,
        _ => of_day / 60 % 60,
    };
    value as f64
}
