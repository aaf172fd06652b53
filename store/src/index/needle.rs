//! What a query looks for, as far as indexes know of it, and which blocks may hold it.

use roaring::RoaringBitmap;

use super::token::{self, Edges, Sink};
use super::{Index, words};

/// Parts of a text that are looked up one by one; more would not narrow it further.
const PARTS_MAX: usize = 32;

/// What every row looked for has. Rows that have it, and others, are found; rows that have it not are no loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Needle {
    /// The body of a log record contains this text, letter case aside.
    Text(String),
    /// An attribute of this name has this text as its value, in the form SQL shows it.
    Attribute {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// The trace id is this one.
    Trace([u8; 16]),
    /// All of these hold.
    All(Vec<Self>),
    /// One of these holds.
    Any(Vec<Self>),
}

impl Needle {
    /// Blocks that may hold it, ascending; `None` when the indexes cannot tell.
    pub(super) fn blocks(&self, index: &Index<'_>) -> Option<RoaringBitmap> {
        match self {
            Self::Text(text) => text_blocks(text, index),
            Self::Attribute { name, value } if words::is_term(name, value) => {
                index.words()?.attribute(name, value)
            }
            Self::Attribute { name, value } => {
                Some(index.ids()?.blocks(&[token::attribute_key(name, value)]))
            }
            Self::Trace(id) => index.trace(id),
            Self::All(needles) => {
                let mut found: Option<RoaringBitmap> = None;
                for needle in needles {
                    if found.as_ref().is_some_and(RoaringBitmap::is_empty) {
                        break;
                    }
                    if let Some(blocks) = needle.blocks(index) {
                        found = Some(found.map_or_else(|| blocks.clone(), |found| found & &blocks));
                    }
                }
                found
            }
            Self::Any(needles) => {
                let mut found = RoaringBitmap::new();
                for needle in needles {
                    found |= needle.blocks(index)?;
                }
                Some(found)
            }
        }
    }
}

/// The parts of a text looked for.
#[derive(Default)]
struct Parts {
    /// Words, and whether they stand for themselves: one at an edge may be part of a longer one.
    words: Vec<(String, bool)>,
    ids: Vec<u64>,
}

impl Sink for Parts {
    fn word(&mut self, word: &str, edges: Edges) {
        // Of other letters lower case has more than one form.
        if word.is_ascii() {
            self.words.push((word.to_owned(), !edges.is_first && !edges.is_last));
        }
    }

    fn pair(&mut self, pair: &str) {
        let is_alone = pair.chars().nth(1).is_none();
        self.words.push((pair.to_owned(), !is_alone));
    }

    fn long_word(&mut self) {}

    fn id(&mut self, key: u64) {
        self.ids.push(key);
    }

    fn long_id(&mut self) {}
}

fn text_blocks(text: &str, index: &Index<'_>) -> Option<RoaringBitmap> {
    let (mut parts, mut buffer) = (Parts::default(), String::new());
    token::cut(token::fold(text, &mut buffer), &mut parts);
    parts.ids.truncate(PARTS_MAX);
    let mut found = None;
    if !parts.ids.is_empty()
        && let Some(ids) = index.ids()
    {
        let blocks = ids.blocks(&parts.ids);
        // The words would cost more than they could narrow.
        if blocks.len() * 64 <= index.n_blocks() {
            return Some(blocks);
        }
        found = Some(blocks);
    }
    // Whole words are looked up, others are searched among all: the former first, then the longest.
    parts.words.sort_by_key(|(word, is_whole)| (!is_whole, std::cmp::Reverse(word.len())));
    parts.words.dedup();
    parts.words.truncate(PARTS_MAX);
    if parts.words.is_empty() {
        return found;
    }
    let Some(words) = index.words() else { return found };
    for (word, is_whole) in &parts.words {
        if found.as_ref().is_some_and(|found| found.len() * 64 <= index.n_blocks() && !is_whole) {
            break;
        }
        if let Some(blocks) = words.word(word, *is_whole) {
            found = Some(found.map_or_else(|| blocks.clone(), |found| found & &blocks));
        }
    }
    found
}
