//! What each node of an expression cost, when somebody asks.

use std::time::Duration;

use tokio::time::Instant;

use super::column::{Cell, Column, Grid};
use super::{CELL_BYTES, Evaluator};
use crate::promql::ast::Expr;
use crate::promql::place::Place;

/// Bytes of a time and a value.
const SAMPLE_BYTES: u64 = 16;

/// The cost of one node, with those it was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// What the node does: the operator or function, or the selector whole.
    pub node: String,
    /// Where it stands in the query.
    pub place: Place,
    /// Steps it was evaluated at: 1 where it is the same at all of them.
    pub steps: u64,
    /// Series it gave.
    pub series: u64,
    /// Samples it gave: of a selector, those read.
    pub samples: u64,
    /// Bytes of memory of what it gave.
    pub bytes: u64,
    /// Time spent in it and in what it was made of; of a selector over a range, reading alone.
    pub elapsed: Duration,
    /// What it was made of, in the order of evaluation.
    pub inputs: Vec<Self>,
}

/// The nodes whose evaluation has begun, outermost first; the first is none of the expression's and gathers.
#[derive(Debug)]
pub(super) struct Profile {
    open: Vec<Explained>,
}

/// An evaluation on its way.
#[derive(Clone, Copy)]
pub(super) struct Begun(Option<Instant>);

impl Profile {
    pub(super) fn new() -> Self {
        Self { open: vec![blank(String::new(), Place::default(), 0)] }
    }

    /// The outermost node of the expression.
    pub(super) fn finish(mut self) -> Option<Explained> {
        self.open.truncate(1);
        self.open.pop()?.inputs.pop()
    }

    fn close(&mut self, fill: impl FnOnce(&mut Explained)) {
        if self.open.len() < 2 {
            return;
        }
        if let (Some(mut node), Some(above)) = (self.open.pop(), self.open.last_mut()) {
            fill(&mut node);
            above.inputs.push(node);
        }
    }
}

const fn blank(node: String, place: Place, steps: u64) -> Explained {
    let inputs = Vec::new();
    Explained {
        node,
        place,
        steps,
        series: 0,
        samples: 0,
        bytes: 0,
        elapsed: Duration::ZERO,
        inputs,
    }
}

impl Evaluator<'_> {
    /// Says that a node's evaluation begins.
    pub(super) fn begin(&mut self, expr: &Expr, grid: Grid) -> Begun {
        Begun(self.profile.as_mut().map(|profile| {
            profile.open.push(blank(title(expr), expr.place(), grid.len as u64));
            Instant::now()
        }))
    }

    /// Says what it gave.
    pub(super) fn end(&mut self, begun: Begun, steps: usize, columns: &[Column]) {
        let (Some(profile), Some(begun)) = (&mut self.profile, begun.0) else { return };
        let samples = columns.iter().flat_map(|column| &column.cells);
        let samples = samples.filter(|cell| !matches!(cell, Cell::None)).count() as u64;
        let cells: usize = columns.iter().map(|column| column.cells.len()).sum();
        profile.close(|node| {
            node.elapsed = begun.elapsed();
            node.steps = steps as u64;
            node.series = columns.len() as u64;
            // A selector's are counted as they are read.
            node.samples = node.samples.max(samples);
            node.bytes = (cells * CELL_BYTES) as u64;
        });
    }

    /// Says that a scalar was made.
    pub(super) fn end_scalar(&mut self, begun: Begun, values: usize) {
        let (Some(profile), Some(begun)) = (&mut self.profile, begun.0) else { return };
        profile.close(|node| {
            node.elapsed = begun.elapsed();
            node.samples = values as u64;
            node.bytes = (values * size_of::<f64>()) as u64;
        });
    }

    /// Begins to watch the reading of a selector, and says so where it stands inside another node.
    pub(super) fn begin_reading(&mut self, title: impl FnOnce() -> String, place: Place) -> Begun {
        Begun(self.profile.as_mut().map(|profile| {
            if profile.open.last().is_none_or(|node| node.place != place) {
                profile.open.push(blank(title(), place, 0));
            }
            Instant::now()
        }))
    }

    /// Notes what a selector read.
    pub(super) fn end_reading(
        &mut self,
        place: Place,
        [series, samples]: [u64; 2],
        elapsed: Duration,
    ) {
        let Some(profile) = &mut self.profile else { return };
        let is_of_range =
            profile.open.last().is_some_and(|node| node.place == place && node.steps == 0);
        if let Some(node) = profile.open.last_mut() {
            node.samples += samples;
        }
        if is_of_range {
            profile.close(|node| {
                node.series = series;
                node.bytes = samples * SAMPLE_BYTES;
                node.elapsed = elapsed;
            });
        }
    }
}

impl Begun {
    /// Whether anybody asked.
    pub(super) const fn is_watched(self) -> bool {
        self.0.is_some()
    }
}

/// What a node does, in a few words.
fn title(expr: &Expr) -> String {
    match expr {
        Expr::Aggregate(aggregate) => {
            let (op, labels) = (aggregate.op.word(), aggregate.grouping.join(", "));
            match (aggregate.without, labels.is_empty()) {
                (true, _) => format!("{op} without ({labels})"),
                (false, true) => op.to_owned(),
                (false, false) => format!("{op} by ({labels})"),
            }
        }
        Expr::Call(call) => call.function.name.to_owned(),
        Expr::Binary(binary) => binary.op.word().to_owned(),
        Expr::Unary(_) => "-".to_owned(),
        _ => expr.to_string(),
    }
}
