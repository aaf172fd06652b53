//! Tests of the tick, and of all sources together on the real host.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::round::Kind;
use crate::source::fixture::Fixture;

const S: i64 = NS_PER_S;

#[test]
fn ticks_lie_on_the_grid_and_never_repeat() {
    let next = |now, last: Option<i64>| next_tick(Timestamp(now), last.map(Timestamp), S).0;
    assert_eq!(next(0, None), S);
    assert_eq!(next(S - 1, None), S);
    assert_eq!(next(S, Some(S)), 2 * S);
    assert_eq!(next(2 * S - 5, Some(2 * S)), 3 * S, "the timer fired early");
    assert_eq!(next(9 * S + 3, Some(2 * S)), 10 * S, "the host slept");
    assert_eq!(next(S / 2, Some(100 * S)), S, "the clock was set back");
    assert_eq!(missed(Timestamp(2 * S), Timestamp(10 * S), S), 7);
    assert_eq!(missed(Timestamp(2 * S), Timestamp(3 * S), S), 0);
    assert_eq!(missed(Timestamp(100 * S), Timestamp(S), S), 0);
}

#[test]
fn slower_sources_are_due_when_their_grid_is_crossed() {
    let five = Duration::from_secs(5);
    let due_at = |last: i64, tick: i64| due(Timestamp::from_s(last), Timestamp::from_s(tick), five);
    assert!(!due_at(10, 11) && !due_at(13, 14) && due_at(14, 15) && due_at(13, 16));
}

/// What follows `key` in a file of the real kernel.
fn kernel_field<T: std::str::FromStr>(path: &str, key: &str) -> T {
    let text = std::fs::read_to_string(path).expect("the kernel has it");
    let rest = text.split_once(key).expect(key).1;
    let field = rest.split_whitespace().next().and_then(|field| field.parse().ok());
    field.expect("a number")
}

#[test]
fn the_real_host_yields_plausible_values() {
    let (config, ledger) = (Config::default(), Arc::new(Ledger::new()));
    let roots = Roots::new(&config);
    let uptime: f64 = kernel_field("/proc/uptime", "");
    let now = Timestamp::from_s(kernel_field::<i64>("/proc/stat", "btime ") + 1_000_000);
    let mut sampler = Sampler::new(&config, &roots, now, Arc::clone(&ledger));
    sampler.everything(now);
    let round = sampler.everything(now);

    let total = kernel_field::<f64>("/proc/meminfo", "MemTotal:") * 1024.0;
    assert_eq!(round.value("system.memory.limit", &[]), total);
    let created: f64 = kernel_field("/proc/stat", "processes ");
    let ours = round.value("system.process.created", &[]);
    assert!(ours > 0.0 && ours <= created, "{ours} of {created}");
    let processors = round.value("system.cpu.logical.count", &[]);
    let idle = round.value("system.cpu.time", &[("cpu.mode", "idle")]);
    assert!(idle > 0.0 && idle <= (uptime + 60.0) * processors, "{idle} s idle of {uptime} s");
    let limit = round.value("system.filesystem.limit", &[("system.filesystem.mountpoint", "/")]);
    let stat = rustix::fs::statvfs(Path::new("/")).expect("a root");
    assert_eq!(limit, (stat.f_blocks * stat.f_frsize) as f64);
    assert!(round.count("process.count") >= 2, "we run, and there is `other`");
    assert!(round.value("headrope.agent.memory.usage", &[]) > 1e6);

    let account = ledger.account();
    for source in
        ["cpu", "load", "memory", "paging", "network", "protocols", "processes", "filesystem"]
    {
        assert_eq!(account.sources[source], None, "{source}");
    }
    assert_unique(&round);
}

/// No series twice in a round, every value finite, every sum with a start before its time.
fn assert_unique(round: &Round) {
    let mut seen = std::collections::BTreeSet::new();
    for point in &round.points {
        let attributes: Vec<_> = point.attributes.iter().map(|(k, v)| (*k, v.as_str())).collect();
        assert!(seen.insert((point.metric.name, attributes)), "twice: {point:?}");
        if point.metric.kind != Kind::Gauge {
            assert!(point.start <= round.at, "{point:?}");
        }
        if let crate::round::Value::Double(value) = point.value {
            assert!(value.is_finite(), "{point:?}");
        }
    }
}

#[test]
fn an_empty_tree_yields_states_instead_of_values() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = |name| dir.path().join(name);
    let (proc, sys, root) = (path("proc"), path("sys"), path("root"));
    let config = Config { proc, sys, root, ..Config::default() };
    let ledger = Arc::new(Ledger::new());
    let mut sampler =
        Sampler::new(&config, &Roots::new(&config), Timestamp::from_s(7), Arc::clone(&ledger));
    let round = sampler.everything(Timestamp::from_s(8));
    assert!(ledger.account().sources.values().all(|trouble| *trouble == Some("absent")));
    assert!(round.points.iter().all(|point| point.metric.name.starts_with("headrope.agent.")));
}

/// Wall-clock time that follows tokio's, paused or not.
fn clock() -> impl Clock {
    let begun = tokio::time::Instant::now();
    move || Timestamp(250_000_000 + i64::try_from(begun.elapsed().as_nanos()).expect("short"))
}

#[tokio::test(start_paused = true)]
async fn a_round_is_taken_at_every_full_interval_until_the_stop() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("loadavg"), "1 2 3\n").expect("written");
    let config = Config { proc: dir.path().into(), root: dir.path().into(), ..Config::default() };
    let ledger = Arc::new(Ledger::new());
    let queue = Queue::new(1 << 20, Arc::clone(&ledger));
    let (clock, stop) = (clock(), CancellationToken::new());
    let sampler = Sampler::new(&config, &Roots::new(&config), clock.now(), Arc::clone(&ledger));
    let encoder = Encoder::new(&[], crate::Compression::None);
    let times = async {
        let mut times = Vec::new();
        while times.len() < 4 {
            let batch = queue.next().await.expect("the queue stays open");
            times.push((batch.body.to_vec(), clock.now()));
            queue.done();
        }
        stop.cancel();
        times
    };
    let (outcome, times) = tokio::join!(run(sampler, encoder, &queue, &clock, &stop), times);
    outcome.expect("stopped as asked");
    for (second, (body, at)) in (1..).zip(times) {
        assert!((at.0 - second * S).abs() < S / 4, "round {second} came at {at}");
        // Fixed 64 bits, little endian: the tick itself is the time of the samples.
        let tick = (second * S).to_le_bytes();
        assert!(body.windows(8).any(|window| window == tick), "round {second}");
    }
    assert_eq!(ledger.account().missed, 0);
}

/// Files of this host and where a sampler with a fixture's roots looks for them.
const FILES: [(&str, &str); 20] = [
    ("stat", "stat"),
    ("loadavg", "loadavg"),
    ("uptime", "uptime"),
    ("meminfo", "meminfo"),
    ("vmstat", "vmstat"),
    ("swaps", "swaps"),
    ("schedstat", "schedstat"),
    ("diskstats", "diskstats"),
    ("pressure/cpu", "pressure/cpu"),
    ("pressure/io", "pressure/io"),
    ("sys/fs/file-nr", "sys/fs/file-nr"),
    ("net/dev", "1/net/dev"),
    ("net/snmp", "1/net/snmp"),
    ("net/netstat", "1/net/netstat"),
    ("net/sockstat", "1/net/sockstat"),
    ("net/tcp", "1/net/tcp"),
    ("self/mountinfo", "1/mountinfo"),
    ("self/stat", "1/stat"),
    ("self/io", "1/io"),
    ("self/stat", "self/stat"),
];

/// Replaces bytes at fractions of the length, then cuts.
fn damage(content: &mut Vec<u8>, flips: &[(f64, u8)], keep: f64) {
    let at = |share: f64, len: usize| (0..len).find(|i| *i as f64 >= share * len as f64);
    for (share, byte) in flips {
        if let Some(place) = at(*share, content.len()) {
            content[place] = *byte;
        }
    }
    if let Some(len) = at(keep, content.len()) {
        content.truncate(len);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn damaged_files_never_panic_nor_yield_nonsense(
        damages in prop::collection::vec(
            (prop::collection::vec((0.0..1.0, prop::sample::select(b"0919 :\n-(\xff".as_slice())), 0..40), 0.0..1.2),
            FILES.len()),
    ) {
        let fixture = Fixture::new(&[]);
        let dir = fixture.path("");
        for ((from, to), (flips, keep)) in FILES.iter().zip(&damages) {
            let Ok(mut content) = std::fs::read(Path::new("/proc").join(from)) else { continue };
            damage(&mut content, flips, *keep);
            let to = dir.join("proc").join(to);
            std::fs::create_dir_all(to.parent().expect("inside the fixture")).expect("created");
            std::fs::write(to, content).expect("written");
        }
        let config = Config { proc: dir.join("proc"), sys: dir.join("sys"), root: dir.join("root"), ..Config::default() };
        let ledger = Arc::new(Ledger::new());
        let mut sampler = Sampler::new(&config, fixture.roots(), Timestamp::from_s(7), ledger);
        for second in 8..10 {
            let round = sampler.everything(Timestamp::from_s(second));
            for point in &round.points {
                if let crate::round::Value::Double(value) = point.value {
                    prop_assert!(value.is_finite(), "{:?}", point);
                }
            }
            Encoder::new(&[], crate::Compression::None).encode(&round);
        }
    }
}
