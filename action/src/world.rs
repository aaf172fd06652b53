//! The seam to everything the engine asks about: queries, silences, and who is called. `server` is behind it, a script in
//! tests.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::BoxFuture;
use model::alert::Transition;

use crate::plan::{Input, Judged};

/// A PromQL text and how old what it reads may be.
#[derive(Clone, Debug)]
pub struct Question {
    /// The text.
    pub query: String,
    /// Oldest newest sample of a series that counts as fresh.
    pub max_staleness: Duration,
}

/// Answers the engine's questions.
pub trait World: Send + Sync {
    /// Whether a comparison holds now for every series; unknown where there is no data, no number, or an error.
    fn judge(&self, question: Question) -> BoxFuture<'_, Judged>;

    /// What an expression reads, and how fresh that is.
    fn inputs(&self, question: Question) -> BoxFuture<'_, Result<Vec<Input>, String>>;

    /// The one number an expression gives, or why there is none.
    fn number(&self, query: String) -> BoxFuture<'_, Result<f64, String>>;

    /// An expression over a window, ms since the epoch, at every step: the mean of all its series.
    fn range(
        &self,
        query: String,
        window_ms: (i64, i64),
        step_ms: i64,
    ) -> BoxFuture<'_, Result<Vec<(i64, f64)>, String>>;

    /// What keeps an alert with these labels quiet.
    fn muted(&self, labels: &BTreeMap<String, String>) -> Vec<String>;

    /// Calls people. The transition's id is the same at every repetition.
    fn call(&self, transition: Transition) -> BoxFuture<'_, Result<(), String>>;
}
