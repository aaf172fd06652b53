//! The page of one target: which series there are and how their values move.

use super::Rng;

/// Series of one target.
pub(super) const TEMPLATE_LEN: usize = 500;

/// A series of every target.
pub(super) struct Template {
    pub(super) name: &'static str,
    pub(super) labels: Vec<(&'static str, String)>,
    pub(super) shape: Shape,
}

/// How values move. The state is an integer; the value is made of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shape {
    /// Never changes.
    Constant(f64),
    /// An integer that grows by less than `.0` a scrape; by nothing where it is 0.
    Counter(i64),
    /// Hundredths of a second that grow by up to `.0` a scrape.
    Seconds(i64),
    /// Multiples of 4,096 that wander.
    Bytes,
    /// Small numbers with `.0` as the power of ten below the point, which move now and then.
    Small(f64),
    /// A double with all its bits.
    Noise,
}

impl Shape {
    pub(super) fn is_counter(self) -> bool {
        matches!(self, Self::Counter(_) | Self::Seconds(_))
    }

    pub(super) fn start(self, rng: &mut Rng) -> i64 {
        match self {
            Self::Constant(_) => 0,
            Self::Counter(step) => rng.below(1 + step * 10_000),
            Self::Seconds(step) => rng.below(1 + step * 100_000),
            Self::Bytes => 100_000 + rng.below(4_000_000),
            Self::Small(_) => 100 + rng.below(900),
            Self::Noise => rng.bits().cast_signed(),
        }
    }

    pub(super) fn advance(self, state: &mut i64, rng: &mut Rng) {
        match self {
            Self::Constant(_) => {}
            Self::Counter(step) | Self::Seconds(step) => *state += rng.below(step + 1),
            Self::Bytes => *state = (*state + rng.below(401) - 200).max(0),
            Self::Small(_) => {
                if rng.below(3) == 0 {
                    *state = (*state + rng.below(21) - 10).max(0);
                }
            }
            Self::Noise => *state = rng.bits().cast_signed(),
        }
    }

    pub(super) fn value(self, state: i64) -> f64 {
        match self {
            Self::Constant(value) => value,
            Self::Counter(_) => state as f64,
            Self::Seconds(_) => state as f64 / 100.0,
            Self::Bytes => (state * 4_096) as f64,
            Self::Small(power) => state as f64 / power,
            Self::Noise => (state >> 11) as f64 / (1_u64 << 53) as f64 * 0.02,
        }
    }
}

/// The series of a target: `TEMPLATE_LEN` of them.
pub(super) fn template() -> Vec<Template> {
    let mut all = Vec::with_capacity(TEMPLATE_LEN);
    constants(&mut all);
    counters(&mut all);
    seconds(&mut all);
    gauges(&mut all);
    all
}

type Labels<'a> = &'a [(&'static str, &'a str)];

fn put(all: &mut Vec<Template>, name: &'static str, labels: Labels<'_>, shape: Shape) {
    let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    all.push(Template { name, labels, shape });
}

/// 45 %: states of 36 units, 5 each, and 45 sizes and limits.
fn constants(all: &mut Vec<Template>) {
    for unit in 0..36 {
        let name = format!("unit-{unit:02}.service");
        for state in ["activating", "active", "deactivating", "failed", "inactive"] {
            let value = if state == "active" { 1.0 } else { 0.0 };
            let labels = [("name", name.as_str()), ("state", state)];
            put(all, "node_systemd_unit_state", &labels, Shape::Constant(value));
        }
    }
    for n in 0..15 {
        let size = Shape::Constant(f64::from(n + 1) * 1_073_741_824.0);
        let mount = format!("/srv/volume-{n:02}");
        put(all, "node_filesystem_size_bytes", &[("mountpoint", &mount)], size);
        put(all, "node_filesystem_readonly", &[("mountpoint", &mount)], Shape::Constant(0.0));
        let cpu = n.to_string();
        let hertz = Shape::Constant(2.4e9);
        put(all, "node_cpu_frequency_max_hertz", &[("cpu", &cpu)], hertz);
    }
}

/// 20 %: requests by duration, bytes and packets of interfaces, operations of disks, kernel counters.
fn counters(all: &mut Vec<Template>) {
    let bounds =
        ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"];
    for handler in ["/api/query", "/api/write", "/metrics"] {
        for (n, bound) in (1..).zip(bounds) {
            // Buckets are cumulative in their rates: each grows as fast as the one before it or faster.
            let labels = [("handler", handler), ("le", bound)];
            let shape = Shape::Counter(n * 40);
            put(all, "http_request_duration_seconds_bucket", &labels, shape);
        }
        let labels = [("handler", handler)];
        put(all, "http_request_duration_seconds_count", &labels, Shape::Counter(480));
    }
    let network = [
        ("node_network_receive_bytes_total", 4_000_000),
        ("node_network_transmit_bytes_total", 2_500_000),
        ("node_network_receive_packets_total", 9_000),
        ("node_network_transmit_packets_total", 7_000),
        ("node_network_receive_drop_total", 1),
        ("node_network_receive_errs_total", 0),
    ];
    for device in ["eth0", "eth1", "lo", "wg0"] {
        network.iter().for_each(|(name, step)| {
            put(all, name, &[("device", device)], Shape::Counter(*step));
        });
    }
    let disk = [
        ("node_disk_reads_completed_total", 300),
        ("node_disk_writes_completed_total", 800),
        ("node_disk_read_bytes_total", 5_000_000),
        ("node_disk_written_bytes_total", 9_000_000),
    ];
    for device in ["nvme0n1", "nvme1n1", "sda", "sdb"] {
        disk.iter().for_each(|(name, step)| {
            put(all, name, &[("device", device)], Shape::Counter(*step));
        });
    }
    let kernel: [(&str, i64); 21] = [
        ("node_context_switches_total", 60_000),
        ("node_forks_total", 60),
        ("node_intr_total", 40_000),
        ("node_vmstat_pgfault", 90_000),
        ("node_vmstat_pgmajfault", 3),
        ("node_vmstat_pgpgin", 2_000),
        ("node_vmstat_pgpgout", 6_000),
        ("node_vmstat_pswpin", 0),
        ("node_vmstat_pswpout", 0),
        ("node_vmstat_oom_kill", 0),
        ("node_netstat_Tcp_InSegs", 8_000),
        ("node_netstat_Tcp_OutSegs", 9_000),
        ("node_netstat_Tcp_RetransSegs", 5),
        ("node_netstat_Tcp_ActiveOpens", 80),
        ("node_netstat_Tcp_PassiveOpens", 120),
        ("node_netstat_Udp_InDatagrams", 400),
        ("node_netstat_Udp_OutDatagrams", 400),
        ("node_netstat_Ip_Forwarding", 0),
        ("node_netstat_Icmp_InMsgs", 1),
        ("node_entropy_reads_total", 10),
        ("node_exporter_scrapes_total", 1),
    ];
    kernel.iter().for_each(|(name, step)| put(all, name, &[], Shape::Counter(*step)));
}

/// 10 %: CPU time of 6 cores in 8 modes, and two more.
fn seconds(all: &mut Vec<Template>) {
    let modes = [
        ("idle", 1_000),
        ("iowait", 20),
        ("irq", 0),
        ("nice", 2),
        ("softirq", 15),
        ("steal", 1),
        ("system", 120),
        ("user", 400),
    ];
    for cpu in 0..6 {
        let cpu = cpu.to_string();
        for (mode, step) in modes {
            let labels = [("cpu", cpu.as_str()), ("mode", mode)];
            put(all, "node_cpu_seconds_total", &labels, Shape::Seconds(step));
        }
    }
    put(all, "process_cpu_seconds_total", &[], Shape::Seconds(8));
    put(all, "http_request_duration_seconds_sum", &[], Shape::Seconds(900));
}

/// 9 % bytes, 13 % small numbers, 3 % noise.
fn gauges(all: &mut Vec<Template>) {
    for n in 0..15 {
        let mount = format!("/srv/volume-{n:02}");
        put(all, "node_filesystem_avail_bytes", &[("mountpoint", &mount)], Shape::Bytes);
        put(all, "node_filesystem_free_bytes", &[("mountpoint", &mount)], Shape::Bytes);
        let kind = format!("kind-{n:02}");
        put(all, "node_memory_bytes", &[("kind", &kind)], Shape::Bytes);
    }
    for name in ["node_load1", "node_load5", "node_load15"] {
        put(all, name, &[], Shape::Small(100.0));
    }
    for n in 0..20 {
        let sensor = format!("temp{n}");
        put(all, "node_hwmon_temp_celsius", &[("sensor", &sensor)], Shape::Small(10.0));
        put(all, "node_sockstat_inuse", &[("protocol", &sensor)], Shape::Small(1.0));
        put(all, "node_procs", &[("state", &sensor)], Shape::Small(1.0));
    }
    put(all, "node_procs_running", &[], Shape::Small(1.0));
    put(all, "node_procs_blocked", &[], Shape::Small(1.0));
    for n in 0..15 {
        let quantile = format!("0.{n:02}");
        put(all, "go_gc_duration_seconds", &[("quantile", &quantile)], Shape::Noise);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_the_stated_shares() {
        let all = template();
        assert_eq!(all.len(), TEMPLATE_LEN);
        let share = |is: fn(Shape) -> bool| all.iter().filter(|series| is(series.shape)).count();
        assert_eq!(share(|shape| matches!(shape, Shape::Constant(_))), 225);
        assert_eq!(share(|shape| matches!(shape, Shape::Counter(_))), 100);
        assert_eq!(share(|shape| matches!(shape, Shape::Seconds(_))), 50);
        assert_eq!(share(|shape| matches!(shape, Shape::Bytes)), 45);
        assert_eq!(share(|shape| matches!(shape, Shape::Small(_))), 65);
        assert_eq!(share(|shape| matches!(shape, Shape::Noise)), 15);
    }
}
