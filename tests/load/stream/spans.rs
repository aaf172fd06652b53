//! Spans as OTLP over HTTP: traces of six spans through several services.

use std::path::Path;

use anyhow::Result;

use super::logs::SERVICES;
use super::metrics::attribute;
use super::{Bodies, Stream};
use crate::fleet::Rng;
use crate::proto::{bytes, fixed, integer, message};

/// Traces a request, and spans a trace.
const TRACES: u64 = 800;
const SPANS: u64 = 6;

/// `n_requests` requests of 4,800 spans each, dealt to `n_clients`; traces start 1 ms apart, the last at `end_ns`.
///
/// # Errors
///
/// When the file in `dir` cannot be written.
pub fn spans(n_requests: u64, n_clients: usize, end_ns: u64, dir: &Path) -> Result<Stream> {
    let mut bodies = Bodies::new(dir, n_clients)?;
    let mut rng = Rng(5);
    let mut time_ns = end_ns - n_requests * TRACES * 1_000_000;
    for n in 0..n_requests {
        // Spans come grouped by service, as exporters send them.
        let mut of_service = vec![Vec::new(); SERVICES.len()];
        for _ in 0..TRACES {
            time_ns += 1_000_000;
            trace(&mut of_service, &mut rng, time_ns);
        }
        let mut body = Vec::new();
        for (service, spans) in SERVICES.iter().zip(&of_service) {
            message(&mut body, 1, |resource_spans| {
                message(resource_spans, 1, |resource| {
                    attribute(resource, 1, "service.name", service);
                    attribute(resource, 1, "k8s.namespace.name", "shop");
                });
                message(resource_spans, 2, |scope| scope.extend_from_slice(spans));
            });
        }
        bodies.push(usize::try_from(n)? % n_clients, &body, TRACES * SPANS)?;
    }
    bodies.finish("/v1/traces", "content-type: application/x-protobuf\r\n", 0)
}

fn trace(of_service: &mut [Vec<u8>], rng: &mut Rng, start_ns: u64) {
    let id = [rng.bits().to_be_bytes(), rng.bits().to_be_bytes()].concat();
    let mut parent: Option<u64> = None;
    let mut duration = 2_000_000 + rng.bits() % 200_000_000;
    let mut start = start_ns;
    for depth in 0..SPANS {
        let service = usize::try_from(rng.bits() % SERVICES.len() as u64).unwrap_or(0);
        let span_id = rng.bits() | 1;
        let is_client = depth % 2 == 1;
        let route = format!("/api/{}/{{id}}", rng.pick(&["orders", "items", "users", "stock"]));
        let name = if is_client { "SELECT orders".to_owned() } else { format!("GET {route}") };
        message(&mut of_service[service], 2, |span| {
            bytes(span, 1, &id);
            bytes(span, 2, &span_id.to_be_bytes());
            if let Some(parent) = parent {
                bytes(span, 4, &parent.to_be_bytes());
            }
            bytes(span, 5, name.as_bytes());
            integer(span, 6, if is_client { 3 } else { 2 });
            fixed(span, 7, start);
            fixed(span, 8, start + duration);
            if is_client {
                attribute(span, 9, "db.system.name", "postgresql");
                attribute(span, 9, "db.query.text", "SELECT * FROM orders WHERE id = $1");
            } else {
                attribute(span, 9, "http.request.method", "GET");
                attribute(span, 9, "http.route", &route);
                attribute(span, 9, "http.response.status_code", "200");
            }
            if rng.below(50) == 0 {
                message(span, 15, |status| integer(status, 3, 2));
            }
        });
        parent = Some(span_id);
        start += 1 + duration / 10;
        duration = duration * 8 / 10;
    }
}
