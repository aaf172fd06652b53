//! Talks to the server: JSON and columns, with errors in the server's own words.

use api::columns;
use api::error::{ApiError, ErrorBody, ErrorKind};
use api::query::{Query, QueryAnswer, QueryRequest};
use gloo_net::http::{Request, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use web_sys::{AbortController, AbortSignal};

const BASE: &str = "api/headrope/v1/";

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The server refused, and said why.
    Refused(ApiError),
    /// The server could not be reached.
    Lost,
    /// We no longer want it.
    Aborted,
}

impl Failure {
    /// The refusal; `None` for what the banner or nobody needs to say.
    pub(crate) fn refusal(&self) -> Option<ApiError> {
        match self {
            Self::Refused(error) => Some(error.clone()),
            Self::Lost | Self::Aborted => None,
        }
    }
}

/// Ends a request when dropped or replaced.
#[derive(Debug)]
pub(crate) struct Abort(AbortController);

impl Abort {
    pub(crate) fn new() -> Option<Self> {
        AbortController::new().ok().map(Self)
    }

    pub(crate) fn signal(&self) -> AbortSignal {
        self.0.signal()
    }
}

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// `GET` of a path below the API's base.
pub(crate) async fn get<A: DeserializeOwned>(
    path: &str,
    signal: Option<AbortSignal>,
) -> Result<A, Failure> {
    get_from(&format!("{BASE}{path}"), signal).await
}

/// `GET` of a path below the server's root.
pub(crate) async fn get_from<A: DeserializeOwned>(
    path: &str,
    signal: Option<AbortSignal>,
) -> Result<A, Failure> {
    let request = Request::get(path).abort_signal(signal.as_ref());
    let response = sent(request.send().await, signal.as_ref())?;
    json(response).await
}

/// `POST` of JSON to a path below the API's base.
pub(crate) async fn post<Q: Serialize, A: DeserializeOwned>(
    path: &str,
    body: &Q,
    signal: Option<AbortSignal>,
) -> Result<A, Failure> {
    let response = send(path, body, "application/json", signal.as_ref()).await?;
    json(response).await
}

/// `POST` of JSON to a path below the server's root.
pub(crate) async fn post_to<Q: Serialize, A: DeserializeOwned>(
    path: &str,
    body: &Q,
) -> Result<A, Failure> {
    let request = Request::post(path).header("accept", "application/json");
    let request = request.json(body).map_err(|error| unreadable(&error.to_string()))?;
    json(sent(request.send().await, None)?).await
}

/// `DELETE` of a path below the API's base.
pub(crate) async fn delete(path: &str) -> Result<(), Failure> {
    let request = Request::delete(&format!("{BASE}{path}"));
    let response = sent(request.send().await, None)?;
    if response.ok() { Ok(()) } else { Err(refused(response).await) }
}

/// `POST query`: all queries at once, answered in columns.
pub(crate) async fn query(
    queries: Vec<Query>,
    signal: Option<AbortSignal>,
) -> Result<Vec<QueryAnswer>, Failure> {
    let body = QueryRequest { queries };
    let response = send("query", &body, columns::MEDIA_TYPE, signal.as_ref()).await?;
    let bytes = response.binary().await.map_err(|_| lost(signal.as_ref()))?;
    columns::decode(&bytes).map_err(|error| unreadable(&error.to_string()))
}

async fn send<Q: Serialize>(
    path: &str,
    body: &Q,
    accept: &str,
    signal: Option<&AbortSignal>,
) -> Result<Response, Failure> {
    let request: RequestBuilder =
        Request::post(&format!("{BASE}{path}")).header("accept", accept).abort_signal(signal);
    let request = request.json(body).map_err(|error| unreadable(&error.to_string()))?;
    let response = sent(request.send().await, signal)?;
    if response.ok() { Ok(response) } else { Err(refused(response).await) }
}

fn sent(
    result: Result<Response, gloo_net::Error>,
    signal: Option<&AbortSignal>,
) -> Result<Response, Failure> {
    result.map_err(|_| lost(signal))
}

fn lost(signal: Option<&AbortSignal>) -> Failure {
    if signal.is_some_and(AbortSignal::aborted) { Failure::Aborted } else { Failure::Lost }
}

async fn json<A: DeserializeOwned>(response: Response) -> Result<A, Failure> {
    if !response.ok() {
        return Err(refused(response).await);
    }
    let text = response.text().await.map_err(|_| Failure::Lost)?;
    serde_json::from_str(&text).map_err(|error| unreadable(&error.to_string()))
}

/// The error of an answer; a proxy in between may speak another language than we do.
async fn refused(response: Response) -> Failure {
    let status = response.status();
    let text = response.text().await.unwrap_or_default();
    if let Ok(body) = serde_json::from_str::<ErrorBody>(&text) {
        return Failure::Refused(body.error);
    }
    if (502..=504).contains(&status) {
        return Failure::Lost;
    }
    let words: String = text.chars().take(300).collect();
    Failure::Refused(ApiError::new(ErrorKind::Unavailable, format!("HTTP {status} {words}")))
}

fn unreadable(why: &str) -> Failure {
    let message = format!("the answer could not be read: {why}");
    Failure::Refused(ApiError::new(ErrorKind::Corrupt, message))
}
