//! Tests of the process scan on fixture trees.

use model::time::Timestamp;

use super::*;
use crate::source::fixture::Fixture;

fn stat(command: &str, start: u64, ticks: u64, pages: u64) -> String {
    format!("1 ({command}) S 0 0 0 0 0 64 1 0 2 0 {ticks} 0 0 0 0 0 3 0 {start} 4096 {pages}\n")
}

fn spawn(fixture: &Fixture, pid: u32, stat: &str, exe: &str) {
    fixture.write(&format!("proc/{pid}/stat"), stat);
    std::os::unix::fs::symlink(exe, fixture.path(&format!("proc/{pid}/exe"))).expect("linked");
}

fn cpu(round: &Round, name: &str) -> f64 {
    round.value("process.cpu.time", &[(NAME, name), ("cpu.mode", "user")])
}

#[test]
fn a_group_stays_monotonic_while_members_come_and_go() {
    let fixture = Fixture::new(&[("proc/meminfo", "")]);
    spawn(&fixture, 10, &stat("web", 100, 5_000, 7), "/usr/bin/web");
    spawn(&fixture, 11, &stat("web", 101, 3_000, 5), "/opt/web (deleted)");
    let mut processes = Processes::new(fixture.roots(), 5);
    let at = Timestamp::from_s;
    let round = fixture.sample_at(&mut processes, at(10));
    assert_eq!(cpu(&round, "web"), 0.0, "what ran before us is not ours to count");
    assert_eq!(round.value("process.count", &[(NAME, "web")]), 2.0);
    assert_eq!(round.value("process.thread.count", &[(NAME, "web")]), 6.0);

    fixture.write("proc/10/stat", &stat("web", 100, 5_100, 7));
    spawn(&fixture, 12, &stat("web", 102, 40, 1), "/usr/bin/web");
    assert_eq!(
        cpu(&fixture.sample_at(&mut processes, at(15)), "web"),
        1.4,
        "a new process counts whole"
    );

    fixture.remove("proc/10");
    fixture.remove("proc/11");
    assert_eq!(
        cpu(&fixture.sample_at(&mut processes, at(20)), "web"),
        1.4,
        "deaths take nothing away"
    );

    fixture.remove("proc/12");
    // Unlike the kernel's, a file that was removed here still answers: let the scan see that it is gone.
    fixture.sample_at(&mut processes, at(22));
    spawn(&fixture, 12, &stat("db", 300, 7, 1), "/usr/bin/db");
    let round = fixture.sample_at(&mut processes, at(25));
    assert_eq!(cpu(&round, "db"), 0.07, "same pid, other process");
    assert_eq!(round.count("process.count"), 2, "web is gone, db and other are left");
}

#[test]
fn a_process_that_was_overlooked_does_not_jump() {
    let fixture = Fixture::new(&[]);
    spawn(&fixture, 20, &stat("late", 900, 1, 1), "/bin/late");
    let mut processes = Processes::new(fixture.roots(), 5);
    fixture.sample(&mut processes);
    spawn(&fixture, 21, &stat("old", 5, 1_000_000, 1), "/bin/old");
    assert_eq!(cpu(&fixture.sample(&mut processes), "old"), 0.0);
}

#[test]
fn names_come_from_the_executable_then_the_arguments_then_the_kernel() {
    let fixture = Fixture::new(&[
        ("proc/30/stat", &stat("a-very-long-nam", 1, 1, 1)),
        ("proc/30/cmdline", "/usr/lib/a-very-long-name\0--token=x\0"),
        ("proc/31/stat", &stat("short", 1, 1, 1)),
        ("proc/31/cmdline", "something else"),
        ("proc/32/stat", "2 (kworker/0:1) I 0 0 0 0 0 2129984 0 0 0 0 9 9 0 0 0 0 1 0 1 0 0\n"),
        ("proc/33/stat", "cut off"),
        ("proc/not-a-pid/stat", "x"),
        ("proc/30/io", "rchar: 1\nread_bytes: 4096\nwrite_bytes: 8192\n"),
    ]);
    let mut processes = Processes::new(fixture.roots(), 5);
    let round = fixture.sample(&mut processes);
    for name in ["a-very-long-name", "short"] {
        assert_eq!(round.value("process.count", &[(NAME, name)]), 1.0, "{name}");
    }
    assert_eq!(
        round.value("process.count", &[(NAME, "other")]),
        1.0,
        "the kernel's thread did nothing yet"
    );
    assert_eq!(round.value("system.process.count", &[("process.state", "sleeping")]), 3.0);
    fixture.write("proc/30/io", "read_bytes: 5096\nwrite_bytes: 1\n");
    let round = fixture.sample(&mut processes);
    let io = |direction| {
        round.value("process.disk.io", &[(NAME, "a-very-long-name"), (DIRECTION, direction)])
    };
    assert_eq!((io("read"), io("write")), (1000.0, 0.0));
}

#[test]
fn the_tail_is_one_row() {
    let fixture = Fixture::new(&[]);
    for pid in 1..=30_u32 {
        spawn(&fixture, pid, &stat("x", 1, 0, u64::from(pid)), &format!("/bin/p{pid}"));
    }
    let round = fixture.sample(&mut Processes::new(fixture.roots(), 3));
    assert_eq!(round.count("process.count"), 4);
    assert_eq!(round.value("process.count", &[(NAME, "other")]), 27.0);
    assert_eq!(round.value("process.count", &[(NAME, "p30")]), 1.0);
}

#[test]
fn without_a_proc_there_is_no_data() {
    let fixture = Fixture::new(&[]);
    let error = fixture.try_sample(&mut Processes::new(fixture.roots(), 3)).expect_err("no proc");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_missing_right_is_a_state_and_held_rights_are_none() {
    let fixture = Fixture::new(&[("proc/40/stat", &stat("a", 1, 1, 1))]);
    let status =
        |bits: &str| fixture.write("proc/self/status", &format!("Name:\tx\nCapEff:\t{bits}\n"));
    status("0000000000000000");
    assert!(!capable(fixture.roots()));
    status("0000000000080000");
    assert!(capable(fixture.roots()));
    let mut context =
        Context { buffer: crate::kernel::Buffer::new(), ledger: Arc::clone(&fixture.ledger) };
    note_rights(&context, true);
    assert_eq!(context.ledger.account().lacking, [(CAPABILITY, true)].into());
    let mut processes = Processes::new(fixture.roots(), 3);
    let mut round = Round::new(Timestamp(1), Timestamp(0));
    processes.sample(&mut context, &mut round).expect("there is a process");
    assert_eq!(context.ledger.account().lacking, [(CAPABILITY, false)].into());
}
