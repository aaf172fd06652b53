//! From text to what the indexes hold of it, so that any part of the text can be looked up.
//!
//! Words are runs of letters, lower-cased; ids are runs of ASCII letters and digits with a digit in them. Whether a word
//! stands for itself or within something longer is no matter: a part of a text lies in its runs as it lies in the text.
//! Of ids every few characters the smallest of neighbouring grams is taken, so that a part of an id that is long enough
//! has grams of its own which the whole has as well.

/// Shorter words are not indexed.
pub(super) const WORD_MIN: usize = 3;
/// Longer words are not indexed: their blocks hold every word, as far as the index knows.
pub(super) const WORD_MAX: usize = 32;
/// Bytes of a gram.
const GRAM: usize = 6;
/// Neighbouring grams of which the smallest is taken.
const WINDOW: usize = 5;
/// Parts of ids shorter than this cannot be looked up.
pub(super) const ID_MIN: usize = GRAM + WINDOW - 1;
/// Longer ids are not indexed: their groups hold every id, as far as the index knows.
const ID_MAX: usize = 1_024;

/// What kind of character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Letter,
    Digit,
    /// Chinese, Japanese, Korean: words are not set apart.
    Cjk,
    Other,
}

/// What stands around a word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edges {
    /// The text begins with the word: what it is a part of may have more before it.
    pub(super) is_first: bool,
    /// The text ends with the word.
    pub(super) is_last: bool,
    /// A digit is its neighbour.
    pub(super) is_mixed: bool,
}

/// Takes what a text is made of.
pub(super) trait Sink {
    /// A run of letters of a length that is indexed.
    fn word(&mut self, word: &str, edges: Edges);
    /// Two neighbouring characters, or one that stands alone.
    fn pair(&mut self, pair: &str);
    /// A word that is not indexed for its length.
    fn long_word(&mut self);
    /// A key of an id.
    fn id(&mut self, key: u64);
    /// An id that is not indexed for its length.
    fn long_id(&mut self);
}

/// `text` in lower case, character by character, as case-blind comparison has it.
pub(super) fn fold<'a>(text: &str, buffer: &'a mut String) -> &'a str {
    buffer.clear();
    if text.is_ascii() {
        buffer.push_str(text);
        buffer.make_ascii_lowercase();
    } else {
        for c in text.chars() {
            match c {
                'ſ' => buffer.push('s'), // It is an s to case-blind comparison.
                c => buffer.extend(c.to_lowercase()),
            }
        }
    }
    buffer
}

/// Cuts `folded` and hands its parts to `sink`.
pub(super) fn cut(folded: &str, sink: &mut impl Sink) {
    let bytes = folded.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut at = 0;
    while at < bytes.len() {
        let class = class_at(folded, at);
        let end = run_end(folded, at, class);
        let run = &folded[at..end];
        match class {
            Class::Letter => {
                let is_mixed = is_digit(end) || at.checked_sub(1).is_some_and(is_digit);
                let edges = Edges { is_first: at == 0, is_last: end == bytes.len(), is_mixed };
                letters(run, edges, sink);
            }
            Class::Cjk => pairs(run, sink),
            Class::Digit | Class::Other => {}
        }
        at = end;
    }
    for run in bytes.split(|byte| !byte.is_ascii_lowercase() && !byte.is_ascii_digit()) {
        if run.len() >= ID_MIN && run.iter().any(u8::is_ascii_digit) {
            grams(run, sink);
        }
    }
}

fn class_at(text: &str, at: usize) -> Class {
    match text.as_bytes()[at] {
        b'a'..=b'z' | b'A'..=b'Z' => Class::Letter,
        b'0'..=b'9' => Class::Digit,
        0..=0x7f => Class::Other,
        _ => text[at..].chars().next().map_or(Class::Other, class),
    }
}

fn class(c: char) -> Class {
    match c {
        '\u{3040}'..='\u{30ff}' // Kana
        | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{ac00}'..='\u{d7af}' // Hangul
        | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{323af}' => Class::Cjk,
        c if c.is_ascii_digit() => Class::Digit,
        c if c.is_alphabetic() => Class::Letter,
        _ => Class::Other,
    }
}

fn run_end(text: &str, from: usize, wanted: Class) -> usize {
    let bytes = text.as_bytes();
    let mut at = from;
    while at < bytes.len() && class_at(text, at) == wanted {
        at += match bytes[at] {
            0..=0x7f => 1,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            _ => 4,
        };
    }
    at
}

fn letters(run: &str, edges: Edges, sink: &mut impl Sink) {
    if run.len() < WORD_MIN || is_hex(run) {
        return;
    }
    if run.len() <= WORD_MAX { sink.word(run, edges) } else { sink.long_word() }
}

/// Runs of nothing but a to f are mostly parts of hexadecimal numbers.
fn is_hex(run: &str) -> bool {
    run.bytes().all(|byte| matches!(byte, b'a'..=b'f'))
}

fn pairs(run: &str, sink: &mut impl Sink) {
    let mut starts = run.char_indices().map(|(at, _)| at).chain([run.len()]);
    let (Some(mut first), Some(mut second)) = (starts.next(), starts.next()) else { return };
    let mut is_alone = true;
    for third in starts {
        is_alone = false;
        sink.pair(&run[first..third]);
        (first, second) = (second, third);
    }
    if is_alone {
        sink.pair(&run[first..second]);
    }
}

fn grams(id: &[u8], sink: &mut impl Sink) {
    if id.len() > ID_MAX {
        sink.long_id();
        return;
    }
    let key = |gram: &[u8]| {
        let number = gram.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        mixed(number)
    };
    let keys: Vec<u64> = id.windows(GRAM).map(key).collect();
    let mut last = None;
    for (start, window) in keys.windows(WINDOW).enumerate() {
        let (at, key) = (start..).zip(window).min_by_key(|(_, key)| **key).unwrap_or((start, &0));
        if last.replace(at) != Some(at) {
            sink.id(*key);
        }
    }
}

/// The key of an attribute that has exactly this text.
pub(super) fn attribute_key(name: &str, value: &str) -> u64 {
    let seed = xxhash_rust::xxh3::xxh3_64(name.as_bytes());
    xxhash_rust::xxh3::xxh3_64_with_seed(value.as_bytes(), seed)
}

fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (number ^ (number >> 32)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{any, prop, prop_assert, proptest};

    use super::*;

    #[derive(Default)]
    struct Parts {
        words: BTreeSet<String>,
        open: Vec<(String, Edges)>,
        pairs: BTreeSet<String>,
        ids: BTreeSet<u64>,
    }

    impl Sink for Parts {
        fn word(&mut self, word: &str, edges: Edges) {
            self.words.insert(word.to_owned());
            self.open.push((word.to_owned(), edges));
        }
        fn pair(&mut self, pair: &str) {
            self.pairs.insert(pair.to_owned());
        }
        fn long_word(&mut self) {}
        fn id(&mut self, key: u64) {
            self.ids.insert(key);
        }
        fn long_id(&mut self) {}
    }

    fn parts(text: &str) -> Parts {
        let (mut parts, mut buffer) = (Parts::default(), String::new());
        cut(fold(text, &mut buffer), &mut parts);
        parts
    }

    #[test]
    fn words_ids_and_pairs() {
        let found = parts("GET /v1/orders?id=550e8400-e29b-41d4-a716-446655440000 日本語x café ok");
        let words: Vec<&str> = found.words.iter().map(String::as_str).collect();
        assert_eq!(words, ["café", "get", "orders"]);
        let pairs: Vec<&str> = found.pairs.iter().map(String::as_str).collect();
        assert_eq!(pairs, ["日本", "本語"]);
        assert!(!found.ids.is_empty());
        assert_eq!(parts("東").pairs.iter().next().map(String::as_str), Some("東"));
        assert!(parts("deadbeef 12345").ids.is_empty());
        assert_eq!(parts("x timeout12").words.len(), 1);
    }

    proptest! {
        #[test]
        fn a_part_of_an_id_has_grams_of_the_whole(id in "[0-9a-z]{10,60}", from in any::<prop::sample::Index>(), len in 10..60_usize) {
            let start = from.index(id.len());
            let part = &id[start..id.len().min(start + len)];
            if part.bytes().any(|byte| byte.is_ascii_digit()) {
                prop_assert!(parts(part).ids.is_subset(&parts(&id).ids));
            }
            if part.len() >= ID_MIN && part.bytes().any(|byte| byte.is_ascii_digit()) {
                prop_assert!(!parts(part).ids.is_empty());
            }
        }

        #[test]
        fn words_of_a_part_lie_in_words_of_the_whole(text in "[ a-zA-Zſ0-9é日本-]{0,40}", from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>()) {
            let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            let (a, b) = (*from.get(&places), *to.get(&places));
            let whole = parts(&text);
            for (word, edges) in parts(&text[a.min(b)..a.max(b)]).open {
                let is_open = edges.is_first || edges.is_last;
                let holds = |found: &String| *found == word || (is_open && found.contains(&word));
                prop_assert!(whole.words.iter().any(holds) || word.len() > WORD_MAX);
            }
        }
    }
}
