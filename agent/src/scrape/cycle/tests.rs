//! What is taken in, what ends, and what undoes a scrape.

use model::metric::is_stale;

use super::*;

/// A target with jobs's YAML and its memory.
struct Case {
    job: Job,
    target: Labels,
    memory: Memory,
    now_ms: i64,
}

impl Case {
    fn new(job: &str) -> Self {
        let target = [("job", "j"), ("instance", "i")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        Self {
            job: serde_saphyr::from_str(job).unwrap_or_else(|error| panic!("{job}: {error}")),
            target: target.into_iter().collect(),
            memory: Memory::default(),
            now_ms: 0,
        }
    }

    /// Scrapes a second later; points as text, `job` and `instance` left out.
    fn scrape(&mut self, body: &str) -> Result<Vec<String>, String> {
        self.now_ms += 1000;
        let round =
            self.memory.take(&self.job, &self.target, (body.as_bytes(), Format::Text), self.now_ms);
        let round = round.map_err(|refusal| refusal.reason)?;
        Ok(round.points.iter().map(shown).collect())
    }
}

fn shown(point: &Point) -> String {
    let value = match &point.value {
        Value::Float(value) if is_stale(*value) => "stale".to_owned(),
        Value::Float(value) => value.to_string(),
        Value::Histogram(_) => "histogram".to_owned(),
    };
    let own = |(name, value): (&str, &str)| {
        (name != "__name__" && !matches!((name, value), ("job", "j") | ("instance", "i")))
            .then(|| format!("{name}={value}"))
    };
    let labels: Vec<_> = point.labels.iter().filter_map(own).collect();
    let name = point.labels.value("__name__").unwrap_or_default();
    format!("{name}{{{}}} {value} @{}", labels.join(","), point.at_ms)
}

fn ok(points: &[&str]) -> Result<Vec<String>, String> {
    Ok(points.iter().map(|point| (*point).to_owned()).collect())
}

#[test]
fn series_end_when_they_are_no_longer_exposed() {
    let mut case = Case::new("{job_name: j}");
    assert_eq!(case.scrape("a 1\nb 2\n"), ok(&["a{} 1 @1000", "b{} 2 @1000"]));
    assert_eq!(case.scrape("a 1\n"), ok(&["a{} 1 @2000", "b{} stale @2000"]));
    assert_eq!(case.scrape("a 1\n"), ok(&["a{} 1 @3000"]), "it ends once");
    let mut ends: Vec<_> = case.memory.end_all(4000).iter().map(shown).collect();
    ends.sort();
    assert_eq!(ends, ["a{} stale @4000"]);
    assert!(case.memory.end_all(5000).is_empty());
}

#[test]
fn a_fault_undoes_the_whole_scrape() {
    let mut case = Case::new("{job_name: j, sample_limit: 2}");
    assert_eq!(case.scrape("a 1\n"), ok(&["a{} 1 @1000"]));
    assert!(case.scrape("a 1\nc 1\nb one\n").unwrap_err().starts_with("line 3, column 3"));
    assert!(case.scrape("a 1\nc 1\nd 1\n").unwrap_err().starts_with("sample limit exceeded"));
    // Neither `c` nor `d` was there: nothing of them ends.
    let ends: Vec<_> = case.memory.end_all(9000).iter().map(shown).collect();
    assert_eq!(ends, ["a{} stale @9000"]);
}

#[test]
fn a_scrape_over_its_limit_is_counted_all_the_same() {
    let mut case = Case::new(
        "{job_name: j, sample_limit: 2, metric_relabel_configs: [{source_labels: [__name__], regex: x, action: drop}]}",
    );
    case.scrape("a 1\n").unwrap();
    let body = (&b"a 1\nx 1\nb 1\nc 1\nd 1\n"[..], Format::Text);
    let refusal = case.memory.take(&case.job, &case.target, body, 9000).unwrap_err();
    assert_eq!((refusal.scraped, refusal.kept, refusal.added), (5, 4, 1), "{}", refusal.reason);
    assert!(refusal.reason.contains("4 samples after relabelling, the limit is 2"));
    let failed = case.memory.take(&case.job, &case.target, (b"a one\n", Format::Text), 9500);
    assert_eq!(failed.unwrap_err().scraped, 0, "what cannot be read has no samples");
}

#[test]
fn times_of_the_target_are_honoured_and_its_series_do_not_end() {
    let mut case = Case::new("{job_name: j}");
    assert_eq!(case.scrape("a 1 500\n"), ok(&["a{} 1 @500"]));
    assert_eq!(case.scrape("b 1\n"), ok(&["b{} 1 @2000"]));
    let mut case = Case::new("{job_name: j, honor_timestamps: false}");
    assert_eq!(case.scrape("a 1 500\n"), ok(&["a{} 1 @1000"]));
    assert_eq!(case.scrape(""), ok(&["a{} stale @2000"]));
    let mut case = Case::new("{job_name: j, track_timestamps_staleness: true}");
    assert_eq!(case.scrape("a 1 500\n"), ok(&["a{} 1 @500"]));
    assert_eq!(case.scrape(""), ok(&["a{} stale @2000"]));
}

#[test]
fn clashing_labels_are_exported_or_honoured() {
    let mut case = Case::new("{job_name: j}");
    assert_eq!(
        case.scrape("a{job=\"x\",exported_job=\"y\"} 1\n"),
        ok(&["a{exported_exported_job=x,exported_job=y} 1 @1000"])
    );
    let mut case = Case::new("{job_name: j, honor_labels: true}");
    assert_eq!(
        case.scrape("a{job=\"x\"} 1\nb{job=\"\"} 2\n"),
        ok(&["a{job=x} 1 @1000", "b{} 2 @1000"])
    );
    // What is federated has an empty label where it has none: the target's is not put in its place.
    let body = (&b"b{job=\"\"} 2\nc 3\n"[..], Format::Text);
    let round = case.memory.take(&case.job, &case.target, body, 9000).unwrap();
    let jobs: Vec<_> = round.points.iter().map(|point| point.labels.value("job")).collect();
    assert_eq!(jobs[..2], [None, Some("j")]);
}

#[test]
fn relabelling_drops_and_joins_series_and_twins_are_left_out() {
    let mut case = Case::new(
        "{job_name: j, metric_relabel_configs: [{regex: drop, action: labeldrop}, {source_labels: [__name__], regex: b, action: drop}]}",
    );
    assert_eq!(
        case.scrape("a{drop=\"1\"} 1\na{drop=\"2\"} 2\nb 3\n"),
        ok(&["a{} 1 @1000"]),
        "the first stays"
    );
    assert_eq!(
        case.scrape("a 1 5\na 2 6\n"),
        ok(&["a{} 1 @5", "a{} 2 @6"]),
        "different times are no twins"
    );
    let round = case
        .memory
        .take(&case.job, &case.target, (b"a 1\na 1\nb 1\n", Format::Text), 9000)
        .unwrap();
    assert_eq!((round.scraped, round.kept, round.added, round.duplicates), (3, 2, 0, 1));
}

#[test]
fn limits_of_labels_and_missing_names_fail_the_scrape() {
    for (job, body, words) in [
        (
            "label_limit: 3",
            "a{b=\"1\"} 1\n",
            "label_limit exceeded: metric \"a\" has 4 labels, the limit is 3",
        ),
        (
            "label_name_length_limit: 8",
            "a{longlabel=\"1\"} 1\n",
            "label_name_length_limit exceeded: label \"longlabel\"",
        ),
        (
            "label_value_length_limit: 3",
            "a{b=\"1234\"} 1\n",
            "label_value_length_limit exceeded: the value of label \"b\"",
        ),
        (
            "metric_relabel_configs: [{regex: __name__, action: labeldrop}]",
            "a 1\n",
            "a sample has no metric name",
        ),
        ("metric_name_validation_scheme: legacy", "{\"a.b\"} 1\n", "invalid metric name"),
        ("honor_labels: false", "a{b=\"1\",b=\"2\"} 1\n", "label \"b\" is there twice"),
    ] {
        let error = Case::new(&format!("{{job_name: j, {job}}}")).scrape(body).unwrap_err();
        assert!(error.starts_with(words), "{error}");
    }
}

#[test]
fn an_exemplar_is_told_once() {
    let mut case = Case::new("{job_name: j}");
    let mut n = |exemplar: &str| {
        case.now_ms += 1000;
        let body = format!("# TYPE a counter\na_total 1{exemplar}\n# EOF\n");
        let round = case.memory.take(
            &case.job,
            &case.target,
            (body.as_bytes(), Format::OpenMetrics),
            case.now_ms,
        );
        round.unwrap().points[0].exemplars.len()
    };
    let found = [
        n(" # {t=\"1\"} 1"),
        n(" # {t=\"1\"} 1"),
        n(" # {t=\"2\"} 1"),
        n(""),
        n(" # {t=\"2\"} 1 5"),
    ];
    assert_eq!(found, [1, 0, 1, 0, 1]);
}

#[test]
fn of_several_exemplars_only_the_new_ones_are_told() {
    let mut case = Case::new("{job_name: j, scrape_native_histograms: true}");
    let mut told = |times: &[i32]| {
        case.now_ms += 1000;
        let body = histogram_with_exemplars(times);
        let body = (body.as_slice(), Format::Protobuf);
        let round = case.memory.take(&case.job, &case.target, body, case.now_ms).unwrap();
        round.points[0].exemplars.iter().map(|exemplar| exemplar.at_ms).collect::<Vec<_>>()
    };
    assert_eq!(told(&[1, 2]), [1, 2]);
    assert_eq!(told(&[1, 2]), [0_i64; 0]);
    assert_eq!(told(&[2, 4, 3]), [4, 3]);
}

/// A body of one native histogram with an exemplar at each time, ms after the epoch.
fn histogram_with_exemplars(times_ms: &[i32]) -> Vec<u8> {
    let exemplars: Vec<u8> = times_ms
        .iter()
        .flat_map(|ms| {
            let mut time = Vec::new();
            prost::encoding::int32::encode(2, &(ms * 1_000_000), &mut time);
            let mut exemplar = Vec::new();
            prost::encoding::double::encode(2, &f64::from(*ms), &mut exemplar);
            nested(16, &nested_after(&exemplar, 3, &time))
        })
        .collect();
    let mut histogram = Vec::new();
    prost::encoding::uint64::encode(1, &1, &mut histogram);
    prost::encoding::sint32::encode(5, &3, &mut histogram);
    prost::encoding::double::encode(6, &0.001, &mut histogram);
    prost::encoding::uint64::encode(7, &1, &mut histogram);
    histogram.extend(exemplars);
    let mut family = Vec::new();
    prost::encoding::string::encode(1, &"h".to_owned(), &mut family);
    prost::encoding::int32::encode(3, &4, &mut family);
    let family = nested_after(&family, 4, &nested(7, &histogram));
    let mut body = Vec::new();
    prost::encoding::encode_varint(family.len() as u64, &mut body);
    body.extend(family);
    body
}

fn nested(tag: u32, message: &[u8]) -> Vec<u8> {
    nested_after(&[], tag, message)
}

fn nested_after(before: &[u8], tag: u32, message: &[u8]) -> Vec<u8> {
    let mut out = before.to_vec();
    prost::encoding::bytes::encode(tag, &message.to_vec(), &mut out);
    out
}
