//! How many samples a query looked at, in all and at each step, as Prometheus counts them for `stats`.
//!
//! What the inner expression of a subquery looks at is not counted: its results are, once windows are laid over them.

/// Samples of one step of a query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepSamples {
    /// Looked at, those of overlapping windows each time.
    pub queryable: u64,
    /// Looked at for the first time by their selector.
    pub read: u64,
}

/// The counts of one evaluation.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Subqueries being evaluated around here; -1 where the subquery itself is the query.
    depth: i32,
    /// Whether everything counts for the first step: what a bare subquery looks at, for want of steps.
    is_flat: bool,
    total: StepSamples,
    /// One entry a step, when that is wanted.
    steps: Option<Vec<StepSamples>>,
}

impl Tally {
    /// Counts for a query of `len` steps, each by itself if `per_step`.
    pub(super) fn new(len: usize, per_step: bool) -> Self {
        Self { steps: per_step.then(|| vec![StepSamples::default(); len]), ..Self::default() }
    }

    /// An empty one for a part of the work at the same place.
    pub(super) fn part(&self) -> Self {
        let steps = self.steps.as_ref().map(|steps| vec![StepSamples::default(); steps.len()]);
        Self { total: StepSamples::default(), steps, ..*self }
    }

    /// Takes in what a part counted.
    pub(super) fn join(&mut self, part: &Self) {
        self.total.add(part.total);
        let steps = self.steps.iter_mut().flatten().zip(part.steps.iter().flatten());
        steps.for_each(|(step, more)| step.add(*more));
    }

    /// Samples looked at for `step`, of them `read` for the first time.
    pub(super) fn add(&mut self, step: usize, queryable: usize, read: usize) {
        if self.depth == 0 {
            let step = if self.is_flat { 0 } else { step };
            self.put(step, StepSamples { queryable: queryable as u64, read: read as u64 });
        }
    }

    fn put(&mut self, step: usize, more: StepSamples) {
        self.total.add(more);
        if let Some(of_step) = self.steps.as_mut().and_then(|steps| steps.get_mut(step)) {
            of_step.add(more);
        }
    }

    /// What was counted so far.
    pub(super) const fn total(&self) -> StepSamples {
        self.total
    }

    /// What was counted for the first step since `before` holds for all `len` steps.
    pub(super) fn repeat_since(&mut self, before: StepSamples, len: usize) {
        let once = StepSamples {
            queryable: self.total.queryable - before.queryable,
            read: self.total.read - before.read,
        };
        for step in 1..len {
            self.put(step, once);
        }
    }

    /// The subquery to come is the query: what its inner expression looks at is what counts.
    pub(super) const fn flatten(&mut self) {
        (self.depth, self.is_flat) = (-1, true);
    }

    /// Enters a subquery; nothing counts until it is left.
    pub(super) const fn enter(&mut self) {
        self.depth += 1;
    }

    pub(super) const fn leave(&mut self) {
        self.depth -= 1;
    }

    pub(super) fn into_steps(self) -> Vec<StepSamples> {
        self.steps.unwrap_or_default()
    }
}

impl StepSamples {
    const fn add(&mut self, more: Self) {
        self.queryable += more.queryable;
        self.read += more.read;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subqueries_count_by_their_windows_and_constants_at_every_step() {
        let mut tally = Tally::new(3, true);
        tally.add(0, 2, 2);
        tally.enter();
        tally.add(0, 100, 100);
        tally.leave();
        tally.add(2, 4, 1);
        let before = tally.total();
        tally.add(0, 1, 1);
        tally.repeat_since(before, 3);
        assert_eq!(tally.total(), StepSamples { queryable: 9, read: 6 });
        let queryable: Vec<u64> = tally.into_steps().iter().map(|step| step.queryable).collect();
        assert_eq!(queryable, [3, 1, 5]);
    }
}
