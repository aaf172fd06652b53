//! Work for a client beside its queries: reading the texts it sent, and holding the memory of what it is answered.
//!
//! A regular expression may take milliseconds to compile, and a request may hold very many: that is done on the threads
//! of queries, within their time and number, never on those of the network.

use std::sync::Arc;

use model::matcher::Matcher;

use super::{matchers, parse};
use crate::engine::Engine;
use crate::error::Error;
use crate::promql::matchers::{Compiled, compile_all};
use crate::promql::{Expr, Stop};
use crate::runtime::{Class, QueryMemory};

/// Matchers that are compiled and kept for one request; each may take a quarter of a mebibyte.
const COMPILED_MAX: usize = 100;

/// Label names and the tests of their values: all of a set must pass.
pub type CompiledSet = Vec<(String, Compiled)>;

/// Memory that counts as a query's until it is dropped.
#[derive(Clone, Debug)]
pub struct Holding(Arc<QueryMemory>);

impl Holding {
    pub(crate) fn new(memory: &Arc<QueryMemory>) -> Self {
        Self(Arc::clone(memory))
    }

    /// Counts `bytes` more.
    ///
    /// # Errors
    /// `Exhausted` when queries have no more memory.
    pub fn grow(&self, bytes: usize) -> Result<(), Error> {
        Ok(self.0.grow(bytes as u64)?)
    }
}

impl Engine {
    /// Nothing yet, to be grown by what an answer takes beside the engine.
    ///
    /// # Errors
    /// `Exhausted` when the process is about to reach its limit.
    pub fn hold(&self) -> Result<Holding, Error> {
        Ok(Holding(self.memory(Class::Interactive)?))
    }

    /// What `work` gives on a thread where it may take its time; it asks the [`Stop`] whether to end.
    ///
    /// # Errors
    /// Those of `work`, and `Timeout`.
    pub async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Stop) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.workers.run_blocking(self.config.timeout, move |stop| work(stop)).await
    }

    /// The matchers of selectors such as `up{job="a"}`, in the order of `texts`.
    ///
    /// # Errors
    /// `Invalid` as [`matchers`] has it, `Timeout`.
    pub async fn selectors(&self, texts: Vec<String>) -> Result<Vec<Vec<Matcher>>, Error> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let each = |stop: &Stop, text: &String| {
            if stop.is_told() { Err(Error::Canceled) } else { matchers(text) }
        };
        self.apart(move |stop| texts.iter().map(|text| each(stop, text)).collect()).await
    }

    /// The matchers of one selector.
    ///
    /// # Errors
    /// As [`Self::selectors`].
    pub async fn selector(&self, text: String) -> Result<Vec<Matcher>, Error> {
        self.apart(move |_| matchers(&text)).await
    }

    /// Sets of matchers made ready to run; at most 100 matchers together.
    ///
    /// # Errors
    /// `Invalid` for more of them and for a regular expression that is wrong or too large.
    pub async fn compiled(&self, sets: Vec<Vec<Matcher>>) -> Result<Vec<CompiledSet>, Error> {
        let n: usize = sets.iter().map(Vec::len).sum();
        if n > COMPILED_MAX {
            return Err(Error::invalid(format!("{n} matchers, the limit is {COMPILED_MAX}")));
        }
        if n == 0 {
            return Ok(sets.iter().map(|_| Vec::new()).collect());
        }
        let compiled = |set: &Vec<Matcher>| compile_all(set).map_err(Error::invalid);
        self.apart(move |_| sets.iter().map(compiled).collect()).await
    }

    /// What `show` makes of an expression.
    ///
    /// # Errors
    /// `Invalid` for what is not PromQL, `Timeout`.
    pub async fn parsed<T: Send + 'static>(
        &self,
        text: String,
        show: impl FnOnce(&Expr) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let text_max = self.config.text_bytes_max;
        self.apart(move |_| Ok(show(parse(&text, text_max)?.expr()))).await
    }
}

/// Bytes that are counted at a time.
const STEP: u64 = 64 << 10;
/// What an entry of a map or set takes beside its text, bytes, about.
const ENTRY_BYTES: usize = 64;

/// The memory of what a question gathers, entry by entry. A refusal stops the question and becomes its answer.
pub(super) struct Account<'a> {
    memory: &'a QueryMemory,
    stop: &'a Stop,
    uncounted: u64,
    refused: Option<Error>,
}

impl<'a> Account<'a> {
    pub(super) fn new(memory: &'a QueryMemory, stop: &'a Stop) -> Self {
        Self { memory, stop, uncounted: 0, refused: None }
    }

    /// One more entry with so much text, now and once more in the answer.
    pub(super) fn entry(&mut self, text_bytes: usize) {
        self.uncounted += 2 * (text_bytes + ENTRY_BYTES) as u64;
        if self.uncounted >= STEP {
            self.count();
        }
    }

    fn count(&mut self) {
        if let Err(error) = self.memory.grow(std::mem::take(&mut self.uncounted)) {
            self.stop.cancel();
            self.refused.get_or_insert(error.into());
        }
    }

    /// The outcome of the question, or why it had no memory.
    pub(super) fn settle<T>(mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        self.count();
        self.refused.map_or(outcome, Err)
    }
}
