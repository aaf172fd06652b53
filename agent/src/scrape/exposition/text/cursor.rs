//! Walks over a text: names, quoted texts, labels.

use std::borrow::Cow;

use super::{LABELS_MAX, Label};

/// What was wrong at a byte of the text.
#[derive(Debug)]
pub(super) struct Oops {
    pub(super) at: usize,
    pub(super) reason: String,
}

pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) const fn at(&self) -> usize {
        self.at
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.text.len()
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn slice(&self, begin: usize, end: usize) -> &'a str {
        &self.text[begin..end]
    }

    /// Over `n` bytes that were looked at.
    pub(super) const fn skip(&mut self, n: usize) {
        self.at += n;
    }

    pub(super) fn oops(&self, reason: &str) -> Oops {
        Oops { at: self.at, reason: reason.to_owned() }
    }

    /// Over spaces and tabs; how many.
    pub(super) fn blanks(&mut self) -> usize {
        let begin = self.at;
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
        self.at - begin
    }

    /// The rest of the line, and over its end.
    pub(super) fn line(&mut self) -> &'a str {
        let rest = self.rest();
        let len = rest.find('\n').unwrap_or(rest.len());
        self.at = (self.at + len + 1).min(self.text.len());
        rest[..len].strip_suffix('\r').unwrap_or(&rest[..len])
    }

    /// Over the end of a line, or of the text.
    pub(super) fn end_of_line(&mut self) -> Result<(), Oops> {
        if self.rest().starts_with("\r\n") {
            self.at += 1;
        }
        match self.peek() {
            None => Ok(()),
            Some(b'\n') => {
                self.at += 1;
                Ok(())
            }
            Some(_) => {
                Err(self.oops(&format!("{:?} was not expected, the line should end", self.shown())))
            }
        }
    }

    /// What does not fit, for messages.
    fn shown(&self) -> &'a str {
        let rest = self.rest();
        let end = rest.find('\n').unwrap_or(rest.len());
        &rest[..rest.floor_char_boundary(end.min(20))]
    }

    /// Up to white space or `{`.
    pub(super) fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let len = rest.find([' ', '\t', '\n', '\r', '{']).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    /// A name of letters, digits and underscores; of metrics also with colons.
    pub(super) fn name(&mut self, colons: bool) -> Result<&'a str, Oops> {
        let rest = self.rest();
        let fits =
            |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || (colons && byte == b':');
        let len = rest.bytes().position(|byte| !fits(byte)).unwrap_or(rest.len());
        if len == 0 || rest.as_bytes()[0].is_ascii_digit() {
            let shown = self.shown();
            return Err(self.oops(&format!("a name was expected, not {shown:?}")));
        }
        self.at += len;
        Ok(&rest[..len])
    }

    /// A text in double quotes with `\\`, `\"` and `\n`; anything else after a backslash stands for both, as ever.
    pub(super) fn quoted(&mut self) -> Result<Cow<'a, str>, Oops> {
        let begin = self.at + 1;
        let bytes = self.text.as_bytes();
        let (mut at, mut escaped) = (begin, false);
        loop {
            match bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    at += 2;
                }
                Some(b'\n') | None => {
                    return Err(self.oops("the quoted text does not end on its line"));
                }
                Some(_) => at += 1,
            }
        }
        self.at = at + 1;
        let text = &self.text[begin..at];
        Ok(if escaped { Cow::Owned(unescape(text, true)) } else { Cow::Borrowed(text) })
    }

    /// Everything in braces, added to `labels`; a quoted text without `=` is the metric's name, which is returned.
    pub(super) fn labels(
        &mut self,
        strict: bool,
        labels: &mut Vec<Label<'a>>,
    ) -> Result<Option<Cow<'a, str>>, Oops> {
        self.skip(1);
        let (mut name, mut n_labels) = (None, 0);
        let mut first = true;
        loop {
            self.blanks_unless(strict);
            match self.peek() {
                Some(b'}') => {
                    self.skip(1);
                    return Ok(name);
                }
                Some(b',') if !first => {
                    self.skip(1);
                    self.blanks_unless(strict);
                    if self.peek() == Some(b'}') {
                        continue;
                    }
                }
                _ if first => {}
                _ => {
                    let shown = self.shown();
                    return Err(self.oops(&format!("`,` or `}}` was expected, not {shown:?}")));
                }
            }
            first = false;
            let (at, is_quoted) = (self.at, self.peek() == Some(b'"'));
            let key = if is_quoted { self.quoted()? } else { Cow::Borrowed(self.name(false)?) };
            self.blanks_unless(strict);
            if self.peek() != Some(b'=') {
                if !is_quoted {
                    return Err(self.oops("`=` was expected after the name of a label"));
                }
                if name.is_some() {
                    return Err(Oops { at, reason: "metric name already set".to_owned() });
                }
                name = Some(key);
                continue;
            }
            self.skip(1);
            self.blanks_unless(strict);
            if self.peek() != Some(b'"') {
                return Err(self.oops("a value in double quotes was expected"));
            }
            let value = self.quoted()?;
            n_labels += 1;
            if n_labels > LABELS_MAX {
                return Err(self.oops("a sample has more than 10,000 labels"));
            }
            labels.push((key, value));
        }
    }

    fn blanks_unless(&mut self, strict: bool) {
        if !strict {
            self.blanks();
        }
    }
}

fn unescape(text: &str, quotes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, false) => out.push(c),
            _ => match chars.next() {
                Some('n') => out.push('\n'),
                Some('\\') | None => out.push('\\'),
                Some('"') if quotes => out.push('"'),
                Some(other) => {
                    out.push('\\');
                    out.push(other);
                }
            },
        }
    }
    out
}

/// The text of `HELP`, in which OpenMetrics escapes quotes too.
pub(super) fn unescape_help(text: &str, quotes: bool) -> Cow<'_, str> {
    if text.contains('\\') { Cow::Owned(unescape(text, quotes)) } else { Cow::Borrowed(text) }
}
