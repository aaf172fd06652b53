//! The envelope: `{"status", "data", "errorType", "error", "warnings", "infos"}`.

use axum::Json;
use axum::extract::OriginalUri;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;

use crate::http::error::bounded;

/// `status: success`.
#[derive(Debug, Serialize)]
pub(crate) struct Success<T> {
    status: &'static str,
    data: T,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl<T> Success<T> {
    pub(crate) const fn new(data: T) -> Self {
        Self { status: "success", data, warnings: Vec::new() }
    }

    pub(crate) fn warn(mut self, warning: Option<String>) -> Self {
        self.warnings.extend(warning);
        self
    }
}

impl<T: Serialize> IntoResponse for Success<T> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

/// `status: error`.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    status: &'static str,
    #[serde(rename = "errorType")]
    kind: &'a str,
    error: &'a str,
}

impl Failure {
    /// The request is wrong (400).
    pub(crate) fn bad_data(message: impl Into<String>) -> Self {
        let message = bounded(message.into());
        Self { status: StatusCode::BAD_REQUEST, kind: "bad_data", message }
    }

    /// The parameter `name` is wrong, in upstream's words.
    pub(crate) fn parameter(name: &str, why: &str) -> Self {
        Self::bad_data(format!("invalid parameter \"{name}\": {why}"))
    }
}

impl Failure {
    /// What came of the parameter `name`: the parameter is wrong, or nobody could look at it.
    pub(crate) fn of_parameter(name: &str, error: query::Error) -> Self {
        match error {
            query::Error::Invalid { .. } => Self::parameter(name, &error.to_string()),
            other => other.into(),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<query::Error> for Failure {
    fn from(error: query::Error) -> Self {
        use query::{Error, ErrorKind};
        let message = bounded(error.to_string());
        let (status, kind) = match (&error, error.kind()) {
            (Error::Invalid { .. }, _) => {
                // PromQL's errors begin with their position, as upstream's do.
                return Self::parameter("query", &message);
            }
            (Error::Timeout { .. }, _) => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            (Error::Canceled, _) => (StatusCode::from_u16(499).unwrap_or_default(), "canceled"),
            (_, ErrorKind::Invalid | ErrorKind::Exhausted) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "execution")
            }
            (_, ErrorKind::Unavailable) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            (_, ErrorKind::Corrupt) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self { status, kind, message }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = ErrorBody { status: "error", kind: self.kind, error: &self.message };
        (self.status, Json(body)).into_response()
    }
}

/// A path below the API that nobody claims.
pub(crate) async fn no_such_route(OriginalUri(uri): OriginalUri) -> Failure {
    let message = format!("there is no {} here", uri.path());
    Failure { status: StatusCode::NOT_FOUND, kind: "not_found", message }
}

/// A path that is there, but not for this method.
pub(crate) async fn wrong_method(method: http::Method) -> Failure {
    let message = format!("{method} is not for this path");
    Failure { status: StatusCode::METHOD_NOT_ALLOWED, kind: "bad_data", message }
}
