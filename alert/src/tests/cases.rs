//! Runs `tests/cases/rules/*.test`: what a rule finds, how its alerts stand, and what is told.
//!
//! A case is a line `rule [for=D] [keep_firing_for=D] [limit=N]` and lines `TIME | FOUND | ALERTS | TOLD`. FOUND lists
//! the instances in the result, or says `error` when the query failed. ALERTS lists `instance:state`. TOLD lists
//! `+instance` for one that fires and `-instance` for one that is resolved. Lines that begin with `#` are comments.

use std::path::Path;
use std::time::Duration;

use model::alert::AlertState;
use model::metric::Labels;
use model::time::Timestamp;
use template::duration;

use crate::codec::{Stored, StoredRule, from_bytes, to_bytes};
use crate::state::{Absences, Found, Instances, Machine, Moment};

#[test]
fn every_case_runs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/rules");
    let mut n_cases = 0;
    for entry in std::fs::read_dir(folder).expect("the cases are there") {
        let path = entry.expect("a directory entry").path();
        if path.extension().is_some_and(|extension| extension == "test") {
            let text = std::fs::read_to_string(&path).expect("a readable case");
            run(&text, &path.display().to_string());
            n_cases += 1;
        }
    }
    assert!(n_cases > 0);
}

/// Runs the cases of one file, each also with a restart before every line.
fn run(text: &str, file: &str) {
    for restarts in [false, true] {
        let mut machine = Machine {
            group: "g",
            rule: "Alert",
            expr: "up == 0",
            hold: Duration::ZERO,
            keep_firing: Duration::ZERO,
            limit: 0,
        };
        let mut instances = Instances::new();
        for (i, line) in text.lines().enumerate() {
            let place = format!("{file}:{} restarts={restarts}", i + 1);
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(options) = line.strip_prefix("rule") {
                set_up(&mut machine, options);
                instances.clear();
                continue;
            }
            if restarts {
                instances = restarted(instances);
            }
            let columns: Vec<&str> = line.split('|').map(str::trim).collect();
            let [time, found, alerts, told] = columns[..] else { panic!("{place}: four columns") };
            let at = Timestamp::from_ms(duration::parse_ms(time).expect("a time"));
            let mut transitions = Vec::new();
            if found != "error" {
                let found = found.split_whitespace().map(found_instance).collect();
                let moment = Moment { at, hold_unseen_since: None };
                let step = machine
                    .step(&instances, found, (moment, &Absences::default()))
                    .expect("no instance twice");
                instances = step.instances;
                transitions = step.transitions;
            }
            assert_eq!(shown(&instances), alerts, "{place}");
            let sign = |state| if state == AlertState::Firing { '+' } else { '-' };
            let got: Vec<_> = transitions
                .iter()
                .map(|t| format!("{}{}", sign(t.state), name(&t.labels)))
                .collect();
            assert_eq!(got.join(" "), told, "{place}");
        }
    }
}

fn set_up(machine: &mut Machine<'_>, options: &str) {
    (machine.hold, machine.keep_firing, machine.limit) = (Duration::ZERO, Duration::ZERO, 0);
    for option in options.split_whitespace() {
        let (name, value) = option.split_once('=').expect("an option has a value");
        let length = || {
            let ms = duration::parse_ms(value).expect("a duration");
            Duration::from_millis(u64::try_from(ms).expect("not negative"))
        };
        match name {
            "for" => machine.hold = length(),
            "keep_firing_for" => machine.keep_firing = length(),
            "limit" => machine.limit = value.parse().expect("a number"),
            other => panic!("no option {other}"),
        }
    }
}

fn found_instance(word: &str) -> Found {
    let labels = [("alertname", "Alert"), ("instance", word)];
    let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Found { labels, annotations: Labels::default(), value: 1.0 }
}

fn name(labels: &Labels) -> &str {
    labels.value("instance").expect("every alert has an instance")
}

fn shown(instances: &Instances) -> String {
    let words = instances.iter().map(|(l, i)| format!("{}:{}", name(l), i.state.word()));
    words.collect::<Vec<_>>().join(" ")
}

/// What a restart makes of a rule's alerts.
fn restarted(instances: Instances) -> Instances {
    let rule = StoredRule { instances, ..StoredRule::default() };
    let stored = Stored { rules: vec![rule], ..Stored::default() };
    let mut read = from_bytes(&to_bytes(&stored).expect("it encodes")).expect("it decodes");
    read.rules.remove(0).instances
}
