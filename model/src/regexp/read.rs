//! Reads a pattern from left to right and prints it for Rust as it goes.

use super::class::{self, Class};
use super::{Dot, Error, Fault, Regexp};

/// Groups in groups: what a compiler that calls itself can take on a small stack. Go goes to 1,000.
const DEPTH_MAX: usize = 100;
/// Largest count of a repetition, and of repetitions inside each other.
const COUNT_MAX: u32 = 1_000;

/// Flags of `(?imsU)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Flags {
    fold: bool,
    lines: bool,
    dot_newline: bool,
    lazy: bool,
}

impl Flags {
    /// The one that `letter` stands for.
    fn named(&mut self, letter: char) -> Option<&mut bool> {
        Some(match letter {
            'i' => &mut self.fold,
            'm' => &mut self.lines,
            's' => &mut self.dot_newline,
            'U' => &mut self.lazy,
            _ => return None,
        })
    }

    /// `ims-ims` as Rust writes it; which way repetitions go is printed with each.
    fn print(self, out: &mut String) {
        let letters = [('i', self.fold), ('m', self.lines), ('s', self.dot_newline)];
        out.extend(letters.iter().filter(|(_, on)| *on).map(|(letter, _)| letter));
        if letters.iter().any(|(_, on)| !on) {
            out.push('-');
            out.extend(letters.iter().filter(|(_, on)| !on).map(|(letter, _)| letter));
        }
    }
}

/// What a repetition would take: the last thing printed.
#[derive(Clone, Copy)]
struct Atom {
    /// Where it stands in what was printed.
    start: usize,
    end: usize,
    /// Copies of its innermost thing.
    weight: u32,
    /// Repetitions stacked on it.
    n_repetitions: usize,
}

/// A group that is open.
struct Group {
    start: usize,
    flags: Flags,
    weight: u32,
}

/// A pattern half read.
pub(super) struct Reader<'a> {
    whole: &'a str,
    rest: &'a str,
    out: String,
    names: Vec<String>,
    flags: Flags,
    groups: Vec<Group>,
    atom: Option<Atom>,
    /// The largest of any atom of this group.
    weight: u32,
}

impl<'a> Reader<'a> {
    pub(super) fn new(whole: &'a str, dot: Dot) -> Self {
        Self {
            whole,
            rest: whole,
            out: String::with_capacity(whole.len() + whole.len() / 2),
            names: Vec::new(),
            flags: Flags { dot_newline: dot == Dot::Any, ..Flags::default() },
            groups: Vec::new(),
            atom: None,
            weight: 1,
        }
    }

    pub(super) fn expression(mut self) -> Result<Regexp, Error> {
        // Where the repetition just read begins.
        let mut repeated: Option<&'a str> = None;
        while let Some(c) = self.rest.chars().next() {
            let after = &self.rest[c.len_utf8()..];
            let before = repeated.take();
            match c {
                '*' | '+' | '?' | '{' => repeated = self.repetition(before)?,
                '(' if after.starts_with('?') => self.flags_or_group()?,
                '(' => {
                    self.names.push(String::new());
                    self.open("(", self.flags)?;
                    self.rest = after;
                }
                ')' => self.close(after)?,
                '|' => {
                    self.out.push('|');
                    self.atom = None;
                    self.rest = after;
                }
                '^' | '$' | '.' => self.atom(after, |out| out.push(c)),
                '[' => {
                    let (class, after) = class::bracket(self.rest)?;
                    self.atom(after, |out| class.print(out));
                }
                '\\' => self.escape()?,
                c => self.atom(after, |out| class::print_char(u32::from(c), out)),
            }
        }
        if !self.groups.is_empty() {
            return Err(Fault::Paren.of(self.whole));
        }
        Ok(Regexp { rust: self.out, names: self.names })
    }

    /// One thing printed, which a repetition may take.
    fn atom(&mut self, after: &'a str, print: impl FnOnce(&mut String)) {
        let start = self.out.len();
        print(&mut self.out);
        self.atom = Some(Atom { start, end: self.out.len(), weight: 1, n_repetitions: 0 });
        self.rest = after;
    }

    fn open(&mut self, text: &str, flags: Flags) -> Result<(), Error> {
        if self.groups.len() == DEPTH_MAX {
            return Err(Fault::Depth.of(self.whole));
        }
        self.groups.push(Group { start: self.out.len(), flags: self.flags, weight: self.weight });
        self.out.push_str(text);
        self.flags = flags;
        self.weight = 1;
        self.atom = None;
        Ok(())
    }

    fn close(&mut self, after: &'a str) -> Result<(), Error> {
        let group = self.groups.pop().ok_or_else(|| Fault::ExtraParen.of(self.whole))?;
        self.out.push(')');
        let atom =
            Atom { start: group.start, end: self.out.len(), weight: self.weight, n_repetitions: 0 };
        self.atom = Some(atom);
        self.flags = group.flags;
        self.weight = self.weight.max(group.weight);
        self.rest = after;
        Ok(())
    }

    /// `(?P<name>`, `(?<name>`, `(?flags)` or `(?flags:`.
    fn flags_or_group(&mut self) -> Result<(), Error> {
        let text = self.rest;
        let with_p = text.starts_with("(?P<") && text.len() > 4;
        let without = text.starts_with("(?<") && text.len() > 3;
        if with_p || without {
            let from = if with_p { 4 } else { 3 };
            let end = text.find('>').ok_or_else(|| Fault::GroupName.of(text))?;
            // The end may stand before the beginning only if there is no name at all.
            let name = text.get(from..end).unwrap_or_default();
            let is_letter = |c: char| c == '_' || c.is_ascii_alphanumeric();
            if name.is_empty() || !name.chars().all(is_letter) {
                return Err(Fault::GroupName.of(&text[..=end]));
            }
            self.names.push(name.to_owned());
            self.open("(", self.flags)?;
            self.rest = &text[end + 1..];
            return Ok(());
        }
        let (mut flags, mut wanted, mut is_complete) = (self.flags, true, true);
        for (at, c) in text.char_indices().skip(2) {
            let after = &text[at + c.len_utf8()..];
            match c {
                '-' if wanted => (wanted, is_complete) = (false, false),
                ')' | ':' if is_complete => return self.set_flags(c == ':', flags, after),
                c => match flags.named(c) {
                    Some(flag) => (*flag, is_complete) = (wanted, true),
                    None => return Err(Fault::Flags.of(&text[..text.len() - after.len()])),
                },
            }
        }
        Err(Fault::Flags.of(text))
    }

    fn set_flags(&mut self, opens: bool, flags: Flags, after: &'a str) -> Result<(), Error> {
        let mut text = String::from("(?");
        if (Flags { lazy: self.flags.lazy, ..flags }) != self.flags {
            flags.print(&mut text);
        }
        if opens {
            text.push(':');
            self.open(&text, flags)?;
        } else {
            // Flags alone print nothing when nothing changes, and are nothing that could be repeated.
            if text.len() > 2 {
                self.out.push_str(&text);
                self.out.push(')');
            }
            self.flags = flags;
        }
        self.rest = after;
        Ok(())
    }

    /// `*`, `+`, `?` or `{n,m}` and the `?` behind it; a `{` that is no count is itself. Says where a repetition began.
    fn repetition(&mut self, before: Option<&'a str>) -> Result<Option<&'a str>, Error> {
        let text = self.rest;
        let Some(count) = Count::read(text) else {
            self.atom(&text[1..], |out| class::print_char(u32::from('{'), out));
            return Ok(None);
        };
        let mut after = &text[count.len..];
        if count.is_wrong() {
            return Err(Fault::Count.of(&text[..count.len]));
        }
        let mut lazy = self.flags.lazy;
        if let Some(rest) = after.strip_prefix('?') {
            after = rest;
            lazy = !lazy;
        }
        let read = &text[..text.len() - after.len()];
        if let Some(before) = before {
            return Err(Fault::NestedRepetition.of(&before[..before.len() - after.len()]));
        }
        let mut atom = self.atom.ok_or_else(|| Fault::NoArgument.of(read))?;
        atom.weight = count.weight(atom.weight);
        if count.is_large() && atom.weight > COUNT_MAX {
            return Err(Fault::Count.of(read));
        }
        atom.n_repetitions += 1;
        if self.groups.len() + atom.n_repetitions > DEPTH_MAX {
            return Err(Fault::Depth.of(self.whole));
        }
        let flags = self.out.split_off(atom.end);
        if atom.n_repetitions > 1 {
            self.out.insert_str(atom.start, "(?:");
            self.out.push(')');
        }
        self.out.push_str(&text[..count.len]);
        if lazy {
            self.out.push('?');
        }
        atom.end = self.out.len();
        self.out.push_str(&flags);
        self.weight = self.weight.max(atom.weight);
        self.atom = Some(atom);
        self.rest = after;
        Ok(Some(text))
    }

    /// Whatever a backslash begins outside of a class.
    fn escape(&mut self) -> Result<(), Error> {
        let text = self.rest;
        let after = text.get(2..).unwrap_or_default();
        match text.as_bytes().get(1) {
            Some(b'A') => self.atom(after, |out| out.push_str("\\A")),
            Some(b'z') => self.atom(after, |out| out.push_str("\\z")),
            Some(b'b') => self.atom(after, |out| out.push_str("(?-u:\\b)")),
            Some(b'B') => self.atom(after, |out| out.push_str("(?-u:\\B)")),
            Some(b'C') => return Err(Fault::Escape.of("\\C")),
            Some(b'Q') => {
                let (quoted, after) = after.split_once("\\E").unwrap_or((after, ""));
                for c in quoted.chars() {
                    self.atom(after, |out| class::print_char(u32::from(c), out));
                }
                self.rest = after;
            }
            _ => match Class::named(text)? {
                Some((class, after)) => self.atom(after, |out| class.print(out)),
                None => {
                    let (code, after) = class::escaped(text)?;
                    self.atom(after, |out| class::print_char(code, out));
                }
            },
        }
        Ok(())
    }
}

/// How often something is repeated.
struct Count {
    /// Bytes of its text.
    len: usize,
    min: u32,
    max: Option<u32>,
    /// Whether it is written in numbers.
    is_counted: bool,
}

impl Count {
    /// The one that `text` begins with; `None` for a `{` that stands for itself.
    fn read(text: &str) -> Option<Self> {
        let simple = |min, max| Self { len: 1, min, max, is_counted: false };
        match text.as_bytes().first()? {
            b'*' => return Some(simple(0, None)),
            b'+' => return Some(simple(1, None)),
            b'?' => return Some(simple(0, Some(1))),
            _ => {}
        }
        let (min, rest) = number(&text[1..])?;
        let (max, rest) = match rest.strip_prefix(',') {
            None => (Some(min), rest),
            Some(rest) if rest.starts_with('}') => (None, rest),
            Some(rest) => number(rest).map(|(max, rest)| (Some(max), rest))?,
        };
        let rest = rest.strip_prefix('}')?;
        Some(Self { len: text.len() - rest.len(), min, max, is_counted: true })
    }

    fn is_wrong(&self) -> bool {
        self.min > COUNT_MAX || self.max.is_some_and(|max| max > COUNT_MAX || max < self.min)
    }

    /// Whether nesting it could make many copies.
    fn is_large(&self) -> bool {
        self.is_counted && (self.min >= 2 || self.max.is_some_and(|max| max >= 2))
    }

    /// Copies of the innermost thing when what is repeated holds `inner`.
    fn weight(&self, inner: u32) -> u32 {
        match self.max {
            _ if !self.is_counted => inner,
            Some(0) => 1,
            Some(max) => inner.saturating_mul(max),
            None => inner.saturating_mul(self.min.max(1)),
        }
    }
}

/// Digits without leading zeros, and what follows; numbers too large are some other that is too large.
fn number(text: &str) -> Option<(u32, &str)> {
    let len = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(len);
    if digits.is_empty() || (len > 1 && digits.starts_with('0')) {
        return None;
    }
    Some((digits.parse().unwrap_or(u32::MAX), rest))
}
