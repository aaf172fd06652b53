//! OTLP over gRPC. Batches are compressed once, when they are taken, so the message is framed here instead of by
//! generated code, which would compress it anew with every try.

use std::time::Duration;

use ::http::{HeaderMap, HeaderValue, Method, Request, Version, header};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use prost::Message;
use tonic::body::Body;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Status};
use tower::{Service, ServiceExt};

use super::{Answer, Target};
use crate::queue::Batch;
use crate::{Config, Error};

const PATH: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
/// The answer holds a count and a sentence.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Flag and length before each message.
const FRAME_BYTES: usize = 5;

/// A channel that connects when it is first used, and again whenever it broke.
pub(super) struct Client {
    channel: Channel,
    headers: HeaderMap,
}

impl Client {
    pub(super) fn new(target: &Target, config: &Config) -> Result<Self, Error> {
        let failed = |error: tonic::transport::Error| Error::Export {
            endpoint: config.endpoint.clone(),
            reason: super::http::chain(&error),
        };
        let mut endpoint = Endpoint::from_shared(target.url.clone())
            .map_err(failed)?
            .user_agent(concat!("headrope-agent/", env!("CARGO_PKG_VERSION")))
            .map_err(failed)?
            .connect_timeout(config.timeout)
            // A peer that vanished without a word is noticed within half a minute.
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10));
        if target.tls {
            let mut tls = ClientTlsConfig::new().with_native_roots();
            if let Some(pem) = &target.authorities {
                tls = tls.ca_certificate(Certificate::from_pem(pem));
            }
            endpoint = endpoint.tls_config(tls).map_err(failed)?;
        }
        let mut headers = target.headers.clone();
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-accept-encoding", HeaderValue::from_static("identity"));
        if let Ok(value) = HeaderValue::from_str(&format!("{}m", config.timeout.as_millis())) {
            headers.insert("grpc-timeout", value);
        }
        Ok(Self { channel: endpoint.connect_lazy(), headers })
    }

    /// One try.
    pub(super) async fn send(&mut self, batch: &Batch, name: &HeaderValue) -> Answer {
        match self.call(batch, name).await {
            Ok(message) => accepted(&message),
            Err(status) => failed(&status, batch.zstd),
        }
    }

    async fn call(&mut self, batch: &Batch, name: &HeaderValue) -> Result<Bytes, Status> {
        let mut request = Request::new(Body::new(Full::new(frame(batch)?)));
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = ::http::Uri::from_static(PATH);
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(super::delivery::HEADER, name.clone());
        if batch.zstd {
            request.headers_mut().insert("grpc-encoding", HeaderValue::from_static("zstd"));
        }
        let ready = self.channel.ready().await.map_err(unreachable)?;
        let response = ready.call(request).await.map_err(unreachable)?;
        let (head, body) = response.into_parts();
        if head.status != ::http::StatusCode::OK {
            let message = format!("HTTP status {}", head.status.as_u16());
            return Err(Status::new(code_of(head.status), message));
        }
        if let Some(status) = Status::from_header_map(&head.headers) {
            return if status.code() == Code::Ok { Ok(Bytes::new()) } else { Err(status) };
        }
        let collected = Limited::new(body, ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| Status::unavailable(format!("the answer broke off: {error}")))?;
        let status = collected.trailers().and_then(Status::from_header_map);
        match status.unwrap_or_else(|| Status::unavailable("the answer has no grpc-status")) {
            status if status.code() == Code::Ok => Ok(collected.to_bytes()),
            status => Err(status),
        }
    }
}

fn frame(batch: &Batch) -> Result<Bytes, Status> {
    let len = u32::try_from(batch.body.len())
        .map_err(|_| Status::invalid_argument("the batch exceeds 4 GiB"))?;
    let mut frame = BytesMut::with_capacity(FRAME_BYTES + batch.body.len());
    frame.put_u8(u8::from(batch.zstd));
    frame.put_u32(len);
    frame.put_slice(&batch.body);
    Ok(frame.freeze())
}

fn unreachable(error: tonic::transport::Error) -> Status {
    Status::unavailable(super::http::chain(&error))
}

/// The gRPC code for a status of HTTP, which a proxy in between may send.
fn code_of(status: ::http::StatusCode) -> Code {
    match status.as_u16() {
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

fn accepted(frame: &Bytes) -> Answer {
    let message = frame.get(FRAME_BYTES..).unwrap_or_default();
    super::http::accepted(message)
}

fn failed(status: &Status, zstd: bool) -> Answer {
    let message = status.message().to_owned();
    let after = retry_info(status.details());
    let reason = word(status.code());
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Answer::Retry { after, reason, message },
        // Without a hint it means: too large, and the same batch would be too large for ever.
        Code::ResourceExhausted if after.is_some() => Answer::Retry { after, reason, message },
        // The service exists wherever we are not mistaken about the address; its decoder may not.
        Code::Unimplemented if zstd => Answer::Incompressible,
        _ => Answer::Refused { reason, message },
    }
}

fn word(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "timeout",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

/// `google.rpc.Status`, as `grpc-status-details-bin` carries it.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Detail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Detail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

fn retry_info(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let detail = status.details.iter().find(|d| d.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(&*detail.value).ok()?.retry_delay.unwrap_or_default();
    let seconds = u64::try_from(delay.seconds).unwrap_or(0);
    let nanos = u32::try_from(delay.nanos).ok().filter(|n| *n < 1_000_000_000).unwrap_or(0);
    Some(Duration::new(seconds, nanos))
}

#[cfg(test)]
impl Delay {
    /// The details a server sends with this delay.
    pub(super) fn details(seconds: i64) -> Bytes {
        let value = RetryInfo { retry_delay: Some(Self { seconds, nanos: 0 }) }.encode_to_vec();
        let type_url = "type.googleapis.com/google.rpc.RetryInfo".into();
        RpcStatus { details: vec![Detail { type_url, value }] }.encode_to_vec().into()
    }
}

#[cfg(test)]
pub(super) fn retry_details(seconds: i64) -> Bytes {
    Delay::details(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_details_give_no_delay() {
        assert_eq!(retry_info(&retry_details(3)), Some(Duration::from_secs(3)));
        assert_eq!(retry_info(&retry_details(-3)), Some(Duration::ZERO));
        for bad in [&b""[..], b"\xff\xff\xff", &retry_details(3)[..9]] {
            assert_eq!(retry_info(bad), None);
        }
    }

    #[test]
    fn exhausted_is_final_unless_the_collector_names_a_time() {
        let status = Status::resource_exhausted("too large");
        assert!(matches!(
            failed(&status, true),
            Answer::Refused { reason: "resource_exhausted", .. }
        ));
        let status = Status::with_details(Code::ResourceExhausted, "later", retry_details(2));
        let Answer::Retry { after, .. } = failed(&status, true) else { panic!("not a retry") };
        assert_eq!(after, Some(Duration::from_secs(2)));
    }
}
