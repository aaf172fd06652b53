//! Acts on incidents: plans them, takes plans through their states, keeps what is changed and takes it back. `server`
//! opens one beside the notifier, whose journal it shares, and runs it until it stops.
//!
//! Memory is never ahead of the journal, and no effect ahead of its record: what a crash interrupts is taken up from there.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

#[cfg(test)]
use futures::future::join_all;
use model::alert::{AlertState, Cause, Transition};
use model::time::Clock;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::approval::ApprovalKey;
use crate::config::Config;
use crate::error::Error;
use crate::journal::Journal;
use crate::journal::record::Event;
use crate::notifier::Notifier;
use crate::plan::{self, Decision, Incident, Snapshot};
use crate::receiver;
use crate::register::{Deed, OPEN_MAX, Register};
use crate::run::{Arrow, Finding, Need, Run, State};
use crate::runbook::{self, Book, DriverKind, Runbook, Target, Trust};
use crate::target::flags::{FlagDriver, Flags};
use crate::target::haproxy::Haproxy;
use crate::target::kubernetes::Kubernetes;
use crate::target::patroni::Patroni;
use crate::target::redis::Redis;
use crate::target::supervisor::Supervisor;
use crate::target::webhook::{CallbackError, Confirmed, Webhook};
use crate::target::{Driver, Http};
use crate::world::{Question, World};

mod advance;
pub mod ask;
mod back;
mod call;
mod proof;
pub mod rehearse;
#[cfg(test)]
mod tests;

/// Between two looks at everything that is under way.
const TICK: Duration = Duration::from_millis(250);
/// Rest after an alert fired: others that fire with it are seen before anything is decided.
const GATHER_NS: i64 = 300_000_000;
/// Between two decisions about an incident that came to nothing.
const AGAIN_NS: i64 = 5_000_000_000;
/// Alerts remembered for when this process begins to act, and for how long once they ended.
const LATEST_MAX: usize = 10_000;
const LATEST_AGE_NS: i64 = 3_600_000_000_000;
/// How long a target may take to be read for a decision.
const OBSERVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Runbooks and targets as they stand in their files, checked.
#[derive(Default)]
pub struct Runbooks(Book);

impl Runbooks {
    /// Reads `files`; `check` says what is wrong with a PromQL comparison.
    ///
    /// # Errors
    /// What is wrong with them, each with its place.
    pub fn read(
        files: &[PathBuf],
        config: &Config,
        check: &dyn Fn(&str) -> Result<(), String>,
    ) -> Result<Self, String> {
        let allowed = receiver::allowed(config).map_err(|error| error.to_string())?;
        runbook::read(files, &allowed, check).map(Self)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.runbooks.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.runbooks.is_empty()
    }
}

/// The engine.
pub struct Actions {
    book: Book,
    trust: Trust,
    stop_file: PathBuf,
    journal: Arc<Journal>,
    world: Arc<dyn World>,
    clock: Arc<dyn Clock>,
    drivers: Drivers,
    /// One decision after the other: each sees what the one before has taken.
    deciding: tokio::sync::Mutex<()>,
    wake: Notify,
    live: Mutex<Live>,
    /// Where several processes share the journal: how each alert stands, for when this one begins to act.
    latest: Mutex<BTreeMap<String, Transition>>,
    approvals: ApprovalKey,
    /// Where people reach this server; empty when that is not known.
    external_url: String,
    #[cfg(test)]
    crash: tests::Crash,
}

struct Drivers {
    haproxy: Haproxy,
    supervisor: Supervisor,
    flags: FlagDriver,
    patroni: Patroni,
    redis: Redis,
    kubernetes: Kubernetes,
    webhook: Webhook,
    #[cfg(test)]
    test: Arc<dyn Driver>,
}

/// What is not in the journal: it begins anew with every start.
#[derive(Default)]
struct Live {
    /// The lease under which this process's epoch is on disk.
    started: Option<u64>,
    /// When an incident may be decided about again, by incident and runbook.
    again_ns: BTreeMap<(String, String), i64>,
    /// What is known of each run.
    runs: BTreeMap<String, LiveRun>,
    /// Decisions, by what they were and by the guard that made them.
    decisions: BTreeMap<(&'static str, String), u64>,
    /// Incidents not acted on because there were too many.
    overflow: u64,
}

/// What is known of a run besides the journal.
#[derive(Clone, Debug, Default)]
struct LiveRun {
    /// Not to be looked at before.
    not_before_ns: i64,
    /// Failures in a row.
    failures: u32,
    /// What was seen since the steps were done.
    looks: Looks,
}

/// Looks at what verifies.
#[derive(Clone, Copy, Debug, Default)]
struct Looks {
    /// How many.
    n: u32,
    /// Of these, with an answer by fresh data.
    n_known: u32,
    /// The last answer.
    last: Option<bool>,
    /// Since when it has held.
    holds_since_ns: Option<i64>,
}

impl Looks {
    fn note(&mut self, holds: Option<bool>, now_ns: i64) {
        self.n = self.n.saturating_add(1);
        self.n_known = self.n_known.saturating_add(u32::from(holds.is_some()));
        self.last = holds.or(self.last);
        self.holds_since_ns = (holds == Some(true)).then(|| self.holds_since_ns.unwrap_or(now_ns));
    }

    /// What it comes to at the end of the time: "no" takes data in half of the looks, and a no as the last answer.
    fn finding(&self) -> Finding {
        let is_known = self.n_known > 0 && self.n_known >= self.n - self.n_known;
        if is_known && self.last == Some(false) {
            Finding::Ineffective
        } else {
            Finding::Inconclusive
        }
    }
}

impl Actions {
    /// Takes up what the journal of `notifier` holds. Nothing happens before [`Self::run`].
    ///
    /// # Errors
    /// A wrong list of addresses.
    pub fn open(
        config: &Config,
        (runbooks, dir): (Runbooks, &Path),
        notifier: &Notifier,
        world: Arc<dyn World>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, Error> {
        let allowed = Arc::new(receiver::allowed(config)?);
        let http = Arc::new(Http::new(Arc::clone(&allowed)));
        let flags = FlagDriver(Flags::open(runbooks.0.flags.clone(), dir)?);
        Ok(Arc::new(Self {
            book: runbooks.0,
            trust: config.trust,
            stop_file: config.stop_file.clone().unwrap_or_else(|| dir.join("stop")),
            journal: match &config.coordination {
                Some(coordination) => {
                    Arc::new(Journal::share(coordination, config, Arc::clone(&clock))?)
                }
                None => notifier.journal(),
            },
            latest: Mutex::default(),
            approvals: ApprovalKey::open(dir)?,
            external_url: config.external_url.clone().unwrap_or_default(),
            world,
            clock: Arc::clone(&clock),
            drivers: Drivers {
                haproxy: Haproxy { allowed: Arc::clone(&allowed) },
                supervisor: Supervisor { allowed: Arc::clone(&allowed) },
                flags,
                patroni: Patroni(Arc::clone(&http)),
                redis: Redis { allowed },
                kubernetes: Kubernetes(Arc::clone(&http)),
                webhook: Webhook {
                    http,
                    confirmed: Confirmed::open(dir)?,
                    clock,
                    source: config.source.clone(),
                    external_url: config.external_url.clone().unwrap_or_default(),
                },
                #[cfg(test)]
                test: tests::no_driver(),
            },
            deciding: tokio::sync::Mutex::default(),
            wake: Notify::new(),
            live: Mutex::default(),
            #[cfg(test)]
            crash: tests::Crash::default(),
        }))
    }

    /// The flags, as they are now.
    #[must_use]
    pub fn flags(&self) -> &Flags {
        &self.drivers.flags.0
    }

    /// Takes what a receiver of messages says of something it was asked: `signed` is the id, time and signature in the headers
    /// of its message.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn callback(
        &self,
        target: &str,
        signed: (&str, &str, &str),
        body: &[u8],
    ) -> Result<(), CallbackError> {
        let found = self.book.targets.get(target);
        let found = found.filter(|target| target.driver == DriverKind::Webhook);
        let target = found.ok_or(CallbackError::Unknown)?;
        self.drivers.webhook.confirmed.callback(target, signed, (body, self.clock.now()))?;
        self.wake.notify_one();
        Ok(())
    }

    /// Takes note of a transition: once this returns, an incident is on disk if some runbook wants the alert.
    ///
    /// # Errors
    /// When the journal cannot be written; the same transition may be offered again.
    pub async fn accept(&self, transition: &Transition) -> Result<(), Error> {
        if !self.book.runbooks.values().any(|bound| bound.wants(&transition.labels)) {
            return Ok(());
        }
        if !self.journal.is_shared() {
            return self.take_up(transition).await;
        }
        self.remember(transition);
        if self.is_acting()
            && let Err(error) = self.take_up(transition).await
        {
            warn!(%error, "an alert could not be recorded; whoever acts next takes it up");
        }
        Ok(())
    }

    /// Opens the incident of an alert, or ends it.
    async fn take_up(&self, transition: &Transition) -> Result<(), Error> {
        let incident = incident_of(transition);
        let (known, n_open) = self.look(|register| {
            let same = register.incidents.get(&incident.id);
            // Another process may have seen it begin at another instant, by a rule in another folder.
            let mut open = register.open_incidents();
            let alike = open.find(|open| {
                (&open.rule, &open.labels) == (&incident.rule, &incident.labels)
                    && (transition.state == AlertState::Firing || open.opened_ns <= transition.at.0)
            });
            let known = alike.filter(|_| self.journal.is_shared()).or(same).cloned();
            (known, register.open_incidents().count())
        });
        let deed = match (transition.state, known) {
            (AlertState::Firing, None) if n_open >= OPEN_MAX => {
                self.live().overflow += 1;
                error!(
                    rule = transition.rule,
                    "too many incidents are open, this one is not acted on"
                );
                return Ok(());
            }
            (AlertState::Firing, None) => Deed::Opened(incident),
            (AlertState::Resolved, Some(known)) if known.resolved_ns.is_none() => {
                let is_shown = transition.cause == Cause::Condition;
                let unknown = (!is_shown).then(|| transition.cause.word().to_owned());
                Deed::Resolved { incident: known.id, at_ns: self.now(), unknown }
            }
            _ => return Ok(()),
        };
        self.record(deed).await?;
        self.wake.notify_one();
        Ok(())
    }

    /// Works until `stop` is cancelled. Call it once. Runs keep their state, and the next start goes on with them.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let (mut busy, mut tasks) = (HashSet::new(), JoinSet::new());
        loop {
            tokio::select! {
                biased; // Stop wins.
                () = stop.cancelled() => break,
                Some(done) = tasks.join_next() => {
                    match done {
                        Ok(id) => _ = busy.remove(&id),
                        // Its run stays busy until the next start: what it had begun is not known here.
                        Err(error) => error!(%error, "a run ended by a panic"),
                    }
                    continue;
                }
                () = self.wake.notified() => {}
                () = tokio::time::sleep(TICK) => {}
            }
            if !self.start().await {
                // Another process may be the one that acts.
                if !self.journal.is_shared() {
                    self.give_back_late().await;
                }
                continue;
            }
            self.tell().await;
            for id in self.due() {
                if busy.insert(id.clone()) {
                    let own = Arc::clone(&self);
                    tasks.spawn(async move {
                        own.advance(&id).await;
                        id
                    });
                }
            }
            if busy.insert(String::new()) {
                let own = Arc::clone(&self);
                tasks.spawn(async move {
                    own.plan_due().await;
                    String::new()
                });
            }
        }
        // An effect under way is given the time to be read back; a cut-off one is found out about at the next start.
        let rest = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(Duration::from_secs(3), rest).await.is_err() {
            warn!("actions under way were cut off, the next start finds out what they did");
        }
    }

    /// One look at everything, to the end.
    #[cfg(test)]
    async fn tick(&self) {
        if self.start().await {
            self.tell().await;
            self.plan_due().await;
            join_all(self.due().iter().map(|id| self.advance(id))).await;
        } else {
            self.give_back_late().await;
        }
    }

    /// Puts this process's epoch on disk; nothing is done without.
    async fn start(&self) -> bool {
        let Some(term) = self.journal.term() else {
            self.live().started = None;
            return false;
        };
        if self.live().started == Some(term) {
            return true;
        }
        let epoch = self.look(|register| register.epoch) + 1;
        let recorded = self.record(Deed::Started { epoch }).await;
        if let Err(error) = &recorded {
            error!(%error, "actions observe only: the journal cannot be written");
        }
        {
            let mut live = self.live();
            live.started = recorded.is_ok().then_some(term);
            live.again_ns.clear();
            live.runs.clear();
        }
        if recorded.is_ok() && self.journal.is_shared() {
            let latest: Vec<Transition> = self.latest().values().cloned().collect();
            for transition in latest {
                if let Err(error) = self.take_up(&transition).await {
                    warn!(%error, "an alert could not be recorded; whoever acts next takes it up");
                }
            }
        }
        recorded.is_ok()
    }

    /// Whether this process is the one that acts.
    fn is_acting(&self) -> bool {
        let started = self.live().started;
        started.is_some() && self.journal.term() == started
    }

    fn remember(&self, transition: &Transition) {
        let key =
            runbook::hash_of(&(&transition.group, transition.labels.iter().collect::<Vec<_>>()));
        let mut latest = self.latest();
        // Those that ended long ago make room.
        let oldest = transition.at.0 - LATEST_AGE_NS;
        latest.retain(|_, other| other.state == AlertState::Firing || other.at.0 > oldest);
        if latest.len() < LATEST_MAX || latest.contains_key(&key) {
            latest.insert(key, transition.clone());
        }
    }

    fn latest(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Transition>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs that are under way.
    fn due(&self) -> Vec<String> {
        let now = self.now();
        let running = self.look(|register| {
            let running = register.runs.values().filter(|run| !run.state.is_final());
            running.map(|run| run.id.clone()).collect::<Vec<_>>()
        });
        let mut live = self.live();
        live.runs.retain(|id, _| running.contains(id));
        let is_due = |id: &String| live.runs.get(id).is_none_or(|run| run.not_before_ns <= now);
        running.into_iter().filter(is_due).collect()
    }

    /// Decides about every incident that waits for it.
    async fn plan_due(&self) {
        let now = self.now();
        let open: Vec<Incident> = self.look(|register| {
            let ripe = |incident: &&Incident| now - incident.opened_ns >= GATHER_NS;
            register.open_incidents().filter(ripe).cloned().collect()
        });
        for incident in open {
            let labels = incident.labels.clone().into_iter().collect();
            for bound in self.book.runbooks.values().filter(|bound| bound.wants(&labels)) {
                self.plan(&bound.runbook, &incident).await;
            }
        }
    }

    async fn plan(&self, runbook: &Runbook, incident: &Incident) {
        let Some(target) = self.book.targets.get(&runbook.target.name) else { return };
        let (now, key) = (self.now(), plan::key(incident, target, runbook));
        let again = (incident.id.clone(), runbook.name.clone());
        let planned = self.look(|register| {
            register.runs.values().any(|run| run.plan.key == key && run.state != State::Refused)
        });
        if planned || self.live().again_ns.get(&again).is_some_and(|at| *at > now) {
            return;
        }
        let _one = self.deciding.lock().await;
        let seen = self.snapshot(runbook, target, (incident, None)).await;
        let plan = plan::decide(runbook, target, incident, seen);
        self.count(plan.decision, plan.decided_by.as_deref());
        let is_refused = plan.decision == Decision::Refused;
        if is_refused {
            let mut live = self.live();
            live.again_ns.retain(|_, at| *at > now);
            live.again_ns.insert(again, now + AGAIN_NS);
        }
        let is_known = self.look(|register| {
            let last = register.refused(&incident.id, &runbook.name);
            last.is_some_and(|last| {
                (&last.plan.decided_by, &last.plan.key) == (&plan.decided_by, &plan.key)
            })
        });
        if is_refused && is_known {
            return;
        }
        let (id, by) = (plan.id.clone(), plan.decided_by.clone());
        if let Err(error) = self.record(Deed::Planned(Box::new(plan))).await {
            warn!(%error, "a plan could not be recorded, nothing is done");
            return;
        }
        if is_refused && by.as_deref() == Some("storm") {
            let why = "too many members are unwell for one of them to be to blame";
            self.escalate(&id, Need::Storm, why).await;
        }
        self.wake.notify_one();
    }

    /// Everything a decision is made of, as it is now.
    async fn snapshot(
        &self,
        runbook: &Runbook,
        target: &Target,
        (incident, run): (&Incident, Option<&Run>),
    ) -> Snapshot {
        let question =
            |query: String| Question { query, max_staleness: runbook.quality.max_staleness };
        let members = self.driver(target.driver).observe(target, OBSERVE_TIMEOUT).await;
        let inputs = self.world.inputs(question(incident.expr.clone())).await;
        let member = plan::member_of(runbook, incident).unwrap_or_default();
        let fill = |text: &str| plan::fill(text, &|name| plan::value_of(incident, &member, name));
        let mut preconditions = Vec::new();
        for one in &runbook.preconditions {
            preconditions.push(match fill(&one.query) {
                Ok(query) => self.world.judge(question(query)).await,
                Err(observed) => plan::Judged {
                    query: one.query.clone(),
                    holds: None,
                    observed,
                    inputs: Vec::new(),
                    effect: None,
                },
            });
        }
        let utilisation = match &runbook.guard.capacity {
            None => None,
            Some(capacity) => Some(match fill(&capacity.utilisation) {
                Ok(query) => self.world.number(query).await,
                Err(error) => Err(error),
            }),
        };
        let key = plan::key(incident, target, runbook);
        let place = format!("{}/{member}", target.name);
        let but = run.map(|run| run.id.as_str()).unwrap_or_default();
        let approved_by = run
            .map_or_else(Vec::new, |run| run.approvals.iter().map(|yes| yes.by.clone()).collect());
        Snapshot {
            at_ns: self.now(),
            switch: self.switch().map(|(_, why)| why),
            driver: target.driver,
            ceiling: self.trust,
            ladder: self.look(|register| register.ladder(runbook, &target.name)),
            inputs,
            muted: self.world.muted(&incident.labels),
            members,
            alerting: self.alerting(runbook),
            preconditions,
            utilisation,
            history: self.look(|register| register.history(&key, &place, but)),
            approved_by,
            journal: self.journal_state(),
        }
    }

    /// Members with an open incident that `runbook` wants.
    fn alerting(&self, runbook: &Runbook) -> Vec<String> {
        let bound = self.book.runbooks.get(&runbook.name);
        self.look(|register| {
            let wanted = register.open_incidents().filter(|incident| {
                let labels = incident.labels.clone().into_iter().collect();
                bound.is_some_and(|bound| bound.wants(&labels))
            });
            wanted.filter_map(|incident| plan::member_of(runbook, incident).ok()).collect()
        })
    }

    fn journal_state(&self) -> Result<u64, String> {
        match self.journal.closed() {
            Some(reason) => Err(reason),
            None if !self.is_acting() => Err("this process has no epoch yet".to_owned()),
            None => Ok(self.look(|register| register.epoch)),
        }
    }

    /// Why nothing may be done, and whether that holds for ways back as well.
    fn switch(&self) -> Option<(bool, String)> {
        let recorded = self.look(|register| register.switch.clone());
        let recorded = recorded.map(|switch| {
            (switch.freeze, format!("switched off by {}: {}", switch.by, switch.why))
        });
        let path = self.stop_file.display();
        let file = match std::fs::read_to_string(&self.stop_file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            // What cannot be read is taken for a stop.
            Err(error) => Some((false, format!("{path}: {error}"))),
            Ok(text) => Some((text.contains("freeze"), format!("{path} is there"))),
        };
        match (recorded, file) {
            (Some((a, why)), Some((b, _))) => Some((a || b, why)),
            (one, other) => one.or(other),
        }
    }

    fn driver(&self, kind: DriverKind) -> &dyn Driver {
        match kind {
            DriverKind::Haproxy => &self.drivers.haproxy,
            DriverKind::Supervisor => &self.drivers.supervisor,
            DriverKind::Flags => &self.drivers.flags,
            DriverKind::Patroni => &self.drivers.patroni,
            DriverKind::Redis => &self.drivers.redis,
            DriverKind::Kubernetes => &self.drivers.kubernetes,
            DriverKind::Webhook => &self.drivers.webhook,
            #[cfg(test)]
            DriverKind::Test => &*self.drivers.test,
        }
    }

    /// Records an arrow; the error says that nothing may follow from it.
    async fn arrow(&self, run: &str, arrow: Arrow) -> Result<(), Error> {
        let legal = self.look(|register| {
            register.runs.get(run).is_some_and(|run| run.state.leads_to(arrow.to))
        });
        if !legal {
            error!(run, to = ?arrow.to, "a run may not take this way");
            return Err(Error::Closed { reason: "a run may not take this way".to_owned() });
        }
        self.record(Deed::Arrow { run: run.to_owned(), arrow: Box::new(arrow) }).await
    }

    async fn record(&self, deed: Deed) -> Result<(), Error> {
        #[cfg(test)]
        self.crash.point().await?;
        let event = Event::deed(&deed)?;
        self.journal.record(event).await?;
        #[cfg(test)]
        self.crash.point().await?;
        Ok(())
    }

    fn count(&self, decision: Decision, by: Option<&str>) {
        let word = match decision {
            Decision::Refused => "refused",
            Decision::Shadowed => "shadowed",
            Decision::Awaiting => "awaiting",
            Decision::Admitted => "admitted",
        };
        let reason = by.unwrap_or("none").to_owned();
        *self.live().decisions.entry((word, reason)).or_default() += 1;
    }

    fn look<T>(&self, read: impl FnOnce(&Register) -> T) -> T {
        self.journal.with(|shared| read(&shared.register))
    }

    fn now(&self) -> i64 {
        self.clock.now().0
    }

    fn live(&self) -> std::sync::MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn incident_of(transition: &Transition) -> Incident {
    let map = |labels: &model::metric::Labels| -> BTreeMap<String, String> {
        labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let labels = map(&transition.labels);
    let identity = (&transition.group, &labels, transition.active_at.0);
    Incident {
        id: runbook::hash_of(&identity)[..32].to_owned(),
        group: transition.group.clone(),
        rule: transition.rule.clone(),
        expr: transition.expr.clone(),
        labels,
        annotations: map(&transition.annotations),
        opened_ns: transition.at.0,
        resolved_ns: None,
        unknown: None,
        acknowledged_by: None,
        acknowledged_ns: None,
    }
}
