//! Processor time by mode, and the counters that stand beside it in `stat`.

use std::io;

use super::{Context, Pace, Source, malformed, share};
use crate::kernel::{KernelFile, Roots, text};
use crate::round::{Metric, Round, attr};

static TIME: Metric = Metric::counter("system.cpu.time", "s", "Processor time spent in each mode.");
static UTILIZATION: Metric = Metric::gauge(
    "system.cpu.utilization",
    "1",
    "Share of all processors' time spent in each mode since the round before.",
);
static LOGICAL: Metric =
    Metric::up_down("system.cpu.logical.count", "{cpu}", "Logical processors that are online.");
static SWITCHES: Metric =
    Metric::counter("system.cpu.linux.context_switches", "{switch}", "Context switches.");
static INTERRUPTS: Metric =
    Metric::counter("system.cpu.linux.interrupts", "{interrupt}", "Interrupts serviced.");
static SOFTIRQS: Metric = Metric::counter(
    "system.cpu.linux.softirqs",
    "{interrupt}",
    "Soft interrupts serviced, by type.",
);
static CREATED: Metric =
    Metric::counter("system.process.created", "{process}", "Processes and threads created.");

const MODES: [&str; 7] = ["user", "nice", "system", "idle", "iowait", "interrupt", "steal"];
/// As the kernel orders them.
const SOFTIRQ_TYPES: [&str; 10] =
    ["hi", "timer", "net_tx", "net_rx", "block", "irq_poll", "tasklet", "sched", "hrtimer", "rcu"];
/// A mode that falls by less than this many ticks is the kernel's rounding; by more, it was reset.
const WOBBLE_TICKS: u64 = 3_000;

/// Reads `stat`.
pub(crate) struct Cpu {
    stat: KernelFile,
    ticks_per_s: f64,
    /// Ticks by mode in the round before.
    before: Option<[u64; MODES.len()]>,
}

impl Cpu {
    pub(crate) fn new(roots: &Roots) -> Self {
        Self {
            stat: KernelFile::new(roots.proc("stat")),
            ticks_per_s: rustix::param::clock_ticks_per_second() as f64,
            before: None,
        }
    }
}

impl Source for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn pace(&self) -> Pace {
        Pace::Base
    }

    fn sample(&mut self, context: &mut Context, round: &mut Round) -> io::Result<()> {
        let content = self.stat.read(&mut context.buffer)?;
        let (mut total, mut logical) = (None, 0_u64);
        for line in text::lines(content) {
            let mut fields = text::fields(line);
            let Some(name) = fields.next() else { continue };
            let first = || text::fields(line).nth(1).and_then(text::number);
            match name {
                b"cpu" => total = modes(line),
                b"ctxt" => first().into_iter().for_each(|n| round.record(&SWITCHES, [], n)),
                b"intr" => first().into_iter().for_each(|n| round.record(&INTERRUPTS, [], n)),
                b"processes" => first().into_iter().for_each(|n| round.record(&CREATED, [], n)),
                b"softirq" => {
                    let counts = fields.skip(1).map_while(text::number);
                    for (kind, count) in SOFTIRQ_TYPES.into_iter().zip(counts) {
                        round.record(&SOFTIRQS, [attr("type", kind)], count);
                    }
                }
                name if name.starts_with(b"cpu") => logical += 1,
                _ => {}
            }
        }
        let total = total.ok_or_else(|| malformed("`stat` has no line of processor times"))?;
        round.record(&LOGICAL, [], logical);
        self.record(total, round);
        Ok(())
    }
}

impl Cpu {
    fn record(&mut self, total: [u64; MODES.len()], round: &mut Round) {
        let total = match self.before {
            Some(before) => monotonic(before, total),
            None => total,
        };
        for (mode, ticks) in MODES.into_iter().zip(total) {
            round.record(&TIME, [attr("cpu.mode", mode)], ticks as f64 / self.ticks_per_s);
        }
        if let Some(before) = self.before {
            let spent: Vec<u64> =
                total.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect();
            let all: u64 = spent.iter().sum();
            for (mode, ticks) in MODES.into_iter().zip(spent).filter(|_| all > 0) {
                round.record(
                    &UTILIZATION,
                    [attr("cpu.mode", mode)],
                    share(ticks as f64, all as f64),
                );
            }
        }
        self.before = Some(total);
    }
}

/// Ticks by mode of the line `cpu`: guest time taken out of user and nice, where the kernel counts it a second time;
/// soft interrupts folded into interrupt. Old kernels have fewer columns.
fn modes(line: &[u8]) -> Option<[u64; MODES.len()]> {
    let line = line.strip_prefix(b"cpu")?;
    let ([user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice], len) =
        text::numbers::<10>(line);
    (len >= 4).then(|| {
        let (user, nice) = (user.saturating_sub(guest), nice.saturating_sub(guest_nice));
        [user, nice, system, idle, iowait, irq.saturating_add(softirq), steal]
    })
}

/// The kernel lets idle, iowait and steal fall by a little; a reader would take that for a reset and count everything
/// since the boot anew. So a small step back is held; a large one is real, as after a processor was taken out.
fn monotonic(before: [u64; MODES.len()], mut now: [u64; MODES.len()]) -> [u64; MODES.len()] {
    for (now, before) in now.iter_mut().zip(before) {
        if *now < before && before - *now < WOBBLE_TICKS {
            *now = before;
        }
    }
    now
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::fixture::Fixture;

    const STAT: &str = "cpu  1000 200 300 4000 50 6 7 8 100 20\n\
        cpu0 500 100 150 2000 25 3 3 4 50 10\ncpu1 500 100 150 2000 25 3 4 4 50 10\n\
        intr 99 1 2 3\nctxt 12345\nbtime 1700000000\nprocesses 678\nsoftirq 55 1 2 3 4 5 6 7 8 9 10\n";

    #[test]
    fn guest_leaves_user_and_soft_interrupts_join_interrupt() {
        let fixture = Fixture::new(&[("proc/stat", STAT)]);
        let round = fixture.sample(&mut Cpu::new(fixture.roots()));
        let time = |mode| round.value("system.cpu.time", &[("cpu.mode", mode)]);
        assert_eq!(["user", "nice", "system", "interrupt"].map(time), [9.0, 1.8, 3.0, 0.13]);
        assert_eq!(["idle", "iowait", "steal"].map(time), [40.0, 0.5, 0.08]);
        assert_eq!(round.value("system.cpu.logical.count", &[]), 2.0);
        assert_eq!(round.value("system.cpu.linux.interrupts", &[]), 99.0);
        assert_eq!(round.value("system.cpu.linux.context_switches", &[]), 12345.0);
        assert_eq!(round.value("system.process.created", &[]), 678.0);
        assert_eq!(round.value("system.cpu.linux.softirqs", &[("type", "rcu")]), 10.0);
        assert_eq!(round.count("system.cpu.utilization"), 0, "nothing to compare with yet");
    }

    #[test]
    fn utilization_adds_up_and_a_small_step_back_is_held() {
        let fixture = Fixture::new(&[("proc/stat", "cpu 100 0 0 900 50 0 0 0 0 0\n")]);
        let mut cpu = Cpu::new(fixture.roots());
        fixture.sample(&mut cpu);
        fixture.write("proc/stat", "cpu 125 0 0 975 40 0 0 0 0 0\n");
        let round = fixture.sample(&mut cpu);
        let share = |mode| round.value("system.cpu.utilization", &[("cpu.mode", mode)]);
        assert_eq!(["user", "idle", "iowait"].map(share), [0.25, 0.75, 0.0]);
        assert_eq!(round.value("system.cpu.time", &[("cpu.mode", "iowait")]), 0.5);
        fixture.write("proc/stat", "cpu 126 0 0 976 99999 0 0 0 0 0\n");
        fixture.sample(&mut cpu);
        fixture.write("proc/stat", "cpu 127 0 0 977 3 0 0 0 0 0\n");
        let round = fixture.sample(&mut cpu);
        assert_eq!(round.value("system.cpu.time", &[("cpu.mode", "iowait")]), 0.03);
    }

    #[test]
    fn short_and_hostile_contents_are_errors() {
        for bad in ["", "cpu\n", "cpu 1 2 3\n", "cpu -1 x y z\n", "cpu0 1 2 3 4\n", "\u{0}\u{fffd}"]
        {
            let fixture = Fixture::new(&[("proc/stat", bad)]);
            let error = fixture.try_sample(&mut Cpu::new(fixture.roots())).expect_err(bad);
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bad:?}");
        }
        let old = Fixture::new(&[("proc/stat", "cpu 100 200 300 400\n")]);
        let round = old.sample(&mut Cpu::new(old.roots()));
        assert_eq!(round.value("system.cpu.time", &[("cpu.mode", "steal")]), 0.0);
    }
}
