//! Templates as text: what goes in, what comes out.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use crate::{Context, DEPTH_MAX, ErrorKind, OUTPUT_BYTES_MAX, Sample, Template, Value};

const VARIABLES: [&str; 3] = ["$labels", "$value", "$externalLabels"];

fn run(source: &str) -> Result<String, crate::Error> {
    let labels =
        Value::labels([("instance", "db1.example.org:9100"), ("job", "db"), ("esc", "<a&b>")]);
    let external = Value::labels([("region", "eu")]);
    let query = |expr: &str| match expr {
        "bad" => Err("could not parse".to_owned()),
        "none" => Ok(Vec::new()),
        _ => Ok(vec![
            Sample::new([("instance", "b"), ("__value__", "text")], 2.0),
            Sample::new([("instance", "a")], 1.5),
        ]),
    };
    let context = Context {
        data: Value::record(
            "rule data",
            [
                ("Labels", labels.clone()),
                ("ExternalLabels", external.clone()),
                ("ExternalURL", Value::text("https://headrope.example/x/")),
                ("Value", Value::Float(1234.5678)),
                ("List", Value::list(vec![Value::text("x"), Value::text("y"), Value::Int(3)])),
            ],
        ),
        variables: vec![labels, Value::Float(1234.5678), external],
        now_ns: 1_787_270_400_250_000_000,
        external_url: "https://headrope.example/x/",
        query: &query,
    };
    Template::parse("t", source, &VARIABLES)?.execute(&context)
}

#[expect(clippy::needless_pass_by_value, reason = "`expect![…]` reads best as the last argument")]
fn check(source: &str, expected: Expect) {
    expected.assert_eq(&run(source).unwrap_or_else(|error| error.to_string()));
}

/// Each line is `source -> output`, blanks at its end left out.
fn table(lines: &str) {
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (source, expected) = line.split_once(" -> ").expect("a line has an arrow");
        let got = run(source).unwrap_or_else(|error| error.to_string());
        assert_eq!(got.trim_end(), expected, "{source}");
    }
}

#[test]
fn text_actions_and_trim_markers() {
    check("plain", expect!["plain"]);
    check("a {{- /* gone */ -}} b", expect!["ab"]);
    check("a {{/* kept blanks */}} b", expect!["a  b"]);
    check("  {{- 1 -}}  {{ 2 }}\n{{- 3 }} ", expect!["123 "]);
    table(
        r#"
        {{ "x" }} -> x
        {{ -1 }} -> -1
        {{3 -}} x -> 3x
        {{ `raw\n` }} -> raw\n
        {{ "\u00e9\x41\101" }} -> éAA
        {{ 'a' }} -> 97
        {{ 0x1F }} {{ 1_000 }} {{ 1e3 }} {{ .5 }} -> 31 1000 1000 0.5
        {{ true }} {{ print nil }} -> true <nil>
        "#,
    );
}

#[test]
fn labels_values_and_fields() {
    table(
        r#"
        {{ $labels.job }} {{ .Labels.job }} {{ $.Labels.job }} -> db db db
        [{{ $labels.absent }}] -> []
        {{ $value }} {{ .Value }} -> 1234.5678 1234.5678
        {{ .ExternalLabels.region }} {{ $externalLabels.region }} -> eu eu
        {{ externalURL }} {{ pathPrefix }} -> https://headrope.example/x/ /x
        {{ (index (query "q") 0).Labels.instance }} -> b
        {{ .Labels }} -> map[esc:<a&b> instance:db1.example.org:9100 job:db]
        {{ .labels.job }} -> template: t:1:4: executing "t" at <.labels.job>: can't evaluate field labels in type rule data
        {{ .Value.x }} -> template: t:1:4: executing "t" at <.Value.x>: can't evaluate field x in type float64
        "#,
    );
}

#[test]
fn branches_loops_and_scopes() {
    table(
        r#"
        {{ if gt $value 1000.0 }}big{{ else }}small{{ end }} -> big
        {{ if eq $labels.job "web" }}w{{ else if eq $labels.job "db" "cache" }}d{{ else }}?{{ end }} -> d
        {{ range $i, $e := .List }}{{ $i }}={{ $e }};{{ end }} -> 0=x;1=y;2=3;
        {{ range .List }}<{{ . }}>{{ end }} -> <x><y><3>
        {{ range $k, $v := $externalLabels }}{{ $k }}/{{ $v }}{{ end }} -> region/eu
        {{ range query "none" }}x{{ else }}empty{{ end }} -> empty
        {{ range 3 }}{{ . }}{{ end }} -> 012
        {{ range $i := 10 }}{{ if eq $i 1 }}{{ continue }}{{ end }}{{ if eq $i 4 }}{{ break }}{{ end }}{{ $i }}{{ end }} -> 023
        {{ with $labels.job }}{{ . }}{{ end }}{{ with $labels.none }}x{{ else }}none{{ end }} -> dbnone
        {{ with $x := 5 }}{{ $x }}{{ . }}{{ end }} -> 55
        {{ with $labels.none }}a{{ else with $labels.job }}{{ . }}{{ end }} -> db
        {{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ $x }}{{ end }}{{ $x }} -> 21
        {{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }} -> 2
        {{ define "d" }}[{{ . }}]{{ end }}{{ template "d" $labels.job }}{{ template "d" }} -> [db][<no value>]
        {{ block "b" .Value }}<{{ . }}>{{ end }} -> <1234.5678>
        {{ define "l" }}{{ range . }}{{ .Value }} {{ end }}{{ end }}{{ template "l" (query "q") }} -> 2 1.5 
        "#,
    );
}

#[test]
fn pipelines_and_logic() {
    table(
        r#"
        {{ "a" | printf "%s-%s" "b" }} -> b-a
        {{ query "q" | first | value | humanize }} -> 2
        {{ query "q" | sortByLabel "instance" | first | label "instance" }} -> a
        {{ (query "q" | first).Value }} {{ query "q" | first | strvalue }} -> 2 text
        {{ with query "q" }}{{ . | first | label "instance" }}{{ end }} -> b
        {{ and 1 0 2 }} {{ or 0 "" "x" }} {{ not 0 }} {{ and true "last" }} -> 0 x true last
        {{ or 1 (index .List 99) }} -> 1
        {{ lt 1 2 }} {{ le 2 2 }} {{ gt 1 2 }} {{ ge 1 2 }} {{ ne 1 2 }} -> true true false false true
        {{ len .List }} {{ len "é" }} {{ index .List 1 }} {{ index .Labels "job" }} -> 3 2 y db
        {{ slice "abcdef" 1 3 }} {{ slice .List 1 }} -> bc [y 3]
        {{ html "<a href='x'>" }} {{ js "a'b" }} {{ urlquery "a b&c" }} -> &lt;a href=&#39;x&#39;&gt; a\'b a+b%26c
        {{ print 1 2 "x" 3 }} {{ println 1 "x" | printf "%q" }} -> 1 2x3 "1 x\n"
        {{ (args 1 "two").arg1 }} -> two
        "#,
    );
}

#[test]
fn printf_follows_go() {
    table(
        r#"
        {{ printf "%d|%5d|%-5d|%05d|%+d" 1 2 3 4 5 }} -> 1|    2|3    |00004|+5
        {{ printf "%x %X %#x %o %b %c %U" 255 255 255 8 5 65 8364 }} -> ff FF 0xff 10 101 A U+20AC
        {{ printf "%f|%.2f|%8.3f|%-8.1f|%08.2f" 1.0 2.345 3.14159 2.25 -1.5 }} -> 1.000000|2.35|   3.142|2.2     |-0001.50
        {{ printf "%e %E %.1e" 12345.678 0.00012 5.0 }} -> 1.234568e+04 1.200000E-04 5.0e+00
        {{ printf "%g %g %g %.3g %.3g" 1e21 1e-7 100000.0 1234.5 0.00001234 }} -> 1e+21 1e-07 100000 1.23e+03 1.23e-05
        {{ printf "%v %v %v %v" 1.0 1e6 "s" true }} -> 1 1e+06 s true
        {{ printf "%q %x %10s|%-4s|%.2s" "a\"b" "hi" "r" "l" "cut" }} -> "a\"b" 6869          r|l   |cu
        {{ printf "%t %T %T %T" true 1 1.5 "x" }} -> true int float64 string
        {{ printf "%d %s" "x" 1 }} -> %!d(string=x) %!s(int=1)
        {{ printf "%d" }} {{ printf "%z" 1 }} {{ printf "100%%" }} {{ printf "x%" }} -> %!d(MISSING) %!z(int=1) 100% x%!(NOVERB)
        {{ printf "a" 1 "b" }} -> a%!(EXTRA int=1, string=b)
        {{ printf "|%*d|%.*f" 4 7 1 2.55 }} -> |   7|2.5
        {{ printf "%v %d %s" .List .List .List }} -> [x y 3] [%!d(string=x) %!d(string=y) 3] [x y %!s(int=3)]
        {{ printf "%v %f %+v" nil 1 2.0 }} -> <nil> %!f(int=1) +2
        "#,
    );
}

#[test]
fn numbers_for_people() {
    table(
        r#"
        {{ humanize 0.0 }} {{ humanize 1234567.0 }} {{ humanize 0.00001234 }} {{ humanize -1500.0 }} -> 0 1.235M 12.34u -1.5k
        {{ humanize 999.9 }} {{ humanize 1e30 }} {{ "123456" | humanize }} {{ humanize 12 }} -> 999.9 1e+06Y 123.5k 12
        {{ humanize1024 1024.0 }} {{ humanize1024 1536000.0 }} {{ humanize1024 0.5 }} -> 1ki 1.465Mi 0.5
        {{ humanizeDuration 0.0 }} {{ humanizeDuration 59.123 }} {{ humanizeDuration 60 }} {{ humanizeDuration 90061.5 }} -> 0s 59.12s 1m 0s 1d 1h 1m 1s
        {{ humanizeDuration 3600.0 }} {{ humanizeDuration 0.0125 }} {{ humanizeDuration -90 }} -> 1h 0m 0s 12.5ms -1m 30s
        {{ humanizePercentage 0.12345 }} {{ humanizePercentage 1 }} -> 12.35% 100%
        {{ humanizeTimestamp 1787270400.25 }} -> 2026-08-21 00:00:00.25 +0000 UTC
        {{ humanize "+Inf" }} {{ humanize "NaN" }} {{ humanizeDuration "-Inf" }} -> +Inf NaN -Inf
        {{ humanize "x" }} -> template: t:1:4: executing "t" at <humanize "x">: error calling humanize: can't convert "x" to a number
        {{ parseDuration "1h30m" }} {{ parseDuration "-5m" }} {{ parseDurationTime "90s" }} -> 5400 -300 1m30s
        {{ toDuration 3661.5 }} {{ (toDuration 90.0).Minutes }} {{ toDuration 60 | humanizeDuration }} -> 1h1m1.5s 1.5 1m 0s
        {{ toTime 0 }} {{ (toTime 1787270400).Year }} {{ (toTime 1787270400).Format "Mon, 02 Jan 2006 3:04PM MST" }} -> 1970-01-01 00:00:00 +0000 UTC 2026 Fri, 21 Aug 2026 12:00AM UTC
        {{ printf "%.3f" now }} -> 1787270400.250
        "#,
    );
}

#[test]
fn text_functions() {
    table(
        r#"
        {{ toUpper "aé" }} {{ toLower "AÉ" }} {{ title "hello wORLD o'neil" }} -> AÉ aé Hello WORLD O'Neil
        {{ $labels.instance | stripPort }} {{ $labels.instance | stripDomain }} -> db1.example.org db1:9100
        {{ stripPort "[::1]:80" }} {{ stripPort "plain" }} {{ stripDomain "10.0.0.1:80" }} {{ stripDomain "a.b" }} -> ::1 plain 10.0.0.1:80 a
        {{ match "b1.e" $labels.instance }} {{ match "^x" "yx" }} -> true false
        {{ reReplaceAll "(\\w+)\\.(\\w+)" "$2-${1}$$" "a.b c.d" }} -> b-a$ d-c$
        {{ urlQueryEscape "a b/ü" }} {{ urlUnescape "a+b%2F" }} {{ trimSpace " x " }} -> a+b%2F%C3%BC a b/ x
        {{ graphLink "up == 0" }} {{ tableLink "up" }} -> /graph?g0.expr=up+%3D%3D+0&g0.tab=0 /graph?g0.expr=up&g0.tab=1
        {{ safeHtml "<b>" }} -> <b>
        "#,
    );
}

#[test]
fn faults_name_the_thing_and_where_it_is() {
    table(
        r#"
        {{ nosuch 1 }} -> template: t:1:4: function "nosuch" not defined
        {{ $undef }} -> template: t:1:4: undefined variable "$undef"
        {{ define "d" }}{{ $labels.job }}{{ end }} -> template: t:1:20: undefined variable "$labels"
        {{ -> template: t:1:1: unclosed action
        {{ }} -> template: t:1:4: missing value for command
        {{ if }}x{{ end }} -> template: t:1:7: missing value for if
        {{ end }} -> template: t:1:4: unexpected {{end}}
        {{ if true }} -> template: t:1:4: {{if}} without {{end}}
        {{ else }} -> template: t:1:4: unexpected {{else}}
        {{ "abc }} -> template: t:1:4: unterminated quoted string
        {{ /* x */ }} -> template: t:1:4: unexpected '/' in action
        {{/* x }} -> template: t:1:1: unclosed comment
        {{ 1 | 2 }} -> template: t:1:8: non executable command in pipeline stage 2
        {{ break }} -> template: t:1:4: {{break}} outside {{range}}
        {{ (1 }} -> template: t:1:7: unexpected "}}" in parenthesized pipeline
        {{ 1.2.3 }} -> template: t:1:4: bad number syntax: "1.2.3"
        {{ "a".b }} -> template: t:1:7: unexpected .b after term
        {{ $a, $b := 1 }} -> template: t:1:6: unexpected "," in declaration
        {{ len 1 2 }} -> template: t:1:4: executing "t" at <len 1 2>: wrong number of args for len: want 1 got 2
        {{ gt $value 1 }} -> template: t:1:4: executing "t" at <gt $value 1>: error calling gt: incompatible types for comparison: float64 and int
        {{ query "none" | first }} -> template: t:1:19: executing "t" at <first>: error calling first: first() called on vector with no elements
        {{ query "bad" }} -> template: t:1:4: executing "t" at <query "bad">: error calling query: could not parse
        {{ match "(" "x" | not }}x -> template: t:1:4: executing "t" at <match "(" "x">: error calling match: error parsing regexp: missing closing ): `(`
        {{ template "none" }} -> template: t:1:4: executing "t" at <template>: template "none" not defined
        {{ $labels.job 1 }} -> template: t:1:4: executing "t" at <$labels.job>: job has arguments but cannot be invoked as function
        {{ 1 2 }} -> template: t:1:4: executing "t" at <1>: can't give argument to non-function 1
        {{ index .List 9 }} -> template: t:1:4: executing "t" at <index .List 9>: error calling index: index out of range: 9
        {{ call 1 }} -> template: t:1:4: executing "t" at <call 1>: error calling call: non-function of type int
        {{ nil }} -> template: t:1:4: executing "t" at <nil>: nil is not a command
        {{ toUpper 1 }} -> template: t:1:4: executing "t" at <toUpper 1>: error calling toUpper: wrong type for value; expected string; got int
        "#,
    );
    check("a\nbé {{ $x }}", expect![[r#"template: t:2:7: undefined variable "$x""#]]);
}

#[test]
fn every_bound_holds() {
    let long = format!("{{{{ {} }}}}", "(".repeat(DEPTH_MAX + 1));
    let nested = "{{if true}}".repeat(DEPTH_MAX + 1);
    let doubling = "{{ $x := \"0123456789abcdef\" }}".to_owned()
        + &"{{ $x = printf \"%s%s\" $x $x }}".repeat(30);
    let shared = "{{ $x := args 1 }}".to_owned() + &"{{ $x = args $x $x }}".repeat(60) + "{{ $x }}";
    let deep = "{{ $x := args 1 }}".to_owned() + "{{ range 200 }}{{ $x = args $x }}{{ end }}";
    for source in [
        long.as_str(),
        &nested,
        &doubling,
        &shared,
        "{{ range 100000000 }}{{ end }}",
        "{{ define \"r\" }}{{ template \"r\" }}{{ end }}{{ template \"r\" }}",
        "{{ printf \"%1000000d%1000000d\" 1 1 }}",
        "{{ range 1000000 }}0123456789{{ end }}",
        &"x".repeat(64 * 1024 + 1),
    ] {
        let error = run(source).expect_err("a bound was hit");
        assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
    }
    assert!(run(&deep).is_err());
    let most = run("{{ printf \"%1000000d\" 1 }}").expect("within the bound");
    assert!(most.len() <= OUTPUT_BYTES_MAX);
}

#[test]
fn deep_templates_do_not_need_a_large_stack() {
    let mut source = "{{ 1 }}".to_owned();
    for _ in 0..DEPTH_MAX / 2 - 2 {
        source = format!("{{{{ if (eq 1 1) }}}}{source}{{{{ end }}}}");
    }
    let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
    let handle = thread.spawn(move || run(&source)).expect("a thread starts");
    assert_eq!(handle.join().expect("no overflow"), Ok("1".to_owned()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_source_panics(source in "(\\{\\{-? ?|-?\\}\\}| |\\(|\\)|\\||if|end|range|else|define|\\$x|:=|=|\\.a|\"s\"|printf|\"%[-+# 0]{0,3}[0-9]{0,3}[dsvqxfgeTc]\"|[0-9]{1,4}|[a-z]|é){0,40}") {
        let _outcome = run(&source);
    }

    #[test]
    fn floats_print_so_that_they_read_back(value in any::<f64>().prop_filter("finite", |v| v.is_finite())) {
        let text = crate::number::general(value, None);
        prop_assert_eq!(text.parse::<f64>().expect("a number").to_bits(), value.to_bits());
    }
}

#[test]
fn a_library_defines_templates_for_others() {
    use crate::Escape;
    let library = |source: &str| Template::parse("lib.tmpl", source, &[]).unwrap();
    let first = library(
        "{{ define \"a\" }}one {{ . }}{{ end }}{{ define \"b\" }}{{ template \"a\" . }}!{{ end }}",
    );
    let second = library(
        "{{ define \"a\" }}two {{ . }}{{ end }}{{ define \"bad\" }}\n {{ .Nope }}{{ end }}",
    );
    let alert = |status: &str| Value::record("template.Alert", [("Status", Value::text(status))]);
    let data = Value::record(
        "template.Data",
        [
            ("Labels", Value::pairs([("b", "2"), ("alertname", "Slow"), ("a", "<1>")])),
            ("Alerts", Value::list(vec![alert("firing"), alert("resolved"), alert("firing")])),
            ("At", Value::Time(1_000_000_000)),
        ],
    );
    let run = |source: &str, escape| {
        let template = Template::parse("t", source, &[]).unwrap();
        let context = Context {
            data: data.clone(),
            variables: Vec::new(),
            now_ns: 61_000_000_000,
            external_url: "",
            query: &|_| Err("none here".to_owned()),
        };
        let library = [first.clone(), second.clone()];
        template.execute_with(&library, &context, escape).unwrap_or_else(|error| error.to_string())
    };
    for (source, wanted) in [
        ("{{ template \"b\" 1 }}", "two 1!"),
        ("{{ define \"a\" }}own{{ end }}{{ template \"a\" }}", "own"),
        ("{{ .Labels.SortedPairs.Names | join \",\" }}", "alertname,a,b"),
        ("{{ (.Labels.Remove (stringSlice \"a\" \"b\")).Values }}", "[Slow]"),
        (
            "{{ range .Labels.SortedPairs }}{{ .Name }}={{ .Value }} {{ end }}",
            "alertname=Slow a=<1> b=2 ",
        ),
        ("{{ .Labels.missing }}|{{ .Labels.a }}", "|<1>"),
        ("{{ len .Alerts.Firing }} {{ .Alerts.Resolved | len }} {{ len .Alerts }}", "2 1 3"),
        ("{{ .At | date \"15:04:05\" }} {{ since .At | humanizeDuration }}", "00:00:01 1m 0s"),
        ("{{ toJson .Labels }}", "{\"a\":\"\\u003c1\\u003e\",\"alertname\":\"Slow\",\"b\":\"2\"}"),
        ("{{ (dict \"x\" (list 1 2)).x }} {{ append (list 1) 2 }}", "[1 2] [1 2]"),
    ] {
        assert_eq!(run(source, Escape::None), wanted, "{source}");
    }
    assert_eq!(run("<b>{{ .Labels.a }}{{ safeHtml \"<i>\" }}", Escape::Html), "<b>&lt;1&gt;<i>");
    let told = run("{{ template \"bad\" . }}", Escape::None);
    assert!(told.contains("template: lib.tmpl:2:"), "{told}");
    let told = run("{{ template \"nobody\" . }}", Escape::None);
    assert!(told.contains("template \"nobody\" not defined"), "{told}");
}
