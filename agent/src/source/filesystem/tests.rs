//! Tests of the file system source, a hanging mount among them.

use std::path::Path;
use std::sync::{Condvar, Mutex};

use super::*;
use crate::source::fixture::Fixture;

const MOUNTS: &str = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:40 / /dead rw - nfs4 srv:/x rw\n\
    3 1 8:2 / /data rw - xfs /dev/sdb1 rw\n";
const MOUNTPOINT: &str = "system.filesystem.mountpoint";

const SPACE: Space =
    Space { total_bytes: 1000, free_bytes: 300, available_bytes: 250, inodes: 10, inodes_free: 4 };

static RELEASED: Mutex<bool> = Mutex::new(false);
static CHANGED: Condvar = Condvar::new();

fn hangs_on_dead(path: &Path) -> io::Result<Space> {
    if path.ends_with("dead") {
        let released = RELEASED.lock().expect("no panic");
        drop(CHANGED.wait_while(released, |released| !*released).expect("no panic"));
    }
    Ok(SPACE)
}

#[test]
fn a_mount_that_hangs_blocks_nobody_and_is_taken_up_again() {
    let fixture = Fixture::new(&[("proc/1/mountinfo", MOUNTS)]);
    let mut source = FileSystem::with(fixture.roots(), Prober::new(hangs_on_dead));
    let dead = [(MOUNTPOINT, "/dead")];
    for _ in 0..3 {
        let round = fixture.sample(&mut source);
        assert_eq!(round.count("system.filesystem.limit"), 2, "the others are not held up");
        assert_eq!(round.value("system.filesystem.linux.stuck", &dead), 1.0);
    }
    *RELEASED.lock().expect("no panic") = true;
    CHANGED.notify_all();
    // The worker answers at its own pace: rounds go on until it has.
    let answers = |round: &Round| round.value("system.filesystem.linux.stuck", &dead) == 0.0;
    let round = (0..1_000_000).map(|_| fixture.sample(&mut source)).find(answers);
    let round = round.expect("it answers in the end");
    assert_eq!(round.value("system.filesystem.limit", &dead), 1000.0);
}

#[test]
fn states_add_up_to_the_limit() {
    let fixture = Fixture::new(&[("proc/1/mountinfo", "1 0 8:1 / / ro - ext4 /dev/sda1 rw\n")]);
    let round = fixture.sample(&mut FileSystem::with(fixture.roots(), Prober::new(|_| Ok(SPACE))));
    let state =
        |metric, state| round.value(metric, &[(STATE, state), ("system.filesystem.mode", "ro")]);
    let usage = ["used", "free", "reserved"].map(|s| state("system.filesystem.usage", s));
    assert_eq!(usage, [700.0, 250.0, 50.0]);
    assert_eq!(state("system.filesystem.utilization", "used"), 0.7);
    assert_eq!(state("system.filesystem.inodes.usage", "used"), 6.0);
}

#[test]
fn a_refusal_and_an_empty_file_system_yield_no_row() {
    let fixture = Fixture::new(&[("proc/1/mountinfo", MOUNTS)]);
    let refuse: probe::Ask = |_| Err(io::ErrorKind::PermissionDenied.into());
    let nothing: probe::Ask = |_| Ok(Space::default());
    for ask in [refuse, nothing] {
        let round = fixture.sample(&mut FileSystem::with(fixture.roots(), Prober::new(ask)));
        assert!(round.points.is_empty());
    }
    fixture.write("proc/1/mountinfo", "nonsense\n");
    assert!(fixture.try_sample(&mut FileSystem::new(fixture.roots())).is_err());
}
