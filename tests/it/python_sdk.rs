//! The unmodified OpenTelemetry SDK for Python, from PyPI, by gRPC and by HTTP: what applications really send.

use std::path::Path;

use serde_json::json;
use tokio::process::Command;

use crate::python::{python, run, sources};
use crate::server::{Home, Server};

async fn send(server: &Server, python: &Path, protocol: &str, endpoint: &str) {
    let mut script = Command::new(python);
    script.arg(sources().join("send.py")).arg(protocol);
    script.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{endpoint}"));
    script.env("OTEL_SERVICE_NAME", format!("python-{protocol}"));
    script.env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test");
    run(script).await;
    assert!(!server.stderr().contains("panicked"), "{}", server.stderr());
}

#[tokio::test]
async fn the_python_sdk_is_understood_by_grpc_and_by_http() {
    let python = python().await;
    let home = Home::new();
    let server = home.start("").await;
    send(&server, &python, "grpc", &server.addresses.otlp_grpc).await;
    send(&server, &python, "http", &server.addresses.otlp_http).await;
    for protocol in ["grpc", "http"] {
        check(&server, &format!("python-{protocol}")).await;
    }
    server.stop().await;
}

/// Everything `send.py` sends, read back.
async fn check(server: &Server, service: &str) {
    let spans = format!(
        "SELECT name, kind, status, is_root, is_error, deployment_environment FROM spans \
         WHERE service_name = '{service}' ORDER BY name"
    );
    let wanted = [
        vec![
            json!("GET /pay"),
            json!("server"),
            json!("error"),
            json!(true),
            json!(true),
            json!("test"),
        ],
        vec![
            json!("SELECT orders"),
            json!("client"),
            json!("unset"),
            json!(false),
            json!(false),
            json!("test"),
        ],
    ];
    assert_eq!(server.sql(&spans).await, wanted, "{spans}");
    let joined = format!(
        "SELECT count(*) FROM spans child JOIN spans parent \
         ON child.parent_span_id = parent.span_id AND child.trace_id = parent.trace_id \
         WHERE child.service_name = '{service}'"
    );
    assert_eq!(server.sql_value(&joined).await, 1, "{joined}");
    let logs = format!(
        "SELECT body, severity_text, trace_id IS NOT NULL FROM logs WHERE service_name = '{service}' ORDER BY body"
    );
    let wanted = [
        vec![json!("card 4711 declined"), json!("ERROR"), json!(true)],
        vec![json!("started"), json!("INFO"), json!(false)],
    ];
    assert_eq!(server.sql(&logs).await, wanted, "{logs}");
    for (expr, wanted) in [
        (format!("orders_total{{job=\"{service}\", currency=\"CNY\"}}"), vec![3.0]),
        (format!("pay_duration_seconds_count{{job=\"{service}\"}}"), vec![2.0]),
        (
            format!("histogram_quantile(1, pay_duration_seconds_bucket{{job=\"{service}\"}})"),
            vec![0.5],
        ),
        (format!("pool_connections{{job=\"{service}\"}}"), vec![4.0]),
    ] {
        assert_eq!(server.promql(&expr).await, wanted, "{expr}");
    }
}
