//! The thread of a journal in PostgreSQL: it takes the lease or waits for it, follows what the holder adds, and adds while
//! it is the holder itself.

use std::sync::{Arc, Mutex};

use model::time::Clock;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

use super::record::Event;
use super::table::{Held, Refused, Rows, Table};
use super::{GROUP_MAX, Lease, Recorded, Request, Shared, answer, closed, lock};
use crate::register::Register;

/// Owner of the rows.
pub(super) struct Leader {
    pub(super) table: Table,
    pub(super) shared: Arc<Mutex<Shared>>,
    pub(super) clock: Arc<dyn Clock>,
    /// Rows from which the journal is rewritten.
    pub(super) rows_max: usize,
    /// Rows since the last time.
    pub(super) n_rows: usize,
}

impl Leader {
    /// Works until nobody can ask any more, and gives the lease back.
    pub(super) async fn run(
        mut self,
        mut queue: mpsc::Receiver<Request>,
        beat: std::time::Duration,
    ) {
        let mut beats = interval(beat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut group = Vec::with_capacity(GROUP_MAX);
        loop {
            tokio::select! {
                biased; // The lease goes first: without it nothing can be written anyway.
                _ = beats.tick() => self.beat().await,
                n = queue.recv_many(&mut group, GROUP_MAX) => {
                    if n == 0 {
                        break;
                    }
                    self.write(std::mem::take(&mut group)).await;
                }
            }
        }
        self.table.leave().await;
    }

    /// Takes the lease, keeps it, or follows its holder.
    async fn beat(&mut self) {
        let (had, until) = {
            let shared = lock(&self.shared);
            (shared.lease.map(|lease| lease.epoch), shared.lease.map(|lease| lease.until))
        };
        let held = match self.table.take().await {
            Ok(held) => held,
            // What was ours is ours until its time is over.
            Err(error) if until.is_some_and(|until| Instant::now() < until) => {
                warn!(error, "the lease on actions could not be kept, tried again");
                return;
            }
            Err(error) => return self.shut(error),
        };
        let Held::Ours(epoch) = held else {
            let Held::Theirs(holder) = held else { return };
            self.shut(format!("{holder} acts, this process stands by"));
            if let Err(error) = self.follow().await {
                warn!(error, "what the acting process records could not be read");
            }
            return;
        };
        if had != Some(epoch) {
            if let Err(error) = self.follow().await {
                self.table.leave().await;
                return self.shut(error);
            }
            info!(epoch, "this process acts");
        }
        let mut shared = lock(&self.shared);
        shared.lease = Some(Lease { epoch, until: self.table.until() });
        shared.closed = None;
    }

    /// Takes in what others have added, or we ourselves without knowing it.
    async fn follow(&mut self) -> Result<(), String> {
        let found = self.table.follow().await?;
        let mut shared = lock(&self.shared);
        for Rows { is_base, events } in found {
            if is_base {
                shared.register = Register::default();
                self.n_rows = 0;
            }
            self.n_rows += events.len();
            events.into_iter().for_each(|event| shared.apply(event));
        }
        Ok(())
    }

    /// Nothing is written from now on.
    fn shut(&mut self, reason: String) {
        self.table.forget();
        let mut shared = lock(&self.shared);
        if shared.lease.take().is_some() {
            warn!(%reason, "this process acts no longer");
        }
        shared.closed = Some(reason);
    }

    async fn write(&mut self, group: Vec<Request>) {
        let reason = lock(&self.shared).closed.clone();
        if let Some(reason) = reason {
            for request in group {
                answer(request.reply, Err(closed(reason.clone())));
            }
            return;
        }
        let now = self.clock.now();
        let events: Vec<&Event> = group.iter().map(|request| &request.event).collect();
        let added = self.table.add(now, &events).await;
        let refused = match added {
            Ok(()) => None,
            Err(Refused::Fenced) => Some("another process has taken over".to_owned()),
            // It may be there or not: the next lease begins with reading what is.
            Err(Refused::Doubt(error)) => Some(error),
        };
        if let Some(reason) = &refused {
            lock(&self.shared).stats.errors += 1;
            self.shut(reason.clone());
        }
        self.n_rows += group.len();
        for request in group {
            let result = match &refused {
                Some(reason) => Err(closed(reason.clone())),
                None => {
                    let mut shared = lock(&self.shared);
                    shared.stats.records += 1;
                    shared.apply(request.event);
                    Ok(Recorded::New)
                }
            };
            answer(request.reply, result);
        }
        if refused.is_none() && self.n_rows > self.rows_max {
            self.rewrite().await;
        }
    }

    /// Replaces the rows by those that are still wanted.
    async fn rewrite(&mut self) {
        let deeds = lock(&self.shared).register.deeds();
        let events: Vec<Event> =
            deeds.into_iter().map(|deed| Event::Deed(Box::new(deed))).collect();
        let all: Vec<&Event> = events.iter().collect();
        match self.table.replace(self.clock.now(), &all).await {
            Ok(()) => {
                self.n_rows = 0;
                lock(&self.shared).stats.rewrites += 1;
            }
            Err(Refused::Fenced) => self.shut("another process has taken over".to_owned()),
            Err(Refused::Doubt(error)) => self.shut(error),
        }
    }
}
