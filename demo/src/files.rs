//! The files of the demo: HAProxy's, and those that tell Headrope what to watch, when to tell and what to do.

use std::net::SocketAddr;
use std::path::Path;

/// HAProxy over the instances: every half second each is checked, by a check that it passes while it is slow.
pub(crate) fn haproxy(
    socket: &Path,
    (front, metrics): (SocketAddr, SocketAddr),
    shops: &[(String, SocketAddr)],
) -> String {
    let server = |(name, at): &(String, SocketAddr)| {
        format!("  server {name} {at} weight 100 check inter 500ms fall 3 rise 1\n")
    };
    let servers: String = shops.iter().map(server).collect();
    format!(
        "global
  stats socket {} mode 600 level admin
defaults
  mode http
  timeout connect 1s
  timeout client 10s
  timeout server 10s
  timeout check 5s
frontend shop
  bind {front}
  default_backend be_shop
frontend metrics
  bind {metrics}
  http-request use-service prometheus-exporter
backend be_shop
  balance roundrobin
  option httpchk GET /healthy
{servers}",
        socket.display()
    )
}

/// Headrope, which may act by itself here: everything it can touch was started for it.
pub(crate) const HEADROPE: &str = r#"[alert]
rules = ["rules.yaml"]
event_driven = true

[action]
runbooks = ["runbook.yaml"]
trust = "auto"

[agent.scrape]
config_files = ["scrape.yaml"]
"#;

/// HAProxy's own numbers, the length of its checks among them.
pub(crate) fn scrape(metrics: SocketAddr) -> String {
    format!(
        "scrape_configs:
- job_name: haproxy
  scrape_interval: 500ms
  scrape_timeout: 400ms
  static_configs:
  - targets: ['{metrics}']
  metric_relabel_configs:
  - {{source_labels: [__name__], regex: 'haproxy_server_.*', action: keep}}
"
    )
}

/// An instance is grey when most of its customers wait much longer than those of the others. Who gets no customers has no
/// latency: that it is well again is told by HAProxy's checks.
pub(crate) const RULES: &str = r#"groups:
- name: shop
  interval: 1s
  rules:
  - alert: ShopInstanceSlow
    expr: |
      histogram_quantile(0.9, sum by (instance, le) (rate(http_server_request_duration_seconds_bucket{job="shop"}[2s])))
        > 3 * scalar(quantile(0.5, histogram_quantile(0.9, sum by (instance, le) (rate(http_server_request_duration_seconds_bucket{job="shop"}[2s])))))
    labels: {severity: page, service: shop}
    annotations: {summary: '{{ $labels.instance }} is slow: nine of ten purchases take {{ $value | humanizeDuration }} or less, several times as long as at the others'}
    headrope:
      above: 0.1
      clear_expr: max by (instance) (label_replace(haproxy_server_check_duration_seconds{proxy="be_shop"}, "instance", "$1", "server", "(.*)")) > 0.1
      clear_for: 2s
      no_data: hold
"#;

/// What is done about it. Cooldown and budgets are those of a demo, where the same fault is put in again and again.
pub(crate) fn runbook(socket: &Path) -> String {
    format!(
        r#"apiVersion: headrope/v1
kind: Target
metadata: {{name: shop}}
spec:
  driver: haproxy
  endpoint: unix:{}
  group: {{backend: be_shop}}
---
apiVersion: headrope/v1
kind: Runbook
metadata: {{name: drain-slow-instance}}
spec:
  trust: auto
  alerts: ['alertname="ShopInstanceSlow"']
  target: {{ref: shop, member: '{{{{ alert.labels.instance }}}}'}}
  quality: {{max_staleness: 3s}}
  guard:
    cooldown: 1s
    budget: {{per_target: 100/1h, per_rule: 100/1h, per_kind: 100/1h, global: 100/1h}}
    flap: {{max_flips: 100, window: 1h}}
  preconditions:
  - query: 'count(haproxy_server_check_duration_seconds{{proxy="be_shop", server!="{{{{ member }}}}"}} < 0.1) >= 2'
  steps:
  - {{id: soften, do: haproxy.weight, with: {{percent: 10}}, settle: 300ms}}
  - {{id: drain, do: haproxy.state, with: {{state: drain}}, drain_timeout: 5s}}
  verify: {{success: 'histogram_quantile(0.99, sum by (le) (rate(http_client_request_duration_seconds_bucket{{job="customers"}}[2s]))) < 0.15', after: 1s, for: 2s, within: 30s}}
  revert: {{when: resolved, ramp: [10%, 50%, 100%], ramp_every: 1s, ramp_gate: 'histogram_quantile(0.99, sum by (le) (rate(http_client_request_duration_seconds_bucket{{job="customers"}}[2s]))) < 0.15', ttl: 30m}}
"#,
        socket.display()
    )
}
