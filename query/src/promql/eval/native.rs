//! `histogram_*` functions, on native histograms and on classic ones.

use std::collections::HashMap;
use std::sync::Arc;

use super::call::string;
use super::classic::{self, ClassicBucket};
use super::column::{Cell, Column, Grid};
use super::{EvalError, Evaluator};
use crate::promql::annotate::Mended;
use crate::promql::ast::{Call, Expr};
use crate::promql::histogram::{Histogram, Quantile};
use crate::promql::labels::Labels;
use crate::promql::number::{open_metrics, quote};
use crate::promql::place::Place;

const LE: &str = "le";

/// One histogram over all steps: a native column, classic bucket columns, or both (which then is an error).
struct Subject {
    labels: Labels,
    metric: String,
    drop_name: bool,
    natives: Vec<usize>,
    /// (upper bound, column).
    buckets: Vec<(f64, usize)>,
}

/// What a subject is at one step.
enum Shape<'a> {
    Nothing,
    Native(&'a Arc<Histogram>),
    Classic(Vec<ClassicBucket>),
}

impl Evaluator<'_> {
    pub(super) fn histogram_statistic(
        &mut self,
        call: &Call,
        grid: Grid,
    ) -> Result<Vec<Column>, EvalError> {
        let columns = self.vector(&call.args[0], grid)?;
        let statistic: fn(&Histogram) -> f64 = match call.function.name {
            "histogram_count" => |h| h.count,
            "histogram_sum" => |h| h.sum,
            "histogram_avg" => |h| h.sum / h.count,
            "histogram_stdvar" => Histogram::variance,
            _ => |h| h.variance().sqrt(),
        };
        self.map_cells(columns, |_, cell| match cell {
            Cell::Histogram(histogram) => Cell::Float(statistic(&histogram)),
            Cell::None | Cell::Float(_) => Cell::None,
        })
    }

    /// Sorts the columns of a vector into histograms.
    fn subjects(&mut self, columns: &[Column], place: Place) -> Vec<Subject> {
        let mut known: HashMap<Labels, usize> = HashMap::new();
        let mut subjects: Vec<Subject> = Vec::new();
        let delayed = self.options.delayed_name_removal;
        let mut subject = |labels: Labels, subjects: &mut Vec<Subject>| {
            *known.entry(labels.clone()).or_insert_with(|| {
                subjects.push(Subject {
                    metric: labels.name().to_owned(),
                    labels,
                    drop_name: false,
                    natives: Vec::new(),
                    buckets: Vec::new(),
                });
                subjects.len() - 1
            })
        };
        for (i, column) in columns.iter().enumerate() {
            let has = |float: bool| {
                column.cells.iter().any(|cell| !cell.is_none() && cell.float().is_some() == float)
            };
            if has(false) {
                let at = subject(column.labels.clone(), &mut subjects);
                subjects[at].natives.push(i);
                subjects[at].drop_name |= column.drop_name;
            }
            if !has(true) {
                continue;
            }
            let text = column.labels.value(LE);
            let Ok(bound) = text.parse::<f64>() else {
                let mut warning = format!(
                    "bucket label \"le\" is missing or has a malformed value of {}",
                    quote(text)
                );
                if delayed {
                    let name = quote(column.labels.name());
                    warning.push_str(&format!(" for metric name {name}"));
                }
                self.annotations.warn(place, warning);
                continue;
            };
            let at = subject(column.labels.filter(|name| name != LE), &mut subjects);
            subjects[at].buckets.push((bound, i));
            subjects[at].drop_name |= column.drop_name;
        }
        subjects
    }

    fn shape<'c>(
        &mut self,
        subject: &Subject,
        columns: &'c [Column],
        step: usize,
        place: Place,
    ) -> Shape<'c> {
        let native = subject.natives.iter().find_map(|i| match &columns[*i].cells[step] {
            Cell::Histogram(histogram) => Some(histogram),
            Cell::None | Cell::Float(_) => None,
        });
        let buckets: Vec<ClassicBucket> = subject
            .buckets
            .iter()
            .filter_map(|(bound, i)| Some((*bound, columns[*i].cells[step].float()?)))
            .collect();
        match (native, buckets.is_empty()) {
            (None, true) => Shape::Nothing,
            (None, false) => Shape::Classic(buckets),
            (Some(native), true) => Shape::Native(native),
            (Some(_), false) => {
                let mut text = "vector contains a mix of classic and native histograms".to_owned();
                if !subject.metric.is_empty() {
                    text.push_str(&format!(" for metric name {}", quote(&subject.metric)));
                }
                self.annotations.warn(place, text);
                Shape::Nothing
            }
        }
    }

    /// Runs `measure` over every histogram and step; the name goes.
    fn each_histogram(
        &mut self,
        arg: &Expr,
        columns: &[Column],
        grid: Grid,
        mut measure: impl FnMut(&mut Self, &Subject, Shape<'_>, usize) -> Cell,
    ) -> Vec<Column> {
        let mut out = Vec::new();
        let delayed = self.options.delayed_name_removal;
        for subject in self.subjects(columns, arg.place()) {
            let cells = (0..grid.len).map(|step| {
                let shape = self.shape(&subject, columns, step, arg.place());
                measure(self, &subject, shape, step)
            });
            let cells = cells.collect();
            let labels = subject.labels.clone();
            let column = Column { labels, drop_name: subject.drop_name, cells };
            if !column.is_empty() {
                out.push(column.without_name(delayed));
            }
        }
        out
    }

    /// `histogram_quantile(q, v)` and `histogram_quantiles(v, label, q…)`.
    pub(super) fn histogram_quantile(
        &mut self,
        call: &Call,
        grid: Grid,
    ) -> Result<Vec<Column>, EvalError> {
        let several = call.function.name == "histogram_quantiles";
        let (arg, quantiles) = if several {
            (&call.args[0], &call.args[2..])
        } else {
            (&call.args[1], &call.args[..1])
        };
        let columns = self.vector(arg, grid)?;
        let mut out = Vec::new();
        for quantile in quantiles {
            let values = self.scalar(quantile, grid)?;
            for q in &values {
                self.annotations.quantile(*q, quantile.place());
            }
            let mut found =
                self.each_histogram(arg, &columns, grid, |evaluator, subject, shape, step| {
                    let t_ms = grid.time(step);
                    evaluator.quantile_cell(values[step], subject, shape, (arg.place(), t_ms))
                });
            if several {
                found = labelled(found, &string(&call.args[1]), &values);
            }
            out.append(&mut found);
        }
        self.merged(out)
    }

    fn quantile_cell(
        &mut self,
        q: f64,
        subject: &Subject,
        shape: Shape<'_>,
        (place, t_ms): (Place, i64),
    ) -> Cell {
        let named = |text: &str| {
            if subject.metric.is_empty() {
                text.to_owned()
            } else {
                format!("{text} for metric name {}", quote(&subject.metric))
            }
        };
        match shape {
            Shape::Nothing => Cell::None,
            Shape::Native(histogram) => Cell::Float(match histogram.quantile(q) {
                Quantile::Plain(value) => value,
                Quantile::LostToNan => {
                    let text = "input to histogram_quantile has NaN observations, result is NaN";
                    self.annotations.info(place, named(text));
                    f64::NAN
                }
                Quantile::SkewedByNan(value) => {
                    let text =
                        "input to histogram_quantile has NaN observations, result is skewed higher";
                    self.annotations.info(place, named(text));
                    value
                }
            }),
            Shape::Classic(mut buckets) => {
                let (value, fix) = classic::quantile(q, &mut buckets);
                if let Some(classic::Fix { low, high, max_diff }) = fix {
                    let mended = Mended { t_ms, low, high, max_diff };
                    self.annotations.mended(place, &subject.metric, mended);
                }
                Cell::Float(value)
            }
        }
    }

    pub(super) fn histogram_fraction(
        &mut self,
        call: &Call,
        grid: Grid,
    ) -> Result<Vec<Column>, EvalError> {
        let lower = self.scalar(&call.args[0], grid)?;
        let upper = self.scalar(&call.args[1], grid)?;
        let arg = &call.args[2];
        let columns = self.vector(arg, grid)?;
        let out = self.each_histogram(arg, &columns, grid, |evaluator, subject, shape, step| {
            match shape {
                Shape::Nothing => Cell::None,
                Shape::Classic(mut buckets) => {
                    Cell::Float(classic::fraction(lower[step], upper[step], &mut buckets))
                }
                Shape::Native(histogram) => {
                    let fraction = histogram.fraction(lower[step], upper[step]);
                    if fraction.excludes_nan {
                        let mut text = "input to histogram_fraction has NaN observations, which are excluded from all fractions".to_owned();
                        if !subject.metric.is_empty() {
                            text.push_str(&format!(" for metric name {}", quote(&subject.metric)));
                        }
                        evaluator.annotations.info(arg.place(), text);
                    }
                    Cell::Float(fraction.value)
                }
            }
        });
        self.merged(out)
    }
}

/// Columns with the number of their step as a label: one for each number, where it changes from step to step.
fn labelled(found: Vec<Column>, label: &str, values: &[f64]) -> Vec<Column> {
    let mut numbers: Vec<u64> = values.iter().map(|value| value.to_bits()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut out = Vec::with_capacity(found.len() * numbers.len());
    for bits in numbers {
        let text = open_metrics(f64::from_bits(bits));
        for column in &found {
            let cells = column.cells.iter().zip(values);
            let cells = cells.map(|(cell, value)| match value.to_bits() == bits {
                true => cell.clone(),
                false => Cell::None,
            });
            let cells = cells.collect();
            let labels = column.labels.with(label, &text);
            let column = Column { labels, drop_name: column.drop_name, cells };
            if !column.is_empty() {
                out.push(column);
            }
        }
    }
    out
}
