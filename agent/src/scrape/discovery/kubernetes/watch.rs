//! Lists one kind of object and follows what becomes of it: a list, then a stream of events from where the list ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::super::Poll;
use super::access::Access;
use super::{Known, Objects, Selector};
use crate::export::chain;
use crate::scrape::discovery::http::get;

/// One list.
pub(super) struct List {
    pub(super) path: String,
    pub(super) selector: Option<Selector>,
    /// Where its objects are kept.
    pub(super) key: (usize, String),
}

/// Objects a page of a list has.
const PAGE: usize = 500;
const PAGES_MAX: usize = 1_000;
/// How long a stream of events lasts; then another begins.
const STREAM_S: u64 = 300;
/// Largest event, in bytes: the API server refuses objects that are larger.
const EVENT_BYTES_MAX: usize = 8 << 20;
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Page {
    metadata: PageMeta,
    /// `null` when there are none.
    items: Option<Vec<Value>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PageMeta {
    resource_version: String,
    r#continue: String,
}

#[derive(Deserialize)]
struct Event {
    r#type: String,
    object: Value,
}

/// Follows until everything stops. What fails is told once until it works again.
pub(super) async fn run(poll: Arc<Poll>, access: Arc<Access>, known: Arc<Known>, list: List) {
    let (mut pause, mut failing) = (PAUSE_MIN, false);
    loop {
        let following = follow(&access, &known, &list);
        let outcome = tokio::select! {
            biased;
            () = poll.stop.cancelled() => return,
            outcome = following => outcome,
        };
        match outcome {
            Ok(()) => (pause, failing) = (PAUSE_MIN, false),
            Err(reason) => {
                poll.counters.add("headrope_scrape_discovery_failures_total", 1);
                if !failing {
                    poll.complain(&reason);
                }
                (pause, failing) = ((pause * 2).min(PAUSE_MAX), true);
            }
        }
        if !poll.wait(pause).await {
            return;
        }
    }
}

/// Lists everything, then applies events until one says that the list is too old.
async fn follow(access: &Access, known: &Known, list: &List) -> Result<(), String> {
    let (objects, mut version) = all(access, list).await?;
    known.change(&list.key, |own| *own = objects);
    loop {
        let before = version.clone();
        if !stream(access, known, list, &mut version).await? {
            return Ok(());
        }
        // A server that ends each answer at once is not asked without pause.
        if version == before {
            tokio::time::sleep(PAUSE_MIN).await;
        }
    }
}

fn url(access: &Access, list: &List, more: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(more);
    if let Some(selector) = &list.selector {
        for (name, value) in
            [("labelSelector", &selector.label), ("fieldSelector", &selector.field)]
        {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
    }
    format!("{}{}?{}", access.server, list.path, query.finish())
}

/// Every object, and the version of the list.
async fn all(access: &Access, list: &List) -> Result<(Objects, String), String> {
    let (mut objects, mut next, mut version) = (BTreeMap::new(), String::new(), String::new());
    for _ in 0..PAGES_MAX {
        let limit = PAGE.to_string();
        let mut more = vec![("limit", limit.as_str())];
        if !next.is_empty() {
            more.push(("continue", &next));
        }
        let url = url(access, list, &more);
        let (_, body) =
            get(&access.client, &url, &[("accept", "application/json")], DEADLINE).await?;
        let page: Page =
            serde_json::from_slice(&body).map_err(|error| format!("{url}: {error}"))?;
        objects.extend(page.items.into_iter().flatten().map(|object| (key(&object), slim(object))));
        version = page.metadata.resource_version;
        next = page.metadata.r#continue;
        if next.is_empty() {
            break;
        }
    }
    Ok((objects, version))
}

/// Applies the events of one stream. Whether another may begin where it ended.
async fn stream(
    access: &Access,
    known: &Known,
    list: &List,
    version: &mut String,
) -> Result<bool, String> {
    let seconds = STREAM_S.to_string();
    let more = [
        ("watch", "true"),
        ("allowWatchBookmarks", "true"),
        ("timeoutSeconds", seconds.as_str()),
        ("resourceVersion", version.as_str()),
    ];
    let url = url(access, list, &more);
    let failed = |reason: String| format!("{url}: {reason}");
    let request =
        access.client.get(&url).await.map_err(failed)?.header("accept", "application/json");
    let mut response = request.send().await.map_err(|error| failed(chain(&error)))?;
    if response.status() == ::http::StatusCode::GONE {
        return Ok(false);
    }
    if response.status() != ::http::StatusCode::OK {
        return Err(failed(format!("server returned HTTP status {}", response.status())));
    }
    let mut bytes = Vec::new();
    let deadline = Duration::from_secs(STREAM_S + 30);
    loop {
        let chunk = tokio::time::timeout(deadline, response.chunk()).await;
        let Ok(chunk) = chunk else {
            return Err(failed("the stream of events is silent".to_owned()));
        };
        let Some(chunk) = chunk.map_err(|error| failed(chain(&error)))? else { return Ok(true) };
        bytes.extend_from_slice(&chunk);
        if bytes.len() > EVENT_BYTES_MAX {
            return Err(failed(format!("an event has over {EVENT_BYTES_MAX} bytes")));
        }
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = bytes.drain(..=end).collect();
            let event: Event =
                serde_json::from_slice(&line).map_err(|error| failed(error.to_string()))?;
            if !apply(known, list, event, version) {
                return Ok(false);
            }
        }
    }
}

/// Whether the stream can go on.
fn apply(known: &Known, list: &List, event: Event, version: &mut String) -> bool {
    if let Some(newer) = event.object["metadata"]["resourceVersion"].as_str() {
        newer.clone_into(version);
    }
    let key = key(&event.object);
    match event.r#type.as_str() {
        "ADDED" | "MODIFIED" => {
            let object = slim(event.object);
            known.change(&list.key, |objects| drop(objects.insert(key, object)));
        }
        "DELETED" => known.change(&list.key, |objects| drop(objects.remove(&key))),
        "ERROR" => return false,
        _ => {} // A bookmark has nothing but its version.
    }
    true
}

/// Namespace and name.
fn key(object: &Value) -> String {
    let meta = &object["metadata"];
    format!(
        "{}/{}",
        meta["namespace"].as_str().unwrap_or_default(),
        meta["name"].as_str().unwrap_or_default()
    )
}

/// Without who changed which field when, often the larger half of an object.
fn slim(mut object: Value) -> Value {
    if let Some(meta) = object["metadata"].as_object_mut() {
        meta.remove("managedFields");
    }
    object
}
