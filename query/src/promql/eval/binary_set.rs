//! `and`, `or`, `unless`.

use super::column::{Cell, Column};
use super::matching::Signatures;
use crate::promql::ast::{BinaryOp, Matching};

/// Combines two vectors step by step; labels and values come from the left, then from the right.
pub(super) fn combine(
    op: BinaryOp,
    matching: &Matching,
    mut left: Vec<Column>,
    mut right: Vec<Column>,
) -> Vec<Column> {
    let signatures = Signatures::new(matching, &left, &right);
    let n = signatures.labels.len();
    match op {
        BinaryOp::Or => {
            let present = presence(&left, &signatures.left, n);
            mask(&mut right, &signatures.right, |signature, step| !at(&present, signature, step));
            left.append(&mut right);
            merge(left)
        }
        _ => {
            let present = presence(&right, &signatures.right, n);
            let wanted = op == BinaryOp::And;
            mask(&mut left, &signatures.left, |signature, step| {
                at(&present, signature, step) == wanted
            });
            left
        }
    }
}

/// Per signature and step, whether any column has a value; an absent row means never.
fn presence(columns: &[Column], signatures: &[usize], n: usize) -> Vec<Vec<bool>> {
    let mut present: Vec<Vec<bool>> = vec![Vec::new(); n];
    for (column, signature) in columns.iter().zip(signatures) {
        let row = &mut present[*signature];
        row.resize(column.cells.len(), false);
        for (slot, cell) in row.iter_mut().zip(&column.cells) {
            *slot |= !cell.is_none();
        }
    }
    present
}

fn at(present: &[Vec<bool>], signature: usize, step: usize) -> bool {
    present[signature].get(step).copied().unwrap_or(false)
}

fn mask(columns: &mut Vec<Column>, signatures: &[usize], keep: impl Fn(usize, usize) -> bool) {
    for (column, signature) in columns.iter_mut().zip(signatures) {
        for (step, cell) in column.cells.iter_mut().enumerate() {
            if !keep(*signature, step) {
                *cell = Cell::None;
            }
        }
    }
    columns.retain(|column| !column.is_empty());
}

/// Joins columns of equal labels, the left value first; with `or` they never meet at one step unless `on` hides labels.
fn merge(columns: Vec<Column>) -> Vec<Column> {
    let mut seen = std::collections::HashMap::new();
    let mut out: Vec<Column> = Vec::with_capacity(columns.len());
    for column in columns {
        let key = (column.labels.clone(), column.drop_name);
        let found = seen.get(&key).copied().filter(|at: &usize| {
            out[*at].cells.iter().zip(&column.cells).all(|(a, b)| a.is_none() || b.is_none())
        });
        if let Some(at) = found {
            for (cell, other) in out[at].cells.iter_mut().zip(column.cells) {
                if cell.is_none() {
                    *cell = other;
                }
            }
        } else {
            seen.insert(key, out.len());
            out.push(column);
        }
    }
    out
}
