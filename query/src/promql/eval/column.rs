//! What flows between nodes: one column of cells a series, a cell a step. And names dropped, duplicates refused.

use std::collections::HashMap;
use std::sync::Arc;

use super::{EvalError, execution};
use crate::promql::histogram::Histogram;
use crate::promql::labels::Labels;

/// The steps of an evaluation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    /// First step, ms.
    pub(super) start: i64,
    /// Distance, ms.
    pub(super) step: i64,
    /// How many.
    pub(super) len: usize,
}

impl Grid {
    pub(super) fn time(&self, step: usize) -> i64 {
        self.start + self.step * i64::try_from(step).unwrap_or(i64::MAX)
    }

    pub(super) fn times(self) -> impl Iterator<Item = i64> {
        (0..self.len).map(move |step| self.time(step))
    }
}

/// A series' value at one step.
#[derive(Clone, Debug, Default)]
pub(super) enum Cell {
    #[default]
    None,
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl Cell {
    pub(super) const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    pub(super) const fn float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::None | Self::Histogram(_) => None,
        }
    }

    /// What it counts against the limit on samples.
    pub(super) fn samples(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Float(_) => 1,
            Self::Histogram(histogram) => histogram.samples(),
        }
    }
}

impl From<Option<f64>> for Cell {
    fn from(value: Option<f64>) -> Self {
        value.map_or(Self::None, Self::Float)
    }
}

/// One series over all steps.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) labels: Labels,
    /// Whether the name goes at the end of the query (delayed removal only).
    pub(super) drop_name: bool,
    pub(super) cells: Vec<Cell>,
}

impl Column {
    pub(super) fn new(labels: Labels, cells: Vec<Cell>) -> Self {
        Self { labels, drop_name: false, cells }
    }

    pub(super) fn samples(&self) -> usize {
        self.cells.iter().map(Cell::samples).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.cells.iter().all(Cell::is_none)
    }

    /// The only step's cell at `len` steps.
    pub(super) fn repeated(mut self, len: usize) -> Self {
        let cell = self.cells.pop().unwrap_or_default();
        self.cells = vec![cell; len];
        self
    }

    /// Marks the name as gone, or removes it now.
    pub(super) fn without_name(mut self, delayed: bool) -> Self {
        if delayed {
            self.drop_name = true;
        } else {
            self.labels = self.labels.without_name();
        }
        self
    }
}

/// Two series of one vector have the same labels.
pub(super) fn same_labels() -> EvalError {
    execution("vector cannot contain metrics with the same labelset")
}

/// Joins columns of equal labels; an error when two of them have a value at one step. Keeps the order of first sight.
pub(super) fn merge_same(columns: Vec<Column>) -> Result<Vec<Column>, EvalError> {
    let mut seen: HashMap<Labels, usize> = HashMap::with_capacity(columns.len());
    let mut out: Vec<Column> = Vec::with_capacity(columns.len());
    for column in columns {
        match seen.get(&column.labels) {
            None => {
                seen.insert(column.labels.clone(), out.len());
                out.push(column);
            }
            Some(at) => join(&mut out[*at], column)?,
        }
    }
    Ok(out)
}

fn join(into: &mut Column, from: Column) -> Result<(), EvalError> {
    into.drop_name |= from.drop_name;
    for (cell, other) in into.cells.iter_mut().zip(from.cells) {
        match (cell.is_none(), other.is_none()) {
            (_, true) => {}
            (true, false) => *cell = other,
            (false, false) => return Err(same_labels()),
        }
    }
    Ok(())
}

/// An error when two columns have equal labels, whatever their steps.
pub(super) fn refuse_same(columns: Vec<Column>) -> Result<Vec<Column>, EvalError> {
    let mut seen = std::collections::HashSet::with_capacity(columns.len());
    if columns.iter().all(|column| seen.insert(&column.labels)) {
        return Ok(columns);
    }
    Err(same_labels())
}

/// Ends a query: removes the names that were marked, and joins what has become equal.
pub(super) fn drop_names(mut columns: Vec<Column>) -> Result<Vec<Column>, EvalError> {
    for column in columns.iter_mut().filter(|column| column.drop_name) {
        column.labels = column.labels.without_name();
        column.drop_name = false;
    }
    merge_same(columns)
}

pub(super) fn sort_by_labels(mut columns: Vec<Column>) -> Vec<Column> {
    columns.sort_by(|a, b| a.labels.cmp(&b.labels));
    columns
}
