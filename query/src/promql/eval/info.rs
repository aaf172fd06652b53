//! `info(v, {selector})`: labels of info metrics joined to series of the same `instance` and `job`.

use std::collections::{BTreeMap, HashMap};

use model::matcher::MatchOp;

use super::column::{Cell, Column, Grid};
use super::select::{Aspect, Reference};
use super::{EvalError, Evaluator, execution};
use crate::promql::ast::{At, Call, Edges, Expr, LabelMatcher, Offset, VectorSelector};
use crate::promql::check::is_negative;
use crate::promql::labels::{Labels, NAME};
use crate::promql::matchers::{Compiled, compile};
use crate::promql::place::Place;

const IDENTITY: [&str; 2] = ["instance", "job"];

/// Conditions of the second argument, made ready.
struct Wanted {
    /// On the info metric's name.
    names: Vec<LabelMatcher>,
    /// On its labels: which are copied, and whether a series may lack them.
    labels: Vec<(LabelMatcher, Compiled)>,
}

impl Wanted {
    fn new(arg: Option<&Expr>) -> Result<Self, EvalError> {
        let matchers = match arg.map(Expr::bare) {
            Some(Expr::Vector(selector)) => selector.matchers.clone(),
            _ => Vec::new(),
        };
        let (mut names, labels): (Vec<_>, Vec<_>) =
            matchers.into_iter().partition(|matcher| matcher.name.as_ref() == NAME);
        let named = |op, value: &str| LabelMatcher {
            name: NAME.into(),
            op,
            value: value.into(),
            place: Place::default(),
        };
        if names.is_empty() {
            names.push(named(MatchOp::Equal, "target_info"));
        } else if names.iter().all(|matcher| is_negative(matcher.op)) {
            names.push(named(MatchOp::Regex, ".+_info"));
        }
        let labels = labels.into_iter().map(|matcher| {
            let compiled = compile(matcher.op, &matcher.value).map_err(execution)?;
            Ok((matcher, compiled))
        });
        Ok(Self { names, labels: labels.collect::<Result<_, EvalError>>()? })
    }

    fn is_info(&self, name: &str) -> Result<bool, EvalError> {
        for matcher in &self.names {
            if !compile(matcher.op, &matcher.value).map_err(execution)?.matches(name) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn copies(&self, label: &str) -> bool {
        self.labels.is_empty() || self.labels.iter().any(|(m, _)| m.name.as_ref() == label)
    }

    fn may_lack(&self) -> bool {
        self.labels.iter().all(|(_, compiled)| compiled.matches(""))
    }
}

/// Values of the identifying labels.
type Identity = [String; 2];

fn identity(labels: &Labels) -> Identity {
    IDENTITY.map(|name| labels.value(name).to_owned())
}

/// The info series that speak for an identity at one step: by metric name, index into the info columns and sample time.
type Speakers<'a> = BTreeMap<&'a str, (usize, f64)>;

impl Evaluator<'_> {
    pub(super) fn info(&mut self, call: &Call, grid: Grid) -> Result<Vec<Column>, EvalError> {
        let columns = self.vector(&call.args[0], grid)?;
        let wanted = Wanted::new(call.args.get(1))?;
        let mut plain = Vec::new();
        for column in &columns {
            plain.push(wanted.is_info(column.labels.name())?);
        }
        let identities: Vec<Identity> = columns.iter().map(|c| identity(&c.labels)).collect();
        let has_identity = identities
            .iter()
            .zip(&plain)
            .any(|(id, plain)| !plain && id.iter().any(|value| !value.is_empty()));
        let infos = if has_identity { self.info_series(call, &wanted, grid)? } else { Vec::new() };
        let info_ids: Vec<Identity> = infos.iter().map(|c| identity(&c.labels)).collect();
        let mut out: HashMap<Labels, usize> = HashMap::new();
        let mut enriched: Vec<Column> = Vec::new();
        for step in 0..grid.len {
            let speakers = speakers(&infos, &info_ids, step)?;
            for (i, column) in columns.iter().enumerate() {
                let cell = &column.cells[step];
                if cell.is_none() {
                    continue;
                }
                let labels = if plain[i] {
                    column.labels.clone()
                } else {
                    let found = speakers.get(&identities[i]);
                    let Some(labels) = joined(&column.labels, found, &infos, &wanted)? else {
                        continue;
                    };
                    labels
                };
                let at = *out.entry(labels.clone()).or_insert(enriched.len());
                if at == enriched.len() {
                    let cells = vec![Cell::None; grid.len];
                    enriched.push(Column { labels, drop_name: column.drop_name, cells });
                }
                let slot = &mut enriched[at].cells[step];
                if !slot.is_none() {
                    return Err(super::column::same_labels());
                }
                *slot = cell.clone();
            }
        }
        Ok(enriched)
    }

    /// The info series at the times that the first argument looks at; each cell is the sample's own time.
    fn info_series(
        &mut self,
        call: &Call,
        wanted: &Wanted,
        grid: Grid,
    ) -> Result<Vec<Column>, EvalError> {
        let reference =
            first_reference(&call.args[0]).unwrap_or(Reference { at: None, offset_ms: 0 });
        let labels = wanted.labels.iter().map(|(matcher, _)| matcher.clone());
        let selector = VectorSelector {
            name: None,
            matchers: wanted.names.iter().cloned().chain(labels).collect(),
            offset: Offset { ms: reference.offset_ms, expr: None },
            at: reference.at,
            edges: Edges::Plain,
            statistics_only: false,
            place: call.place,
        };
        let values = self.selector_aspect(&selector, grid, Aspect::Value)?;
        let has_histogram =
            |column: &Column| column.cells.iter().any(|cell| matches!(cell, Cell::Histogram(_)));
        if values.iter().any(has_histogram) {
            return Err(execution("info sample should be float"));
        }
        self.selector_aspect(&selector, grid, Aspect::Time)
    }
}

fn speakers<'a>(
    infos: &'a [Column],
    identities: &'a [Identity],
    step: usize,
) -> Result<HashMap<&'a Identity, Speakers<'a>>, EvalError> {
    let mut found: HashMap<&Identity, Speakers<'_>> = HashMap::new();
    for (i, (column, identity)) in infos.iter().zip(identities).enumerate() {
        let Some(time) = column.cells[step].float() else { continue };
        let by_name = found.entry(identity).or_default();
        match by_name.get(column.labels.name()) {
            Some((_, other)) if *other > time => {}
            Some((existing, other)) if *other == time => {
                let ms = crate::promql::number::to_i64(time * 1000.0);
                return Err(execution(format!(
                    "found duplicate series for info metric: existing {} @ {ms}, new {} @ {ms}",
                    infos[*existing].labels, column.labels
                )));
            }
            _ => {
                by_name.insert(column.labels.name(), (i, time));
            }
        }
    }
    Ok(found)
}

/// The series' labels with those of its info series; `None` when it lacks labels that were asked for.
fn joined(
    base: &Labels,
    speakers: Option<&Speakers<'_>>,
    infos: &[Column],
    wanted: &Wanted,
) -> Result<Option<Labels>, EvalError> {
    let Some(speakers) = speakers else {
        return Ok(wanted.may_lack().then(|| base.clone()));
    };
    let mut added: BTreeMap<&str, &str> = BTreeMap::new();
    for (i, _) in speakers.values() {
        for (name, value) in infos[*i].labels.iter() {
            if name == NAME || !wanted.copies(name) {
                continue;
            }
            if added.get(name).is_some_and(|other| *other != value) {
                return Err(execution(format!("conflicting label: {name}")));
            }
            if base.value(name).is_empty() {
                added.insert(name, value);
            }
        }
    }
    let labels =
        added.into_iter().fold(base.clone(), |labels, (name, value)| labels.with(name, value));
    Ok(Some(labels))
}

/// When the first selector of an expression looks: the innermost `@` wins, offsets add up.
fn first_reference(expr: &Expr) -> Option<Reference> {
    let outside = |at: Option<At>, offset_ms: i64, inner: Reference| {
        if inner.at.is_some() {
            inner
        } else {
            Reference { at, offset_ms: offset_ms + inner.offset_ms }
        }
    };
    match expr {
        Expr::Vector(selector) => Some(selector.reference()),
        Expr::Matrix(matrix) => Some(matrix.selector.reference()),
        Expr::Subquery(subquery) => first_reference(&subquery.expr)
            .map(|inner| outside(subquery.at, subquery.offset.ms, inner)),
        _ => expr.children().into_iter().find_map(first_reference),
    }
}
