//! Label sets of the evaluator: sorted, immutable, cheap to clone, hashed once. The metric name is the label `__name__`.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::number::quote;
use super::print::is_legacy_name;

/// The label that holds the metric name.
pub const NAME: &str = "__name__";
/// Labels that describe the metric and go with its name.
const RESERVED: [&str; 3] = [NAME, "__type__", "__unit__"];

/// Label pairs sorted by name in byte order; names unique, values not empty.
#[derive(Clone)]
pub struct Labels(Arc<Inner>);

/// Three allocations, however many labels there are.
struct Inner {
    hash: u64,
    /// Names and values, one after the other.
    text: Box<str>,
    /// Where each of them ends in `text`: name, value, name, ...
    ends: Box<[u32]>,
}

impl Labels {
    /// Pairs whose names ascend and whose values are not empty.
    fn sorted<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Self {
        let texts = pairs.flat_map(|(name, value)| [name, value]);
        let (n_texts, n_bytes) =
            texts.clone().fold((0, 0), |(n, bytes), text| (n + 1, bytes + text.len()));
        let (mut text, mut ends) = (String::with_capacity(n_bytes), Vec::with_capacity(n_texts));
        for part in texts.clone() {
            text.push_str(part);
            ends.push(u32::try_from(text.len()).expect("labels of one series are below 4 GiB"));
        }
        let hash = hash_of(texts, n_bytes + n_texts);
        let (text, ends) = (text.into_boxed_str(), ends.into_boxed_slice());
        Self(Arc::new(Inner { hash, text, ends }))
    }

    /// No labels.
    #[must_use]
    pub fn empty() -> Self {
        Self::sorted(std::iter::empty())
    }

    /// Sorts the pairs; of equal names the last wins; empty values are dropped.
    pub fn from_texts<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut pairs: Vec<(&str, &str)> = pairs.into_iter().collect();
        if !pairs.is_sorted_by(|a, b| a.0 < b.0) {
            pairs.reverse();
            pairs.sort_by(|a, b| a.0.cmp(b.0));
            pairs.dedup_by(|later, earlier| later.0 == earlier.0);
        }
        Self::sorted(pairs.into_iter().filter(|(_, value)| !value.is_empty()))
    }

    /// The value of `name`; empty when there is no such label.
    #[must_use]
    pub fn value(&self, name: &str) -> &str {
        self.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }

    /// The metric name; empty when there is none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.value(NAME)
    }

    /// The pairs in name order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        let Inner { text, ends, .. } = &*self.0;
        let mut from = 0;
        ends.chunks_exact(2).map(move |pair| {
            let (name, value) = (from..pair[0] as usize, pair[0] as usize..pair[1] as usize);
            from = value.end;
            (&text[name], &text[value])
        })
    }

    /// Number of labels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.ends.len() / 2
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.ends.is_empty()
    }

    /// xxHash64 of the sorted, length-prefixed labels.
    #[must_use]
    pub fn hash64(&self) -> u64 {
        self.0.hash
    }

    /// Those labels for which `keep` holds.
    #[must_use]
    pub fn filter(&self, mut keep: impl FnMut(&str) -> bool) -> Self {
        let kept: Vec<(&str, &str)> = self.iter().filter(|(name, _)| keep(name)).collect();
        if kept.len() == self.len() { self.clone() } else { Self::sorted(kept.into_iter()) }
    }

    /// Without `__name__`, `__type__` and `__unit__`.
    #[must_use]
    pub fn without_name(&self) -> Self {
        self.filter(|name| !RESERVED.contains(&name))
    }

    /// With `name` set to `value`; an empty value deletes it.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        if self.value(name) == value {
            return self.clone();
        }
        Self::from_texts(self.iter().chain([(name, value)]))
    }
}

/// Whether this label goes with the metric name.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.hash == other.0.hash
                && self.0.ends == other.0.ends
                && self.0.text == other.0.text)
    }
}

impl Eq for Labels {}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Labels {
    /// `{__name__="x", a="b"}`, names quoted when they must be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            if is_legacy_name(name) {
                write!(f, "{name}={}", quote(value))?;
            } else {
                write!(f, "{}={}", quote(name), quote(value))?;
            }
        }
        f.write_str("}")
    }
}

impl From<&model::metric::Labels> for Labels {
    fn from(labels: &model::metric::Labels) -> Self {
        Self::from_texts(labels.iter())
    }
}

impl From<&Labels> for model::metric::Labels {
    fn from(labels: &Labels) -> Self {
        labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

/// Of texts that take so many bytes with their lengths, or a few more.
fn hash_of<'a>(texts: impl Iterator<Item = &'a str>, n_bytes: usize) -> u64 {
    let mut bytes = Vec::with_capacity(n_bytes);
    for text in texts {
        match u8::try_from(text.len()) {
            Ok(len) if len < 255 => bytes.push(len),
            _ => {
                bytes.push(255);
                bytes.extend_from_slice(&text.len().to_le_bytes()[..3]);
            }
        }
        bytes.extend_from_slice(text.as_bytes());
    }
    xxh64(&bytes)
}

const P1: u64 = 0x9e37_79b1_85eb_ca87;
const P2: u64 = 0xc2b2_ae3d_27d4_eb4f;
const P3: u64 = 0x1656_67b1_9e37_79f9;
const P4: u64 = 0x85eb_ca77_c2b2_ae63;
const P5: u64 = 0x27d4_eb2f_1656_67c5;

const fn round(acc: u64, lane: u64) -> u64 {
    acc.wrapping_add(lane.wrapping_mul(P2)).rotate_left(31).wrapping_mul(P1)
}

fn lane(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// xxHash64 with seed 0.
fn xxh64(bytes: &[u8]) -> u64 {
    let mut stripes = bytes.chunks_exact(32);
    let mut hash = if bytes.len() >= 32 {
        let mut acc = [P1.wrapping_add(P2), P2, 0, 0_u64.wrapping_sub(P1)];
        for stripe in stripes.by_ref() {
            for (acc, eight) in acc.iter_mut().zip(stripe.chunks_exact(8)) {
                *acc = round(*acc, lane(eight));
            }
        }
        let rotated = [1, 7, 12, 18].iter().zip(acc).map(|(by, acc)| acc.rotate_left(*by));
        let joined = rotated.fold(0, u64::wrapping_add);
        acc.iter()
            .fold(joined, |hash, acc| (hash ^ round(0, *acc)).wrapping_mul(P1).wrapping_add(P4))
    } else {
        P5
    };
    hash = hash.wrapping_add(bytes.len() as u64);
    let mut eights = stripes.remainder().chunks_exact(8);
    for eight in eights.by_ref() {
        hash = (hash ^ round(0, lane(eight))).rotate_left(27).wrapping_mul(P1).wrapping_add(P4);
    }
    let mut rest = eights.remainder();
    if let Some((four, tail)) = rest.split_at_checked(4) {
        hash =
            (hash ^ lane(four).wrapping_mul(P1)).rotate_left(23).wrapping_mul(P2).wrapping_add(P3);
        rest = tail;
    }
    for byte in rest {
        hash = (hash ^ u64::from(*byte).wrapping_mul(P5)).rotate_left(11).wrapping_mul(P1);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(P2);
    hash = (hash ^ (hash >> 29)).wrapping_mul(P3);
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::{Labels, xxh64};

    #[test]
    fn hashes_are_those_of_the_reference() {
        assert_eq!(xxh64(b""), 0xef46_db37_51d8_e999);
        assert_eq!(xxh64(b"a"), 0xd24e_c4f1_a98c_6e5b);
        assert_eq!(xxh64(b"Nobody inspects the spammish repetition"), 0xfbce_a83c_8a37_8bf1);
    }

    #[test]
    fn labels_print_sorted_and_drop_the_name_with_its_companions() {
        let labels =
            Labels::from_texts([("b", "2"), ("__name__", "x"), ("__unit__", "s"), ("a.b", "1")]);
        assert_eq!(labels.to_string(), r#"{__name__="x", __unit__="s", "a.b"="1", b="2"}"#);
        assert_eq!(labels.without_name().to_string(), r#"{"a.b"="1", b="2"}"#);
        assert_eq!(labels.with("b", "").value("b"), "");
    }
}
