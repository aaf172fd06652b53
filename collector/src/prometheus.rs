//! OTLP names and attributes as Prometheus ones, by the strategy that is configured. Called once for each new series.

use model::metric::{Labels, MetricKind, Temporality};

use crate::translation::TranslationStrategy;

const UNIT_WORDS: [(&str, &str); 33] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("kBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("B", "bytes"),
    ("KB", "kilobytes"),
    ("MB", "megabytes"),
    ("GB", "gigabytes"),
    ("TB", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("%", "percent"),
    ("1", ""),
    ("", ""),
];

const PER_UNIT_WORDS: [(&str, &str); 7] = [
    ("s", "second"),
    ("m", "minute"),
    ("h", "hour"),
    ("d", "day"),
    ("w", "week"),
    ("mo", "month"),
    ("y", "year"),
];

/// The Prometheus name of a metric; empty when nothing of `name` is left.
pub(crate) fn metric_name(
    strategy: TranslationStrategy,
    (name, unit): (&str, &str),
    kind: MetricKind,
) -> String {
    match (strategy.escapes(), strategy.has_suffixes()) {
        (true, true) => escaped_with_words(name, unit, kind),
        (true, false) => {
            let separates = |c: char| !c.is_ascii_alphanumeric() && c != ':' && c != '_';
            let parts: Vec<&str> = name.split(separates).filter(|part| !part.is_empty()).collect();
            not_digit_first(parts.join("_"))
        }
        (false, true) => with_words(name, unit, kind),
        (false, false) => name.to_owned(),
    }
}

/// The name as it is, then the words for unit and kind that it does not end in; those it ends in keep that order.
fn with_words(name: &str, unit: &str, kind: MetricKind) -> String {
    let (main, per) = unit_words(unit);
    let per = per.map(|per| format!("per_{per}")).unwrap_or_default();
    let ratio = if kind == MetricKind::Gauge && unit == "1" { "ratio" } else { "" };
    let total = if kind == MetricKind::Counter { "total" } else { "" };
    let mut rest = name;
    for word in [total, ratio, per.as_str(), main] {
        // With the character that parts it from the rest, of which something must be left.
        let shorter = rest.strip_suffix(word).filter(|_| !word.is_empty());
        let mut shorter = shorter.unwrap_or_default().chars();
        if shorter.next_back().is_some() && !shorter.as_str().is_empty() {
            rest = shorter.as_str();
        }
    }
    let mut out = rest.to_owned();
    for word in [main, per.as_str(), ratio, total].into_iter().filter(|word| !word.is_empty()) {
        out.push('_');
        out.push_str(word);
    }
    out
}

fn escaped_with_words(name: &str, unit: &str, kind: MetricKind) -> String {
    let mut tokens = tokens(name);
    if tokens.is_empty() {
        return String::new();
    }
    let (main, per) = unit_tokens(unit);
    if !main.is_empty() && !contains(&tokens, &main) {
        tokens.extend(main);
    }
    if !per.is_empty() && !contains(&tokens, &per) {
        tokens.extend(per);
    }
    match kind {
        MetricKind::Counter => move_to_end(&mut tokens, "total"),
        MetricKind::Gauge if unit == "1" => move_to_end(&mut tokens, "ratio"),
        _ => {}
    }
    not_digit_first(tokens.join("_"))
}

fn not_digit_first(name: String) -> String {
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// The kind under which a sum is named: monotonic ones are counters. A sum that is neither is a gauge without the
/// gauge's `_ratio`.
pub(crate) fn sum_name(
    strategy: TranslationStrategy,
    name_and_unit: (&str, &str),
    kind: MetricKind,
) -> String {
    let is_monotonic = kind == MetricKind::Counter;
    let kind = if is_monotonic { MetricKind::Counter } else { MetricKind::Unknown };
    metric_name(strategy, name_and_unit, kind)
}

/// The Prometheus name of a label; empty for an empty key.
pub(crate) fn label_name(strategy: TranslationStrategy, key: &str) -> String {
    if !strategy.escapes() {
        return key.to_owned();
    }
    let valid = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = key.chars().map(valid).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        format!("key_{name}")
    } else if name.starts_with('_') && !name.starts_with("__") {
        format!("key{name}")
    } else {
        name
    }
}

/// The labels with translated names, and how many were joined into another with `;` since both translate to one name.
/// `__name__` is the metric's and is left out.
pub(crate) fn translate(
    strategy: TranslationStrategy,
    labels: &Labels,
) -> (Vec<(String, String)>, usize) {
    let mut out: Vec<(String, String)> = Vec::with_capacity(labels.len() + 4);
    let mut joined = 0;
    for (key, value) in labels.iter() {
        let name = label_name(strategy, key);
        if name == "__name__" || name.is_empty() {
            continue;
        }
        match out.iter_mut().find(|(seen, _)| *seen == name) {
            Some((_, values)) => {
                values.push(';');
                values.push_str(value);
                joined += 1;
            }
            None => out.push((name, value.to_owned())),
        }
    }
    (out, joined)
}

/// OTLP's code of a temporality.
pub(crate) fn temporality(code: i32) -> Temporality {
    Temporality::from_u8(u8::try_from(code).unwrap_or(0))
}

fn tokens(name: &str) -> Vec<String> {
    let separates = |c: char| !c.is_ascii_alphanumeric() && c != ':';
    name.split(separates).filter(|token| !token.is_empty()).map(str::to_owned).collect()
}

/// The words of `a/b` as `a` and `per b`; a part in braces is an annotation and says nothing.
fn unit_tokens(unit: &str) -> (Vec<String>, Vec<String>) {
    let (main, per) = unit_words(unit);
    let main = tokens(main);
    let mut per = per.map(tokens).unwrap_or_default();
    if !per.is_empty() {
        per.insert(0, "per".to_owned());
    }
    (main, per)
}

/// The words of `a/b`; none for an annotation.
fn unit_words(unit: &str) -> (&str, Option<&str>) {
    let (main, per) = unit.split_once('/').map_or((unit, None), |(main, per)| (main, Some(per)));
    let per = per.map(|per| word(per, &PER_UNIT_WORDS)).filter(|word| !word.is_empty());
    (word(main, &UNIT_WORDS), per)
}

fn word<'a>(unit: &'a str, words: &[(&str, &'static str)]) -> &'a str {
    let unit = unit.trim();
    if unit.contains(['{', '}']) {
        return "";
    }
    let known = words.iter().find(|(ucum, _)| *ucum == unit);
    known.map_or(unit, |(_, word)| word)
}

fn contains(tokens: &[String], words: &[String]) -> bool {
    tokens.windows(words.len()).any(|window| window == words)
}

fn move_to_end(tokens: &mut Vec<String>, word: &str) {
    tokens.retain(|token| token != word);
    tokens.push(word.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    const ESCAPED: TranslationStrategy = TranslationStrategy::UnderscoreEscapingWithSuffixes;

    #[test]
    fn metric_names_follow_the_table() {
        let (counter, gauge, histogram) =
            (MetricKind::Counter, MetricKind::Gauge, MetricKind::Histogram);
        let cases = [
            ("system.cpu.time", "s", counter, "system_cpu_time_seconds_total"),
            ("system.cpu.utilization", "1", gauge, "system_cpu_utilization_ratio"),
            ("system.memory.usage", "By", gauge, "system_memory_usage_bytes"),
            (
                "http.server.request.duration",
                "s",
                histogram,
                "http_server_request_duration_seconds",
            ),
            ("http.server.active_requests", "{request}", gauge, "http_server_active_requests"),
            ("http_requests_total", "", counter, "http_requests_total"),
            ("total.requests", "{request}", counter, "requests_total"),
            ("disk.io", "By/s", gauge, "disk_io_bytes_per_second"),
            ("bytes_per_second", "By/s", gauge, "bytes_per_second"),
            ("rate", "{packet}/s", gauge, "rate_per_second"),
            ("storage", "GiBy/mo", gauge, "storage_gibibytes_per_month"),
            ("speed", "m/s", gauge, "speed_meters_per_second"),
            ("latency_milliseconds", "ms", histogram, "latency_milliseconds"),
            ("temp", "Cel", gauge, "temp_celsius"),
            ("fan", "%", gauge, "fan_percent"),
            ("a  b--c", "", gauge, "a_b_c"),
            ("2xx", "", counter, "_2xx_total"),
            ("job:rate:sum", "", gauge, "job:rate:sum"),
            ("weird", "foo bar", gauge, "weird_foo_bar"),
            ("flips", "1", counter, "flips_total"),
            ("größe", "", gauge, "gr_e"),
            ("...", "s", gauge, ""),
        ];
        for (name, unit, kind, expected) in cases {
            assert_eq!(metric_name(ESCAPED, (name, unit), kind), expected, "{name} in {unit}");
        }
        assert_eq!(sum_name(ESCAPED, ("queue.size", "1"), gauge), "queue_size");
        assert_eq!(sum_name(ESCAPED, ("queue.puts", "1"), counter), "queue_puts_total");
    }

    #[test]
    fn each_strategy_names_metrics_in_its_way() {
        use TranslationStrategy as S;
        let (counter, gauge) = (MetricKind::Counter, MetricKind::Gauge);
        let all = [
            S::UnderscoreEscapingWithSuffixes,
            S::UnderscoreEscapingWithoutSuffixes,
            S::NoUtf8EscapingWithSuffixes,
            S::NoTranslation,
        ];
        let cases = [
            (
                ("http.time", "s"),
                counter,
                "http_time_seconds_total http_time http.time_seconds_total http.time",
            ),
            (("a__b.c", ""), gauge, "a_b_c a__b_c a__b.c a__b.c"),
            (("2xx", ""), counter, "_2xx_total _2xx 2xx_total 2xx"),
            (
                ("disk.io", "By/s"),
                gauge,
                "disk_io_bytes_per_second disk_io disk.io_bytes_per_second disk.io",
            ),
            (("use", "1"), gauge, "use_ratio use use_ratio use"),
            (("x.total", "s"), counter, "x_seconds_total x_total x_seconds_total x.total"),
            (("wait.seconds", "s"), gauge, "wait_seconds wait_seconds wait_seconds wait.seconds"),
            (("total", ""), counter, "total total total_total total"),
            (("größe", "{x}"), gauge, "gr_e gr_e größe größe"),
        ];
        for (named, kind, expected) in cases {
            let names = all.map(|strategy| metric_name(strategy, named, kind));
            assert_eq!(names.join(" "), expected, "{named:?}");
        }
        let pairs = [("a.b", "1"), ("a_b", "2"), ("1", "3")];
        let labels = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let (out, joined) = translate(S::NoTranslation, &labels);
        assert_eq!((out.len(), joined), (3, 0));
        assert_eq!(translate(S::UnderscoreEscapingWithoutSuffixes, &labels).1, 1);
    }

    #[test]
    fn label_names_follow_the_table() {
        let cases = [
            ("http.method", "http_method"),
            ("1st", "key_1st"),
            ("_private", "key_private"),
            ("__meta", "__meta"),
            ("a:b", "a_b"),
            ("é", "key_"),
            ("", ""),
        ];
        for (key, expected) in cases {
            assert_eq!(label_name(ESCAPED, key), expected);
        }
    }

    #[test]
    fn labels_that_share_a_name_are_joined_in_key_order() {
        let pairs = [("a_b", "2"), ("a.b", "1"), ("c", "3"), ("__name__", "x")];
        let labels = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let (out, joined) = translate(ESCAPED, &labels);
        let out: Vec<(&str, &str)> = out.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(out, [("a_b", "1;2"), ("c", "3")]);
        assert_eq!(joined, 1);
    }
}
