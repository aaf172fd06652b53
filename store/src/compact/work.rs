//! One compaction at work: what it reads, what it writes, how much memory it holds. Runs on the blocking pool.

use std::sync::Arc;

use arrow::array::RecordBatch;
use tokio_util::sync::CancellationToken;

use crate::compact::due::Job;
use crate::compact::duplicates;
use crate::compact::merge::Merge;
use crate::compact::pace::Pace;
use crate::core::Core;
use crate::error::Error;
use crate::object::DurableLocal;
use crate::promote::{self, Counts, Promoted};
use crate::registry::Registry;
use crate::rollup::Rollup;
use crate::schema::Table;
use crate::segment::write::{Facts, Origin, Plan, SegmentWriter};

/// A path to write to, and what.
pub(crate) type Path = (Table, String);

/// One compaction.
pub(crate) struct Work {
    job: Job,
    registry: Arc<Registry>,
    output: Output,
    rollups: Vec<(Rollup, Output)>,
    pace: Pace,
    stop: CancellationToken,
}

/// What a compaction made.
pub(crate) struct Done {
    /// Of each table in key order.
    pub(crate) facts: Vec<Facts>,
    /// Most bytes of memory held at once.
    pub(crate) peak: u64,
}

impl Work {
    /// `job`, written to `paths` in turn.
    pub(crate) fn new(
        core: &Arc<Core>,
        job: Job,
        (origin, mut paths): (Origin, Vec<Path>),
        stop: CancellationToken,
    ) -> Self {
        let mut output = |plan: Plan| Output {
            objects: core.objects.clone(),
            origin: origin.clone(),
            paths: paths
                .extract_if(.., |path| path.0 == plan.table)
                .map(|path| path.1)
                .collect::<Vec<_>>()
                .into_iter(),
            plan,
            bytes_max: core.config.compact_segment_bytes,
            writer: None,
            facts: Vec::new(),
            promoted: Arc::from([]),
        };
        let rollups = job.rollups().into_iter().map(|resolution| {
            let plan = Plan { table: resolution.table(), ..job.plan.clone() };
            (Rollup::new(resolution, Arc::clone(&core.registry)), output(plan))
        });
        let rollups = rollups.collect();
        let output = output(job.plan.clone());
        let registry = Arc::clone(&core.registry);
        Self { job, registry, output, rollups, pace: Pace::new(core), stop }
    }

    /// Does it. What it wrote is durable when it returns.
    pub(crate) fn run(mut self) -> Result<Done, Error> {
        let Plan { table, window, .. } = self.job.plan;
        let losers = match table {
            Table::Spans => duplicates::losers(&self.job.runs)?,
            _ => Vec::new(),
        };
        if promote::is_promoting(table) {
            let mut counts = Counts::default();
            for file in self.job.files() {
                file.attribute_counts()?.iter().for_each(|text| counts.add_text(text));
            }
            self.output.promoted = counts.choose();
        }
        let mut merge = Merge::new((table, window), &self.job.runs, losers, &self.registry)?;
        let mut peak = 0;
        while let Some(batch) = merge.next()? {
            self.output.push(&batch)?;
            let mut held = merge.memory() + self.output.memory();
            for (rollup, output) in &mut self.rollups {
                if let Some(rows) = rollup.push(&batch)? {
                    output.push(&rows)?;
                }
                held += output.memory();
            }
            peak = peak.max(held);
            if self.stop.is_cancelled() {
                return Err(Error::Unavailable { reason: "the store stops".to_owned() });
            }
            self.pace.breathe();
        }
        let mut facts = self.output.finish()?;
        for (rollup, mut output) in self.rollups {
            // Without any rows it says that there are none.
            output.push(&rollup.finish()?)?;
            facts.extend(output.finish()?);
        }
        Ok(Done { facts, peak })
    }
}

/// Sorted rows on their way to files of bounded size.
struct Output {
    objects: DurableLocal,
    plan: Plan,
    origin: Origin,
    paths: std::vec::IntoIter<String>,
    /// Bytes from which the next file begins.
    bytes_max: u64,
    writer: Option<SegmentWriter>,
    facts: Vec<Facts>,
    /// Attributes with columns of their own.
    promoted: Arc<[Promoted]>,
}

impl Output {
    fn push(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let is_full = self.writer.as_ref().is_some_and(|writer| writer.bytes() >= self.bytes_max);
        // The last path takes whatever is left.
        if is_full && self.paths.len() > 0 {
            self.close()?;
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => {
                let path = self.paths.next().ok_or_else(|| Error::Unavailable {
                    reason: "a compaction has no path to write to".to_owned(),
                })?;
                let plan = self.plan.clone();
                let writer = SegmentWriter::create(&self.objects, plan, path, &self.origin)?;
                self.writer.insert(writer.with_promoted(Arc::clone(&self.promoted)))
            }
        };
        writer.write(batch)
    }

    fn close(&mut self) -> Result<(), Error> {
        if let Some(writer) = self.writer.take() {
            self.facts.push(writer.finish()?);
        }
        Ok(())
    }

    fn memory(&self) -> u64 {
        self.writer.as_ref().map_or(0, SegmentWriter::memory)
    }

    fn finish(mut self) -> Result<Vec<Facts>, Error> {
        self.close()?;
        Ok(self.facts)
    }
}
