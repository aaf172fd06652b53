//! A job: its discoveries, and a loop for each target they find.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, PoisonError};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::discovery::{self, Update};
use super::relabel::LabelSet;
use super::state::TargetState;
use super::target::{self, Outcome, Target};
use super::watch::{Shared, Watch};

/// Updates of discoveries that wait; a discovery waits when there are more.
const UPDATES_MAX: usize = 8;

/// Runs until everything stops; then all its loops have ended.
pub(crate) async fn run(shared: Arc<Shared>) {
    let (updates, mut incoming) = mpsc::channel(UPDATES_MAX);
    let mut discoveries = JoinSet::new();
    let n = discovery::start(&shared, &mut discoveries, &updates);
    drop(updates);
    let mut pool =
        Running { shared: Arc::clone(&shared), loops: JoinSet::new(), running: HashMap::new() };
    let mut found = vec![Vec::new(); n];
    loop {
        tokio::select! {
            biased; // Stop wins, or a flood of updates would delay it.
            () = shared.ended.cancelled() => break,
            Some(_) = pool.loops.join_next() => {} // The loop of a target that is gone.
            update = incoming.recv() => {
                let Some(Update { discovery, targets }) = update else {
                    shared.ended.cancelled().await; // Nothing but static targets.
                    break;
                };
                found[discovery] = targets;
                while let Ok(Update { discovery, targets }) = incoming.try_recv() {
                    found[discovery] = targets;
                }
                pool.sync(&found);
            }
        }
    }
    if !shared.stop.is_cancelled() {
        pool.sync(&[]); // The job is gone: its series end, but for those another job goes on with.
    }
    while discoveries.join_next().await.is_some() {}
    while pool.loops.join_next().await.is_some() {}
}

struct Running {
    shared: Arc<Shared>,
    loops: JoinSet<()>,
    /// By what makes a target another one: its labels and what is asked how often.
    running: HashMap<u64, (Arc<TargetState>, CancellationToken)>,
}

impl Running {
    /// Begins loops for new targets and ends those of targets that are gone.
    fn sync(&mut self, found: &[Vec<LabelSet>]) {
        let job = &self.shared.pool.job;
        let (mut wanted, mut dropped) = (HashMap::new(), Vec::new());
        for own in found.iter().flatten() {
            match target::build(job, own) {
                Outcome::Active(target) => drop(wanted.entry(key(&target)).or_insert(target)),
                Outcome::Dropped(discovered, reason) => {
                    if let Some(reason) = reason {
                        let address = own.get("__address__").map_or("", String::as_str);
                        warn!(
                            job = job.job_name,
                            address, reason, "what was discovered is no target"
                        );
                    }
                    dropped.push(discovered);
                }
            }
        }
        let limit = job.target_limit.filter(|limit| *limit > 0 && wanted.len() > *limit);
        let refusal = limit.map(|limit| {
            format!("target_limit exceeded (number of targets: {}, limit: {limit})", wanted.len())
        });
        *self.shared.refusal.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
        self.running.retain(|key, (_, gone)| {
            let stays = wanted.contains_key(key);
            if !stays {
                gone.cancel();
            }
            stays
        });
        for (key, target) in wanted {
            let Entry::Vacant(vacant) = self.running.entry(key) else { continue };
            let state = TargetState::new(Arc::new(*target));
            let gone = CancellationToken::new();
            vacant.insert((Arc::clone(&state), gone.clone()));
            self.loops.spawn(Watch { shared: Arc::clone(&self.shared), state, gone }.run());
        }
        self.shared
            .pool
            .set(self.running.values().map(|(state, _)| Arc::clone(state)).collect(), dropped);
    }
}

fn key(target: &Target) -> u64 {
    let ms =
        |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let periods = [ms(target.interval), ms(target.timeout)];
    periods.iter().fold(target.hash(), |key, ms| (key ^ ms).wrapping_mul(0x0000_0100_0000_01b3))
}
