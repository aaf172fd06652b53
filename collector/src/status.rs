//! google.rpc.Status, the form of every refusal: as protobuf, as JSON, and in gRPC's trailers.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;

const RETRY_INFO_URL: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// google.rpc.Status.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RpcStatus {
    /// google.rpc.Code.
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<Any>,
}

/// google.protobuf.Any.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

/// google.rpc.RetryInfo.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<ProtoDuration>,
}

/// google.protobuf.Duration.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct ProtoDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

impl RpcStatus {
    /// A status; with `retry` it says when to come back.
    pub(crate) fn new(code: tonic::Code, message: String, retry: Option<Duration>) -> Self {
        let details = retry.map(|delay| {
            let seconds = i64::try_from(delay.as_secs()).unwrap_or(i64::MAX);
            let nanos = i32::try_from(delay.subsec_nanos()).unwrap_or(0);
            let info = RetryInfo { retry_delay: Some(ProtoDuration { seconds, nanos }) };
            Any { type_url: RETRY_INFO_URL.to_owned(), value: info.encode_to_vec() }
        });
        Self { code: code as i32, message, details: details.into_iter().collect() }
    }

    /// The status as protobuf.
    pub(crate) fn to_protobuf(&self) -> Bytes {
        self.encode_to_vec().into()
    }

    /// The status as JSON; `retry` goes in as `RetryInfo` in proto3's JSON form.
    pub(crate) fn to_json(&self, retry: Option<Duration>) -> Bytes {
        let mut json = serde_json::json!({ "code": self.code, "message": self.message });
        if let Some(delay) = retry {
            let delay = format!("{}s", delay.as_secs_f64());
            json["details"] = serde_json::json!([{ "@type": RETRY_INFO_URL, "retryDelay": delay }]);
        }
        json.to_string().into()
    }
}
