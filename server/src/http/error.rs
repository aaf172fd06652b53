//! Errors of the own API: one JSON shape, the status from the kind alone.

use api::error::{ApiError, ErrorBody, ErrorKind, Position};
use axum::Json;
use axum::extract::OriginalUri;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

/// An answer of the own API that is an error.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) ApiError);

impl Failure {
    /// The request is wrong.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self(ApiError::new(ErrorKind::Invalid, message))
    }

    /// There is no such thing.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self(ApiError::new(ErrorKind::NotFound, message))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.kind.status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(ErrorBody { error: self.0 })).into_response()
    }
}

impl From<query::Error> for Failure {
    fn from(error: query::Error) -> Self {
        Self(describe(&error))
    }
}

/// Bytes of an error's text at most: it may quote what was asked, which may be a megabyte.
const TEXT_MAX: usize = 1_000;

/// The text, cut where it is too long to be read.
pub(super) fn bounded(mut text: String) -> String {
    if text.len() > TEXT_MAX {
        text.truncate(text.floor_char_boundary(TEXT_MAX));
        text.push('…');
    }
    text
}

/// A query's error in the API's words.
pub(crate) fn describe(error: &query::Error) -> ApiError {
    let kind = match (error, error.kind()) {
        (query::Error::Timeout { .. }, _) => ErrorKind::Timeout,
        (_, query::ErrorKind::Invalid) => ErrorKind::Invalid,
        (_, query::ErrorKind::Exhausted) => ErrorKind::Exhausted,
        (_, query::ErrorKind::Unavailable) => ErrorKind::Unavailable,
        (_, query::ErrorKind::Corrupt) => ErrorKind::Corrupt,
    };
    let position = error.position().map(|at| Position {
        start: at.start,
        end: at.end,
        line: at.line,
        column: at.column,
    });
    let hint = error.hint().map(str::to_owned);
    ApiError { kind, message: bounded(error.to_string()), position, hint }
}

/// A path below the own API that nobody claims.
pub(crate) async fn no_such_route(OriginalUri(uri): OriginalUri) -> Failure {
    Failure::not_found(format!("there is no {} here", uri.path()))
}

/// A path that is there, but not for this method.
pub(crate) async fn wrong_method(method: http::Method) -> Response {
    let error = ApiError::new(ErrorKind::Invalid, format!("{method} is not for this path"));
    (StatusCode::METHOD_NOT_ALLOWED, Json(ErrorBody { error })).into_response()
}

impl From<axum::extract::rejection::JsonRejection> for Failure {
    /// The body is no JSON of the shape asked for; axum's words name line, column and field.
    fn from(rejection: axum::extract::rejection::JsonRejection) -> Self {
        Self::invalid(rejection.body_text())
    }
}
