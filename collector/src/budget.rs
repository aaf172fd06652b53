//! How much memory requests in flight may hold together. Taken while bodies are read and inflated, given back when a
//! request is answered. When it is used up, requests are refused at once (never queued: a queue would hold memory too).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::Error;

/// The bytes shared by all requests.
#[derive(Debug)]
pub(crate) struct Budget {
    held: AtomicUsize,
    limit: usize,
}

/// Bytes held by one request, given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), limit })
    }

    /// Bytes held now.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// A reservation of `bytes`, or `Busy`.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: usize) -> Result<Reservation, Error> {
        let mut reservation = Reservation { budget: Arc::clone(self), bytes: 0 };
        reservation.grow(bytes)?;
        Ok(reservation)
    }
}

impl Reservation {
    /// Holds `bytes` more, or `Busy` (`TooLarge` if that can never be); what is held already stays.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Error> {
        let limit = self.budget.limit;
        if bytes > limit - self.bytes {
            // Waiting would not help: this request alone is more than all may hold.
            return Err(Error::TooLarge(format!(
                "the request takes {} bytes of memory, all together may take {limit}; send smaller batches, or raise \
                 `bytes_in_flight_max`",
                self.bytes.saturating_add(bytes)
            )));
        }
        let more = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= limit);
        self.budget
            .held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .map_err(|held| Error::Busy { held, limit })?;
        self.bytes += bytes;
        Ok(())
    }

    /// Holds at least `bytes` in all, else as [`Self::grow`].
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), Error> {
        self.grow(bytes.saturating_sub(self.bytes))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_budget_refuses_and_a_dropped_reservation_returns_its_bytes() {
        let budget = Budget::new(100);
        let mut first = budget.reserve(60).unwrap();
        assert!(matches!(budget.reserve(50), Err(Error::Busy { held: 60, limit: 100 })));
        first.grow_to(90).unwrap();
        assert!(matches!(first.grow(11), Err(Error::TooLarge(_))));
        assert_eq!(budget.held(), 90);
        drop(first);
        assert_eq!(budget.held(), 0);
    }
}
