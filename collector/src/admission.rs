//! One request on its way in: the limits, times and identities that metrics, logs and traces share.

use model::id::{SeriesId, TenantId};

use crate::admit::{Reason, Tally, Window};
use crate::config::Config;
use crate::error::Error;
use crate::known::Reader;
use crate::memory::Memory;
use crate::proto::Fault;
use crate::registry::Registry;

/// What outlives the request: borrowed by every [`Admission`].
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a> {
    pub(crate) config: &'a Config,
    pub(crate) memory: &'a Memory,
    pub(crate) registry: &'a dyn Registry,
    pub(crate) tenant: TenantId,
}

/// The admission of one request.
pub(crate) struct Admission<'a> {
    pub(crate) shared: Shared<'a>,
    pub(crate) window: Window,
    pub(crate) tally: Tally,
    /// Looks up series already seen.
    pub(crate) known: Reader<'a>,
    /// Bytes of the key that is being hashed, kept to spare the allocation.
    pub(crate) scratch: Vec<u8>,
    /// Whether series are looked up in the store although they are remembered: the store let one of them go.
    pub(crate) is_repeat: bool,
    /// How many series were remembered.
    pub(crate) hits: u64,
    /// How many were not.
    pub(crate) misses: u64,
}

/// Why one item goes no further.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It is rejected, the rest of the request is not; with words for the sender.
    Reject(Reason, String),
    /// The whole request fails.
    Fail(Error),
}

impl From<Refusal> for Error {
    /// What ends a request; items that are rejected never do.
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Fail(error) => error,
            Refusal::Reject(_, words) => {
                Self::Internal(format!("an item was rejected uncounted: {words}"))
            }
        }
    }
}

impl From<(Reason, String)> for Refusal {
    fn from((reason, words): (Reason, String)) -> Self {
        Self::Reject(reason, words)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Fail(error)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fail(fault.into())
    }
}

impl<'a> Admission<'a> {
    pub(crate) fn new(shared: Shared<'a>, window: Window, tally: Tally) -> Self {
        let scratch = Vec::with_capacity(1_024);
        let known = shared.memory.series.reader();
        Self { shared, window, tally, known, scratch, is_repeat: false, hits: 0, misses: 0 }
    }

    /// Whether one more exemplar of `series` may be kept; counts it if so.
    pub(crate) fn takes_exemplar(&self, series: SeriesId) -> bool {
        let limit = self.shared.config.exemplars_per_minute_max;
        self.shared.memory.takes_exemplar(series, self.window.now(), limit)
    }

    /// Counts a rejection and goes on, or stops the request.
    pub(crate) fn settle(
        &mut self,
        outcome: Result<(), Refusal>,
        offender: impl FnOnce() -> String,
    ) -> Result<(), Error> {
        match outcome {
            Ok(()) => Ok(()),
            Err(Refusal::Reject(reason, words)) => {
                self.tally.reject(reason, || format!("{}, {words}", offender()));
                Ok(())
            }
            Err(Refusal::Fail(error)) => Err(error),
        }
    }
}
