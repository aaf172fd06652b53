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
use crate::rule::{Group, Kind, Language};
use crate::source::{Answer, Ask, Evaluate, Row};
use crate::state::{Found, Instances, Moment, Step};

/// What is said of a recording rule that is asked for alerts.
const NOT_ALERTING: &str = "it is no alerting rule";

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
    /// Whether nothing is handed to other threads and no clock is looked at: then every future is ready at once if
    /// those of the source are.
    pub(crate) inline: bool,
    /// Whether it is evaluated because data arrived, and not because its slot has come.
    pub(crate) is_event: bool,
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

    /// The answer to one expression.
    pub(crate) async fn answer(
        &self,
        source: &dyn Evaluate,
        (expr, language): (&Arc<str>, &Language),
        at: Timestamp,
    ) -> Result<Answer, String> {
        let (expr, language) = (Arc::clone(expr), language.clone());
        if self.inline {
            let timeout = Duration::from_secs(3_600);
            return source.instant(Ask { expr, language, at, timeout }).await;
        }
        let ask = Ask { expr, language, at, timeout: self.left() };
        let answer = tokio::time::timeout_at(self.deadline, source.instant(ask)).await;
        answer.map_err(|_| "the query took longer than the evaluation may".to_owned())?
    }

    /// What a template asks.
    async fn ask(
        &self,
        source: &dyn Evaluate,
        expr: &Arc<str>,
        at: Timestamp,
    ) -> Result<Vec<Row>, String> {
        self.answer(source, (expr, &Language::PromQl), at).await?.into_rows()
    }

    /// Work that takes a while, on a thread for such work.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        if self.inline {
            return Ok(work());
        }
        spawn_blocking(work).await.map_err(|error| format!("the evaluation failed: {error}"))
    }

    /// The samples of a recording rule.
    pub(crate) async fn samples(&self, source: &dyn Evaluate) -> Result<Vec<Recorded>, String> {
        let rule = &self.group.rules[self.rule];
        let at = self.data_time();
        let rows = self.hits(source, at).await?;
        recorded(rule, rows, at, self.limit())
    }

    /// The next state of an alerting rule, and whether all data it reads is missing.
    pub(crate) async fn step(
        &self,
        source: &dyn Evaluate,
        before: Instances,
        hold_unseen_since: Option<Timestamp>,
    ) -> Result<(Step, bool), String> {
        let at = self.data_time();
        let rows = self.hits(source, at).await?;
        let n_rows = rows.len();
        let rule = &self.group.rules[self.rule];
        if n_rows > self.limit() {
            // Beyond the limit no work is spent on alerts that would be dropped.
            let machine = machine(&self.group, rule, self.limit()).ok_or(NOT_ALERTING)?;
            return Ok((machine.dropped(&before, n_rows, self.at), false));
        }
        let found = self.found(source, rows, at).await?;
        let judged = self.judge(source, &before, found, at).await?;
        let turn = self.clone();
        let step = self.aside(move || {
            let rule = &turn.group.rules[turn.rule];
            let machine = machine(&turn.group, rule, turn.limit()).ok_or(NOT_ALERTING)?;
            let moment = Moment { at: turn.at, hold_unseen_since };
            machine.step(&before, judged.found, (moment, &judged.absences))
        });
        Ok((step.await??, judged.is_missing))
    }

    /// Labels of the alerts the expression would have yielded at `at`.
    pub(crate) async fn labels_at(
        &self,
        source: &dyn Evaluate,
        at: Timestamp,
    ) -> Result<BTreeSet<Labels>, String> {
        let rows = self.hits(source, at).await?;
        if rows.len() > self.limit() {
            return Ok(BTreeSet::new());
        }
        let found = self.found(source, rows, at).await?;
        Ok(found.into_iter().map(|found| found.labels).collect())
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
            let expanded = self.aside(move || {
                let outcome = turn.expand(&rows, &known);
                (outcome, known)
            });
            let (outcome, known) = expanded.await?;
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
    fn expand(&self, rows: &[Row], memo: &Memo) -> Result<(Vec<Found>, BTreeSet<String>), String> {
        let rule = &self.group.rules[self.rule];
        let Kind::Alert(alerting) = &rule.kind else { return Err(NOT_ALERTING.into()) };
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
            if !self.inline && Instant::now() > self.deadline {
                return Err(
                    "filling in the templates took longer than the evaluation may".to_owned()
                );
            }
            found.push(expansion.found(row));
        }
        Ok((found, expansion.missing.into_inner()))
    }
}
