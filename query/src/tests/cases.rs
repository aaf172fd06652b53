//! Runs the text cases in `tests/cases/sql`: rows to load, queries, and what must come of them.
//!
//! A file is a list of blocks apart by blank lines; `#` begins a comment line.
//! - `load`, then one row a line: `sample METRIC{k=v,...} KIND SERVICE@HOST START_S/STEP_S VALUES...`, the first value
//!   `START_S` seconds before noon of 2026-11-23; or `log S_AGO SERVICE SEVERITY "BODY" k=v...`.
//! - `eval`, then the query; then `expect` and the rows as JSON, one line each, or `fail` and a part of the message.
//!
//! Each file is run four times: rows in memory, flushed, the first half of the rows flushed, and compacted.

use std::path::{Path, PathBuf};

use model::metric::MetricKind;

use super::fixture::{Fixture, Log, ago_ms};

#[test]
fn every_case_holds_wherever_the_rows_are() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/sql");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "test"));
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        run(&text, &name);
    }
}

fn run(text: &str, name: &str) {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let blocks: Vec<&[&str]> =
        lines.split(|line| line.trim().is_empty()).filter(|block| !block.is_empty()).collect();
    let rows: Vec<&str> = blocks
        .iter()
        .filter(|block| block[0] == "load")
        .flat_map(|block| block[1..].iter().copied())
        .collect();
    let each: Vec<usize> = (1..=rows.len()).collect();
    for (place, flushed) in [
        ("in memory", &[][..]),
        ("half flushed", &[rows.len() / 2]),
        ("flushed", &[rows.len()]),
        ("compacted", &each),
    ] {
        let fixture = Fixture::new();
        for (i, row) in rows.iter().enumerate() {
            load(&fixture, row);
            if flushed.contains(&(i + 1)) {
                fixture.flush();
            }
        }
        if flushed.len() > 1 {
            fixture.compact();
        }
        for block in blocks.iter().filter(|block| block[0] == "eval") {
            eval(&fixture, &block[1..], &format!("{name}, {place}"));
        }
    }
}

fn load(fixture: &Fixture, row: &str) {
    let words = words(row);
    let text = |i: usize| words[i].as_str();
    match text(0) {
        "sample" => {
            let (metric, labels) = selector(text(1));
            let (service, host) = text(3).split_once('@').unwrap();
            let (start, step) = text(4).split_once('/').unwrap();
            let (start, step): (i64, i64) = (start.parse().unwrap(), step.parse().unwrap());
            let kind = match text(2) {
                "counter" => MetricKind::Counter,
                "gauge" => MetricKind::Gauge,
                other => panic!("{other}: no kind"),
            };
            let labels: Vec<(&str, &str)> =
                labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let resource = fixture.resource(service, host);
            let id = fixture.series(&metric, &labels, resource, kind);
            let samples: Vec<(i64, f64)> = (0..)
                .zip(&words[5..])
                .map(|(i, value)| (ago_ms(start - i * step), value.parse().unwrap()))
                .collect();
            fixture.samples(id, &samples);
        }
        "log" => {
            let attributes: Vec<(&str, &str)> =
                words[5..].iter().map(|word| word.split_once('=').unwrap()).collect();
            fixture.logs(&[Log {
                s_ago: text(1).parse().unwrap(),
                service: text(2),
                severity: text(3).parse().unwrap(),
                body: text(4),
                attributes: &attributes,
                trace: None,
            }]);
        }
        other => panic!("{other}: no kind of row"),
    }
}

/// Words apart by blanks; `"..."` is one word.
fn words(row: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for c in row.trim().chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words
}

/// `name{k=v,...}`
fn selector(text: &str) -> (String, Vec<(String, String)>) {
    let Some((name, rest)) = text.split_once('{') else {
        return (text.to_owned(), Vec::new());
    };
    let pairs = rest.trim_end_matches('}').split(',').filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap();
        (key.to_owned(), value.to_owned())
    };
    (name.to_owned(), pairs.map(pair).collect())
}

fn eval(fixture: &Fixture, block: &[&str], place: &str) {
    let end = block.iter().position(|line| *line == "expect" || line.starts_with("fail ")).unwrap();
    let query = block[..end].join("\n");
    match (fixture.sql(&query), block[end].strip_prefix("fail ")) {
        (Ok(answer), None) => {
            let expected = format!("[{}]", block[end + 1..].join(","));
            assert_eq!(answer.rows_json().unwrap(), expected, "{place}: {query}");
        }
        (Err(error), Some(part)) => {
            let told = format!("{error} {}", error.hint().unwrap_or_default());
            assert!(told.contains(part), "{place}: {query}\n{told}");
        }
        (Ok(answer), Some(part)) => {
            panic!("{place}: {query}\nno failure with {part}, but {}", answer.rows_json().unwrap())
        }
        (Err(error), None) => {
            panic!("{place}: {query}\n{error} {}", error.hint().unwrap_or_default())
        }
    }
}
