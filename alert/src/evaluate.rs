//! One rule at one time: ask, fill in the templates, step the state machine.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use model::metric::Labels;
use model::time::Timestamp;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::expand::{Expansion, Memo, Surroundings, sample};
use crate::handover::Recorded;
use crate::live::machine;
use crate::record::recorded;
use crate::rule::{Group, Kind};
use crate::source::{Ask, Evaluate, Row};
use crate::state::{Found, Instances, Moment, Step};

/// A rule of a group, its time and its deadline.
#[derive(Clone)]
pub(crate) struct Turn {
    pub(crate) group: Arc<Group>,
    /// Which of its rules.
    pub(crate) rule: usize,
    pub(crate) at: Timestamp,
    pub(crate) deadline: Instant,
    pub(crate) alerts_max: usize,
    pub(crate) surroundings: Arc<Surroundings>,
}

impl Turn {
    /// The time queries look at and samples are stamped with.
    pub(crate) fn data_time(&self) -> Timestamp {
        let offset = crate::state::nanoseconds(self.group.query_offset);
        Timestamp(self.at.0.saturating_sub(offset))
    }

    /// The group's limit, and never more than the installation's.
    pub(crate) fn limit(&self) -> usize {
        match self.group.limit {
            0 => self.alerts_max,
            limit => limit.min(self.alerts_max),
        }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    async fn ask(
        &self,
        source: &dyn Evaluate,
        expr: &Arc<str>,
        at: Timestamp,
    ) -> Result<Vec<Row>, String> {
        let ask = Ask { expr: Arc::clone(expr), at, timeout: self.left() };
        let answer = tokio::time::timeout_at(self.deadline, source.instant(ask)).await;
        answer.map_err(|_| "the query took longer than the evaluation may".to_owned())??.into_rows()
    }

    /// The samples of a recording rule.
    pub(crate) async fn samples(&self, source: &dyn Evaluate) -> Result<Vec<Recorded>, String> {
        let rule = &self.group.rules[self.rule];
        let at = self.data_time();
        let rows = self.ask(source, &rule.expr, at).await?;
        recorded(rule, rows, at, self.limit())
    }

    /// The next state of an alerting rule.
    pub(crate) async fn step(
        &self,
        source: &dyn Evaluate,
        before: Instances,
        hold_unseen_since: Option<Timestamp>,
    ) -> Result<Step, String> {
        let rows = self.rows(source, self.data_time()).await?;
        let n_rows = rows.len();
        // Beyond the limit no work is spent on alerts that would be dropped.
        let found = match n_rows > self.limit() {
            true => None,
            false => Some(self.found(source, rows, self.data_time()).await?),
        };
        let turn = self.clone();
        let step = spawn_blocking(move || turn.advance(&before, n_rows, found, hold_unseen_since));
        step.await.map_err(|error| format!("the evaluation failed: {error}"))?
    }

    /// The state after a result of `n_rows`; `found` is `None` when those are more than the limit.
    pub(crate) fn advance(
        &self,
        before: &Instances,
        n_rows: usize,
        found: Option<Vec<Found>>,
        hold_unseen_since: Option<Timestamp>,
    ) -> Result<Step, String> {
        let rule = &self.group.rules[self.rule];
        let machine = machine(&self.group, rule, self.limit()).ok_or("it is no alerting rule")?;
        match found {
            Some(found) => machine.step(before, found, Moment { at: self.at, hold_unseen_since }),
            None => Ok(machine.dropped(before, n_rows, self.at)),
        }
    }

    /// Labels of the alerts the expression would have yielded at `at`.
    pub(crate) async fn labels_at(
        &self,
        source: &dyn Evaluate,
        at: Timestamp,
    ) -> Result<BTreeSet<Labels>, String> {
        let rows = self.rows(source, at).await?;
        if rows.len() > self.limit() {
            return Ok(BTreeSet::new());
        }
        let found = self.found(source, rows, at).await?;
        Ok(found.into_iter().map(|found| found.labels).collect())
    }

    async fn rows(&self, source: &dyn Evaluate, at: Timestamp) -> Result<Vec<Row>, String> {
        self.ask(source, &self.group.rules[self.rule].expr, at).await
    }

    /// The alerts that `rows` stand for, templates filled in; their queries look at `at`.
    async fn found(
        &self,
        source: &dyn Evaluate,
        rows: Vec<Row>,
        at: Timestamp,
    ) -> Result<Vec<Found>, String> {
        let rows = Arc::new(rows);
        let mut memo = Memo::new();
        loop {
            let (turn, rows, known) = (self.clone(), Arc::clone(&rows), std::mem::take(&mut memo));
            let expanded = spawn_blocking(move || {
                let outcome = turn.expand(&rows, &known);
                (outcome, known)
            });
            let (outcome, known) =
                expanded.await.map_err(|error| format!("the evaluation failed: {error}"))?;
            memo = known;
            let (found, missing) = outcome?;
            if missing.is_empty() {
                return Ok(found);
            }
            for expr in missing {
                let answer = self.ask(source, &expr.as_str().into(), at).await;
                let answer = answer.map(|rows| rows.into_iter().map(sample).collect());
                memo.insert(expr, answer);
            }
        }
    }

    /// The alerts that `rows` stand for, and the queries their templates ask that `memo` does not know.
    pub(crate) fn expand(
        &self,
        rows: &[Row],
        memo: &Memo,
    ) -> Result<(Vec<Found>, BTreeSet<String>), String> {
        let rule = &self.group.rules[self.rule];
        let Kind::Alert(alerting) = &rule.kind else { return Err("it is no alerting rule".into()) };
        let expansion = Expansion {
            rule,
            alerting,
            surroundings: &self.surroundings,
            at: self.at,
            memo,
            missing: RefCell::new(BTreeSet::new()),
        };
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            if Instant::now() > self.deadline {
                return Err(
                    "filling in the templates took longer than the evaluation may".to_owned()
                );
            }
            found.push(expansion.found(row));
        }
        Ok((found, expansion.missing.into_inner()))
    }
}
