//! What the agent costs and what it lost, sent like any metric.

use std::io;
use std::sync::Arc;

use model::time::Timestamp;

use super::process::stat::Stat;
use super::{Context, Pace, Source};
use crate::kernel::{KernelFile, Roots};
use crate::ledger::{Account, Ledger};
use crate::round::{Metric, Round, attr};

static CPU_TIME: Metric = Metric::counter(
    "headrope.agent.cpu.time",
    "s",
    "Processor time of the process the agent runs in.",
);
static MEMORY: Metric = Metric::up_down(
    "headrope.agent.memory.usage",
    "By",
    "Resident memory of the process the agent runs in.",
);
static DROPPED: Metric =
    Metric::counter("headrope.agent.dropped", "{item}", "Samples that never reached the store.");
static BATCHES: Metric = Metric::counter(
    "headrope.agent.export.batches",
    "{batch}",
    "Batches the collector acknowledged.",
);
static BYTES: Metric =
    Metric::counter("headrope.agent.export.bytes", "By", "Bytes of acknowledged batches, as sent.");
static RETRIES: Metric =
    Metric::counter("headrope.agent.export.retries", "{request}", "Requests that were repeated.");
static ERRORS: Metric = Metric::counter(
    "headrope.agent.export.errors",
    "{request}",
    "Requests that failed, by reason.",
);
static DURATION: Metric = Metric::histogram(
    "headrope.agent.export.duration",
    "s",
    "Time a request to the collector took.",
);
static QUEUE: Metric =
    Metric::up_down("headrope.agent.queue.usage", "By", "Bytes that wait for the collector.");
static QUEUE_LIMIT: Metric =
    Metric::up_down("headrope.agent.queue.limit", "By", "Bytes that may wait for the collector.");
static MISSED: Metric = Metric::counter(
    "headrope.agent.rounds.missed",
    "{round}",
    "Rounds that were not taken because the host slept or the agent was not scheduled.",
);
static SOURCE_UP: Metric = Metric::up_down(
    "headrope.agent.source.up",
    "1",
    "1 when a source yields data; else the reason.",
);
static CAPABILITY: Metric = Metric::up_down(
    "headrope.agent.capability",
    "1",
    "Rights the agent could use, and whether they are missing.",
);

/// Reads the ledger and `self/stat`.
pub(crate) struct Own {
    stat: KernelFile,
    start: Timestamp,
    ledger: Arc<Ledger>,
    queue_bytes_max: usize,
    ticks_per_s: f64,
}

impl Own {
    pub(crate) fn new(roots: &Roots, start: Timestamp, ledger: Arc<Ledger>, queue: usize) -> Self {
        Self {
            stat: KernelFile::new(roots.proc("self/stat")),
            start,
            ledger,
            queue_bytes_max: queue,
            ticks_per_s: rustix::param::clock_ticks_per_second() as f64,
        }
    }
}

impl Source for Own {
    fn name(&self) -> &'static str {
        "agent"
    }

    fn pace(&self) -> Pace {
        Pace::Base
    }

    fn sample(&mut self, context: &mut Context, round: &mut Round) -> io::Result<()> {
        self.record(self.ledger.account(), round);
        let stat = Stat::parse(self.stat.read(&mut context.buffer)?)
            .ok_or_else(|| super::malformed("`self/stat` is not as expected"))?;
        for (mode, ticks) in [("user", stat.user_ticks), ("system", stat.system_ticks)] {
            let seconds = ticks as f64 / self.ticks_per_s;
            round.record_since(self.start, &CPU_TIME, [attr("cpu.mode", mode)], seconds);
        }
        round.record(&MEMORY, [], stat.resident_bytes());
        Ok(())
    }
}

impl Own {
    fn record(&self, account: Account, round: &mut Round) {
        let since = self.start;
        // A series that only appears with the first loss would hide it from `increase`.
        let reasons = account.dropped.iter().map(|(reason, count)| (*reason, *count));
        let first = (!account.dropped.contains_key("queue_full")).then_some(("queue_full", 0));
        for (reason, samples) in reasons.chain(first) {
            let attributes = [attr("signal", "metrics"), attr("reason", reason)];
            round.record_since(since, &DROPPED, attributes, samples);
        }
        for (reason, requests) in account.errors {
            round.record_since(since, &ERRORS, [attr("reason", reason)], requests);
        }
        round.record_since(since, &BATCHES, [], account.batches);
        round.record_since(since, &BYTES, [], account.bytes);
        round.record_since(since, &RETRIES, [], account.retries);
        round.record_since(since, &MISSED, [], account.missed);
        round.record_since(since, &DURATION, [], account.duration);
        round.record(&QUEUE, [], account.queue_bytes);
        round.record(&QUEUE_LIMIT, [], self.queue_bytes_max as u64);
        for (source, trouble) in account.sources {
            let attributes = [attr("source", source), attr("reason", trouble.unwrap_or("none"))];
            round.record(&SOURCE_UP, attributes, u64::from(trouble.is_none()));
        }
        for (capability, missing) in account.lacking {
            let state = if missing { "missing" } else { "present" };
            round.record(
                &CAPABILITY,
                [attr("capability", capability), attr("state", state)],
                1_u64,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::fixture::Fixture;

    #[test]
    fn losses_and_missing_rights_are_reported() {
        let fixture = Fixture::new(&[(
            "proc/self/stat",
            "1 (a) R 0 0 0 0 0 0 1 0 2 0 150 50 0 0 0 0 3 0 9 4096 2\n",
        )]);
        let ledger = Arc::clone(&fixture.ledger);
        ledger.dropped("rejected", 5);
        ledger.source("pressure", Some("absent"));
        ledger.lacks("CAP_SYS_PTRACE", true);
        let mut own = Own::new(fixture.roots(), Timestamp::from_s(50), ledger, 1000);
        let round = fixture.sample(&mut own);
        assert_eq!(round.value("headrope.agent.dropped", &[("reason", "rejected")]), 5.0);
        assert_eq!(round.value("headrope.agent.dropped", &[("reason", "queue_full")]), 0.0);
        assert_eq!(round.value("headrope.agent.source.up", &[("reason", "absent")]), 0.0);
        assert_eq!(round.value("headrope.agent.capability", &[("state", "missing")]), 1.0);
        assert_eq!(round.value("headrope.agent.cpu.time", &[("cpu.mode", "user")]), 1.5);
        assert!(round.value("headrope.agent.memory.usage", &[]) >= 8192.0);
    }
}
