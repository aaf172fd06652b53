//! The shell: one task a group keeps its time, evaluates its rules, writes its state and hands transitions over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::time::{Clock, Timestamp};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::codec::Stored;
use crate::config::Config;
use crate::error::Error;
use crate::evaluate::Turn;
use crate::expand::Surroundings;
use crate::handover::{Handover, Outlets, Recorded, RecordedBatch};
use crate::interest::Interest;
use crate::live::Watch;
use crate::record::{alert_series, end_vanished};
use crate::restore::{Retired, probes, resume, retire, shift};
use crate::rule::{Group, Kind};
use crate::source::Evaluate;
use crate::state::{Instances, nanoseconds};
use crate::state_dir::StateDir;
use crate::status::{Health, Status};

/// How long one transition may wait to be accepted before the group goes on.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(10);
/// Most transitions of a group that may wait; beyond it the group is not evaluated, so that none is lost.
const OUTBOX_MAX: usize = 100_000;
/// Longest sleep before the clock is looked at again: it may be set at any time.
const SLEEP_MAX: Duration = Duration::from_secs(10);
/// How often the time of the last evaluation is written down although no alert changed.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// Least time between two evaluations of a group because data arrived.
const EVENT_GAP: Duration = Duration::from_millis(250);
/// And so many times as long as the last one took: evaluations because of data take this share of a core at most.
const EVENT_PAUSES: u32 = 4;

/// All rule groups at work.
pub struct Alerts {
    pub(crate) watches: Vec<Watch>,
    pub(crate) interest: Interest,
    retired: Vec<Retired>,
    source: Arc<dyn Evaluate>,
    clock: Arc<dyn Clock>,
    dir: Arc<StateDir>,
    config: Config,
    surroundings: Arc<Surroundings>,
    /// One permit an evaluation.
    permits: Semaphore,
    started_at: Timestamp,
}

impl Alerts {
    /// Sets up `groups` with the state that was stored for them. Reads files; nothing is evaluated before
    /// [`Alerts::run`].
    ///
    /// # Errors
    /// A setting that makes no sense, too many groups or the same one twice, or a state directory that cannot be read.
    /// A corrupt state file is no error: it is moved aside and told of.
    pub fn new(
        groups: Vec<Group>,
        source: Arc<dyn Evaluate>,
        clock: Arc<dyn Clock>,
        dir: StateDir,
        config: Config,
    ) -> Result<Arc<Self>, Error> {
        config.check()?;
        if groups.len() > config.groups_max {
            return Err(Error::Groups { got: groups.len(), limit: config.groups_max });
        }
        let now = clock.now();
        let stored = dir.read_all()?.into_iter();
        let mut stored: BTreeMap<(String, String), Stored> =
            stored.map(|s| ((s.file.clone(), s.group.clone()), s)).collect();
        let mut watches: Vec<Watch> = Vec::with_capacity(groups.len());
        for group in groups {
            let same = |w: &Watch| w.group.file == group.file && w.group.name == group.name;
            if watches.iter().any(same) {
                return Err(Error::Repeated { file: group.file, group: group.name });
            }
            let found = stored.remove(&(group.file.clone(), group.name.clone()));
            let live = resume(&group, found, now);
            watches.push(Watch::new(group, live));
        }
        let surroundings = Surroundings::new(&config.external_labels, &config.external_url);
        let interest = match config.event_driven {
            true => Interest::of(&watches.iter().map(|watch| &*watch.group).collect::<Vec<_>>()),
            false => Interest::default(),
        };
        Ok(Arc::new(Self {
            interest,
            watches,
            retired: stored.into_values().map(|stored| retire(stored, now)).collect(),
            source,
            clock,
            dir: Arc::new(dir),
            permits: Semaphore::new(config.evaluations_concurrent_max),
            surroundings: Arc::new(surroundings),
            config,
            started_at: now,
        }))
    }

    /// The groups it was set up with.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        self.watches.iter().map(|watch| (*watch.group).clone()).collect()
    }

    /// The objectives that some of the groups stand for.
    #[must_use]
    pub fn slos(&self) -> Vec<Arc<crate::slo::Slo>> {
        let mut slos: Vec<Arc<crate::slo::Slo>> = Vec::new();
        for slo in self.watches.iter().filter_map(|watch| watch.group.slo.as_ref()) {
            if slos.iter().all(|known| known.name != slo.name) {
                slos.push(Arc::clone(slo));
            }
        }
        slos
    }

    /// What all rules are doing.
    #[must_use]
    pub fn status(&self) -> Status {
        Status { groups: self.watches.iter().map(Watch::status).collect() }
    }

    /// Evaluates until `stop`; returns when every group has written its state.
    pub async fn run(self: Arc<Self>, outlets: Outlets, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        for i in 0..self.watches.len() {
            let (alerts, outlets, stop) = (Arc::clone(&self), outlets.clone(), stop.clone());
            tasks.spawn(async move { alerts.watch(i, outlets, stop).await });
        }
        let alerts = Arc::clone(&self);
        tasks.spawn(async move { alerts.tell_retired(outlets, stop).await });
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "the task of a rule group ended: its rules are no longer evaluated");
            }
        }
    }

    /// One group, slot after slot.
    async fn watch(&self, i: usize, outlets: Outlets, stop: CancellationToken) {
        let watch = &self.watches[i];
        let first = watch.slots.first(self.clock.now());
        let work = async {
            self.deliver(watch, &outlets).await;
            let mut slot = first;
            if watch.live().restored_from.is_none() {
                self.react_until(watch, &mut slot, &outlets).await;
            } else {
                self.wait_for(watch, &mut slot).await;
                self.bridge(watch, slot).await;
            }
            let mut written_at = slot;
            loop {
                watch.take_due(); // All rules are evaluated now.
                let all = (0..watch.group.rules.len()).collect();
                self.evaluate(watch, slot, (all, false), &outlets).await;
                let beat = slot.0.saturating_sub(written_at.0) >= nanoseconds(HEARTBEAT);
                if watch.live().dirty || (beat && watch.has_alerts()) {
                    self.persist(watch).await;
                    written_at = slot;
                }
                let (next, missed) = watch.slots.next(slot, self.clock.now());
                if missed > 0 {
                    let group = watch.group.name.as_str();
                    tracing::warn!(group, missed, "evaluations missed: the last one took too long");
                    watch.live().missed_total += missed;
                }
                slot = next;
                self.react_until(watch, &mut slot, &outlets).await;
            }
        };
        tokio::select! {
            biased;
            // Cancel-safe: an evaluation changes the state at once or not at all, and every change that matters to
            // others is on disk before it is told.
            () = stop.cancelled() => {}
            () = work => {}
        }
        if watch.live().dirty || watch.has_alerts() {
            self.persist(watch).await;
        }
    }

    /// Until the slot has come: evaluates rules for which data has arrived.
    async fn react_until(&self, watch: &Watch, slot: &mut Timestamp, outlets: &Outlets) {
        let mut not_before = Instant::now() + EVENT_GAP;
        loop {
            let arrived = async {
                tokio::time::sleep_until(not_before).await;
                watch.marked().await;
            };
            tokio::select! {
                biased; // Both are cancel-safe: they only wait, and what is marked stays marked.
                () = self.wait_for(watch, slot) => return,
                () = arrived => {}
            }
            let begun = Instant::now();
            let due = self.interest.with_followers(&watch.group, watch.take_due());
            let now = Timestamp::from_ms(self.clock.now().ms()); // Samples are stamped in whole milliseconds.
            self.evaluate(watch, now, (due, true), outlets).await;
            if watch.live().dirty {
                self.persist(watch).await;
            }
            let pause = begun.elapsed().saturating_mul(EVENT_PAUSES).max(EVENT_GAP);
            not_before = Instant::now() + pause;
        }
    }

    /// Sleeps until the slot has come; when the clock was set back beyond it, until the first slot from now.
    async fn wait_for(&self, watch: &Watch, slot: &mut Timestamp) {
        loop {
            let now = self.clock.now();
            let wait = slot.0.saturating_sub(now.0);
            if wait > 2 * watch.slots.interval_ns() {
                *slot = watch.slots.first(now);
                continue;
            }
            match u64::try_from(wait) {
                Ok(wait) if wait > 0 => sleep(Duration::from_nanos(wait).min(SLEEP_MAX)).await,
                _ => return,
            }
        }
    }

    fn turn(&self, watch: &Watch, rule: usize, (at, is_event): (Timestamp, bool)) -> Turn {
        let limit = watch.group.interval.min(self.config.evaluation_timeout_max);
        Turn {
            group: Arc::clone(&watch.group),
            rule,
            at,
            deadline: Instant::now() + limit,
            alerts_max: self.config.alerts_per_rule_max,
            surroundings: Arc::clone(&self.surroundings),
            inline: false,
            is_event,
        }
    }

    /// Rules of a group, in order: later ones see what earlier ones recorded. An event is an evaluation because data arrived.
    async fn evaluate(
        &self,
        watch: &Watch,
        at: Timestamp,
        (rules, is_event): (BTreeSet<usize>, bool),
        outlets: &Outlets,
    ) {
        let Ok(_permit) = self.permits.acquire().await else { return };
        let begun = Instant::now();
        self.deliver(watch, outlets).await;
        for rule in rules {
            let turn = self.turn(watch, rule, (at, is_event));
            let rule_begun = Instant::now();
            let outcome = self.evaluate_rule(watch, &turn, outlets).await;
            let mut live = watch.live();
            let rule_live = &mut live.rules[rule];
            rule_live.last_evaluation = Some(at);
            rule_live.evaluation_duration = rule_begun.elapsed();
            match outcome {
                Ok(n_results) => {
                    rule_live.health = Health::Ok;
                    rule_live.last_error.clear();
                    rule_live.n_results = n_results;
                }
                Err(error) => {
                    let (group, rule) = (watch.group.name.as_str(), &watch.group.rules[rule].name);
                    if rule_live.last_error != error {
                        tracing::warn!(group, rule, error, "rule evaluation failed");
                    }
                    rule_live.health = Health::Err;
                    rule_live.last_error = error;
                }
            }
        }
        let mut live = watch.live();
        if is_event {
            live.events_total += 1;
            return;
        }
        live.evaluated_at = Some(at);
        live.evaluations_total += 1;
        live.evaluation_duration = begun.elapsed();
    }

    /// How many results the rule had, or why it could not be evaluated.
    async fn evaluate_rule(
        &self,
        watch: &Watch,
        turn: &Turn,
        outlets: &Outlets,
    ) -> Result<usize, String> {
        if matches!(watch.group.rules[turn.rule].kind, Kind::Record) {
            let samples = turn.samples(&*self.source).await?;
            if samples.iter().any(|sample| sample.histogram.is_some()) {
                let text = "native histograms cannot be recorded yet: record their rate, count or quantile";
                return Err(text.to_owned());
            }
            let n_results = samples.len();
            self.record(watch, turn, samples, outlets).await?;
            return Ok(n_results);
        }
        let waiting = watch.live().outbox.len();
        if waiting >= OUTBOX_MAX {
            return Err(format!(
                "{waiting} transitions wait to be accepted: nothing new is evaluated"
            ));
        }
        let before = watch.live().rules[turn.rule].instances.clone();
        let grace =
            turn.at.0.saturating_sub(self.started_at.0) < nanoseconds(self.config.restore_grace);
        let hold_unseen_since = grace.then_some(self.started_at);
        let (step, is_missing) = turn.step(&*self.source, before, hold_unseen_since).await?;
        let n_results = step.instances.values().filter(|i| i.is_active()).count();
        let samples = alert_series(&step.instances, turn.data_time());
        let tells = !step.transitions.is_empty();
        let changed;
        {
            let mut live = watch.live();
            let rule_live = &mut live.rules[turn.rule];
            changed = differ(&rule_live.instances, &step.instances);
            rule_live.instances = step.instances;
            rule_live.no_data_since =
                is_missing.then(|| rule_live.no_data_since.unwrap_or(turn.at));
            live.outbox.extend(step.transitions);
            live.dirty |= changed || tells;
        }
        if tells {
            // Written before it is told: after a crash the same transitions are told again, under the same ids.
            self.persist(watch).await;
            self.deliver(watch, outlets).await;
        }
        if let Some(refused) = step.refused {
            watch.live().rules[turn.rule].written.clear(); // No end markers this time, as upstream.
            return Err(refused);
        }
        if changed || !turn.is_event {
            // Between slots the series of alerts go on as they are.
            self.record(watch, turn, samples, outlets).await?;
        }
        Ok(n_results)
    }

    /// Sends samples and end markers to the store and waits until they can be queried.
    async fn record(
        &self,
        watch: &Watch,
        turn: &Turn,
        mut samples: Vec<Recorded>,
        outlets: &Outlets,
    ) -> Result<(), String> {
        let written = {
            let live = watch.live();
            end_vanished(&mut samples, &live.rules[turn.rule].written, turn.data_time())
        };
        if samples.is_empty() {
            return Ok(());
        }
        let (stored, answer) = oneshot::channel();
        let store = async {
            let batch = RecordedBatch { samples, stored };
            outlets.recorded.send(batch).await.map_err(|_| "the store is shut down".to_owned())?;
            answer.await.map_err(|_| "the store gave no answer".to_owned())?
        };
        let outcome = tokio::time::timeout_at(turn.deadline, store).await;
        let outcome = outcome.unwrap_or_else(|_| Err("the store took too long".to_owned()));
        outcome.map_err(|error| format!("recorded samples were not stored: {error}"))?;
        watch.live().rules[turn.rule].written = written;
        Ok(())
    }

    /// Hands over what waits, oldest first, until one is not accepted.
    async fn deliver(&self, watch: &Watch, outlets: &Outlets) {
        let mut told = false;
        loop {
            let Some(transition) = watch.live().outbox.front().cloned() else { break };
            let id = transition.id;
            if !hand_over(transition, outlets).await {
                let group = watch.group.name.as_str();
                tracing::warn!(
                    group,
                    "a transition was not accepted and will be handed over again"
                );
                break;
            }
            let mut live = watch.live();
            live.outbox.retain(|waiting| waiting.id != id);
            live.dirty = true;
            told = true;
        }
        if told {
            self.persist(watch).await;
        }
    }

    async fn persist(&self, watch: &Watch) {
        watch.live().dirty = false;
        let (dir, stored) = (Arc::clone(&self.dir), watch.stored());
        let written = spawn_blocking(move || dir.write(&stored)).await;
        let error = match written {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        // Alerts go out all the same: a full disk is what they may be about.
        watch.live().dirty = true;
        let group = watch.group.name.as_str();
        tracing::error!(
            group,
            error,
            "alert state was not written: after a crash alerts may be told twice"
        );
    }

    /// Asks, for pending alerts that were restored, whether their condition held while the server was down.
    async fn bridge(&self, watch: &Watch, first: Timestamp) {
        let Some(from) = watch.live().restored_from else { return };
        let (instants, stretch_ns) = probes(from, first, watch.slots.interval_ns());
        for rule in 0..watch.group.rules.len() {
            if instants.is_empty() || !watch.has_pending(rule) {
                continue;
            }
            let mut seen = Vec::with_capacity(instants.len());
            for at in &instants {
                let turn = self.turn(watch, rule, (*at, false));
                // What cannot be asked counts as not seen.
                seen.push(
                    turn.labels_at(&*self.source, turn.data_time()).await.unwrap_or_default(),
                );
            }
            let mut live = watch.live();
            let shifted = shift(&mut live.rules[rule].instances, &seen, stretch_ns, first);
            live.dirty |= shifted;
        }
    }

    /// Tells the last transitions of groups that no longer exist, then forgets the groups.
    async fn tell_retired(&self, outlets: Outlets, stop: CancellationToken) {
        for Retired { stored } in &self.retired {
            for transition in &stored.outbox {
                let told = async {
                    while !hand_over(transition.clone(), &outlets).await {
                        sleep(ACCEPT_TIMEOUT).await;
                    }
                };
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return, // Its file is still there: told again at the next start.
                    () = told => {}
                }
            }
            let (dir, file, group) =
                (Arc::clone(&self.dir), stored.file.clone(), stored.group.clone());
            let removed = spawn_blocking(move || dir.remove(&file, &group)).await;
            if let Ok(Err(error)) = removed {
                tracing::warn!(%error, "the state of a removed rule group stays");
            }
        }
    }
}

/// Whether the receiver has made the transition durable.
async fn hand_over(transition: model::alert::Transition, outlets: &Outlets) -> bool {
    let (accepted, answer) = oneshot::channel();
    let exchange = async {
        outlets.handover.send(Handover { transition, accepted }).await.is_ok()
            && answer.await.is_ok()
    };
    timeout(ACCEPT_TIMEOUT, exchange).await.unwrap_or(false)
}

/// Whether anything durable is different: values and annotations are refreshed by every evaluation anyway.
fn differ(before: &Instances, after: &Instances) -> bool {
    before.len() != after.len()
        || before.iter().zip(after).any(|((a_labels, a), (b_labels, b))| {
            a_labels != b_labels
                || a.state != b.state
                || a.active_at != b.active_at
                || a.keep_firing_since != b.keep_firing_since
                || a.no_data_since != b.no_data_since
        })
}
