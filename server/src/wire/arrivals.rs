//! Data that arrives, to the rules that read it. The store notes what it takes in; here it is found out, once a series, which
//! rules read it.

use std::sync::Arc;
use std::time::Duration;

use alert::{Alerts, Arrival, Readers};
use anyhow::Result;
use model::id::SeriesId;
use store::schema::Table;
use store::{Arrived, Series, SeriesRef, Store};
use tokio_util::sync::CancellationToken;

use super::rules::Rules;

/// Between two looks at what arrived: many small batches cost no more than a few large ones.
const PAUSE: Duration = Duration::from_millis(10);

/// Nobody is known to read the series yet, or not to.
const UNKNOWN: u32 = 0;
/// Nobody reads the series.
const NOBODY: u32 = 1;

/// Who reads which series, as far as was found out. One entry a series of the process, 8 bytes each.
struct Known {
    alerts: Arc<Alerts>,
    /// By slot: which of the series that had the slot, and [`UNKNOWN`], [`NOBODY`] or 2 + the place of its readers.
    slots: Vec<(u32, u32)>,
    readers: Vec<Readers>,
    /// Readers of which data arrived, for the time of one look.
    due: Vec<bool>,
}

/// Until `stop`: tells rules of data they read.
pub(super) async fn run(
    rules: Arc<Rules>,
    store: Arc<Store>,
    stop: CancellationToken,
) -> Result<()> {
    let mut known = Known::new(rules.present());
    loop {
        let arrived = tokio::select! {
            biased; // Stop wins.
            () = stop.cancelled() => return Ok(()),
            arrived = store.arrived() => arrived,
        };
        let present = rules.present();
        if !Arc::ptr_eq(&present, &known.alerts) {
            known = Known::new(present);
        }
        known.tell(&arrived, &store);
        tokio::time::sleep(PAUSE).await;
    }
}

impl Known {
    fn new(alerts: Arc<Alerts>) -> Self {
        Self { alerts, slots: Vec::new(), readers: Vec::new(), due: Vec::new() }
    }

    fn tell(&mut self, arrived: &Arrived, store: &Store) {
        if arrived.is_cut {
            return self.alerts.data_arrived(&self.alerts.all_readers());
        }
        for at in &arrived.series {
            match self.entry(*at, store) {
                UNKNOWN | NOBODY => {}
                place => self.due[place as usize - 2] = true,
            }
        }
        for (due, readers) in self.due.iter_mut().zip(&self.readers) {
            if std::mem::take(due) {
                self.alerts.data_arrived(readers);
            }
        }
        let mut ids = arrived.histograms.clone();
        ids.sort_unstable();
        ids.dedup();
        for series in ids.into_iter().filter_map(|id| store.active_series(SeriesId(id))) {
            self.alerts.data_arrived(&self.readers_of(&series, true));
        }
        if arrived.tables.contains(&Table::Logs) {
            self.alerts.data_arrived(&self.alerts.readers_of_logs());
        }
        if arrived.tables.contains(&Table::Spans) {
            self.alerts.data_arrived(&self.alerts.readers_of_spans());
        }
    }

    /// What is known of a series, found out when nothing is.
    fn entry(&mut self, at: SeriesRef, store: &Store) -> u32 {
        let slot = at.slot() as usize;
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, (0, UNKNOWN));
        }
        let (generation, entry) = self.slots[slot];
        if entry != UNKNOWN && generation == at.generation() {
            return entry;
        }
        let Some(series) = store.series_at(at) else { return UNKNOWN };
        let readers = self.readers_of(&series, false);
        let entry = if readers.is_empty() { NOBODY } else { self.place(readers) };
        self.slots[slot] = (at.generation(), entry);
        entry
    }

    fn readers_of(&self, series: &Series, is_histogram: bool) -> Readers {
        let (name, labels) = (series.def.prom_name.as_str(), &series.def.prom_labels);
        self.alerts.readers(Arrival { name, labels, is_histogram })
    }

    /// Most series of a metric have the same readers: they are kept once.
    fn place(&mut self, readers: Readers) -> u32 {
        let found = self.readers.iter().position(|known| *known == readers);
        let place = found.unwrap_or_else(|| {
            self.readers.push(readers);
            self.due.push(false);
            self.readers.len() - 1
        });
        u32::try_from(place + 2).unwrap_or(NOBODY)
    }
}
