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

/// Name and value.
pub type Pair = (Arc<str>, Arc<str>);

/// Label pairs sorted by name in byte order; names unique, values not empty.
#[derive(Clone)]
pub struct Labels(Arc<Inner>);

struct Inner {
    hash: u64,
    pairs: Box<[Pair]>,
}

impl Labels {
    /// Sorts `pairs`; of equal names the last wins; empty values are dropped.
    #[must_use]
    pub fn new(mut pairs: Vec<Pair>) -> Self {
        pairs.reverse();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|later, earlier| later.0 == earlier.0);
        pairs.retain(|(_, value)| !value.is_empty());
        Self::sorted(pairs)
    }

    fn sorted(pairs: Vec<Pair>) -> Self {
        let hash = hash_of(&pairs);
        Self(Arc::new(Inner { hash, pairs: pairs.into_boxed_slice() }))
    }

    /// No labels.
    #[must_use]
    pub fn empty() -> Self {
        Self::sorted(Vec::new())
    }

    /// From texts.
    pub fn from_texts<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self::new(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// The value of `name`; empty when there is no such label.
    #[must_use]
    pub fn value(&self, name: &str) -> &str {
        self.pair(name).map_or("", |(_, value)| value)
    }

    fn pair(&self, name: &str) -> Option<&Pair> {
        let pairs = &self.0.pairs;
        pairs.binary_search_by(|(key, _)| key.as_ref().cmp(name)).ok().map(|i| &pairs[i])
    }

    /// The metric name; empty when there is none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.value(NAME)
    }

    /// The pairs in name order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// Number of labels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.pairs.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.pairs.is_empty()
    }

    /// xxHash64 of the sorted, length-prefixed labels.
    #[must_use]
    pub fn hash64(&self) -> u64 {
        self.0.hash
    }

    /// Those labels for which `keep` holds.
    #[must_use]
    pub fn filter(&self, mut keep: impl FnMut(&str) -> bool) -> Self {
        if self.iter().all(|(name, _)| keep(name)) {
            return self.clone();
        }
        Self::sorted(self.0.pairs.iter().filter(|(name, _)| keep(name)).cloned().collect())
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
        let mut pairs: Vec<Pair> = self.0.pairs.to_vec();
        pairs.push((name.into(), value.into()));
        Self::new(pairs)
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
            || (self.0.hash == other.0.hash && self.0.pairs == other.0.pairs)
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
        self.0.pairs.cmp(&other.0.pairs)
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

fn hash_of(pairs: &[Pair]) -> u64 {
    let mut bytes = Vec::with_capacity(64);
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
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
