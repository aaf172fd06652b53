//! Bodies that are read, bodies that are refused with the place of the fault, and real ones byte for byte.

use proptest::prelude::*;

use super::*;

/// Series, values and times of a body, one a line; faults begin with `!`.
fn shown(body: &str, format: Format) -> Vec<String> {
    let exposition = match parse(body.as_bytes(), format, Wanted::default()) {
        Ok(exposition) => exposition,
        Err(fault) => return vec![format!("! {fault}")],
    };
    let line = |sample: &Sample<'_>| {
        let labels: Vec<_> = exposition
            .labels(sample)
            .iter()
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        let value = match &sample.value {
            Measured::Float(value) => value.to_string(),
            Measured::Histogram(histogram) => format!("{histogram:?}"),
        };
        let time = sample.at_ms.map(|ms| format!(" @{ms}")).unwrap_or_default();
        let start = if sample.start_ms == 0 {
            String::new()
        } else {
            format!(" since {}", sample.start_ms)
        };
        format!("{} {value}{time}{start}", labels.join(" "))
    };
    exposition.samples.iter().map(line).collect()
}

fn text(body: &str, expected: &[&str]) {
    assert_eq!(shown(body, Format::Text), expected, "{body}");
}

fn open_metrics(body: &str, expected: &[&str]) {
    assert_eq!(shown(body, Format::OpenMetrics), expected, "{body}");
}

#[test]
fn the_text_format_is_lenient_about_white_space() {
    text("a 1", &["__name__=\"a\" 1"]);
    text(
        "\n# just words\n#HELP none\n  a  { b = \"c\" , d=\"e\", }  2.5\t1700000000123 \n",
        &["__name__=\"a\" b=\"c\" d=\"e\" 2.5 @1700000000123"],
    );
    text("a{} NaN\nb +Inf -5\r\n", &["__name__=\"a\" NaN", "__name__=\"b\" inf @-5"]);
    text("a{b=\"x\\\\y\\\"z\\n\\q\"} 1\n", &["__name__=\"a\" b=\"x\\\\y\\\"z\\n\\\\q\" 1"]);
    text("", &[]);
}

#[test]
fn names_in_quotes_may_be_anything() {
    text("{\"my.metric\", \"a b\"=\"c\"} 1\n", &["__name__=\"my.metric\" a b=\"c\" 1"]);
    text("{\"my.metric\"} 1\n", &["__name__=\"my.metric\" 1"]);
    text("{a=\"b\", \"m\"} 1\n", &["__name__=\"m\" a=\"b\" 1"]);
    text("a{\"b\"} 1\n", &["! line 1, column 1: metric name already set"]);
    text("{\"a\", \"b\"} 1\n", &["! line 1, column 7: metric name already set"]);
    text("{a=\"b\"} 1\n", &["! line 1, column 1: the sample has no metric name"]);
}

#[test]
fn faults_of_text_name_their_place() {
    text("a 1\nb one\n", &["! line 2, column 3: \"one\" is no number, a value was expected"]);
    text("a 1 2 3\n", &["! line 1, column 7: \"3\" was not expected, the line should end"]);
    text("a{b=\"c\n", &["! line 1, column 5: the quoted text does not end on its line"]);
    text("a{b=c} 1\n", &["! line 1, column 5: a value in double quotes was expected"]);
    text(
        "a{b=\"c\" d=\"e\"} 1\n",
        &["! line 1, column 9: `,` or `}` was expected, not \"d=\\\"e\\\"} 1\""],
    );
    text("a{,} 1\n", &["! line 1, column 3: a name was expected, not \",} 1\""]);
    text("1a 1\n", &["! line 1, column 1: a name was expected, not \"1a 1\""]);
    text("# TYPE a rate\n", &["! line 1, column 10: invalid metric type \"rate\""]);
    text("a 0x1p3\n", &["! line 1, column 3: \"0x1p3\" is no number, a value was expected"]);
    let fault = parse(b"a 1\nb{c=\"\xff\"} 1\n", Format::Text, Wanted::default()).unwrap_err();
    assert_eq!(fault.to_string(), "line 2, column 6: this is no UTF-8");
}

#[test]
fn bounds_and_quantiles_are_canonical() {
    text(
        "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 1\n# TYPE s summary\ns{quantile=\"0.50\"} 1\n",
        &[
            "__name__=\"h_bucket\" le=\"1.0\" 1",
            "__name__=\"h_bucket\" le=\"+Inf\" 1",
            "__name__=\"s\" quantile=\"0.5\" 1",
        ],
    );
    // A label of a gauge is nobody's bound.
    text("# TYPE g gauge\ng{le=\"1\"} 1\n", &["__name__=\"g\" le=\"1\" 1"]);
}

#[test]
fn open_metrics_has_exemplars_units_starts_and_an_end() {
    let body = "# TYPE a_seconds counter\n# UNIT a_seconds seconds\n# HELP a_seconds say \\\"x\\\"\n\
        a_seconds_total{b=\"c\"} 1 # {trace_id=\"t\"} 0.5 1700000000.25\na_seconds_created{b=\"c\"} 1600000000.5\n# EOF\n";
    open_metrics(body, &["__name__=\"a_seconds_total\" b=\"c\" 1 since 1600000000500"]);
    let exposition = parse(body.as_bytes(), Format::OpenMetrics, Wanted::default()).unwrap();
    let meta = &exposition.families[0];
    assert_eq!((meta.help.as_str(), meta.unit.as_str()), ("say \"x\"", "seconds"));
    assert_eq!(exposition.samples[0].family, Some(0));
    let exemplar = &exposition.exemplars(&exposition.samples[0])[0];
    assert_eq!((exemplar.value, exemplar.at_ms), (0.5, Some(1_700_000_000_250)));
    assert_eq!(exemplar.labels[0].1, "t");
    open_metrics("a 1 1.5\n# EOF", &["__name__=\"a\" 1 @1500"]);
    open_metrics(
        "# TYPE a info\na_info{v=\"1\"} 1\n# TYPE s stateset\ns{s=\"x\"} 1\n# EOF\n",
        &["__name__=\"a_info\" v=\"1\" 1", "__name__=\"s\" s=\"x\" 1"],
    );
    // An exemplar where there can be none is left out, and nothing else.
    let gauge = parse(
        b"# TYPE g gauge\ng 1 # {a=\"b\"} 1\n# EOF\n",
        Format::OpenMetrics,
        Wanted::default(),
    )
    .unwrap();
    assert!(gauge.exemplars(&gauge.samples[0]).is_empty());
}

#[test]
fn open_metrics_is_strict() {
    open_metrics("a 1\n", &["! line 2, column 1: the body does not end with # EOF"]);
    open_metrics("# EOF\na 1\n", &["! line 2, column 1: there is more after # EOF"]);
    open_metrics("a  1\n# EOF\n", &["! line 1, column 4: one space was expected before the value"]);
    open_metrics("\na 1\n# EOF\n", &["! line 1, column 1: a name was expected, not \"\""]);
    open_metrics(
        "# words\n# EOF\n",
        &["! line 1, column 3: `# HELP`, `# TYPE`, `# UNIT` or `# EOF` was expected"],
    );
    open_metrics(
        "# UNIT a bytes\n# EOF\n",
        &["! line 1, column 10: unit \"bytes\" is not a suffix of metric \"a\""],
    );
    open_metrics(
        "# TYPE a counter\na_total 1 # b 1\n# EOF\n",
        &["! line 2, column 13: `{` was expected: an exemplar begins with its labels"],
    );
}

#[test]
fn classic_histograms_fold_into_one_sample() {
    let body = "# TYPE h histogram\nh_bucket{a=\"b\",le=\"1\"} 2\nh_bucket{a=\"b\",le=\"5\"} 3\nh_bucket{a=\"b\",le=\"+Inf\"} 7\n\
        h_sum{a=\"b\"} 12.5\nh_count{a=\"b\"} 7\ng 1\n";
    let fold = |classic_too| {
        let wanted = Wanted { fold_classic: true, classic_too, ..Wanted::default() };
        parse(body.as_bytes(), Format::Text, wanted).unwrap()
    };
    let folded = fold(false);
    assert_eq!(folded.samples.len(), 2, "the gauge and one histogram");
    let Measured::Histogram(histogram) = &folded.samples[1].value else { panic!("no histogram") };
    assert_eq!((histogram.schema, histogram.custom.as_slice()), (-53, &[1.0, 5.0][..]));
    assert_eq!(histogram.positive.deltas, [2, -1, 3]);
    assert_eq!((histogram.count, histogram.sum), (crate::remote_write::Count::Int(7), 12.5));
    assert_eq!(folded.labels(&folded.samples[1])[0].1, "h");
    assert_eq!(fold(true).samples.len(), 7);
    // Counts that fall are no histogram: they stay what they are.
    let broken = body.replace("} 3", "} 1");
    let wanted = Wanted { fold_classic: true, ..Wanted::default() };
    assert_eq!(parse(broken.as_bytes(), Format::Text, wanted).unwrap().samples.len(), 6);
}

/// Bodies of real targets, kept outside the repository; without them there is nothing to compare.
fn recorded(name: &str) -> Option<String> {
    let path = format!("{}/../../shared/prometheus/exposition/{name}", env!("CARGO_MANIFEST_DIR"));
    let read = std::fs::read_to_string(&path);
    read.inspect_err(|_| println!("skipped: {path} is not there")).ok()
}

/// Writes what was read in the form it was written.
fn written(exposition: &Exposition<'_>) -> String {
    let mut out = String::new();
    for sample in &exposition.samples {
        let labels = exposition.labels(sample);
        let mut pairs = Vec::new();
        for (name, value) in &labels[1..] {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            pairs.push(format!("{name}=\"{value}\""));
        }
        let braces =
            if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
        // Bounds and quantiles are brought into canonical form: their labels need not be those written.
        let canonical = labels.iter().any(|(name, _)| name == "le" || name == "quantile");
        assert!(canonical || sample.series == format!("{}{braces}", labels[0].1));
        let Measured::Float(value) = sample.value else { panic!("no float") };
        out.push_str(&format!("{} {}\n", sample.series, value.to_bits()));
    }
    out
}

/// The same of the text itself: every line that is no comment, its value as bits.
fn lines(body: &str, keep: impl Fn(&str) -> bool) -> String {
    let mut out = String::new();
    for line in body.lines().filter(|line| !line.starts_with('#') && !line.is_empty() && keep(line))
    {
        let line = line.split(" # ").next().unwrap();
        let end = line.rfind('}').map_or_else(|| line.find(' ').unwrap(), |i| i + 1);
        let value = line[end..].split_whitespace().next().unwrap();
        out.push_str(&format!("{} {}\n", &line[..end], float::read(value).unwrap().to_bits()));
    }
    out
}

#[test]
fn recorded_bodies_come_back_byte_for_byte() {
    for (name, format) in [
        ("alltypes.237mfs.prom.txt", Format::Text),
        ("alltypes.237mfs.nometa.prom.txt", Format::Text),
        ("alltypes.5mfs.om.txt", Format::OpenMetrics),
        ("1histogram.om.txt", Format::OpenMetrics),
    ] {
        let Some(body) = recorded(name) else { continue };
        let exposition = parse(body.as_bytes(), format, Wanted::default())
            .unwrap_or_else(|fault| panic!("{name}: {fault}"));
        let is_start = |line: &str| {
            line.split(['{', ' ']).next().is_some_and(|name| name.ends_with("_created"))
        };
        let expected = lines(&body, |line| format == Format::Text || !is_start(line));
        assert!(expected.lines().count() > 5, "{name}");
        assert_eq!(written(&exposition), expected, "{name}");
        let families = body.lines().filter(|line| line.starts_with("# TYPE")).count();
        assert_eq!(exposition.families.len(), families, "{name}");
    }
}

#[test]
fn recorded_exemplars_and_starts_are_found() {
    let Some(body) = recorded("alltypes.5mfs.om.txt") else { return };
    let exposition = parse(body.as_bytes(), Format::OpenMetrics, Wanted::default()).unwrap();
    let n: usize = exposition.samples.iter().map(|sample| exposition.exemplars(sample).len()).sum();
    assert_eq!(n, body.lines().filter(|line| line.contains(" # {")).count());
    let of =
        |name: &str| exposition.samples.iter().find(|s| exposition.labels(s)[0].1 == name).unwrap();
    assert_eq!(of("rpc_durations_histogram_seconds_bucket").start_ms, 1_726_839_813_016);
    assert_eq!(of("go_build_info").start_ms, 0);
}

#[test]
fn a_text_of_very_many_samples_is_refused_unless_it_is_allowed() {
    let body = "a 1\n".repeat(600_000);
    let fault = parse(body.as_bytes(), Format::Text, Wanted::default()).unwrap_err();
    assert!(fault.reason.starts_with("what is exposed takes more than 64 MiB"), "{fault}");
    let wanted = Wanted { parsed_bytes_max: 256 << 20, ..Wanted::default() };
    assert_eq!(parse(body.as_bytes(), Format::Text, wanted).unwrap().samples.len(), 600_000);
    let body = format!("a{{{}}} 1\n", "a=\"\",".repeat(10_001));
    let fault = parse(body.as_bytes(), Format::Text, Wanted::default()).unwrap_err();
    assert_eq!(fault.reason, "a sample has more than 10,000 labels");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        for format in [Format::Text, Format::OpenMetrics, Format::Protobuf] {
            let wanted = Wanted { native: true, classic_too: true, fold_classic: true, ..Wanted::default() };
            drop(parse(&body, format, wanted));
        }
    }

    #[test]
    fn no_text_of_the_right_letters_makes_it_panic(body in "[a{}=\"\\\\, #\n1.eE+-]{0,80}(# EOF)?") {
        for format in [Format::Text, Format::OpenMetrics] {
            drop(parse(body.as_bytes(), format, Wanted { fold_classic: true, ..Wanted::default() }));
        }
    }

    #[test]
    fn what_is_cut_anywhere_is_read_or_refused(at in 0_usize..300) {
        let body = "# HELP a b\n# TYPE a counter\na_total{b=\"c\\\"d\",e=\"ü\"} 1 1.5 # {x=\"y\"} 2 3\na_created{b=\"c\"} 1\n\
            # TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 1\nh_count 2\n# EOF\n".as_bytes();
        let cut = &body[..at.min(body.len())];
        drop(parse(cut, Format::OpenMetrics, Wanted { fold_classic: true, ..Wanted::default() }));
        drop(parse(cut, Format::Text, Wanted::default()));
    }
}
