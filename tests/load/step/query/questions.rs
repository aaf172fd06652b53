//! The stretches of time that are filled, and what is asked about each: 40 expressions.

use super::Form::{self, Instant, Range};

/// Expression, form, and whether VictoriaMetrics means the same by it: its rates reach back before their window, its
/// windows over single samples and its subqueries are others.
pub(in crate::step) type Question = (&'static str, Form, bool);

/// A fleet over some time, and what is asked about it.
pub(in crate::step) struct Stretch {
    /// What it is called in the report.
    pub(in crate::step) name: &'static str,
    /// Series, at full size and in a quick round.
    pub(in crate::step) series: [usize; 2],
    /// Time between two scrapes.
    pub(in crate::step) interval_ms: i64,
    /// How many scrapes there are.
    pub(in crate::step) scrapes: i64,
    /// Connections that send it. Prometheus takes no sample that is an hour behind another's.
    pub(in crate::step) clients: usize,
    /// What is asked.
    pub(in crate::step) questions: &'static [Question],
}

/// All of them.
pub(in crate::step) const STRETCHES: [Stretch; 4] = [
    Stretch {
        name: "an hour of many hosts",
        series: [50_000, 5_000],
        interval_ms: 15_000,
        scrapes: 240,
        clients: 4,
        questions: &HOUR,
    },
    Stretch {
        name: "ten minutes of very many",
        series: [140_000, 14_000],
        interval_ms: 30_000,
        scrapes: 21,
        clients: 4,
        questions: &WIDE,
    },
    Stretch {
        name: "a day",
        series: [2_000, 500],
        interval_ms: 60_000,
        scrapes: 1_440,
        clients: 1,
        questions: &DAY,
    },
    Stretch {
        name: "thirty days",
        series: [1_000, 500],
        interval_ms: 300_000,
        scrapes: 8_640,
        clients: 1,
        questions: &MONTH,
    },
];

/// Instants, hours, regular expressions, subqueries.
pub(in crate::step) const HOUR: [Question; 24] = [
    (r#"node_load1{instance="host-00007.example:9100"}"#, Instant, true),
    ("count(node_load1)", Instant, true),
    (r#"{instance="host-00003.example:9100"}"#, Instant, true),
    (r#"count by (__name__) ({job="node"})"#, Instant, true),
    ("sum by (mode) (rate(node_cpu_seconds_total[5m]))", Instant, false),
    ("topk(10, rate(node_network_receive_bytes_total[5m]))", Instant, false),
    (
        "histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))",
        Instant,
        false,
    ),
    ("node_filesystem_avail_bytes / node_filesystem_size_bytes < 0.1", Instant, true),
    (
        r#"node_network_receive_bytes_total{device=~"eth.*",instance=~"host-000[0-4].*"}"#,
        Instant,
        true,
    ),
    ("max_over_time(node_load1[1h])", Instant, false),
    (r#"node_load1{instance="host-00007.example:9100"}"#, Range(15), true),
    ("sum(rate(node_network_receive_bytes_total[5m]))", Range(60), false),
    ("sum by (datacenter, mode) (rate(node_cpu_seconds_total[5m]))", Range(60), false),
    (
        "histogram_quantile(0.9, sum by (handler, le) (rate(http_request_duration_seconds_bucket[5m])))",
        Range(60),
        false,
    ),
    ("avg by (region) (node_load1)", Range(60), true),
    (r#"1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[5m]))"#, Range(60), false),
    ("quantile(0.95, node_hwmon_temp_celsius)", Range(60), true),
    ("sum by (team) (increase(http_request_duration_seconds_count[15m]))", Range(60), false),
    ("topk(5, sum by (instance) (rate(node_disk_written_bytes_total[5m])))", Range(60), false),
    ("count(max_over_time(node_systemd_unit_state[10m]) == 1)", Range(300), true),
    (
        "max_over_time(sum by (region) (rate(node_network_receive_bytes_total[5m]))[30m:1m])",
        Instant,
        false,
    ),
    (r#"count({__name__=~"node_.*_total",instance=~".*7[.]example.*"})"#, Instant, true),
    (r#"{__name__=~"node_load.*|node_procs",instance=~"host-000[1-5].*"}"#, Range(60), true),
    (
        "sum by (cluster) (node_memory_bytes) / on () group_left () sum(node_memory_bytes)",
        Range(60),
        true,
    ),
];

/// Aggregations over many series.
const WIDE: [Question; 4] = [
    ("histogram_quantile(0.99, rate(http_request_duration_seconds_bucket[5m]))", Instant, false),
    (
        "histogram_quantile(0.9, sum by (instance, le) (rate(http_request_duration_seconds_bucket[5m])))",
        Range(60),
        false,
    ),
    ("sum by (instance, mode) (rate(node_cpu_seconds_total[2m]))", Range(30), false),
    ("count by (instance) (node_systemd_unit_state == 1)", Instant, true),
];

/// A day.
const DAY: [Question; 6] = [
    (r#"node_load1{instance="host-00001.example:9100"}"#, Range(60), true),
    ("sum(rate(node_network_receive_bytes_total[5m]))", Range(60), false),
    ("avg by (instance) (node_load1)", Range(300), true),
    (
        "histogram_quantile(0.9, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))",
        Range(300),
        false,
    ),
    ("quantile_over_time(0.95, node_load1[1h])", Range(600), false),
    ("sum by (mode) (increase(node_cpu_seconds_total[1h]))", Range(3_600), false),
];

/// Thirty days.
const MONTH: [Question; 6] = [
    ("sum(rate(node_network_receive_bytes_total[1h]))", Range(3_600), false),
    ("sum by (mode) (increase(node_cpu_seconds_total[1d]))", Range(86_400), false),
    ("avg by (instance) (avg_over_time(node_load1[1d]))", Range(86_400), false),
    ("max_over_time(node_load1[30d])", Instant, false),
    ("max by (device) (node_network_receive_errs_total)", Range(3_600), true),
    (
        r#"sum(rate(http_request_duration_seconds_count{handler="/api/query"}[6h])) by (instance)"#,
        Range(21_600),
        false,
    ),
];

#[cfg(test)]
mod tests {
    use super::STRETCHES;

    #[test]
    fn there_are_forty() {
        assert_eq!(STRETCHES.iter().map(|stretch| stretch.questions.len()).sum::<usize>(), 40);
    }
}
