//! The memory of one query: fair among its operators, within what one query may take and what the process has left.
//!
//! DataFusion asks before an operator grows; a refusal makes operators that can spill do so, and ends the others. What
//! it does not count, scans and batches under way, has its room in the tenth that no query is given.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::common::resources_datafusion_err;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use store::{Held, Memory, Share};

/// Who asks: rules are served from memory that no person's query may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Class {
    /// A person or a program; three quarters of the share are theirs.
    #[default]
    Interactive,
    /// An alert rule.
    Rule,
}

/// Bytes all queries of `class` may hold together: what no pool counts is left out.
pub(crate) fn share(memory: &Memory, class: Class) -> u64 {
    let counted = memory.size(Share::Query) / 10 * 9;
    match class {
        Class::Interactive => counted / 4 * 3,
        Class::Rule => counted,
    }
}

/// What one query holds of the process's memory.
#[derive(Debug)]
pub(crate) struct QueryMemory {
    memory: Arc<Memory>,
    held: Held,
    share: u64,
    class: Class,
}

impl QueryMemory {
    /// A query that holds nothing yet.
    ///
    /// # Errors
    /// When the process is about to reach its limit: no query begins then.
    pub(crate) fn new(memory: &Arc<Memory>, class: Class) -> Result<Arc<Self>, store::Error> {
        memory.admit(Share::Query)?;
        let held = memory.take(Share::Query, 0)?;
        let share = share(memory, class);
        Ok(Arc::new(Self { memory: Arc::clone(memory), held, share, class }))
    }

    /// Holds `more` bytes.
    ///
    /// # Errors
    /// `Exhausted` when the queries of this class have no more, or when the process is about to reach its limit: then a
    /// query of a person ends, which gives back what it took uncounted as well.
    pub(crate) fn grow(&self, more: u64) -> Result<(), store::Error> {
        if self.class == Class::Interactive {
            self.memory.admit(Share::Query)?;
        }
        let used = self.memory.held(Share::Query);
        if used.saturating_add(more) > self.share {
            return Err(store::Error::Full { what: "memory for queries", used, limit: self.share });
        }
        self.held.grow(more)
    }

    /// Holds at least `bytes`.
    ///
    /// # Errors
    /// As [`Self::grow`].
    pub(crate) fn grow_to(&self, bytes: u64) -> Result<(), store::Error> {
        match bytes.saturating_sub(self.held.bytes()) {
            0 => Ok(()),
            more => self.grow(more),
        }
    }

    /// Bytes held now.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.held.bytes()
    }

    fn shrink(&self, less: u64) {
        self.held.shrink(less);
    }
}

/// DataFusion's view of a [`QueryMemory`].
#[derive(Debug)]
pub(crate) struct QueryPool {
    operators: FairSpillPool,
    memory: Arc<QueryMemory>,
    /// Bytes that operators have, but the query could not hold: given back first.
    unheld: AtomicU64,
}

impl QueryPool {
    /// A pool of at most `limit` bytes.
    pub(crate) fn new(limit: usize, memory: Arc<QueryMemory>) -> Self {
        let share = usize::try_from(memory.share).unwrap_or(usize::MAX);
        let operators = FairSpillPool::new(limit.min(share));
        Self { operators, memory, unheld: AtomicU64::new(0) }
    }
}

impl fmt::Display for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "query({})", self.operators)
    }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &str {
        "query"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.operators.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.operators.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.operators.grow(reservation, additional);
        // Memory taken already cannot be refused: what the share lacks is seen in the size of the process.
        if self.memory.grow(additional as u64).is_err() {
            self.unheld.fetch_add(additional as u64, Ordering::Relaxed);
        }
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.operators.shrink(reservation, shrink);
        let shrink = shrink as u64;
        let less = |unheld: u64| Some(unheld.saturating_sub(shrink));
        let unheld = self.unheld.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        self.memory.shrink(shrink.saturating_sub(unheld.unwrap_or_default()));
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.operators.try_grow(reservation, additional)?;
        self.memory.grow(additional as u64).map_err(|error| {
            self.operators.shrink(reservation, additional);
            resources_datafusion_err!("{error}: narrow the query, or raise `memory_limit`")
        })
    }

    fn reserved(&self) -> usize {
        self.operators.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.operators.memory_limit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consumer(pool: &Arc<dyn MemoryPool>) -> MemoryReservation {
        MemoryConsumer::new("sort").with_can_spill(true).register(pool)
    }

    #[test]
    fn people_leave_a_quarter_to_rules() {
        let memory = Memory::new(1 << 30);
        let pool = |class| -> Arc<dyn MemoryPool> {
            let of_query = QueryMemory::new(&memory, class).unwrap();
            Arc::new(QueryPool::new(usize::MAX, of_query))
        };
        let (person, rule) = (pool(Class::Interactive), pool(Class::Rule));
        let of_people = usize::try_from(share(&memory, Class::Interactive)).unwrap();
        let all = usize::try_from(share(&memory, Class::Rule)).unwrap();
        let asked = consumer(&person);
        asked.try_grow(of_people).unwrap();
        assert!(consumer(&pool(Class::Interactive)).try_grow(1).is_err());
        let of_rule = consumer(&rule);
        of_rule.try_grow(all - of_people).unwrap();
        assert!(of_rule.try_grow(1).is_err());
        drop(asked);
        drop(person);
        of_rule.try_grow(1).unwrap();
        drop(of_rule);
        assert_eq!((rule.reserved(), memory.held(Share::Query)), (0, 0));
    }

    #[test]
    fn a_query_ends_where_the_process_is_about_to_reach_its_limit() {
        let memory = Memory::new(store::LIMIT_MIN);
        let of = |class| QueryMemory::new(&memory, class).unwrap();
        let (person, rule) = (of(Class::Interactive), of(Class::Rule));
        person.grow(1).unwrap();
        memory.observe(store::LIMIT_MIN / 100 * 95);
        assert!(person.grow(1).is_err());
        rule.grow(1).unwrap();
        assert_eq!(memory.held(Share::Query), 2);
    }

    /// An operator that takes without asking gives back what it took, not what others hold.
    #[test]
    fn what_could_not_be_held_is_given_back_first() {
        let memory = Memory::new(store::LIMIT_MIN);
        let of_query = QueryMemory::new(&memory, Class::Interactive).unwrap();
        let pool: Arc<dyn MemoryPool> = Arc::new(QueryPool::new(usize::MAX, of_query));
        let (asks, takes) = (consumer(&pool), consumer(&pool));
        asks.try_grow(50).unwrap();
        let too_much = usize::try_from(share(&memory, Class::Interactive)).unwrap();
        takes.grow(too_much);
        takes.shrink(too_much - 20);
        assert_eq!(memory.held(Share::Query), 50);
        drop(takes);
        assert_eq!(memory.held(Share::Query), 50);
        drop(asks);
        assert_eq!(memory.held(Share::Query), 0);
    }
}
