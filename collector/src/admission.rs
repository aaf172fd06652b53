//! One request on its way in: the limits, times and identities that metrics, logs and traces share.

use model::id::TenantId;

use crate::admit::{Reason, Tally, Window};
use crate::config::Config;
use crate::error::Error;
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
    /// Bytes of the key that is being hashed, kept to spare the allocation.
    pub(crate) scratch: Vec<u8>,
}

/// Why one item goes no further.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It is rejected, the rest of the request is not; with words for the sender.
    Reject(Reason, String),
    /// The whole request fails.
    Fail(Error),
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
        Self { shared, window, tally, scratch: Vec::with_capacity(1_024) }
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
