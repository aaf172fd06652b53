//! Binary operators with a vector on at least one side.

use std::collections::HashMap;
use std::sync::Arc;

use super::call::scalar_op;
use super::column::{Cell, Column, Grid};
use super::matching::{Signatures, result_labels};
use super::{EvalError, Evaluator, execution};
use crate::promql::ast::{Binary, BinaryOp, Cardinality, Matching, ValueType};
use crate::promql::histogram::{Histogram, Joined, ResetHint};
use crate::promql::labels::Labels;

/// What an operator made of two readings.
enum Outcome {
    /// Nothing: the filter does not hold, or the kinds do not go together.
    Dropped,
    /// The filter does not hold, but with `bool` it says 0.
    False,
    Kept(Cell),
}

impl Evaluator<'_> {
    pub(super) fn binary(&mut self, binary: &Binary, grid: Grid) -> Result<Vec<Column>, EvalError> {
        let is_vector = |expr: &crate::promql::ast::Expr| expr.value_type() == ValueType::Vector;
        match (is_vector(&binary.left), is_vector(&binary.right)) {
            (true, true) => {
                let held = self.held;
                let left = self.vector(&binary.left, grid)?;
                let right = self.vector(&binary.right, grid)?;
                self.held = held;
                let matching = binary.matching.clone().unwrap_or_default();
                if binary.op.is_set() {
                    return Ok(super::binary_set::combine(binary.op, &matching, left, right));
                }
                self.vectors(binary, &matching, (left, right), grid)
            }
            (true, false) => {
                let vector = self.vector(&binary.left, grid)?;
                let scalar = self.scalar(&binary.right, grid)?;
                self.with_scalar(binary, vector, &scalar, false)
            }
            (false, true) => {
                let scalar = self.scalar(&binary.left, grid)?;
                let vector = self.vector(&binary.right, grid)?;
                self.with_scalar(binary, vector, &scalar, true)
            }
            (false, false) => Err(execution("the expression is not an instant vector")),
        }
    }

    fn with_scalar(
        &mut self,
        binary: &Binary,
        columns: Vec<Column>,
        scalar: &[f64],
        scalar_left: bool,
    ) -> Result<Vec<Column>, EvalError> {
        let mut out = Vec::with_capacity(columns.len());
        let drops = binary.op.changes_meaning() || binary.bool_result;
        let delayed = self.options.delayed_name_removal;
        for mut column in columns {
            for (cell, number) in column.cells.iter_mut().zip(scalar) {
                if cell.is_none() {
                    continue;
                }
                let vector = std::mem::take(cell);
                let number = Cell::Float(*number);
                let outcome = if scalar_left {
                    self.apply(binary, &number, &vector)
                } else {
                    self.apply(binary, &vector, &number)
                };
                *cell = match outcome {
                    Outcome::Dropped => Cell::None,
                    Outcome::False if binary.bool_result => Cell::Float(0.0),
                    Outcome::False => Cell::None,
                    Outcome::Kept(_) if binary.bool_result => Cell::Float(1.0),
                    // A comparison keeps the vector's value, whichever side it stands on.
                    Outcome::Kept(_) if binary.op.is_comparison() => vector,
                    Outcome::Kept(value) => value,
                };
            }
            if !column.is_empty() {
                out.push(if drops { column.without_name(delayed) } else { column });
            }
        }
        self.merged(out)
    }

    fn vectors(
        &mut self,
        binary: &Binary,
        matching: &Matching,
        (left, right): (Vec<Column>, Vec<Column>),
        grid: Grid,
    ) -> Result<Vec<Column>, EvalError> {
        let swapped = matching.card == Cardinality::OneToMany;
        let (many, one) = if swapped { (right, left) } else { (left, right) };
        // With `group_right` the sides are swapped, but upstream does not swap their fill values.
        let (fill_many, fill_one) = (matching.fill_left, matching.fill_right);
        let signatures = Signatures::new(matching, &many, &one);
        let mut join = Join {
            binary,
            matching,
            many: &many,
            one: &one,
            signatures: &signatures,
            fill_many,
            fill_one,
            one_at: vec![None; signatures.labels.len()],
            matched: vec![None; signatures.labels.len()],
            results: HashMap::new(),
            writers: Vec::new(),
            recent: vec![None; many.len()],
            out: Vec::new(),
            len: grid.len,
        };
        if !join.by_column(self)? {
            for step in 0..grid.len {
                if step % 1_024 == 1_023 {
                    self.options.stop.check()?;
                }
                join.step(self, step)?;
            }
        }
        let mut out = join.out;
        out.retain(|column| !column.is_empty());
        Ok(out)
    }

    /// The operator between two readings of a pair; nothing when a filter does not hold or the kinds do not go together.
    fn joined(&mut self, binary: &Binary, swapped: bool, many: &Cell, one: &Cell) -> Cell {
        let outcome =
            if swapped { self.apply(binary, one, many) } else { self.apply(binary, many, one) };
        match outcome {
            Outcome::False if binary.bool_result => Cell::Float(0.0),
            Outcome::Dropped | Outcome::False => Cell::None,
            Outcome::Kept(_) if binary.bool_result => Cell::Float(1.0),
            Outcome::Kept(value) => value,
        }
    }

    /// The operator between two readings that are both there.
    fn apply(&mut self, binary: &Binary, left: &Cell, right: &Cell) -> Outcome {
        let op = binary.op;
        match (left, right) {
            (Cell::Float(l), Cell::Float(r)) => match op {
                BinaryOp::TrimUpper | BinaryOp::TrimLower => {
                    self.incompatible(binary, "float", "float")
                }
                _ if op.is_comparison() => {
                    let holds = scalar_op(op, *l, *r) == 1.0;
                    if holds { Outcome::Kept(Cell::Float(*l)) } else { Outcome::False }
                }
                _ => Outcome::Kept(Cell::Float(scalar_op(op, *l, *r))),
            },
            (Cell::Float(factor), Cell::Histogram(h)) => match op {
                BinaryOp::Mul => Outcome::Kept(changed(h, |h| h.scale(*factor))),
                _ => self.incompatible(binary, "float", "histogram"),
            },
            (Cell::Histogram(h), Cell::Float(number)) => match op {
                BinaryOp::Mul => Outcome::Kept(changed(h, |h| h.scale(*number))),
                BinaryOp::Div => Outcome::Kept(changed(h, |h| h.divide(*number))),
                BinaryOp::TrimUpper => kept(h.trim_above(*number)),
                BinaryOp::TrimLower => kept(h.trim_below(*number)),
                _ => self.incompatible(binary, "histogram", "float"),
            },
            (Cell::Histogram(l), Cell::Histogram(r)) => self.histograms(binary, l, r),
            (Cell::None, _) | (_, Cell::None) => Outcome::Dropped,
        }
    }

    fn histograms(&mut self, binary: &Binary, left: &Arc<Histogram>, right: &Histogram) -> Outcome {
        let holds = |holds: bool| {
            if holds { Outcome::Kept(Cell::Histogram(Arc::clone(left))) } else { Outcome::False }
        };
        let mut result = Histogram::clone(left);
        let (joined, word) = match binary.op {
            BinaryOp::Equal => return holds(left.same(right)),
            BinaryOp::NotEqual => return holds(!left.same(right)),
            BinaryOp::Add => (result.add(right), "addition"),
            BinaryOp::Sub => (result.sub(right), "subtraction"),
            _ => return self.incompatible(binary, "histogram", "histogram"),
        };
        let Ok(Joined { hints_collide, bounds_reconciled }) = joined else {
            let text = format!(
                "incompatible bucket layout encountered for binary operator {}",
                binary.op.word()
            );
            self.annotations.warn(binary.place, text);
            return Outcome::Dropped;
        };
        if hints_collide {
            let text = format!("conflicting counter resets during histogram {word}");
            self.annotations.warn(binary.place, text);
        }
        if bounds_reconciled {
            let text = format!("mismatched custom buckets were reconciled during {word}");
            self.annotations.info(binary.place, text);
        }
        if binary.op == BinaryOp::Sub {
            result.reset_hint = ResetHint::Gauge;
        }
        result.compact();
        kept(result)
    }

    fn incompatible(&mut self, binary: &Binary, left: &str, right: &str) -> Outcome {
        let op = binary.op.word();
        let text = format!(
            "incompatible sample types encountered for binary operator \"{op}\": {left} {op} {right}"
        );
        self.annotations.info(binary.place, text);
        Outcome::Dropped
    }
}

fn changed(histogram: &Histogram, change: impl FnOnce(&mut Histogram)) -> Cell {
    let mut histogram = histogram.clone();
    change(&mut histogram);
    Cell::Histogram(Arc::new(histogram))
}

fn kept(histogram: Histogram) -> Outcome {
    Outcome::Kept(Cell::Histogram(Arc::new(histogram)))
}

/// Whether no number below `n` occurs twice.
fn once(numbers: &[usize], n: usize) -> bool {
    let mut seen = vec![false; n];
    numbers.iter().all(|number| !std::mem::replace(&mut seen[*number], true))
}

/// A vector operator on its way through the steps.
struct Join<'a> {
    binary: &'a Binary,
    matching: &'a Matching,
    /// The left side, except with `group_right`.
    many: &'a [Column],
    one: &'a [Column],
    signatures: &'a Signatures,
    fill_many: Option<f64>,
    fill_one: Option<f64>,
    /// By signature: the series of the one side at this step.
    one_at: Vec<Option<usize>>,
    /// By signature: the last step at which a series of the many side met it.
    matched: Vec<Option<usize>>,
    /// Result labels to columns of `out`.
    results: HashMap<Labels, usize>,
    /// By column of `out`: the signature that wrote to it last.
    writers: Vec<usize>,
    /// By series of the many side: its last partner and the column of `out` they share.
    recent: Vec<Option<(Option<usize>, usize)>>,
    out: Vec<Column>,
    len: usize,
}

impl Join<'_> {
    /// Joins whole columns where nothing can clash at any step: each signature once, each result from one pair.
    /// Returns whether it did.
    fn by_column(&mut self, evaluator: &mut Evaluator<'_>) -> Result<bool, EvalError> {
        let n = self.signatures.labels.len();
        let one_to_one = self.matching.card == Cardinality::OneToOne;
        let fills = self.fill_many.is_some() || self.fill_one.is_some();
        let right_once = once(&self.signatures.right, n);
        if fills || !right_once || (one_to_one && !once(&self.signatures.left, n)) {
            return Ok(false);
        }
        for (i, signature) in self.signatures.right.iter().enumerate() {
            self.one_at[*signature] = Some(i);
        }
        let mut pairs = Vec::new();
        for (i, signature) in self.signatures.left.iter().enumerate() {
            if let Some(one) = self.one_at[*signature] {
                let at = self.result(evaluator, (Some(i), Some(one), *signature));
                pairs.push((i, one, at));
            }
        }
        if pairs.len() != self.out.len() {
            return Ok(false); // Two pairs share a result: they may clash.
        }
        let swapped = self.matching.card == Cardinality::OneToMany;
        for (many, one, at) in pairs {
            evaluator.options.stop.check()?;
            let cells = self.many[many].cells.iter().zip(&self.one[one].cells);
            let joined = cells.map(|(many, one)| {
                if many.is_none() || one.is_none() {
                    return Cell::None;
                }
                evaluator.joined(self.binary, swapped, many, one)
            });
            self.out[at].cells = joined.collect();
        }
        Ok(true)
    }

    fn step(&mut self, evaluator: &mut Evaluator<'_>, step: usize) -> Result<(), EvalError> {
        let there = |columns: &[Column]| columns.iter().any(|c| !c.cells[step].is_none());
        let (any_many, any_one) = (there(self.many), there(self.one));
        if (!any_many || !any_one) && self.fill_many.is_none() && self.fill_one.is_none() {
            return Ok(());
        }
        self.one_at.fill(None);
        for (i, column) in self.one.iter().enumerate() {
            if column.cells[step].is_none() {
                continue;
            }
            let signature = self.signatures.right[i];
            if let Some(other) = self.one_at[signature] {
                return Err(self.duplicate(signature, i, other));
            }
            self.one_at[signature] = Some(i);
        }
        for (i, column) in self.many.iter().enumerate() {
            if column.cells[step].is_none() {
                continue;
            }
            let signature = self.signatures.left[i];
            let partner = self.one_at[signature];
            if partner.is_some() || self.fill_one.is_some() {
                self.pair(evaluator, (Some(i), partner, signature), step)?;
            }
        }
        if self.fill_many.is_some() {
            for (i, column) in self.one.iter().enumerate() {
                let signature = self.signatures.right[i];
                if !column.cells[step].is_none() && self.matched[signature] != Some(step) {
                    self.pair(evaluator, (None, Some(i), signature), step)?;
                }
            }
        }
        Ok(())
    }

    fn pair(
        &mut self,
        evaluator: &mut Evaluator<'_>,
        key: (Option<usize>, Option<usize>, usize),
        step: usize,
    ) -> Result<(), EvalError> {
        let (many, one, signature) = key;
        let again = self.matched[signature].replace(step) == Some(step);
        // Before the operator: a filter must not hide that several series match.
        if again && self.matching.card == Cardinality::OneToOne {
            let text = "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";
            return Err(execution(text));
        }
        let cell = |columns: &[Column], at: Option<usize>, fill: Option<f64>| match at {
            Some(at) => columns[at].cells[step].clone(),
            None => fill.into(),
        };
        let many_cell = cell(self.many, many, self.fill_many);
        let one_cell = cell(self.one, one, self.fill_one);
        let swapped = self.matching.card == Cardinality::OneToMany;
        let value = evaluator.joined(self.binary, swapped, &many_cell, &one_cell);
        if value.is_none() {
            return Ok(());
        }
        let result = self.result(evaluator, key);
        let writer = std::mem::replace(&mut self.writers[result], signature);
        let slot = &mut self.out[result].cells[step];
        if !slot.is_none() {
            return Err(if writer == signature {
                execution("multiple matches for labels: grouping labels must ensure unique matches")
            } else {
                super::column::same_labels()
            });
        }
        *slot = value;
        Ok(())
    }

    /// The column for the result of a pair.
    fn result(
        &mut self,
        evaluator: &Evaluator<'_>,
        key: (Option<usize>, Option<usize>, usize),
    ) -> usize {
        let (many, one, signature) = key;
        if let Some(many) = many
            && let Some((partner, at)) = self.recent[many]
            && partner == one
        {
            return at;
        }
        let filled = &self.signatures.labels[signature];
        let many_labels = many.map_or(filled, |i| &self.many[i].labels);
        let one_labels = one.map_or(filled, |i| &self.one[i].labels);
        let mut labels = result_labels(self.binary.op, self.matching, many_labels, one_labels);
        let bool_result = self.binary.bool_result;
        let delayed = evaluator.options.delayed_name_removal;
        if bool_result && !delayed {
            labels = labels.without_name();
        }
        let inherited =
            !self.binary.op.changes_meaning() && many.is_some_and(|i| self.many[i].drop_name);
        let drop_name = delayed && (bool_result || inherited);
        let at = *self.results.entry(labels.clone()).or_insert(self.out.len());
        if at == self.out.len() {
            let cells = vec![Cell::None; self.len];
            self.out.push(Column { labels, drop_name, cells });
            self.writers.push(signature);
        } else {
            self.out[at].drop_name |= drop_name;
        }
        if let Some(many) = many {
            self.recent[many] = Some((one, at));
        }
        at
    }

    fn duplicate(&self, signature: usize, i: usize, other: usize) -> EvalError {
        let side = if self.matching.card == Cardinality::OneToMany { "left" } else { "right" };
        let group = &self.signatures.labels[signature];
        let mut names = [&self.one[i].labels, &self.one[other].labels];
        names.sort();
        execution(format!(
            "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
            names[0], names[1]
        ))
    }
}
