//! How much memory requests in flight may hold together. Taken while bodies are read and inflated, given back when a
//! request is answered. When it is used up, requests are refused at once (never queued: a queue would hold memory too).

use std::sync::Arc;

use store::{Held, Memory, Share};

use crate::error::Error;

/// The bytes shared by all requests.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    /// What the process as a whole may take; a part of it is ours.
    memory: Arc<Memory>,
}

/// Bytes held by one request, given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    held: Held,
}

impl Budget {
    /// `limit` bytes, or the share of `memory` that is for requests in flight, whichever is less.
    pub(crate) fn new(limit: usize, memory: Arc<Memory>) -> Arc<Self> {
        Arc::new(Self { limit: (limit as u64).min(memory.size(Share::Receive)), memory })
    }

    /// Bytes held now.
    pub(crate) fn held(&self) -> u64 {
        self.memory.held(Share::Receive)
    }

    /// A reservation of `bytes`, or why there is none: `Busy`, or the process is near its limit.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: usize) -> Result<Reservation, Error> {
        self.memory.admit(Share::Receive)?;
        let held = self.memory.take(Share::Receive, 0)?;
        let mut reservation = Reservation { budget: Arc::clone(self), held };
        reservation.grow(bytes)?;
        Ok(reservation)
    }
}

impl Reservation {
    /// Holds `bytes` more, or `Busy` (`TooLarge` if that can never be); what is held already stays.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Error> {
        let (bytes, own, limit) = (bytes as u64, self.held.bytes(), self.budget.limit);
        if bytes > limit - own {
            // Waiting would not help: this request alone is more than all may hold.
            return Err(Error::TooLarge(format!(
                "the request takes {} bytes of memory, all together may take {limit}; send smaller batches, or raise \
                 `memory_limit`",
                own.saturating_add(bytes)
            )));
        }
        // Two requests may both pass here; what they cannot pass is the share.
        let held = self.budget.held();
        if held.saturating_add(bytes) > limit {
            return Err(Error::Busy { held, limit });
        }
        Ok(self.held.grow(bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_budget_refuses_and_a_dropped_reservation_returns_its_bytes() {
        let budget = Budget::new(100, Memory::new(512 << 20));
        let mut first = budget.reserve(60).unwrap();
        assert!(matches!(budget.reserve(50), Err(Error::Busy { held: 60, limit: 100 })));
        first.grow(30).unwrap();
        assert!(matches!(first.grow(11), Err(Error::TooLarge(_))));
        assert_eq!(budget.held(), 90);
        drop(first);
        assert_eq!(budget.held(), 0);
    }
}
