//! `notifications`: what a person should look at, as a list and as a live stream of server-sent events.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use model::time::Timestamp;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{App, ok};

/// Live streams at once; the next client is told to come back (204), as upstream does.
const LISTENERS_MAX: usize = 16;
/// How often a live stream looks for what is new.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// When each present problem was first seen.
#[derive(Debug)]
pub struct Notices {
    seen: Mutex<BTreeMap<String, Timestamp>>,
    listeners: Arc<Semaphore>,
}

impl Default for Notices {
    fn default() -> Self {
        Self { seen: Mutex::default(), listeners: Arc::new(Semaphore::new(LISTENERS_MAX)) }
    }
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Notification {
    text: String,
    date: String,
    active: bool,
}

impl Notices {
    /// The problems there are, with the time each was first seen; those that are gone are forgotten.
    fn present(&self, problems: Vec<String>, now: Timestamp) -> Vec<Notification> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let since = |text: String| {
            let date = seen.get(&text).copied().unwrap_or(now);
            (text, date)
        };
        *seen = problems.into_iter().map(since).collect();
        let notification = |(text, date): (&String, &Timestamp)| Notification {
            text: text.clone(),
            date: date.to_string(),
            active: true,
        };
        seen.iter().map(notification).collect()
    }
}

fn present(app: &App) -> Vec<Notification> {
    let problems = crate::http::status::present_problems(app).into_iter();
    let texts = problems.map(|problem| format!("{}: {}", problem.message, problem.remedy));
    app.notices.present(texts.collect(), app.clock.now())
}

/// What stands now.
pub(super) async fn list(State(app): State<Arc<App>>) -> Response {
    ok(present(&app))
}

/// What stands now, then every change, until the client or the server goes.
pub(super) async fn live(State(app): State<Arc<App>>) -> Response {
    let Ok(permit) = Arc::clone(&app.notices.listeners).try_acquire_owned() else {
        return StatusCode::NO_CONTENT.into_response();
    };
    let listener = Listener { app, told: Vec::new(), is_first: true, _permit: permit };
    let events = stream::unfold(listener, |mut listener| async move {
        let text = listener.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), listener))
    });
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(events)).into_response()
}

struct Listener {
    app: Arc<App>,
    told: Vec<Notification>,
    is_first: bool,
    _permit: OwnedSemaphorePermit,
}

impl Listener {
    /// The next events; a comment when there is nothing new, so that a client that has gone is noticed.
    async fn next(&mut self) -> Option<String> {
        if !self.is_first {
            tokio::select! {
                () = self.app.stop.cancelled() => return None,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
        self.is_first = false;
        let now = present(&self.app);
        let events = changes(&self.told, &now);
        self.told = now;
        Some(if events.is_empty() { ":\n\n".to_owned() } else { events })
    }
}

/// What is new, and what is over, as events.
fn changes(before: &[Notification], now: &[Notification]) -> String {
    let new = now.iter().filter(|notification| !before.contains(notification)).cloned();
    let over = before.iter().filter(|notification| !now.contains(notification)).cloned();
    let over = over.map(|notification| Notification { active: false, ..notification });
    let event = |notification| {
        // Only maps with odd keys fail to serialize.
        format!("data: {}\n\n", serde_json::to_string(&notification).unwrap_or_default())
    };
    new.chain(over).map(event).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_keeps_its_date_and_is_told_when_it_ends() {
        let notices = Notices::default();
        let at = |s: i64| Timestamp::from_ms(s * 1000);
        let first = notices.present(vec!["full".to_owned()], at(1));
        let second = notices.present(vec!["full".to_owned(), "slow".to_owned()], at(2));
        assert_eq!(first[0], second[0]);
        assert_eq!(second[1].date, at(2).to_string());
        assert_eq!(changes(&second, &second), "");
        let third = notices.present(vec!["slow".to_owned()], at(3));
        let told = changes(&second, &third);
        assert_eq!(told.matches("data: ").count(), 1, "{told}");
        assert!(told.contains(r#""text":"full""#) && told.contains(r#""active":false"#), "{told}");
        // What comes back is new.
        assert_eq!(notices.present(vec!["full".to_owned()], at(9))[0].date, at(9).to_string());
    }
}
