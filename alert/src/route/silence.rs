//! Silences: conditions that keep alerts quiet for a while. Pure; ids follow from content and time.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use model::matcher::MatchOp;
use model::metric::Labels;
use model::time::{NS_PER_S, Timestamp};
use xxhash_rust::xxh3::xxh3_128;

use super::matcher::{Condition, all_hold, braces};

/// How long an expired silence is kept, in nanoseconds.
pub(crate) const KEPT_NS: i64 = 120 * 3_600 * NS_PER_S;
/// Most silences, expired ones included.
pub(crate) const SILENCES_MAX: usize = 10_000;
/// Most regular expressions of all silences: one may take 250 KiB once it is compiled.
const REGEXES_MAX: usize = 1_000;
/// Longest silence: matchers and texts together, in bytes.
pub(crate) const SILENCE_BYTES_MAX: usize = 64 * 1024;

/// One silence.
#[derive(Clone, Debug, PartialEq)]
pub struct Silence {
    /// Identity; empty for a new one.
    pub id: String,
    /// All must hold for an alert to be quiet.
    pub conditions: Vec<Condition>,
    /// From when.
    pub starts_at: Timestamp,
    /// Until when, exclusive.
    pub ends_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Who made it.
    pub author: String,
    /// Why.
    pub comment: String,
    /// Texts of whoever made it.
    pub annotations: BTreeMap<String, String>,
}

/// Where a silence stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SilenceState {
    /// It holds.
    Active,
    /// It will.
    Pending,
    /// It did.
    Expired,
}

impl SilenceState {
    /// The lowercase word of the API.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Pending => "pending",
            Self::Expired => "expired",
        }
    }
}

/// Why a silence was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsilenced {
    /// There is none of this id.
    Unknown,
    /// It makes no sense, or there is no room, in words.
    Wrong(String),
}

impl Silence {
    /// Where it stands at `now`.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> SilenceState {
        if now < self.starts_at {
            SilenceState::Pending
        } else if now < self.ends_at {
            SilenceState::Active
        } else {
            SilenceState::Expired
        }
    }

    /// Whether it keeps an alert with these labels quiet at `now`.
    #[must_use]
    pub fn mutes(&self, labels: &Labels, now: Timestamp) -> bool {
        self.state(now) == SilenceState::Active && all_hold(&self.conditions, labels)
    }

    /// A label, name and value, without which it mutes nothing.
    fn needed(&self) -> Option<(&str, &str)> {
        let exact = |c: &&Condition| c.op == MatchOp::Equal && !c.value.is_empty();
        self.conditions.iter().find(exact).map(|c| (c.name.as_str(), c.value.as_str()))
    }

    /// Regular expressions it holds, each of up to some hundred KiB.
    fn n_regexes(&self) -> usize {
        let is_regex = |c: &&Condition| matches!(c.op, MatchOp::Regex | MatchOp::NotRegex);
        self.conditions.iter().filter(is_regex).count()
    }

    fn check(&self) -> Result<(), Unsilenced> {
        let wrong = |text: &str| Err(Unsilenced::Wrong(text.to_owned()));
        if self.conditions.is_empty() {
            return wrong("invalid silence: at least one matcher required");
        }
        if self.conditions.iter().all(Condition::takes_empty) {
            return wrong("invalid silence: at least one matcher must not match the empty string");
        }
        if self.ends_at <= self.starts_at {
            return wrong("failed to create silence: start time must be before end time");
        }
        if self.author.is_empty() || self.comment.is_empty() {
            return wrong("invalid silence: createdBy and comment must not be empty");
        }
        let texts = self.annotations.iter().flat_map(|(name, value)| [name, value]);
        let bytes = braces(&self.conditions).len()
            + self.comment.len()
            + self.author.len()
            + texts.map(String::len).sum::<usize>();
        if bytes > SILENCE_BYTES_MAX {
            let text = format!("the silence has {bytes} bytes, the limit is {SILENCE_BYTES_MAX}");
            return Err(Unsilenced::Wrong(text));
        }
        Ok(())
    }

    /// Whether `after` may be the same silence, edited.
    fn is_edited(&self, after: &Self, now: Timestamp) -> bool {
        if braces(&self.conditions) != braces(&after.conditions) {
            return false;
        }
        match self.state(now) {
            SilenceState::Active => {
                self.starts_at.s() == after.starts_at.s() && after.ends_at >= now
            }
            SilenceState::Pending => after.starts_at >= now,
            SilenceState::Expired => false,
        }
    }
}

/// All silences.
#[derive(Clone, Debug, Default)]
pub(crate) struct Silences {
    by_id: BTreeMap<String, Silence>,
    /// Ids by name and value of a label that an alert must have to be muted.
    by_label: HashMap<String, HashMap<String, BTreeSet<String>>>,
    /// Ids of those for which there is no such label.
    others: BTreeSet<String>,
    n_made: u64,
}

impl Silences {
    /// Puts a silence in place of the one of its id, unchecked.
    pub(crate) fn insert(&mut self, silence: Silence) {
        self.remove(&silence.id);
        let ids = match silence.needed() {
            Some((name, value)) => {
                let values = self.by_label.entry(name.to_owned()).or_default();
                values.entry(value.to_owned()).or_default()
            }
            None => &mut self.others,
        };
        ids.insert(silence.id.clone());
        self.by_id.insert(silence.id.clone(), silence);
    }

    fn remove(&mut self, id: &str) {
        let Some(silence) = self.by_id.remove(id) else { return };
        let Some((name, value)) = silence.needed() else {
            self.others.remove(id);
            return;
        };
        let Some(values) = self.by_label.get_mut(name) else { return };
        if let Some(ids) = values.get_mut(value) {
            ids.remove(id);
            if ids.is_empty() {
                values.remove(value);
            }
        }
        if values.is_empty() {
            self.by_label.remove(name);
        }
    }

    /// The silence of this id.
    pub(crate) fn get(&self, id: &str) -> Option<&Silence> {
        self.by_id.get(id)
    }

    /// All of them, by id.
    pub(crate) fn all(&self) -> impl ExactSizeIterator<Item = &Silence> {
        self.by_id.values()
    }

    /// Adds `silence`, or edits the one of its id. Returns what was changed: the one in force last.
    pub(crate) fn set(
        &mut self,
        mut silence: Silence,
        now: Timestamp,
    ) -> Result<Vec<Silence>, Unsilenced> {
        silence.check()?;
        silence.updated_at = now;
        let mut is_replaced = false;
        if !silence.id.is_empty() {
            let known = self.by_id.get(&silence.id).ok_or(Unsilenced::Unknown)?;
            if known.is_edited(&silence, now) {
                self.insert(silence.clone());
                return Ok(vec![silence]);
            }
            is_replaced = known.state(now) != SilenceState::Expired;
        }
        // Whatever may refuse it comes before the first change.
        if silence.ends_at <= now {
            let text = "invalid silence: end time can't be in the past";
            return Err(Unsilenced::Wrong(text.to_owned()));
        }
        self.make_room(silence.n_regexes(), now)?;
        let mut changed = Vec::new();
        if is_replaced {
            let id = silence.id.clone();
            changed.extend(self.expire(&id, now)?);
        }
        silence.starts_at = silence.starts_at.max(now);
        silence.id = self.fresh_id(&silence, now);
        self.insert(silence.clone());
        changed.push(silence);
        Ok(changed)
    }

    /// Room for one more with so many regular expressions; those that are over leave for it, the oldest first.
    fn make_room(&mut self, n_more: usize, now: Timestamp) -> Result<(), Unsilenced> {
        let is_over = |s: &&Silence| s.state(now) == SilenceState::Expired;
        let mut over: Vec<(Timestamp, String)> =
            self.all().filter(is_over).map(|s| (s.ends_at, s.id.clone())).collect();
        over.sort_unstable_by(|a, b| b.cmp(a));
        let mut n_regexes: usize = self.all().map(Silence::n_regexes).sum::<usize>() + n_more;
        while self.by_id.len() >= SILENCES_MAX || n_regexes > REGEXES_MAX {
            let Some((_, id)) = over.pop() else {
                let text = format!(
                    "the limits are {SILENCES_MAX} silences and {REGEXES_MAX} regular expressions in all of them: expire some"
                );
                return Err(Unsilenced::Wrong(text));
            };
            n_regexes -= self.by_id.get(&id).map_or(0, Silence::n_regexes);
            self.remove(&id);
        }
        Ok(())
    }

    /// Ends a silence now; one that is over already stays as it is.
    pub(crate) fn expire(
        &mut self,
        id: &str,
        now: Timestamp,
    ) -> Result<Option<Silence>, Unsilenced> {
        let silence = self.by_id.get_mut(id).ok_or(Unsilenced::Unknown)?;
        match silence.state(now) {
            SilenceState::Expired => return Ok(None),
            SilenceState::Pending => silence.starts_at = now,
            SilenceState::Active => {}
        }
        silence.ends_at = now;
        silence.updated_at = now;
        Ok(Some(silence.clone()))
    }

    /// Ids of the silences that keep an alert quiet.
    pub(crate) fn of(&self, labels: &Labels, now: Timestamp) -> Vec<String> {
        let needed = labels.iter().filter_map(|(name, value)| self.by_label.get(name)?.get(value));
        let candidates = needed.flatten().chain(&self.others);
        let mutes = |id: &&String| self.by_id.get(*id).is_some_and(|s| s.mutes(labels, now));
        let mut ids: Vec<String> = candidates.filter(mutes).cloned().collect();
        ids.sort();
        ids
    }

    /// Forgets those that are long over.
    pub(crate) fn forget(&mut self, now: Timestamp) {
        let is_old = |s: &&Silence| now.0.saturating_sub(s.ends_at.0) >= KEPT_NS;
        let old: Vec<String> = self.all().filter(is_old).map(|s| s.id.clone()).collect();
        old.iter().for_each(|id| self.remove(id));
    }

    /// A UUID of version 8 that no other silence has: made from content, time and a count.
    fn fresh_id(&mut self, silence: &Silence, now: Timestamp) -> String {
        loop {
            self.n_made += 1;
            let text = format!("{} {} {}", braces(&silence.conditions), now.0, self.n_made);
            let hash = xxh3_128(text.as_bytes());
            let bits = (hash & !(0xf << 76) & !(0x3 << 62)) | (0x8 << 76) | (0x2 << 62);
            let hex = format!("{bits:032x}");
            let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
            let id = parts.join("-");
            if !self.by_id.contains_key(&id) {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::matcher::parse;

    const NOW: Timestamp = Timestamp(1_000 * NS_PER_S);

    #[test]
    fn an_edit_that_is_refused_changes_nothing() {
        let mut silences = Silences::default();
        let made = silences.set(silence("", "a=\"1\"", 1_000, 2_000), NOW).unwrap();
        let id = made[0].id.clone();
        silences.set(silence(&id, "b=\"2\"", 10, 20), NOW).unwrap_err();
        assert_eq!(silences.all().next().unwrap().state(NOW), SilenceState::Active);
    }

    #[test]
    fn expressions_are_limited_and_those_that_are_over_make_room() {
        let mut silences = Silences::default();
        let many =
            |n: usize| (0..50).map(|i| format!("a{n}_{i}=~\"x.y\"")).collect::<Vec<_>>().join(",");
        for n in 0..20 {
            silences.set(silence("", &many(n), 1_000, 2_000), NOW).unwrap();
        }
        let refused = silences.set(silence("", "a=~\"x.y\"", 1_000, 2_000), NOW).unwrap_err();
        assert!(format!("{refused:?}").contains("1000 regular expressions"), "{refused:?}");
        silences.set(silence("", "a=\"x.y\"", 1_000, 2_000), NOW).unwrap();
        let first = silences.all().next().unwrap().id.clone();
        silences.expire(&first, NOW).unwrap();
        let later = Timestamp(NOW.0 + NS_PER_S);
        silences.set(silence("", "a=~\"x.y\"", 1_001, 2_000), later).unwrap();
        assert!(silences.all().all(|silence| silence.id != first));
    }

    fn silence(id: &str, matchers: &str, starts_s: i64, ends_s: i64) -> Silence {
        Silence {
            id: id.to_owned(),
            conditions: parse(matchers).unwrap(),
            starts_at: Timestamp::from_s(starts_s),
            ends_at: Timestamp::from_s(ends_s),
            updated_at: NOW,
            author: "me".to_owned(),
            comment: "planned".to_owned(),
            annotations: BTreeMap::new(),
        }
    }

    fn labels(value: &str) -> Labels {
        [("a".to_owned(), value.to_owned())].into_iter().collect()
    }

    #[test]
    fn a_silence_is_pending_active_expired() {
        let mut silences = Silences::default();
        let id = silences.set(silence("", "a=x", 1_010, 1_020), NOW).unwrap()[0].id.clone();
        assert_eq!(id.len(), 36);
        for (at_s, quiet) in [(1_009, false), (1_010, true), (1_019, true), (1_020, false)] {
            let found = silences.of(&labels("x"), Timestamp::from_s(at_s));
            assert_eq!(!found.is_empty(), quiet, "{at_s}");
            assert!(silences.of(&labels("y"), Timestamp::from_s(at_s)).is_empty());
        }
        silences.forget(Timestamp(1_020 * NS_PER_S + KEPT_NS - 1));
        assert_eq!(silences.by_id.len(), 1);
        silences.forget(Timestamp(1_020 * NS_PER_S + KEPT_NS));
        assert!(silences.by_id.is_empty());
    }

    #[test]
    fn editing_keeps_the_id_only_where_the_past_stays() {
        let mut silences = Silences::default();
        let id = silences.set(silence("", "a=x", 1_000, 1_100), NOW).unwrap()[0].id.clone();
        let longer = silences.set(silence(&id, "a=x", 1_000, 2_000), NOW).unwrap();
        assert_eq!((longer.len(), &longer[0].id), (1, &id));
        let other = silences.set(silence(&id, "a=y", 1_000, 2_000), NOW).unwrap();
        assert_eq!((other.len(), &other[0].id), (2, &id), "the old one ends");
        assert_ne!(other[1].id, id);
        assert_eq!(silences.by_id[&id].state(NOW), SilenceState::Expired);
        let revived = silences.set(silence(&id, "a=x", 1_000, 2_000), NOW).unwrap();
        assert!(revived.len() == 1 && revived[0].id != id);
        assert_eq!(
            silences.set(silence("nobody", "a=x", 1_000, 2_000), NOW),
            Err(Unsilenced::Unknown)
        );
        assert_eq!(silences.expire("nobody", NOW), Err(Unsilenced::Unknown));
    }

    #[test]
    fn the_index_finds_what_looking_at_each_finds() {
        let mut silences = Silences::default();
        let matchers = ["a=x", "a=~x|y", "a=x,b=1", "b!=1,a=~.+", "b=\"\",a=y", "b=2", "a!~z,c=3"];
        for matcher in matchers.into_iter().cycle().take(21) {
            silences.set(silence("", matcher, 1_000, 2_000), NOW).unwrap();
        }
        let all: Vec<String> = silences.all().map(|s| s.id.clone()).collect();
        all.iter().step_by(5).for_each(|id| silences.remove(id));
        for (a, b, c) in
            [("x", "1", ""), ("y", "", "3"), ("x", "2", "3"), ("", "", ""), ("z", "2", "")]
        {
            let pairs = [("a", a), ("b", b), ("c", c)];
            let labels: Labels =
                pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let each = silences.all().filter(|silence| silence.mutes(&labels, NOW));
            let each: Vec<String> = each.map(|silence| silence.id.clone()).collect();
            assert_eq!(silences.of(&labels, NOW), each, "{labels:?}");
        }
        let rest: Vec<String> = silences.all().map(|s| s.id.clone()).collect();
        rest.iter().for_each(|id| silences.remove(id));
        assert!(silences.by_label.is_empty() && silences.others.is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let mut silences = Silences::default();
        let mut nameless = silence("", "a=x", 1_000, 2_000);
        nameless.author.clear();
        let mut long = silence("", "a=x", 1_000, 2_000);
        long.comment = "x".repeat(SILENCE_BYTES_MAX);
        for bad in [
            silence("", "a!=x", 1_000, 2_000),
            silence("", "{}", 1_000, 2_000),
            silence("", "a=x", 2_000, 1_000),
            silence("", "a=x", 100, 200),
            nameless,
            long,
        ] {
            assert!(matches!(silences.set(bad, NOW), Err(Unsilenced::Wrong(_))));
        }
        assert!(silences.by_id.is_empty());
    }
}
