//! `headrope-words-v1`: a tantivy index whose documents are blocks of 128 rows, with the words of the text (`body`) and
//! the attributes with their values (`attributes`), as far as those are no ids.
//!
//! The blob holds, little endian: blocks u32; length u32 and roaring bitmap of the blocks with words that are not in the
//! index; then for each file of the index: length of the name u32, name, length u64, bytes.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use roaring::RoaringBitmap;
use tantivy::directory::{Directory as _, RamDirectory};
use tantivy::index::SegmentReader;
use tantivy::indexer::SingleSegmentIndexWriter;
use tantivy::schema::{Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::{Token, TokenStream, Tokenizer, TokenizerManager};
use tantivy::{DocSet as _, Index, InvertedIndexReader, TERMINATED, TantivyDocument};

use crate::varint::Reader;

/// Stands between the terms of a block.
const SEPARATOR: char = '\u{1}';
const TOKENIZER: &str = "terms";
/// Memory tantivy takes for its table at the start; it writes one segment however large.
const MEMORY: usize = 3 << 20;
/// Blocks gathered before they are handed to tantivy.
const STRETCH: usize = 1_024;
/// Terms for each block of a stretch above which words that stand next to digits and only once are left out: they are random.
const RARE_MAX: usize = 8;

/// The terms of one field, block by block.
#[derive(Default)]
struct Terms {
    numbers: HashMap<Box<str>, u32, BuildHasherDefault<Fold>>,
    facts: Vec<Term>,
    /// Numbers of the terms of all blocks, and where each block's end.
    uses: Vec<u32>,
    ends: Vec<usize>,
}

#[derive(Clone, Copy)]
struct Term {
    /// The block it was met in last, plus one.
    seen: u32,
    blocks: u32,
    /// Met only next to digits.
    is_mixed: bool,
}

impl Terms {
    fn add(&mut self, term: &str, is_mixed: bool) {
        let block = u32::try_from(self.ends.len()).unwrap_or(u32::MAX - 1) + 1;
        let number = match self.numbers.get(term) {
            Some(number) => *number,
            None => {
                let number = u32::try_from(self.facts.len()).unwrap_or(u32::MAX);
                self.numbers.insert(term.into(), number);
                self.facts.push(Term { seen: 0, blocks: 0, is_mixed: true });
                number
            }
        };
        let fact = &mut self.facts[number as usize];
        fact.is_mixed &= is_mixed;
        if fact.seen != block {
            fact.seen = block;
            fact.blocks += 1;
            self.uses.push(number);
        }
    }

    fn end_block(&mut self) {
        self.ends.push(self.uses.len());
    }

    /// Bytes of memory held, roughly.
    fn memory(&self) -> usize {
        self.facts.len() * 64 + self.uses.len() * 4
    }

    /// The terms of each block that `keep` is for, as text.
    fn texts(self, keep: impl Fn(&Term) -> bool) -> Vec<String> {
        let mut by_number = vec![""; self.facts.len()];
        for (term, number) in &self.numbers {
            by_number[*number as usize] = term;
        }
        let mut start = 0;
        let mut texts = Vec::with_capacity(self.ends.len());
        for end in &self.ends {
            let mut text = String::new();
            for number in &self.uses[start..*end] {
                if keep(&self.facts[*number as usize]) {
                    text.push_str(by_number[*number as usize]);
                    text.push(SEPARATOR);
                }
            }
            texts.push(text);
            start = *end;
        }
        texts
    }
}

/// Gathers the words of one segment.
pub(super) struct WordsBuilder {
    /// Of the stretch under way.
    body: Terms,
    attributes: Terms,
    /// Blocks of the stretches before.
    n_blocks: usize,
    /// Blocks with words that are not indexed.
    odd: RoaringBitmap,
    /// Room for a term.
    term: String,
    /// `None` once tantivy failed: the segment does without.
    writer: Option<Writer>,
}

impl Default for WordsBuilder {
    fn default() -> Self {
        let writer = Writer::new().inspect_err(warn).ok();
        let (body, attributes) = (Terms::default(), Terms::default());
        let (odd, term) = (RoaringBitmap::new(), String::new());
        Self { body, attributes, n_blocks: 0, odd, term, writer }
    }
}

fn warn(error: &tantivy::TantivyError) {
    tracing::warn!(%error, "words of a segment are not indexed");
}

impl WordsBuilder {
    pub(super) fn add_word(&mut self, word: &str, is_mixed: bool) {
        self.body.add(word, is_mixed);
    }

    /// The block under way has a word that is not indexed.
    pub(super) fn add_odd(&mut self) {
        let block = self.n_blocks + self.body.ends.len();
        self.odd.insert(u32::try_from(block).unwrap_or(u32::MAX));
    }

    pub(super) fn add_attribute(&mut self, name: &str, value: &str) {
        attribute_term(&mut self.term, name, value);
        self.attributes.add(&self.term, false);
    }

    pub(super) fn end_block(&mut self) {
        self.body.end_block();
        self.attributes.end_block();
        if self.body.ends.len() == STRETCH {
            self.end_stretch();
        }
    }

    /// Bytes of memory held.
    pub(super) fn memory(&self) -> usize {
        let writer = self.writer.as_ref().map_or(0, |writer| writer.documents.mem_usage());
        self.body.memory() + self.attributes.memory() + writer
    }

    fn end_stretch(&mut self) {
        let n_blocks = self.body.ends.len();
        let is_rare = |term: &Term| term.is_mixed && term.blocks == 1;
        let n_rare = self.body.facts.iter().filter(|term| is_rare(term)).count();
        let are_rare_out = n_rare > n_blocks * RARE_MAX;
        if are_rare_out {
            let mut start = 0;
            for (block, end) in (self.n_blocks..).zip(&self.body.ends) {
                let uses = &self.body.uses[start..*end];
                if uses.iter().any(|number| is_rare(&self.body.facts[*number as usize])) {
                    self.odd.insert(u32::try_from(block).unwrap_or(u32::MAX));
                }
                start = *end;
            }
        }
        let body = std::mem::take(&mut self.body).texts(|term| !(are_rare_out && is_rare(term)));
        let attributes = std::mem::take(&mut self.attributes).texts(|_| true);
        self.n_blocks += n_blocks;
        if let Some(writer) = &mut self.writer {
            let added = writer.add(body.into_iter().zip(attributes));
            if added.inspect_err(warn).is_err() {
                self.writer = None;
            }
        }
    }

    /// The blob; `None` when tantivy fails, and the segment does without.
    pub(super) fn finish(mut self) -> Option<Vec<u8>> {
        self.end_stretch();
        let files = self.writer?.finish().inspect_err(warn).ok()?;
        Some(pack(self.n_blocks, &self.odd, &files))
    }
}

/// The term of an attribute.
fn attribute_term(term: &mut String, name: &str, value: &str) {
    term.clear();
    term.push_str(name);
    term.push('\0');
    term.push_str(value);
}

/// Whether an attribute has a term; else it has a key among the ids.
pub(super) fn is_term(name: &str, value: &str) -> bool {
    const BYTES_MAX: usize = 128;
    let is_plain = |text: &str| !text.contains([SEPARATOR, '\0']);
    value.len() <= BYTES_MAX
        && name.len() <= BYTES_MAX
        && !value.bytes().any(|byte| byte.is_ascii_digit())
        && is_plain(name)
        && is_plain(value)
}

fn schema() -> (Schema, Field, Field) {
    let indexing = TextFieldIndexing::default()
        .set_tokenizer(TOKENIZER)
        .set_index_option(IndexRecordOption::Basic)
        .set_fieldnorms(false);
    let options = TextOptions::default().set_indexing_options(indexing);
    let mut builder = Schema::builder();
    let body = builder.add_text_field("body", options.clone());
    let attributes = builder.add_text_field("attributes", options);
    (builder.build(), body, attributes)
}

/// A tantivy index in memory.
struct Writer {
    files: RamDirectory,
    documents: SingleSegmentIndexWriter,
    body: Field,
    attributes: Field,
}

impl Writer {
    fn new() -> tantivy::Result<Self> {
        let (schema, body, attributes) = schema();
        let tokenizers = TokenizerManager::new();
        tokenizers.register(TOKENIZER, Split::default());
        let files = RamDirectory::create();
        let documents = Index::builder()
            .schema(schema)
            .tokenizers(tokenizers)
            .single_segment_index_writer(files.clone(), MEMORY)?;
        Ok(Self { files, documents, body, attributes })
    }

    fn add(&mut self, blocks: impl Iterator<Item = (String, String)>) -> tantivy::Result<()> {
        for (words, pairs) in blocks {
            let mut document = TantivyDocument::default();
            document.add_text(self.body, words);
            document.add_text(self.attributes, pairs);
            self.documents.add_document(document)?;
        }
        Ok(())
    }

    fn finish(self) -> tantivy::Result<Vec<(PathBuf, Vec<u8>)>> {
        let index = self.documents.finalize()?;
        let managed = index.directory().list_managed_files();
        let mut names: Vec<PathBuf> = managed.into_iter().collect();
        names.push(PathBuf::from("meta.json"));
        names.sort();
        names.dedup();
        let mut read = Vec::new();
        for name in names {
            // Not through the index: that cuts off what it needs to open the file again.
            if self.files.exists(&name).unwrap_or(false) {
                let bytes = self.files.open_read(&name)?.read_bytes()?.to_vec();
                read.push((name, bytes));
            }
        }
        Ok(read)
    }
}

fn pack(n_blocks: usize, odd: &RoaringBitmap, files: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
    let n_blocks = u32::try_from(n_blocks).unwrap_or(u32::MAX);
    let mut bitmap = Vec::new();
    // Writing to memory does not fail.
    let odd = odd.serialize_into(&mut bitmap).map(|()| bitmap).unwrap_or_default();
    let mut out = n_blocks.to_le_bytes().to_vec();
    let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    out.extend_from_slice(&len(&odd));
    out.extend_from_slice(&odd);
    for (name, bytes) in files {
        let name = name.to_string_lossy();
        out.extend_from_slice(&len(name.as_bytes()));
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        out.extend_from_slice(bytes);
    }
    out
}

/// The word index of one segment.
pub(crate) struct Words {
    bytes: usize,
    n_blocks: u32,
    odd: RoaringBitmap,
    body: Arc<InvertedIndexReader>,
    attributes: Arc<InvertedIndexReader>,
}

impl Words {
    pub(super) fn new(blob: &[u8]) -> Option<Self> {
        let mut reader = Reader(blob);
        let n_blocks = u32::from_le_bytes(reader.bytes()?);
        let odd = RoaringBitmap::deserialize_from(take(&mut reader.0, 4)?).ok()?;
        let directory = RamDirectory::create();
        while !reader.0.is_empty() {
            let name = std::str::from_utf8(take(&mut reader.0, 4)?).ok()?;
            let bytes = take(&mut reader.0, 8)?;
            directory.atomic_write(Path::new(name), bytes).ok()?;
        }
        let index = Index::open(directory).ok()?;
        let (_, body, attributes) = schema();
        let segments = index.searchable_segments().ok()?;
        let segment = SegmentReader::open(segments.first()?).ok()?;
        Some(Self {
            bytes: blob.len(),
            n_blocks,
            odd,
            body: segment.inverted_index(body).ok()?,
            attributes: segment.inverted_index(attributes).ok()?,
        })
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Blocks with the attribute `name` of this very value, which must have a term.
    pub(super) fn attribute(&self, name: &str, value: &str) -> Option<RoaringBitmap> {
        let mut term = String::new();
        attribute_term(&mut term, name, value);
        exact(&self.attributes, &term)
    }

    /// Blocks with the word; also those with a word that `word` is a part of, unless it `is_whole`.
    pub(super) fn word(&self, word: &str, is_whole: bool) -> Option<RoaringBitmap> {
        let found = if is_whole { exact(&self.body, word) } else { containing(&self.body, word) };
        Some(found? | &self.odd)
    }

    pub(super) fn n_blocks(&self) -> u32 {
        self.n_blocks
    }
}

/// The bytes behind a length of `width` bytes.
fn take<'a>(rest: &mut &'a [u8], width: usize) -> Option<&'a [u8]> {
    let (len, behind) = rest.split_at_checked(width)?;
    let mut number = [0; 8];
    number[..width].copy_from_slice(len);
    let (bytes, behind) =
        behind.split_at_checked(usize::try_from(u64::from_le_bytes(number)).ok()?)?;
    *rest = behind;
    Some(bytes)
}

fn exact(index: &InvertedIndexReader, term: &str) -> Option<RoaringBitmap> {
    let mut blocks = RoaringBitmap::new();
    if let Some(info) = index.terms().get(term.as_bytes()).ok()? {
        add_blocks(index, &info, &mut blocks)?;
    }
    Some(blocks)
}

fn containing(index: &InvertedIndexReader, part: &str) -> Option<RoaringBitmap> {
    let mut blocks = RoaringBitmap::new();
    let finder = regex::bytes::Regex::new(&regex::escape(part)).ok()?;
    let mut terms = index.terms().stream().ok()?;
    while terms.advance() {
        if finder.is_match(terms.key()) {
            let info = terms.value().clone();
            add_blocks(index, &info, &mut blocks)?;
        }
    }
    Some(blocks)
}

fn add_blocks(
    index: &InvertedIndexReader,
    info: &tantivy::postings::TermInfo,
    blocks: &mut RoaringBitmap,
) -> Option<()> {
    let mut postings = index.read_postings_from_terminfo(info, IndexRecordOption::Basic).ok()?;
    let mut block = postings.doc();
    while block != TERMINATED {
        blocks.insert(block);
        block = postings.advance();
    }
    Some(())
}

/// Splits at the separator and at nothing else.
#[derive(Clone, Default)]
struct Split {
    token: Token,
}

struct Terminated<'a> {
    rest: &'a str,
    token: &'a mut Token,
}

impl Tokenizer for Split {
    type TokenStream<'a> = Terminated<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Terminated<'a> {
        self.token.reset();
        Terminated { rest: text, token: &mut self.token }
    }
}

impl TokenStream for Terminated<'_> {
    fn advance(&mut self) -> bool {
        let Some((term, rest)) = self.rest.split_once(SEPARATOR) else { return false };
        self.rest = rest;
        self.token.text.clear();
        self.token.text.push_str(term);
        self.token.position = self.token.position.wrapping_add(1);
        true
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}

/// A quick hash of short texts; nobody can choose which ones collide for long, a segment has its end.
#[derive(Default)]
struct Fold(u64);

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxhash_rust::xxh3::xxh3_64_with_seed(bytes, self.0);
    }

    fn write_u8(&mut self, _: u8) {} // The end mark of a text, of which there is one a hash.

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back_block_by_block() {
        let mut builder = WordsBuilder::default();
        builder.add_word("alpha", false);
        builder.add_attribute("k", "v w");
        builder.end_block();
        builder.add_word("alphabet", false);
        builder.end_block();
        builder.add_odd();
        builder.end_block();
        let words = Words::new(&builder.finish().unwrap()).unwrap();
        let blocks = |word: &str, is_whole: bool| {
            words.word(word, is_whole).unwrap().iter().collect::<Vec<_>>()
        };
        assert_eq!(words.n_blocks(), 3);
        assert_eq!(blocks("alpha", true), [0, 2]);
        assert_eq!(blocks("pha", false), [0, 1, 2]);
        assert_eq!(blocks("beta", false), [2]);
        assert_eq!(words.attribute("k", "v w").unwrap().iter().collect::<Vec<_>>(), [0]);
        assert_eq!(words.attribute("k", "v").unwrap().len(), 0);
    }
}
