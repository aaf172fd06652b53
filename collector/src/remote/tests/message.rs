//! The messages of remote write for tests, written out from the published protocol, and short ways to make them.

use v1::{Label, TimeSeries};

/// `prometheus`, version 1.0.
pub(crate) mod v1 {
    use super::native::Histogram;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct WriteRequest {
        #[prost(message, repeated, tag = "1")]
        pub(crate) timeseries: Vec<TimeSeries>,
        #[prost(message, repeated, tag = "3")]
        pub(crate) metadata: Vec<MetricMetadata>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct TimeSeries {
        #[prost(message, repeated, tag = "1")]
        pub(crate) labels: Vec<Label>,
        #[prost(message, repeated, tag = "2")]
        pub(crate) samples: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub(crate) exemplars: Vec<Exemplar>,
        #[prost(message, repeated, tag = "4")]
        pub(crate) histograms: Vec<Histogram>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Label {
        #[prost(string, tag = "1")]
        pub(crate) name: String,
        #[prost(string, tag = "2")]
        pub(crate) value: String,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(crate) struct Sample {
        #[prost(double, tag = "1")]
        pub(crate) value: f64,
        #[prost(int64, tag = "2")]
        pub(crate) timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Exemplar {
        #[prost(message, repeated, tag = "1")]
        pub(crate) labels: Vec<Label>,
        #[prost(double, tag = "2")]
        pub(crate) value: f64,
        #[prost(int64, tag = "3")]
        pub(crate) timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct MetricMetadata {
        #[prost(int32, tag = "1")]
        pub(crate) r#type: i32,
        #[prost(string, tag = "2")]
        pub(crate) metric_family_name: String,
        #[prost(string, tag = "4")]
        pub(crate) help: String,
        #[prost(string, tag = "5")]
        pub(crate) unit: String,
    }
}

/// `io.prometheus.write.v2`.
pub(crate) mod v2 {
    use super::native::Histogram;
    use super::v1;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Request {
        #[prost(string, repeated, tag = "4")]
        pub(crate) symbols: Vec<String>,
        #[prost(message, repeated, tag = "5")]
        pub(crate) timeseries: Vec<TimeSeries>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct TimeSeries {
        #[prost(uint32, repeated, tag = "1")]
        pub(crate) labels_refs: Vec<u32>,
        #[prost(message, repeated, tag = "2")]
        pub(crate) samples: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub(crate) histograms: Vec<Histogram>,
        #[prost(message, repeated, tag = "4")]
        pub(crate) exemplars: Vec<Exemplar>,
        #[prost(message, optional, tag = "5")]
        pub(crate) metadata: Option<Metadata>,
        #[prost(int64, tag = "6")]
        pub(crate) created_timestamp: i64,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(crate) struct Sample {
        #[prost(double, tag = "1")]
        pub(crate) value: f64,
        #[prost(int64, tag = "2")]
        pub(crate) timestamp: i64,
        #[prost(int64, tag = "3")]
        pub(crate) start_timestamp: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Exemplar {
        #[prost(uint32, repeated, tag = "1")]
        pub(crate) labels_refs: Vec<u32>,
        #[prost(double, tag = "2")]
        pub(crate) value: f64,
        #[prost(int64, tag = "3")]
        pub(crate) timestamp: i64,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(crate) struct Metadata {
        #[prost(int32, tag = "1")]
        pub(crate) r#type: i32,
        #[prost(uint32, tag = "3")]
        pub(crate) help_ref: u32,
        #[prost(uint32, tag = "4")]
        pub(crate) unit_ref: u32,
    }

    impl Request {
        /// The number of a symbol, added when it is new.
        pub(crate) fn symbol(&mut self, text: &str) -> u32 {
            let known = self.symbols.iter().position(|symbol| symbol == text);
            let at = known.unwrap_or_else(|| {
                self.symbols.push(text.to_owned());
                self.symbols.len() - 1
            });
            u32::try_from(at).unwrap()
        }

        /// References to names and values, one after the other.
        pub(crate) fn refs(&mut self, labels: &[(&str, &str)]) -> Vec<u32> {
            labels
                .iter()
                .flat_map(|(name, value)| [self.symbol(name), self.symbol(value)])
                .collect()
        }
    }

    /// The same series in this version.
    pub(crate) fn of(request: &v1::WriteRequest) -> Request {
        let mut out = Request { symbols: vec![String::new()], ..Default::default() };
        for series in &request.timeseries {
            let labels: Vec<(&str, &str)> = series
                .labels
                .iter()
                .map(|label| (label.name.as_str(), label.value.as_str()))
                .collect();
            let labels_refs = out.refs(&labels);
            let sample = |sample: &v1::Sample| Sample {
                value: sample.value,
                timestamp: sample.timestamp,
                start_timestamp: 0,
            };
            let samples = series.samples.iter().map(sample).collect();
            let histograms = series.histograms.clone();
            out.timeseries.push(TimeSeries {
                labels_refs,
                samples,
                histograms,
                ..Default::default()
            });
        }
        out
    }
}

/// `Histogram`, which both versions have.
pub(crate) mod native {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Histogram {
        #[prost(oneof = "Count", tags = "1, 2")]
        pub(crate) count: Option<Count>,
        #[prost(double, tag = "3")]
        pub(crate) sum: f64,
        #[prost(sint32, tag = "4")]
        pub(crate) schema: i32,
        #[prost(double, tag = "5")]
        pub(crate) zero_threshold: f64,
        #[prost(oneof = "ZeroCount", tags = "6, 7")]
        pub(crate) zero_count: Option<ZeroCount>,
        #[prost(message, repeated, tag = "8")]
        pub(crate) negative_spans: Vec<BucketSpan>,
        #[prost(sint64, repeated, tag = "9")]
        pub(crate) negative_deltas: Vec<i64>,
        #[prost(double, repeated, tag = "10")]
        pub(crate) negative_counts: Vec<f64>,
        #[prost(message, repeated, tag = "11")]
        pub(crate) positive_spans: Vec<BucketSpan>,
        #[prost(sint64, repeated, tag = "12")]
        pub(crate) positive_deltas: Vec<i64>,
        #[prost(double, repeated, tag = "13")]
        pub(crate) positive_counts: Vec<f64>,
        #[prost(int32, tag = "14")]
        pub(crate) reset_hint: i32,
        #[prost(int64, tag = "15")]
        pub(crate) timestamp: i64,
        #[prost(double, repeated, tag = "16")]
        pub(crate) custom_values: Vec<f64>,
        #[prost(int64, tag = "17")]
        pub(crate) start_timestamp: i64,
    }

    #[derive(Clone, Copy, PartialEq, prost::Oneof)]
    pub(crate) enum Count {
        #[prost(uint64, tag = "1")]
        CountInt(u64),
        #[prost(double, tag = "2")]
        CountFloat(f64),
    }

    #[derive(Clone, Copy, PartialEq, prost::Oneof)]
    pub(crate) enum ZeroCount {
        #[prost(uint64, tag = "6")]
        ZeroCountInt(u64),
        #[prost(double, tag = "7")]
        ZeroCountFloat(f64),
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(crate) struct BucketSpan {
        #[prost(sint32, tag = "1")]
        pub(crate) offset: i32,
        #[prost(uint32, tag = "2")]
        pub(crate) length: u32,
    }

    /// Seven observations: two zeros, 1, 0 and 3 in buckets 1, 2 and 5 above zero, 1 in bucket -1 below.
    pub(crate) fn integer(timestamp: i64) -> Histogram {
        Histogram {
            count: Some(Count::CountInt(7)),
            sum: 18.4,
            schema: 1,
            zero_threshold: 0.001,
            zero_count: Some(ZeroCount::ZeroCountInt(2)),
            negative_spans: vec![BucketSpan { offset: -1, length: 1 }],
            negative_deltas: vec![1],
            positive_spans: vec![
                BucketSpan { offset: 1, length: 2 },
                BucketSpan { offset: 2, length: 1 },
            ],
            positive_deltas: vec![1, -1, 3],
            timestamp,
            ..Histogram::default()
        }
    }

    /// Buckets with parts of observations; a gauge.
    pub(crate) fn float(timestamp: i64) -> Histogram {
        Histogram {
            count: Some(Count::CountFloat(3.5)),
            sum: 2.0,
            zero_count: Some(ZeroCount::ZeroCountFloat(0.5)),
            positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
            positive_counts: vec![1.25, 1.75],
            reset_hint: 3,
            timestamp,
            ..Histogram::default()
        }
    }

    /// Bounds of the sender's choice: one up to 1, two beyond 2.
    pub(crate) fn custom(timestamp: i64) -> Histogram {
        Histogram {
            count: Some(Count::CountInt(3)),
            sum: 9.0,
            schema: -53,
            positive_spans: vec![
                BucketSpan { offset: 0, length: 1 },
                BucketSpan { offset: 1, length: 1 },
            ],
            positive_deltas: vec![1, 1],
            custom_values: vec![1.0, 2.0],
            timestamp,
            ..Histogram::default()
        }
    }
}

pub(crate) fn labels(labels: &[(&str, &str)]) -> Vec<Label> {
    let label = |(name, value): &(&str, &str)| Label {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    };
    labels.iter().map(label).collect()
}

/// A series with these labels and samples (ms, value).
pub(crate) fn series(pairs: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
    let sample =
        |(timestamp, value): &(i64, f64)| v1::Sample { value: *value, timestamp: *timestamp };
    TimeSeries {
        labels: labels(pairs),
        samples: samples.iter().map(sample).collect(),
        ..TimeSeries::default()
    }
}

/// A series of that name with a sample at `ms`.
pub(crate) fn sample(name: &str, ms: i64) -> TimeSeries {
    series(&[("__name__", name)], &[(ms, 1.0)])
}
