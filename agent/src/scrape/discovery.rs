//! Where targets come from. Each discovery tells the pool its whole list whenever it changes.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::config::StaticGroup;
use super::relabel::LabelSet;
use super::watch::Shared;

/// All that one discovery knows now.
pub(crate) struct Update {
    /// Which of the pool's discoveries.
    pub discovery: usize,
    /// Labels of what was found, `__address__` among them.
    pub targets: Vec<LabelSet>,
}

/// Starts the discoveries of a pool; how many there are.
pub(crate) fn start(
    shared: &Arc<Shared>,
    tasks: &mut JoinSet<()>,
    updates: &mpsc::Sender<Update>,
) -> usize {
    let job = &shared.pool.job;
    let fixed = Update { discovery: 0, targets: of_groups(&job.static_configs) };
    let updates = updates.clone();
    tasks.spawn(async move {
        drop(updates.send(fixed).await); // A pool that stopped needs none.
    });
    1
}

/// The targets of groups, each with the labels of its group.
pub(crate) fn of_groups(groups: &[StaticGroup]) -> Vec<LabelSet> {
    let target = |group: &StaticGroup, address: &String| {
        let mut labels: LabelSet = group.labels.clone().unwrap_or_default();
        labels.insert("__address__".to_owned(), address.clone());
        labels
    };
    groups
        .iter()
        .flat_map(|group| group.targets.iter().map(move |address| target(group, address)))
        .collect()
}
