//! Files in the test language: those of the reference where they are at hand, and our own.

use std::path::Path;

use super::super::source::MemorySource;
use super::super::testlang;

/// Cases of the reference that pass, by file. Numbers may only grow.
const REFERENCE: [(&str, usize); 18] = [
    ("aggregators", 133),
    ("at_modifier", 63),
    ("duration_expression", 30),
    ("extended_vectors", 147),
    ("fill-modifier", 32),
    ("functions", 277),
    ("histograms", 182),
    ("info", 40),
    ("limit", 37),
    ("literals", 25),
    ("name_label_dropping", 29),
    ("native_histograms", 423),
    ("operators", 179),
    ("range_queries", 15),
    ("selectors", 23),
    ("start_timestamps", 18),
    ("subquery", 17),
    ("type_and_unit", 58),
];

#[test]
fn the_references_cases_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/promqltest");
    if !folder.is_dir() {
        println!("skipped: the reference's cases are not here");
        return;
    }
    for (name, passing) in REFERENCE {
        let file = format!("{name}.test");
        let text = std::fs::read_to_string(folder.join(&file)).expect("the file is listed");
        // All series in one stream; and each in its own, evaluated side by side.
        for source in [MemorySource::default(), MemorySource::in_streams_of(1)] {
            let report = testlang::run_over(source, &text, &file);
            let passed = report.passed;
            assert!(passed >= passing, "{passed} of {passing}: {:#?}", report.failures);
            assert_eq!(report.failures, [""; 0], "{file}");
        }
    }
}

#[test]
fn our_own_cases_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/promql");
    let mut n_files = 0;
    for entry in std::fs::read_dir(folder).expect("the folder is part of the repository") {
        let path = entry.expect("the folder can be read").path();
        if path.extension().is_some_and(|extension| extension == "test") {
            let text = std::fs::read_to_string(&path).expect("the file can be read");
            let report = testlang::run(&text, &path.display().to_string());
            assert_eq!(report.failures, [""; 0]);
            assert!(report.passed > 0);
            n_files += 1;
        }
    }
    assert!(n_files > 0);
}

#[test]
fn the_runner_sees_what_is_wrong() {
    let check = |text: &str, wanted: &str| {
        let report = testlang::run(text, "f");
        assert_eq!((report.passed, report.failed), (0, 1), "{text}");
        assert!(report.failures[0].contains(wanted), "{:?} lacks {wanted:?}", report.failures);
    };
    check("load 1m\n x 1\n\neval instant at 0m x\n x 2", "expected 2, got 1");
    check("load 1m\n x 1\n\neval instant at 0m x\n", "f:4");
    check("load 1m\n x 1\n\neval instant at 0m x\n x 1\n y 1", "missing");
    check("load 1m\n x 1 2\n\neval range from 0 to 1m step 1m x\n x 1", "more than expected");
    check("eval instant at 0m 1\n 2", "expected 2, got 1");
    check("eval instant at 0m vector(1)\n expect fail\n", "expected an error");
    check("eval instant at 0m 1 +\n", "unexpected end of input");
    check("eval instant at 0m vector(1)\n expect warn\n {} 1", "expected Any, got []");
    check("eval instant at 0m vector(1)\n expect warn\n expect no_warn\n {} 1", "both");
    check("bogus", "unknown command");
    check("load 1m\n x 1 2x\n", "repetition");
}
