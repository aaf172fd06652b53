//! An alert as it is held for notification: posted by another server or handed over by a rule, and merged with what is
//! known of it.

use model::metric::Labels;
use model::time::Timestamp;
use xxhash_rust::xxh3::xxh3_128;

/// Most labels of one alert.
pub(crate) const LABELS_MAX: usize = 128;
/// Longest labels and annotations of one alert together, in bytes.
pub(crate) const ALERT_BYTES_MAX: usize = 64 * 1024;

/// One alert; its labels are its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Labels, `alertname` included.
    pub labels: Labels,
    /// Texts for people.
    pub annotations: Labels,
    /// When it began to fire.
    pub starts_at: Timestamp,
    /// When it is or was resolved; `None` for a rule of ours that fires.
    pub ends_at: Option<Timestamp>,
    /// When it was last told of.
    pub updated_at: Timestamp,
    /// Whether its end is only what we assume for want of news.
    pub timeout: bool,
    /// Link to where it was made.
    pub generator_url: String,
}

/// An alert as posted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Posted {
    /// Labels; empty ones vanish.
    pub labels: Vec<(String, String)>,
    /// Texts for people.
    pub annotations: Vec<(String, String)>,
    /// Default: now, or the end when that has passed.
    pub starts_at: Option<Timestamp>,
    /// Default: now and the timeout.
    pub ends_at: Option<Timestamp>,
    /// Link to where it was made.
    pub generator_url: String,
}

impl Posted {
    /// The alert it stands for.
    ///
    /// # Errors
    /// Why it is none, in words.
    pub fn check(self, now: Timestamp, resolve_timeout_ns: i64) -> Result<Held, String> {
        let bytes = |pairs: &[(String, String)]| -> usize {
            pairs.iter().map(|(name, value)| name.len() + value.len()).sum()
        };
        let size = bytes(&self.labels) + bytes(&self.annotations) + self.generator_url.len();
        if size > ALERT_BYTES_MAX {
            return Err(format!("an alert has {size} bytes, the limit is {ALERT_BYTES_MAX}"));
        }
        if self.labels.iter().chain(&self.annotations).any(|(name, _)| name.is_empty()) {
            return Err("invalid label set: a label or annotation has no name".to_owned());
        }
        let labels = Labels::new(self.labels);
        if labels.is_empty() {
            return Err("at least one label pair required".to_owned());
        }
        if labels.len() > LABELS_MAX {
            let n = labels.len();
            return Err(format!("an alert has {n} labels, the limit is {LABELS_MAX}"));
        }
        let starts_at =
            self.starts_at.unwrap_or_else(|| self.ends_at.map_or(now, |end| end.min(now)));
        if self.ends_at.is_some_and(|end| end < starts_at) {
            return Err("start time must be before end time".to_owned());
        }
        let assumed = Timestamp(now.0.saturating_add(resolve_timeout_ns));
        Ok(Held {
            labels,
            annotations: Labels::new(self.annotations),
            starts_at,
            timeout: self.ends_at.is_none(),
            ends_at: self.ends_at.or(Some(assumed)),
            updated_at: now,
            generator_url: self.generator_url,
        })
    }
}

impl Held {
    /// Whether it has ended by `now`.
    #[must_use]
    pub fn is_resolved(&self, now: Timestamp) -> bool {
        self.ends_at.is_some_and(|end| end <= now)
    }

    /// Identity in the log of notifications.
    #[must_use]
    pub fn id(&self) -> u128 {
        id(&self.labels)
    }

    /// What follows from `self` and news of the same alert.
    ///
    /// Spans that overlap are one: the earliest start holds, and the older end where it is later and either both have
    /// ended, or the newer has not and the older end was told rather than assumed.
    #[must_use]
    pub fn merged(&self, news: Self, now: Timestamp) -> Self {
        let end = |alert: &Self| alert.ends_at.map_or(i64::MAX, |at| at.0);
        let overlaps = news.starts_at.0 < end(self) && end(&news) > self.starts_at.0;
        if !overlaps {
            return if news.updated_at < self.updated_at { self.clone() } else { news };
        }
        let (older, mut newer) = if news.updated_at < self.updated_at {
            (news, self.clone())
        } else {
            (self.clone(), news)
        };
        newer.starts_at = newer.starts_at.min(older.starts_at);
        let both_ended = older.is_resolved(now) && newer.is_resolved(now);
        let told = !newer.is_resolved(now) && !older.timeout && older.ends_at.is_some();
        if end(&older) > end(&newer) && (both_ended || told) {
            newer.ends_at = older.ends_at;
            newer.timeout = older.timeout;
        }
        newer
    }
}

/// An instant as RFC 3339 writes it; `Ok(None)` for Go's zero time, which stands for none. Instants beyond what we can
/// hold are the last we can.
///
/// # Errors
/// When the text is no time.
pub fn instant(text: &str) -> Result<Option<Timestamp>, String> {
    let wrong = |_| format!("{text:?} is no time, write it like 2026-11-23T04:46:21Z");
    let time = chrono::DateTime::parse_from_rfc3339(text).map_err(wrong)?;
    let is_none = time.timestamp() <= -62_135_596_800;
    let ns = time.timestamp_nanos_opt();
    let clamped = if time.timestamp() < 0 { i64::MIN } else { i64::MAX };
    Ok((!is_none).then_some(Timestamp(ns.unwrap_or(clamped))))
}

/// Identity of labels in the log of notifications.
pub(crate) fn id(labels: &Labels) -> u128 {
    let mut bytes = Vec::with_capacity(256);
    for (name, value) in labels.iter() {
        for text in [name, value] {
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(0xff); // No text has this byte.
        }
    }
    xxh3_128(&bytes)
}

/// FNV-1a over sorted names and values, each followed by a byte no text has: Alertmanager's fingerprint, 16 hex digits.
#[must_use]
pub fn fingerprint(labels: &Labels) -> String {
    let texts = labels.iter().flat_map(|(name, value)| [name, value]);
    let bytes = texts.flat_map(|text| text.bytes().chain([0xff]));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    fn posted(labels: &[(&str, &str)], starts: Option<i64>, ends: Option<i64>) -> Posted {
        Posted {
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            starts_at: starts.map(Timestamp),
            ends_at: ends.map(Timestamp),
            ..Posted::default()
        }
    }

    fn held(starts: i64, ends: Option<i64>, updated: i64, timeout: bool) -> Held {
        let labels = [("a".to_owned(), "1".to_owned())].into_iter().collect();
        Held {
            labels,
            annotations: Labels::default(),
            starts_at: Timestamp(starts),
            ends_at: ends.map(Timestamp),
            updated_at: Timestamp(updated),
            timeout,
            generator_url: String::new(),
        }
    }

    #[test]
    fn what_is_posted_gets_its_defaults() {
        let alert = posted(&[("a", "1"), ("b", "")], None, None).check(NOW, 300).unwrap();
        assert_eq!((alert.starts_at, alert.ends_at), (NOW, Some(Timestamp(1_300))));
        assert!(alert.timeout && alert.labels.len() == 1 && !alert.is_resolved(Timestamp(1_299)));
        let ended = posted(&[("a", "1")], None, Some(900)).check(NOW, 300).unwrap();
        assert_eq!(ended.starts_at, Timestamp(900));
        assert!(ended.is_resolved(NOW) && !ended.timeout);
        for bad in [
            posted(&[], None, None),
            posted(&[("a", "")], None, None),
            posted(&[("", "x")], None, None),
            posted(&[("a", "1")], Some(10), Some(9)),
            posted(&[("a", &"x".repeat(ALERT_BYTES_MAX))], None, None),
        ] {
            assert!(bad.clone().check(NOW, 300).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn spans_that_overlap_are_one() {
        let merge = |a: Held, b: Held| {
            let one = a.merged(b, NOW);
            (one.starts_at.0, one.ends_at.map(|at| at.0))
        };
        // News of a firing alert moves its assumed end on and keeps its start.
        assert_eq!(
            merge(held(100, Some(1_200), 900, true), held(500, Some(1_300), 1_000, true)),
            (100, Some(1_300))
        );
        // An end that was told stays although the news assumes an earlier one.
        assert_eq!(
            merge(held(100, Some(2_000), 900, false), held(500, Some(1_300), 1_000, true)),
            (100, Some(2_000))
        );
        // An assumed end gives way.
        assert_eq!(
            merge(held(100, Some(2_000), 900, true), held(500, Some(1_300), 1_000, true)),
            (100, Some(1_300))
        );
        // Resolved by the news.
        assert_eq!(
            merge(held(100, Some(2_000), 900, false), held(100, Some(950), 1_000, false)),
            (100, Some(950))
        );
        // Both ended: the later end.
        assert_eq!(
            merge(held(100, Some(980), 900, false), held(100, Some(950), 1_000, false)),
            (100, Some(980))
        );
        // No overlap: a new alert.
        assert_eq!(
            merge(held(100, Some(200), 300, false), held(500, Some(1_300), 1_000, true)),
            (500, Some(1_300))
        );
        // Of a rule of ours: no end, then one.
        assert_eq!(
            merge(held(100, None, 900, false), held(100, Some(1_000), 1_000, false)),
            (100, Some(1_000))
        );
        assert_eq!(
            merge(held(100, Some(400), 400, false), held(600, None, 600, false)),
            (600, None)
        );
    }

    #[test]
    fn instants_are_read_as_others_write_them() {
        assert_eq!(instant("1970-01-01T00:00:01.5+00:00"), Ok(Some(Timestamp(1_500_000_000))));
        assert_eq!(instant("1970-01-01T01:00:00+01:00"), Ok(Some(Timestamp(0))));
        assert_eq!(instant("0001-01-01T00:00:00Z"), Ok(None));
        assert_eq!(instant("9999-12-31T00:00:00Z"), Ok(Some(Timestamp(i64::MAX))));
        assert!(instant("yesterday").is_err() && instant("").is_err());
    }

    #[test]
    fn fingerprints_are_those_of_other_tools() {
        assert_eq!(fingerprint(&Labels::default()), "cbf29ce484222325");
    }
}
