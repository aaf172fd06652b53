//! Pressure stall information: how long work waited for processor, memory, disks and interrupts.

use std::io;

use super::{Context, Pace, Source, share};
use crate::kernel::{KernelFile, Roots, text};
use crate::round::{Metric, Round, attr};

static STALL_TIME: Metric = Metric::counter(
    "system.pressure.linux.stall_time",
    "s",
    "Time in which some, or all, tasks waited for the resource.",
);
static STALL_RATIO: Metric = Metric::gauge(
    "system.pressure.linux.stall_ratio",
    "1",
    "Share of the window in which some, or all, tasks waited for the resource.",
);

const RESOURCES: [&str; 4] = ["cpu", "memory", "io", "irq"];
const WINDOWS: [(&[u8], &str); 3] = [(b"avg10=", "10s"), (b"avg60=", "60s"), (b"avg300=", "300s")];

/// Reads `pressure/*`; kernels without one of the files, or without all of them, are common.
pub(crate) struct Pressure([(&'static str, KernelFile); RESOURCES.len()]);

impl Pressure {
    pub(crate) fn new(roots: &Roots) -> Self {
        let path = |resource| roots.proc(&format!("pressure/{resource}"));
        Self(RESOURCES.map(|resource| (resource, KernelFile::new(path(resource)))))
    }
}

impl Source for Pressure {
    fn name(&self) -> &'static str {
        "pressure"
    }

    fn pace(&self) -> Pace {
        Pace::Base
    }

    fn sample(&mut self, context: &mut Context, round: &mut Round) -> io::Result<()> {
        let mut outcome = Err(io::ErrorKind::NotFound.into());
        for (resource, file) in &mut self.0 {
            match file.read(&mut context.buffer) {
                Ok(content) => {
                    text::lines(content).for_each(|line| record(resource, line, round));
                    outcome = Ok(());
                }
                Err(error) if outcome.is_err() => outcome = Err(error),
                Err(_) => {}
            }
        }
        outcome
    }
}

/// A line is `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, percent and microseconds.
fn record(resource: &'static str, line: &[u8], round: &mut Round) {
    let mut fields = text::fields(line);
    let kind = match fields.next() {
        Some(b"some") => "some",
        Some(b"full") => "full",
        _ => return,
    };
    let attributes =
        [attr("system.pressure.resource", resource), attr("system.pressure.type", kind)];
    for field in fields {
        if let Some(total) = field.strip_prefix(b"total=").and_then(text::number) {
            round.record(&STALL_TIME, attributes.clone(), total as f64 / 1e6);
        }
        for (prefix, window) in WINDOWS {
            if let Some(percent) = field.strip_prefix(prefix).and_then(text::decimal) {
                let [resource, kind] = attributes.clone();
                let attributes = [resource, kind, attr("system.pressure.window", window)];
                round.record(&STALL_RATIO, attributes, share(percent, 100.0));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::fixture::Fixture;

    #[test]
    fn absent_files_are_tolerated_as_long_as_one_is_there() {
        let fixture = Fixture::new(&[]);
        let error =
            fixture.try_sample(&mut Pressure::new(fixture.roots())).expect_err("none there");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        fixture.write(
            "proc/pressure/io",
            "some avg10=1.50 avg60=x avg300=0.25 total=2500000\nmore 1\n",
        );
        let round = fixture.sample(&mut Pressure::new(fixture.roots()));
        let some = ("system.pressure.type", "some");
        assert_eq!(round.value("system.pressure.linux.stall_time", &[some]), 2.5);
        let window = ("system.pressure.window", "10s");
        assert_eq!(round.value("system.pressure.linux.stall_ratio", &[some, window]), 0.015);
        assert_eq!(round.count("system.pressure.linux.stall_ratio"), 2);
    }
}
