//! Log records as OTLP over HTTP: 93-byte bodies of a service that answers requests, about 320 bytes as JSON each.

use std::path::Path;

use anyhow::Result;

use super::metrics::attribute;
use super::{Bodies, Stream};
use crate::fleet::Rng;
use crate::proto::{bytes, fixed, integer, message};

/// Records a request.
const RECORDS: u64 = 5_000;
pub(super) const SERVICES: [&str; 12] = [
    "cart", "checkout", "payment", "shipping", "search", "catalog", "identity", "mail", "gateway",
    "pricing", "stock", "review",
];
const SEVERITIES: [(u64, &str); 6] =
    [(9, "INFO"), (9, "INFO"), (9, "INFO"), (5, "DEBUG"), (13, "WARN"), (17, "ERROR")];
const VERBS: [&str; 8] =
    ["completed", "accepted", "rejected", "retried", "cached", "forwarded", "queued", "expired"];
const NOUNS: [&str; 10] = [
    "order", "invoice", "basket", "session", "shipment", "refund", "voucher", "profile", "review",
    "payment",
];

/// `n_requests` requests of 5,000 records each, dealt to `n_clients`; times ascend to `end_ns`, 1 µs to 1 ms apart.
///
/// # Errors
///
/// When the file in `dir` cannot be written.
pub fn logs(n_requests: u64, n_clients: usize, end_ns: u64, dir: &Path) -> Result<Stream> {
    let mut bodies = Bodies::new(dir, n_clients)?;
    let mut rng = Rng(3);
    let (mut time_ns, mut plain_bytes) = (end_ns - n_requests * RECORDS * 500_000, 0);
    for n in 0..n_requests {
        let mut body = Vec::new();
        let service = *rng.pick(&SERVICES);
        let pod = format!("{service}-{:02}", rng.below(5));
        message(&mut body, 1, |resource_logs| {
            message(resource_logs, 1, |resource| {
                attribute(resource, 1, "service.name", service);
                attribute(resource, 1, "k8s.namespace.name", "shop");
                attribute(resource, 1, "k8s.pod.name", &pod);
            });
            message(resource_logs, 2, |scope| {
                for _ in 0..RECORDS {
                    time_ns += 1_000 + rng.bits() % 999_000;
                    plain_bytes += record(scope, &mut rng, time_ns);
                }
            });
        });
        let client = usize::try_from(n)? % n_clients;
        bodies.push(client, &body, RECORDS)?;
    }
    bodies.finish("/v1/logs", "content-type: application/x-protobuf\r\n", plain_bytes)
}

/// Writes one record, returns its bytes as a line of JSON.
fn record(scope: &mut Vec<u8>, rng: &mut Rng, time_ns: u64) -> u64 {
    let (noun, verb) = (*rng.pick(&NOUNS), *rng.pick(&VERBS));
    let number = rng.below(9_000_000);
    let text = format!(
        "{noun} {number} {verb} in {} ms for user {} from 10.{}.{}.{} request {:016x}",
        rng.below(900),
        rng.below(50_000),
        rng.below(4),
        rng.below(256),
        rng.below(256),
        rng.bits()
    );
    let (severity, name) = *rng.pick(&SEVERITIES);
    let status = if severity == 17 { "500" } else { "200" };
    let route = format!("/api/{noun}s/{{id}}");
    // A third of the records belongs to a trace.
    let ids = (rng.below(3) == 0).then(|| [rng.bits(), rng.bits(), rng.bits()]);
    message(scope, 2, |record| {
        fixed(record, 1, time_ns);
        fixed(record, 11, time_ns + 1_000_000);
        integer(record, 2, severity);
        bytes(record, 3, name.as_bytes());
        message(record, 5, |any| bytes(any, 1, text.as_bytes()));
        attribute(record, 6, "http.request.method", "POST");
        attribute(record, 6, "http.route", &route);
        attribute(record, 6, "http.response.status_code", status);
        if let Some([high, low, span]) = ids {
            bytes(record, 9, &[high.to_be_bytes(), low.to_be_bytes()].concat());
            bytes(record, 10, &span.to_be_bytes());
        }
    });
    // {"time":"2026-11-23T08:00:00.123456789Z","service":"…","namespace":"shop","pod":"…","severity":"…","body":"…", …}
    let fixed_text = 205 + if ids.is_some() { 80 } else { 0 };
    (fixed_text + text.len() + name.len() + route.len()) as u64
}
