//! Rules: files in, evaluation on a task, transitions to `action`, recorded series to the store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use action::{Actions, Notifier};
use alert::route::Held;
use alert::rule::Group;
use alert::{Alerts, Handover, Outlets, Recorded, RecordedBatch, StateDir, Status};
use anyhow::{Result, anyhow, bail};
use model::alert::{AlertState, Transition};
use model::metric::MetricKind;
use model::time::Clock;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::arrivals;
use super::notify::{Notify, Outbox};
use super::record::{Point, record};
use crate::config::Config;

/// Transitions on their way to the journal; a full channel makes evaluation wait.
const HANDOVERS_MAX: usize = 1_000;
/// Batches of recorded samples on their way to the store; likewise.
const RECORDED_MAX: usize = 1_000;
/// Between two comparisons of what fires with what the router holds.
const AGREE_EVERY: Duration = Duration::from_secs(60);

/// Reads every file of rules and of objectives the configuration names.
///
/// # Errors
/// When a file is missing or wrong, with its place.
pub fn groups(config: &Config) -> Result<Vec<Group>> {
    let mut files = Vec::new();
    for path in &config.alert.rules {
        files.extend(matching(path)?);
    }
    for path in &config.alert.slos {
        for file in matching(path)? {
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    let groups = alert::rule::load_all(&files, &config.alert.rule_options())
        .map_err(|problems| anyhow!("{problems}"))?;
    let mut places = BTreeMap::new();
    for slo in groups.iter().filter_map(|group| group.slo.as_ref()) {
        let place = (&slo.file, slo.position);
        if let Some((file, _)) = places.insert(&slo.name, place).filter(|before| *before != place) {
            bail!(
                "the SLO {:?} stands in {} and in {file}; rename one of them",
                slo.name,
                slo.file
            );
        }
    }
    Ok(groups)
}

/// The path itself, or every file a pattern stands for, sorted.
pub(super) fn matching(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.to_string_lossy().contains(['*', '?', '[']) {
        return Ok(vec![path.to_owned()]); // Whoever reads it says what is wrong with it.
    }
    let found = alert::rule::glob(path);
    if found.is_empty() {
        bail!("no rule file fits {}", path.display());
    }
    Ok(found)
}

/// What rules need to run.
pub(super) struct Parts {
    pub(super) groups: Vec<Group>,
    pub(super) config: alert::Config,
    pub(super) engine: Arc<query::Engine>,
    pub(super) notifier: Arc<Notifier>,
    pub(super) notify: Arc<Notify>,
    pub(super) actions: Arc<Actions>,
    pub(super) store: Arc<store::Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) dir: PathBuf,
    pub(super) stop: CancellationToken,
}

/// The rules at work, which may be exchanged.
pub struct Rules {
    present: RwLock<Arc<Alerts>>,
    source: Source,
    changes: mpsc::Sender<Change>,
}

/// What evaluation is made of besides the groups.
struct Source {
    engine: Arc<query::Engine>,
    clock: Arc<dyn Clock>,
    config: alert::Config,
    dir: PathBuf,
}

/// Groups to go on with, and where to tell how that went.
struct Change {
    groups: Vec<Group>,
    done: oneshot::Sender<Result<()>>,
}

impl Source {
    /// The rules of `groups` with the state that was stored for them. Blocks on the disk.
    fn alerts(&self, groups: Vec<Group>, config: alert::Config) -> Result<Arc<Alerts>> {
        let dir = StateDir::open(&self.dir)?;
        let (engine, clock) = (Arc::clone(&self.engine), Arc::clone(&self.clock));
        Ok(Alerts::new(groups, engine, clock, dir, config)?)
    }
}

impl Rules {
    fn new(groups: Vec<Group>, source: Source, changes: mpsc::Sender<Change>) -> Result<Arc<Self>> {
        let present = RwLock::new(source.alerts(groups, source.config.clone())?);
        Ok(Arc::new(Self { present, source, changes }))
    }

    /// How rules are evaluated.
    #[must_use]
    pub const fn config(&self) -> &alert::Config {
        &self.source.config
    }

    /// Objectives of service level.
    #[must_use]
    pub fn slos(&self) -> Vec<Arc<alert::slo::Slo>> {
        self.present().slos()
    }

    /// What all rules are doing.
    #[must_use]
    pub fn status(&self) -> Status {
        self.present().status()
    }

    /// Goes on with other groups; alerts of rules that stay keep their state.
    ///
    /// # Errors
    /// When there are too many groups or one twice: those before stay.
    pub(super) async fn follow(&self, groups: Vec<Group>) -> Result<()> {
        let (done, outcome) = oneshot::channel();
        let stopped = || anyhow!("rules are no longer evaluated");
        self.changes.send(Change { groups, done }).await.map_err(|_| stopped())?;
        outcome.await.map_err(|_| stopped())?
    }

    pub(super) fn present(&self) -> Arc<Alerts> {
        Arc::clone(&self.present.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Evaluates until `stop`, with other groups after each change.
    async fn run(
        self: Arc<Self>,
        mut changes: mpsc::Receiver<Change>,
        outlets: Outlets,
        stop: CancellationToken,
    ) {
        loop {
            let ending = stop.child_token();
            let evaluating = tokio::spawn(self.present().run(outlets.clone(), ending.clone()));
            let change = tokio::select! {
                biased; // Stop wins.
                () = stop.cancelled() => None,
                change = changes.recv() => change,
            };
            ending.cancel();
            drop(evaluating.await); // A panic was told by its hook. From here on all states are on the disk.
            let Some(Change { groups, done }) = change else { return };
            drop(done.send(self.exchange(groups).await)); // Err: nobody waits any more.
        }
    }

    async fn exchange(self: &Arc<Self>, groups: Vec<Group>) -> Result<()> {
        let before = self.present().groups();
        let own = Arc::clone(self);
        let resume = move || {
            // Nothing was missed meanwhile: what is not seen any more has ended.
            let restore_grace = Duration::ZERO;
            let config = alert::Config { restore_grace, ..own.source.config.clone() };
            match own.source.alerts(groups, config.clone()) {
                Ok(alerts) => (Ok(()), Ok(alerts)),
                Err(error) => (Err(error), own.source.alerts(before, config)),
            }
        };
        let (outcome, alerts) = tokio::task::spawn_blocking(resume).await?;
        *self.present.write().unwrap_or_else(PoisonError::into_inner) = alerts?;
        outcome
    }
}

/// Starts evaluation, journal and deliveries.
///
/// # Errors
/// When a setting makes no sense or the kept alert states cannot be read.
pub(super) fn start(tasks: &mut JoinSet<Result<()>>, parts: Parts) -> Result<Arc<Rules>> {
    let Parts { groups, config, engine, notifier, store, clock, dir, stop, notify, actions } =
        parts;
    let (handovers, handed) = mpsc::channel(HANDOVERS_MAX);
    let (recorded, to_store) = mpsc::channel(RECORDED_MAX);
    let (changes, changed) = mpsc::channel(1);
    let event_driven = config.event_driven;
    let rules = Rules::new(groups, Source { engine, clock, config, dir }, changes)?;
    let outlets = Outlets { handover: handovers, recorded };
    let evaluating = Arc::clone(&rules).run(changed, outlets, stop.clone());
    tasks.spawn(async move {
        evaluating.await;
        Ok(())
    });
    tasks.spawn(super::actions::run(Arc::clone(&actions), stop.clone()));
    let actions = Some(actions);
    let takers = Takers { notifier: Arc::clone(&notifier), notify: Arc::clone(&notify), actions };
    tasks.spawn(agree(Arc::clone(&rules), takers.clone(), stop.clone()));
    tasks.spawn(hand_over(handed, takers));
    let routing = Arc::clone(&notify.dispatcher)
        .run(Arc::new(Outbox(Arc::clone(&notify.channels))), stop.clone());
    tasks.spawn(async move {
        routing.await;
        Ok(())
    });
    if event_driven {
        tasks.spawn(arrivals::run(Arc::clone(&rules), Arc::clone(&store), stop.clone()));
    }
    tasks.spawn(keep(to_store, store));
    tasks.spawn(async move {
        notifier.run(stop).await;
        Ok(())
    });
    Ok(rules)
}

/// Who takes transitions over: signed webhooks, the router of notifications, and the engine of actions.
#[derive(Clone)]
pub(super) struct Takers {
    pub(super) notifier: Arc<Notifier>,
    pub(super) notify: Arc<Notify>,
    /// None where it is the engine that tells.
    pub(super) actions: Option<Arc<Actions>>,
}

impl Takers {
    /// Takes a transition into all journals; each knows one it has already.
    pub(super) async fn take(&self, transition: Transition) -> Result<()> {
        let url = self.link(&transition.rule);
        let routed = self.notify.dispatcher.take(&transition, url).await;
        routed.map_err(|refusal| anyhow!("{refusal:?}"))?;
        if let Some(actions) = &self.actions {
            actions.accept(&transition).await.map_err(|error| anyhow!("{error}"))?;
        }
        self.notifier.accept(transition).await.map_err(|error| anyhow!("{error}"))
    }

    /// Where the rule is shown.
    fn link(&self, rule: &str) -> String {
        let rule: String = form_urlencoded::byte_serialize(rule.as_bytes()).collect();
        format!("{}/alerts?rule={rule}", self.notify.external_url)
    }
}

/// Until evaluation ends: every transition into the journals, and only then the word that it is taken.
async fn hand_over(mut handed: mpsc::Receiver<Handover>, takers: Takers) -> Result<()> {
    while let Some(Handover { transition, accepted }) = handed.recv().await {
        match takers.take(transition).await {
            Ok(()) => drop(accepted.send(())), // Err: evaluation has ended meanwhile.
            // Not taken: `accepted` is dropped, the state stays as it was, and the next evaluation offers it again.
            Err(error) => {
                tracing::error!(%error, "a transition could not be journalled, it is offered again")
            }
        }
    }
    Ok(())
}

/// Now and then: texts of firing alerts as they are now, and whatever lost files made rules and router disagree about.
async fn agree(alerts: Arc<Rules>, takers: Takers, stop: CancellationToken) -> Result<()> {
    let mut ticks = tokio::time::interval(AGREE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.reset(); // What was handed over before a restart is still to come.
    loop {
        tokio::select! {
            biased; // Stop wins.
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let now = takers.notify.dispatcher.look(|_, now| now);
        let status = alerts.status();
        let rules = status.groups.iter().flat_map(|group| &group.rules);
        let firing = rules.flat_map(|rule| {
            let firing = rule.active.iter().filter(|one| one.state == AlertState::Firing);
            let url = takers.link(&rule.name);
            firing.map(move |one| Held {
                labels: one.labels.clone(),
                annotations: one.annotations.clone(),
                starts_at: one.fired_at.unwrap_or(one.active_at),
                ends_at: None,
                updated_at: now,
                timeout: false,
                generator_url: url.clone(),
            })
        });
        let calls = takers.actions.iter().flat_map(|actions| actions.calling());
        let calls = calls.map(|call| Held {
            generator_url: takers.link(&call.rule),
            labels: call.labels,
            annotations: call.annotations,
            starts_at: call.active_at,
            ends_at: None,
            updated_at: now,
            timeout: false,
        });
        if let Err(refusal) = takers.notify.dispatcher.agree(firing.chain(calls).collect()).await {
            tracing::warn!(?refusal, "texts of alerts were not refreshed");
        }
    }
}

/// Until evaluation ends: recorded samples into the store.
async fn keep(mut recorded: mpsc::Receiver<RecordedBatch>, store: Arc<store::Store>) -> Result<()> {
    while let Some(RecordedBatch { samples, stored }) = recorded.recv().await {
        let points: Vec<Point> = samples.into_iter().map(point).collect();
        let outcome = record(&store, &points).await.map_err(|error| error.to_string());
        drop(stored.send(outcome)); // Err: evaluation has given up waiting.
    }
    Ok(())
}

fn point(recorded: Recorded) -> Point {
    let Recorded { name, labels, value, at, .. } = recorded;
    Point { name, labels, kind: MetricKind::Gauge, at, start: None, value }
}
