//! `/federate`: the newest samples of the series asked for, in an exposition format.

mod message;
mod text;

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use query::NewestQuery;
use query::promql::{Reading, Sample};

use super::App;
use super::answer::Failure;
use super::params::Params;

/// What a scraper reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Text,
    OpenMetrics,
    Protobuf,
}

pub(crate) async fn federate(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Failure> {
    let matchers = params.matchers(&app.engine).await?;
    let query = NewestQuery { matchers, at_ms: app.clock.now().ms() };
    let mut samples = app.engine.newest(query).await?;
    // What was found, and the text that is made of it: counted until the text is whole.
    let memory = app.engine.hold()?;
    memory.grow(samples.iter().map(bytes).sum())?;
    // A family stands in one place, whatever its series' other labels.
    samples.sort_by(|a, b| a.labels.name().cmp(b.labels.name()));
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    Ok(match format(accept) {
        Format::Text => answer("text/plain; version=0.0.4; charset=utf-8", text::plain(&samples)),
        Format::OpenMetrics => answer(
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            text::open_metrics(&samples),
        ),
        Format::Protobuf => answer(
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
            message::encoded(&samples),
        ),
    })
}

/// Memory of a sample and of its text, bytes, about.
fn bytes(sample: &Sample) -> usize {
    let labels: usize = sample.labels.iter().map(|(name, value)| name.len() + value.len()).sum();
    let lines = match &sample.reading {
        Reading::Float(_) => 1,
        Reading::Histogram(histogram) => {
            histogram.positive.len() + histogram.negative.len() + histogram.custom_values.len() + 3
        }
    };
    size_of::<Sample>() + (labels + 64) * (lines + 1)
}

fn answer(kind: &'static str, body: impl IntoResponse) -> Response {
    ([(CONTENT_TYPE, kind)], body).into_response()
}

/// The format the client likes best, of those we write; the first of equals.
fn format(accept: &str) -> Format {
    let mut best = (0.0, Format::Text);
    for entry in accept.split(',') {
        let mut parts = entry.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let params: Vec<&str> = parts.collect();
        let weight = params.iter().find_map(|param| param.strip_prefix("q=")?.parse::<f64>().ok());
        let weight = weight.unwrap_or(1.0);
        let format = match kind {
            "text/plain" | "text/*" | "*/*" => Format::Text,
            "application/openmetrics-text" => Format::OpenMetrics,
            "application/vnd.google.protobuf"
                if params.contains(&"proto=io.prometheus.client.MetricFamily")
                    && params.contains(&"encoding=delimited") =>
            {
                Format::Protobuf
            }
            _ => continue,
        };
        if weight > best.0 {
            best = (weight, format);
        }
    }
    best.1
}

/// The families of samples sorted by name.
fn families(samples: &[Sample]) -> impl Iterator<Item = (&str, &[Sample])> {
    let families = samples.chunk_by(|a, b| a.labels.name() == b.labels.name());
    families.filter_map(|family| Some((family.first()?.labels.name(), family)))
}

/// A sample's labels without its name, `instance` always among them: a scraper would add its own otherwise.
fn labels(sample: &Sample) -> Vec<(&str, &str)> {
    let mut labels: Vec<(&str, &str)> =
        sample.labels.iter().filter(|(name, _)| *name != "__name__").collect();
    if sample.labels.value("instance").is_empty() {
        let at = labels.partition_point(|(name, _)| *name < "instance");
        labels.insert(at, ("instance", ""));
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_clients_choice() {
        let prometheus = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
             application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(format(prometheus), Format::Protobuf);
        assert_eq!(
            format("application/openmetrics-text;q=0.5, text/plain;q=0.4"),
            Format::OpenMetrics
        );
        assert_eq!(
            format("application/vnd.google.protobuf;encoding=text, */*;q=0.1"),
            Format::Text
        );
        for plain in ["", "*/*", "text/html", "text/plain;q=0"] {
            assert_eq!(format(plain), Format::Text, "{plain}");
        }
    }
}
