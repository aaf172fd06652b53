//! Makes recordings: scrapes a Prometheus exporter, and listens to what an agent sends by OTLP over HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::client::Client;
use crate::clock;
use crate::proto::{Value, fields};
use crate::recording::Recording;

/// Most bytes of an agent's request.
const BODY_BYTES_MAX: usize = 64 << 20;

/// Scrapes `address` every `interval` for `time`; each sample has the time its scrape began, as Prometheus does it.
///
/// # Errors
///
/// When the exporter does not answer.
pub fn scrape(address: &str, interval: Duration, time: Duration) -> Result<Recording> {
    let mut recording = Recording::default();
    let mut client = Client::new(address);
    let begin = clock::now();
    for tick in 0.. {
        let due = interval * tick;
        if due >= time {
            break;
        }
        clock::pause(due.saturating_sub(begin.elapsed()));
        let time_ms = clock::epoch_ms();
        let answer = client.get("/metrics")?;
        if !answer.is_success() {
            bail!("{address} answered {}", answer.status);
        }
        add_scrape(&mut recording, std::str::from_utf8(&answer.body)?, address, time_ms)?;
    }
    Ok(recording)
}

fn add_scrape(to: &mut Recording, text: &str, instance: &str, time_ms: i64) -> Result<()> {
    let mut counters = std::collections::HashSet::new();
    for line in text.lines() {
        if let Some(of) = line.strip_prefix("# TYPE ") {
            if let Some(name) = of.strip_suffix(" counter") {
                counters.insert(name);
            }
            continue;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').context("a line without a value")?;
        let (name, inside) = match series.split_once('{') {
            Some((name, rest)) => (name, rest.strip_suffix('}').context("labels do not end")?),
            None => (series, ""),
        };
        let mut labels = parse_labels(inside)?;
        labels.push(("__name__".to_owned(), name.to_owned()));
        labels.push(("instance".to_owned(), instance.to_owned()));
        labels.push(("job".to_owned(), "node".to_owned()));
        labels.sort();
        let value: f64 = value.parse().with_context(|| format!("no number: {value}"))?;
        to.push(labels, counters.contains(name), (time_ms, value.to_bits()));
    }
    Ok(())
}

/// `a="x",b="y"` with the escapes of the text format.
fn parse_labels(mut text: &str) -> Result<Vec<(String, String)>> {
    let mut labels = Vec::new();
    while let Some((name, rest)) = text.split_once("=\"") {
        let (mut value, mut chars) = (String::new(), rest.char_indices());
        let end = loop {
            match chars.next().context("a label value does not end")? {
                (at, '"') => break at,
                (_, '\\') => match chars.next().context("an escape does not end")?.1 {
                    'n' => value.push('\n'),
                    c => value.push(c),
                },
                (_, c) => value.push(c),
            }
        };
        labels.push((name.trim_start_matches(',').to_owned(), value));
        text = &rest[end + 1..];
    }
    Ok(labels)
}

/// Takes OTLP metrics on `listener` for `time`; number points only, as our agent sends.
///
/// # Errors
///
/// When a request makes no sense.
pub fn listen(listener: &TcpListener, time: Duration) -> Result<Recording> {
    let mut recording = Recording::default();
    listener.set_nonblocking(true)?;
    let begin = clock::now();
    let mut connections: Vec<BufReader<TcpStream>> = Vec::new();
    while begin.elapsed() < time {
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            connections.push(BufReader::new(stream));
        }
        let mut open = Vec::new();
        for mut connection in connections.drain(..) {
            // One request at a time: an agent sends one a round, and waits for its answer.
            if let Ok(Some(body)) = read_request(&mut connection) {
                add_request(&mut recording, &body)?;
                let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
                connection.get_mut().write_all(answer.as_bytes())?;
                open.push(connection);
            }
        }
        connections = open;
        clock::pause(Duration::from_millis(10));
    }
    Ok(recording)
}

/// The next request's body, inflated; `None` when the peer closed.
fn read_request(from: &mut BufReader<TcpStream>) -> Result<Option<Vec<u8>>> {
    let (mut line, mut len, mut is_zstd) = (String::new(), 0, false);
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    loop {
        line.clear();
        from.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => len = value.trim().parse()?,
            "content-encoding" => is_zstd = value.trim() == "zstd",
            _ => {}
        }
    }
    if len > BODY_BYTES_MAX {
        bail!("a request of {len} bytes");
    }
    let mut body = vec![0; len];
    from.read_exact(&mut body)?;
    Ok(Some(if is_zstd { zstd::stream::decode_all(&body[..])? } else { body }))
}

/// The messages in field `wanted` of a message.
fn messages(of: &[u8], wanted: u64) -> impl Iterator<Item = &[u8]> {
    fields(of).filter_map(move |(field, value)| match value {
        Value::Bytes(bytes) if field == wanted => Some(bytes),
        _ => None,
    })
}

fn text(of: &[u8], wanted: u64) -> String {
    messages(of, wanted).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
}

/// Key and value of attributes in field `wanted`; values that are no text are printed.
fn attributes(of: &[u8], wanted: u64) -> Vec<(String, String)> {
    let value = |any: &[u8]| match fields(any).next() {
        Some((1, Value::Bytes(text))) => String::from_utf8_lossy(text).into_owned(),
        Some((_, Value::Integer(value))) => value.cast_signed().to_string(),
        Some((_, Value::Fixed(bits))) => f64::from_bits(bits).to_string(),
        _ => String::new(),
    };
    let pair = |pair: &[u8]| (text(pair, 1), messages(pair, 2).map(value).collect());
    messages(of, wanted).map(pair).collect()
}

fn add_request(to: &mut Recording, body: &[u8]) -> Result<()> {
    for resource_metrics in messages(body, 1) {
        let mut common = Vec::new();
        for resource in messages(resource_metrics, 1) {
            common.extend(attributes(resource, 1));
        }
        for metric in messages(resource_metrics, 2).flat_map(|scope| messages(scope, 2)) {
            let name = text(metric, 1);
            // Gauge and sum hold their points in the same field.
            for (field, data) in
                [5, 7].map(|f| messages(metric, f).map(move |m| (f, m))).into_iter().flatten()
            {
                let is_monotonic = fields(data).any(|field| field == (3, Value::Integer(1)));
                for point in messages(data, 1) {
                    let mut labels = common.clone();
                    labels.extend(attributes(point, 7));
                    labels.push(("__name__".to_owned(), name.clone()));
                    labels.sort();
                    to.push(labels, field == 7 && is_monotonic, sample(point)?);
                }
            }
        }
    }
    Ok(())
}

/// Time in ms and bits of the value of a number point.
fn sample(point: &[u8]) -> Result<(i64, u64)> {
    let (mut time_ns, mut value) = (0, None);
    for field in fields(point) {
        match field {
            (3, Value::Fixed(ns)) => time_ns = ns,
            (4, Value::Fixed(bits)) => value = Some(f64::from_bits(bits)),
            (6, Value::Fixed(bits)) => value = Some(bits.cast_signed() as f64),
            _ => {}
        }
    }
    let value = value.context("a point without a value")?;
    Ok((i64::try_from(time_ns / 1_000_000)?, value.to_bits()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto;

    #[test]
    fn a_scrape_is_parsed() {
        let mut recording = Recording::default();
        let text = "# HELP a x\n# TYPE a counter\na{b=\"x,\\\"y\\\"\",c=\"d\"} 1.5e+09\nup NaN\n";
        add_scrape(&mut recording, text, "h:1", 7).unwrap();
        let first = &recording.series[0];
        assert!(first.is_counter && !recording.series[1].is_counter);
        assert_eq!(first.labels[0], ("__name__".to_owned(), "a".to_owned()));
        assert_eq!(first.labels[1], ("b".to_owned(), "x,\"y\"".to_owned()));
        assert_eq!(first.samples, [(7, 1.5e9_f64.to_bits())]);
    }

    #[test]
    fn otlp_points_are_read() {
        let pair = |out: &mut Vec<u8>| {
            proto::bytes(out, 1, b"k");
            proto::message(out, 2, |any| proto::bytes(any, 1, b"v"));
        };
        let mut body = Vec::new();
        proto::message(&mut body, 1, |resource_metrics| {
            proto::message(resource_metrics, 1, |resource| proto::message(resource, 1, pair));
            proto::message(resource_metrics, 2, |scope| {
                proto::message(scope, 2, |metric| {
                    proto::bytes(metric, 1, b"m");
                    proto::message(metric, 7, |sum| {
                        proto::message(sum, 1, |point| {
                            proto::fixed(point, 3, 5_000_000);
                            proto::fixed(point, 6, 42);
                        });
                        proto::integer(sum, 3, 1);
                    });
                });
            });
        });
        let mut recording = Recording::default();
        add_request(&mut recording, &body).unwrap();
        let series = &recording.series[0];
        assert!(series.is_counter);
        assert_eq!(series.samples, [(5, 42.0_f64.to_bits())]);
        assert_eq!(series.labels[1], ("k".to_owned(), "v".to_owned()));
    }
}
