//! Whether a group has anything new to tell, by what was told before.

use std::time::Duration;

use model::time::Timestamp;

use crate::state::nanoseconds;

/// What a receiver was last told of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Counts what was told, from 1.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// When this is forgotten.
    pub expires_at: Timestamp,
    /// Alerts told as firing, sorted.
    pub firing: Vec<u128>,
    /// Alerts told as resolved, sorted.
    pub resolved: Vec<u128>,
    /// Alerts that the receiver takes or may take for firing ones, sorted: muted since, or in a message whose arrival is
    /// not known. That they are resolved is still to be told.
    pub owed: Vec<u128>,
}

impl Told {
    /// Whether the receiver takes or may take this alert for a firing one.
    pub(crate) fn knows(&self, id: u128) -> bool {
        self.firing.binary_search(&id).is_ok() || self.owed.binary_search(&id).is_ok()
    }
}

/// Why something is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing fired before.
    First,
    /// Alerts fire that did not.
    Added,
    /// Nothing fires any more.
    AllResolved,
    /// Some that fired no longer do.
    SomeResolved,
    /// Nothing is new, but enough time has passed.
    Repeat,
}

impl Reason {
    /// The words of the message.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::First => "first notification",
            Self::Added => "new alerts added to the group",
            Self::AllResolved => "all alerts resolved",
            Self::SomeResolved => "some alerts resolved",
            Self::Repeat => "repeat interval elapsed",
        }
    }
}

/// Alerts of a group now, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Present {
    pub(crate) firing: Vec<u128>,
    pub(crate) resolved: Vec<u128>,
    /// Firing and muted, but told before.
    pub(crate) owed: Vec<u128>,
}

/// Why `present` has to be told, if it has.
pub(crate) fn reason(
    told: Option<&Told>,
    present: &Present,
    send_resolved: bool,
    (now, repeat): (Timestamp, Duration),
) -> Option<Reason> {
    let Some(told) = told else {
        return (!present.firing.is_empty()).then_some(Reason::First);
    };
    if !is_subset(&present.firing, &told.firing) {
        return Some(if told.firing.is_empty() { Reason::First } else { Reason::Added });
    }
    let pays = present.resolved.iter().any(|id| told.owed.binary_search(id).is_ok());
    if present.firing.is_empty() {
        return (!told.firing.is_empty() || pays).then_some(Reason::AllResolved);
    }
    if send_resolved && (pays || !is_subset(&present.resolved, &told.resolved)) {
        return Some(Reason::SomeResolved);
    }
    let passed = now.0.saturating_sub(told.at.0) >= nanoseconds(repeat);
    passed.then_some(Reason::Repeat)
}

fn is_subset(small: &[u128], large: &[u128]) -> bool {
    small.iter().all(|id| large.binary_search(id).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        told: Option<(&[u128], &[u128])>,
        now: (&[u128], &[u128]),
        at_s: i64,
    ) -> Option<Reason> {
        let told = told.map(|(firing, resolved)| Told {
            seq: 1,
            at: Timestamp::from_s(0),
            expires_at: Timestamp::from_s(1_000),
            firing: firing.to_vec(),
            resolved: resolved.to_vec(),
            owed: Vec::new(),
        });
        let present =
            Present { firing: now.0.to_vec(), resolved: now.1.to_vec(), owed: Vec::new() };
        reason(told.as_ref(), &present, true, (Timestamp::from_s(at_s), Duration::from_secs(60)))
    }

    #[test]
    fn only_news_is_told() {
        assert_eq!(check(None, (&[], &[1]), 0), None);
        assert_eq!(check(None, (&[1], &[]), 0), Some(Reason::First));
        assert_eq!(check(Some((&[1], &[])), (&[1], &[]), 59), None);
        assert_eq!(check(Some((&[1], &[])), (&[1], &[]), 60), Some(Reason::Repeat));
        assert_eq!(check(Some((&[1], &[])), (&[1, 2], &[]), 1), Some(Reason::Added));
        assert_eq!(check(Some((&[], &[1])), (&[1], &[]), 1), Some(Reason::First));
        assert_eq!(check(Some((&[1, 2], &[])), (&[1], &[2]), 1), Some(Reason::SomeResolved));
        assert_eq!(check(Some((&[1, 2], &[2])), (&[1], &[2]), 1), None);
        assert_eq!(check(Some((&[1], &[])), (&[], &[1]), 1), Some(Reason::AllResolved));
        assert_eq!(check(Some((&[], &[1])), (&[], &[1]), 100), None);
    }

    #[test]
    fn what_was_muted_meanwhile_is_still_told_to_be_resolved() {
        let told = Told { owed: vec![1], ..Told::default() };
        let now = (Timestamp::from_s(1), Duration::from_secs(60));
        let check = |resolved: &[u128]| {
            let present = Present { resolved: resolved.to_vec(), ..Present::default() };
            reason(Some(&told), &present, true, now)
        };
        assert_eq!((check(&[2]), check(&[1])), (None, Some(Reason::AllResolved)));
    }

    #[test]
    fn who_wants_no_resolved_is_not_told_of_some() {
        let told = Told { firing: vec![1, 2], ..Told::default() };
        let present = Present { firing: vec![1], resolved: vec![2], owed: Vec::new() };
        let now = (Timestamp::from_s(1), Duration::from_secs(60));
        assert_eq!(reason(Some(&told), &present, false, now), None);
    }
}
