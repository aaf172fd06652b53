//! What a host's page asks, and how each answer is drawn. The names are those of the agent, as Prometheus writes them.

use api::query::Query;
use viz::kind::line::Style;
use viz::painter::Ink;

use crate::chart::data::{Labels, Spec, joined};
use crate::msg::Msg;

/// One chart.
pub(super) struct Panel {
    pub(super) id: u32,
    pub(super) title: Msg,
    pub(super) testid: &'static str,
    /// `$h`: the matchers of the host; `$w`: a window that holds two samples at least.
    text: &'static str,
    pub(super) spec: Spec,
    /// Name of a series.
    pub(super) name: fn(&Labels) -> String,
}

/// Ids of the charts that tell most at a glance: processor, memory, disk and network throughput.
pub(super) const GLANCE: [u32; 4] = [1, 2, 5, 7];

/// Ids of the queries behind tables.
pub(super) const TOP_CPU: u32 = 100;
pub(super) const TOP_MEMORY: u32 = 101;
pub(super) const TOP_THREADS: u32 = 102;
pub(super) const TOP_IO: u32 = 103;
pub(super) const FS_USED: u32 = 110;
pub(super) const FS_SIZE: u32 = 111;

const STACK: Spec = Spec { unit: "", style: Style::Area, stacked: true, y_max: None, pins: &[] };
const LINE: Spec = Spec { unit: "", style: Style::Line, stacked: false, y_max: None, pins: &[] };

const CPU: Spec = Spec {
    unit: "1",
    y_max: Some(1.0),
    pins: &[
        ("user", Ink::Series(0)),
        ("system", Ink::Series(1)),
        ("nice", Ink::Series(6)),
        ("iowait", Ink::Series(3)),
        ("interrupt", Ink::Series(4)),
        ("steal", Ink::Series(7)),
    ],
    ..STACK
};

const MEMORY: Spec = Spec {
    unit: "By",
    pins: &[
        ("used", Ink::Series(4)),
        ("buffers", Ink::Series(6)),
        ("cached", Ink::Series(0)),
        ("free", Ink::Axis),
    ],
    ..STACK
};

const LOAD: Spec = Spec {
    pins: &[("1m", Ink::Series(0)), ("5m", Ink::Series(1)), ("15m", Ink::Series(4))],
    ..LINE
};

fn label(labels: &Labels, name: &str) -> String {
    labels.get(name).cloned().unwrap_or_default()
}

/// All charts, in the order of the page.
pub(super) const PANELS: [Panel; 12] = [
    Panel {
        id: 1,
        title: Msg::CpuByMode,
        testid: "chart-cpu",
        text: "sum by (cpu_mode) (rate(system_cpu_time_seconds_total{$h,cpu_mode!=\"idle\"}[$w])) \
               / on () group_left () sum(rate(system_cpu_time_seconds_total{$h}[$w]))",
        spec: CPU,
        name: |labels| label(labels, "cpu_mode"),
    },
    Panel {
        id: 2,
        title: Msg::MemoryByState,
        testid: "chart-memory",
        text: "sum by (system_memory_state) (system_memory_usage_bytes{$h})",
        spec: MEMORY,
        name: |labels| label(labels, "system_memory_state"),
    },
    Panel {
        id: 3,
        title: Msg::LoadAverage,
        testid: "chart-load",
        text: "{__name__=~\"system_cpu_load_average_(1m|5m|15m)\",$h}",
        spec: LOAD,
        name: |labels| label(labels, "__name__").rsplit('_').next().unwrap_or_default().to_owned(),
    },
    Panel {
        id: 4,
        title: Msg::Pressure,
        testid: "chart-pressure",
        text: "sum by (system_pressure_resource, system_pressure_type) \
               (rate(system_pressure_linux_stall_time_seconds_total{$h}[$w]))",
        spec: Spec { unit: "1", ..LINE },
        name: |labels| joined(labels, &["system_pressure_resource", "system_pressure_type"]),
    },
    Panel {
        id: 5,
        title: Msg::DiskThroughput,
        testid: "chart-disk-io",
        text: "sum by (system_device, disk_io_direction) (rate(system_disk_io_bytes_total{$h}[$w]))",
        spec: Spec { unit: "By/s", ..LINE },
        name: |labels| joined(labels, &["system_device", "disk_io_direction"]),
    },
    Panel {
        id: 6,
        title: Msg::DiskBusy,
        testid: "chart-disk-busy",
        text: "sum by (system_device) (rate(system_disk_io_time_seconds_total{$h}[$w]))",
        spec: Spec { unit: "1", ..LINE },
        name: |labels| label(labels, "system_device"),
    },
    Panel {
        id: 7,
        title: Msg::NetworkThroughput,
        testid: "chart-network",
        text: "sum by (network_interface_name, network_io_direction) (rate(system_network_io_bytes_total{$h}[$w]))",
        spec: Spec { unit: "By/s", ..LINE },
        name: |labels| joined(labels, &["network_interface_name", "network_io_direction"]),
    },
    Panel {
        id: 8,
        title: Msg::NetworkFaults,
        testid: "chart-network-errors",
        text: "label_replace(sum(rate(system_network_errors_total{$h}[$w])), \"kind\", \"errors\", \"\", \"\") \
               or label_replace(sum(rate(system_network_packet_dropped_total{$h}[$w])), \"kind\", \"drops\", \"\", \"\") \
               or label_replace(sum(rate(system_network_linux_tcp_retransmits_total{$h}[$w])), \"kind\", \"retransmits\", \"\", \"\")",
        spec: Spec { unit: "{event}/s", ..LINE },
        name: |labels| label(labels, "kind"),
    },
    Panel {
        id: 9,
        title: Msg::TcpConnections,
        testid: "chart-tcp",
        text: "sum by (network_connection_state) (system_network_connection_count{$h}) > 0",
        spec: STACK,
        name: |labels| label(labels, "network_connection_state"),
    },
    Panel {
        id: 10,
        title: Msg::FileSystemUse,
        testid: "chart-filesystems",
        text: "max by (system_filesystem_mountpoint) (system_filesystem_utilization_ratio{$h,system_filesystem_state=\"used\"} \
               or system_filesystem_utilization_ratio{$h,system_filesystem_state=\"\"})",
        spec: Spec { unit: "1", y_max: Some(1.0), ..LINE },
        name: |labels| label(labels, "system_filesystem_mountpoint"),
    },
    Panel {
        id: 11,
        title: Msg::ProcessCpu,
        testid: "chart-process-cpu",
        text: "topk(6, sum by (process_executable_name) (rate(process_cpu_time_seconds_total{$h}[$p])))",
        spec: Spec { unit: "1", ..LINE },
        name: |labels| label(labels, "process_executable_name"),
    },
    Panel {
        id: 12,
        title: Msg::Processes,
        testid: "chart-processes",
        text: "sum by (process_state) (system_process_count{$h})",
        spec: STACK,
        name: |labels| label(labels, "process_state"),
    },
];

/// All queries of the page for one host.
pub(super) fn queries(host: &str, (from_ms, to_ms): (i64, i64), step_ms: i64) -> Vec<Query> {
    let quoted = host.replace('\\', "\\\\").replace('"', "\\\"");
    let matcher = format!("host_name=\"{quoted}\"");
    let step_s = step_ms / 1_000;
    // Four intervals of the agent, so that one late sample leaves no hole; processes come every five seconds.
    let (window, slow) =
        (format!("{}s", (step_s + 1).max(4)), format!("{}s", (step_s + 5).max(20)));
    let fill =
        |text: &str| text.replace("$h", &matcher).replace("$w", &window).replace("$p", &slow);
    let query = |id, text: &str, instant: bool| Query {
        id,
        text: fill(text),
        from_ms,
        to_ms,
        step_ms: (!instant).then_some(step_ms),
        instant,
        ..Query::default()
    };
    let by_name = "sum by (process_executable_name)";
    let by_mount = "max by (system_filesystem_mountpoint)";
    let mut queries: Vec<Query> =
        PANELS.iter().map(|panel| query(panel.id, panel.text, false)).collect();
    for (id, text) in [
        (TOP_CPU, format!("{by_name} (rate(process_cpu_time_seconds_total{{$h}}[$p]))")),
        (TOP_MEMORY, format!("{by_name} (process_memory_usage_bytes{{$h}})")),
        (TOP_THREADS, format!("{by_name} (process_thread_count{{$h}})")),
        (TOP_IO, format!("{by_name} (rate(process_disk_io_bytes_total{{$h}}[$p]))")),
        (
            FS_USED,
            format!(
                "{by_mount} (system_filesystem_usage_bytes{{$h,system_filesystem_state=\"used\"}})"
            ),
        ),
        (FS_SIZE, format!("{by_mount} (system_filesystem_limit_bytes{{$h}})")),
    ] {
        queries.push(query(id, &text, true));
    }
    queries
}
