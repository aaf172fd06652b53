//! When pages ask again: the clock of the view, what is under way, and whether the server can be reached.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use api::query::{Query, QueryAnswer};
use leptos::prelude::*;
use leptos::task::spawn_local;
use web_sys::AbortSignal;

use crate::app::Ui;
use crate::browser;
use crate::client::{self, Abort, Failure};

/// What one page has asked and not heard of yet. Provided by the page's root.
#[derive(Clone, Copy)]
pub(crate) struct Pending {
    /// Requests under way.
    in_flight: RwSignal<u32>,
    /// Those of them that a person waits for, not a tick of the clock.
    loud: RwSignal<u32>,
    /// Whether anything has been answered yet.
    settled: RwSignal<bool>,
}

impl Pending {
    pub(crate) fn new() -> Self {
        Self { in_flight: RwSignal::new(0), loud: RwSignal::new(0), settled: RwSignal::new(false) }
    }

    /// Whether all visible queries have been answered. Tracked.
    pub(crate) fn is_ready(&self) -> bool {
        self.settled.get() && self.loud.get() == 0
    }

    /// For pages that have nothing to ask yet.
    pub(crate) fn settle(&self) {
        self.settled.set(true);
    }

    fn begin(&self, loud: bool) {
        self.in_flight.update(|n| *n += 1);
        if loud {
            self.loud.update(|n| *n += 1);
        }
    }

    fn end(&self, loud: bool) {
        // The page may be gone by now, and its signals with it.
        let less = |n: &mut u32| *n = n.saturating_sub(1);
        self.in_flight.try_update(less);
        if loud {
            self.loud.try_update(less);
        }
        self.settled.try_update(|settled| *settled = true);
    }
}

/// Runs the clock of the page for as long as the page lives.
///
/// It stands still in a hidden tab and while an answer is awaited, so that a slow server is never asked twice at once.
pub(crate) fn start_clock(ui: Ui, pending: Pending) {
    let alive = StoredValue::new(());
    fn next(ui: Ui, pending: Pending, alive: StoredValue<()>, last_ms: i64) {
        let again = move || {
            if alive.try_get_value().is_none() {
                return;
            }
            let now_ms = browser::now_ms();
            let lost = ui.lost_since.get_untracked().is_some();
            let interval_ms = ui.refresh.get_untracked().or_else(|| lost.then_some(5_000));
            let interval_ms = interval_ms.map(|ms| if lost { ms.max(3_000) } else { ms });
            let due = interval_ms.is_some_and(|ms| now_ms - last_ms >= ms - 20);
            let idle = pending.in_flight.try_get_untracked() == Some(0);
            if due && idle && !browser::hidden() {
                ui.now_ms.set(now_ms);
                next(ui, pending, alive, now_ms);
            } else {
                next(ui, pending, alive, last_ms);
            }
        };
        set_timeout(again, Duration::from_millis(100));
    }
    next(ui, pending, alive, browser::now_ms());
}

/// Something fetched, and what became of the last attempt.
pub(crate) struct Fetched<T: 'static> {
    /// The latest answer, kept while newer ones fail.
    pub(crate) value: RwSignal<Option<Arc<T>>>,
    /// Why the last attempt failed.
    pub(crate) failure: RwSignal<Option<Failure>>,
    /// Whether a person waits for it.
    pub(crate) loading: RwSignal<bool>,
}

impl<T> Clone for Fetched<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Fetched<T> {}

impl<T: Send + Sync + 'static> Fetched<T> {
    pub(crate) fn new() -> Self {
        Self {
            value: RwSignal::new(None),
            failure: RwSignal::new(None),
            loading: RwSignal::new(false),
        }
    }
}

/// Fetches whenever `key` changes or the clock ticks.
pub(crate) fn fetch<K, T, F, R>(
    key: impl Fn() -> Option<K> + Send + Sync + 'static,
    request: F,
) -> Fetched<T>
where
    K: PartialEq + Clone + Send + Sync + 'static,
    T: Send + Sync + 'static,
    F: Fn(K, i64, Option<AbortSignal>) -> R + 'static,
    R: Future<Output = Result<T, Failure>> + 'static,
{
    let ui = expect_context::<Ui>();
    fetch_at(ui.now_ms.into(), key, request)
}

/// Fetches whenever `key` changes, and when `clock` does. A newer request cancels an older one; a change of the key is
/// awaited by a person, a tick is not. `key` of `None` asks nothing.
pub(crate) fn fetch_at<K, T, F, R>(
    clock: Signal<i64>,
    key: impl Fn() -> Option<K> + Send + Sync + 'static,
    request: F,
) -> Fetched<T>
where
    K: PartialEq + Clone + Send + Sync + 'static,
    T: Send + Sync + 'static,
    F: Fn(K, i64, Option<AbortSignal>) -> R + 'static,
    R: Future<Output = Result<T, Failure>> + 'static,
{
    let ui = expect_context::<Ui>();
    let pending = expect_context::<Pending>();
    let fetched = Fetched::new();
    let abort: StoredValue<Option<Abort>, LocalStorage> = StoredValue::new_local(None);
    let sequence = StoredValue::new(0u64);
    let key = Memo::new(move |_| key());
    Effect::new(move |before: Option<Option<K>>| {
        let now_ms = clock.get();
        let key = key.get();
        let Some(wanted) = key.clone() else {
            fetched.value.set(None);
            fetched.failure.set(None);
            pending.settle();
            return key;
        };
        let loud = before.is_none_or(|before| before != key);
        let controller = Abort::new();
        let signal = controller.as_ref().map(Abort::signal);
        abort.set_value(controller);
        sequence.update_value(|n| *n += 1);
        let number = sequence.get_value();
        pending.begin(loud);
        fetched.loading.set(loud);
        let answer = request(wanted, now_ms, signal);
        spawn_local(async move {
            let answer = answer.await;
            pending.end(loud);
            if sequence.try_get_value() == Some(number) {
                settle(ui, fetched, answer);
            }
        });
        key
    });
    fetched
}

fn settle<T: Send + Sync + 'static>(ui: Ui, fetched: Fetched<T>, answer: Result<T, Failure>) {
    fetched.loading.set(false);
    match answer {
        Ok(value) => {
            ui.reached();
            fetched.value.set(Some(Arc::new(value)));
            fetched.failure.set(None);
        }
        Err(Failure::Aborted) => {}
        Err(Failure::Lost) => {
            ui.lost();
            fetched.failure.set(Some(Failure::Lost));
        }
        Err(failure) => {
            ui.reached();
            fetched.failure.set(Some(failure));
        }
    }
}

/// The answers of a page by query id.
pub(crate) type Answers = HashMap<u32, Arc<QueryAnswer>>;

/// One request for all queries of a page, on every change and every tick.
///
/// `queries` gets the range in ms since the epoch, both ends aligned to the step, and the step in ms.
pub(crate) fn batch(
    width_px: Signal<f64>,
    queries: impl Fn((i64, i64), i64) -> Vec<Query> + Send + Sync + Clone + 'static,
) -> Fetched<Answers> {
    let ui = expect_context::<Ui>();
    let made = queries.clone();
    let key = move || {
        let range = ui.range.get();
        let width_px = width_px.get();
        // Texts alone, at a fixed range: the queries may depend on more than range and width.
        let (from_ms, to_ms) = range.resolve(0);
        let step_ms = step_ms(to_ms - from_ms, width_px);
        let asked = queries((0, step_ms), step_ms).into_iter();
        let texts: Vec<(u32, String, bool)> =
            asked.map(|query| (query.id, query.text, query.explain)).collect();
        (width_px > 0.0 && !texts.is_empty()).then_some((range, step_ms, texts))
    };
    fetch(key, move |(range, step_ms, _), now_ms, signal| {
        let (from_ms, to_ms) = range.resolve(now_ms);
        let from_ms = from_ms.div_euclid(step_ms) * step_ms;
        let to_ms = to_ms.div_euclid(step_ms) * step_ms;
        let queries = made((from_ms, to_ms), step_ms);
        async move {
            let answers = client::query(queries, signal).await?;
            Ok(answers.into_iter().map(|answer| (answer.id, Arc::new(answer))).collect())
        }
    })
}

/// A round step that gives about one point every two pixels, a second at least.
pub(crate) fn step_ms(span_ms: i64, width_px: f64) -> i64 {
    const STEPS_S: [i64; 18] = [
        1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200,
        86_400,
    ];
    let points = viz::scale::floor(width_px / 1.5).clamp(60, 2_000);
    let fits = |step: &&i64| span_ms / (**step * 1_000) <= points;
    STEPS_S.iter().find(fits).copied().unwrap_or(604_800) * 1_000
}
