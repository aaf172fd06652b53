//! Regular expressions as Prometheus reads them: the syntax of Go's `regexp` (RE2's), rewritten for Rust's `regex`.
//!
//! The two agree on most texts and differ quietly on the rest: `\d`, `\s`, `\w`, `\b` and `[:word:]` are ASCII in Go,
//! a `[` inside a class is a plain character, `\Q…\E` quotes, octal escapes exist, a repetition goes up to 1,000, and
//! what Rust adds (`&&`, `(?x)`, `\<`, `\u{…}`) is either plain text or refused. So a pattern is read by Go's grammar
//! and printed as what means the same in Rust. Called wherever a pattern of a user is compiled: matchers, relabelling,
//! label functions, templates, receivers.
//!
//! Source: the syntax section of Go's package `regexp/syntax`.

mod class;
mod expand;
mod read;
mod script;

use std::fmt;

/// What [`translate`] makes of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regexp {
    /// The pattern for Rust's `regex`, compiled with a [`NEST_LIMIT`]; none of its groups is named.
    pub rust: String,
    /// Name of each group, the first group first; empty for one without.
    pub names: Vec<String>,
}

/// Nesting that a compiler must allow for what [`translate`] lets pass.
pub const NEST_LIMIT: u32 = 500;

/// Why a pattern is none, in Go's words: ``error parsing regexp: missing closing ]: `[a` ``.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What is wrong.
    pub fault: Fault,
    /// The part of the pattern that is wrong.
    pub part: String,
}

/// Kinds of mistakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A class ends below its beginning, or has a name that is none.
    ClassRange,
    /// `\` before something that is no escape.
    Escape,
    /// A group's name is empty, not closed or has other letters than `[0-9A-Za-z_]`.
    GroupName,
    /// `(?` before something that is none of `i m s U`.
    Flags,
    /// A repetition of a repetition.
    NestedRepetition,
    /// A count above 1,000, or falling.
    Count,
    /// `[` without `]`.
    Bracket,
    /// `(` without `)`.
    Paren,
    /// Nothing to repeat.
    NoArgument,
    /// `\` at the end.
    Backslash,
    /// `)` without `(`.
    ExtraParen,
    /// Groups in groups beyond the limit.
    Depth,
}

impl Fault {
    const fn words(self) -> &'static str {
        match self {
            Self::ClassRange => "invalid character class range",
            Self::Escape => "invalid escape sequence",
            Self::GroupName => "invalid named capture",
            Self::Flags => "invalid or unsupported Perl syntax",
            Self::NestedRepetition => "invalid nested repetition operator",
            Self::Count => "invalid repeat count",
            Self::Bracket => "missing closing ]",
            Self::Paren => "missing closing )",
            Self::NoArgument => "missing argument to repetition operator",
            Self::Backslash => "trailing backslash at end of expression",
            Self::ExtraParen => "unexpected )",
            Self::Depth => "expression nests too deeply",
        }
    }

    /// The error about `part` of a pattern.
    #[must_use]
    pub fn of(self, part: &str) -> Error {
        Error { fault: self, part: part.to_owned() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error parsing regexp: {}: `{}`", self.fault.words(), self.part)
    }
}

impl std::error::Error for Error {}

/// Rewrites a pattern that may match anywhere in a text.
///
/// # Errors
/// What Go refuses, in its words; and nesting beyond what is safe to compile, which Go takes a little further.
pub fn translate(pattern: &str) -> Result<Regexp, Error> {
    read::Reader::new(pattern, Dot::NoNewline).expression()
}

/// Rewrites a pattern that must match a whole text, whose dot is any character: label matchers.
///
/// # Errors
/// As [`translate`]; the pattern is judged on its own, so one that closes a group it did not open is refused.
pub fn translate_whole(pattern: &str) -> Result<Regexp, Error> {
    let inner = read::Reader::new(pattern, Dot::Any).expression()?;
    Ok(Regexp { rust: format!("^(?s:{})$", inner.rust), ..inner })
}

/// Rewrites a pattern that must match a whole text, judged with the anchors and the group around it, as relabelling,
/// `label_replace` and Alertmanager do: their messages show these too.
///
/// # Errors
/// As [`translate`].
pub fn translate_within(pattern: &str, dot: Dot) -> Result<Regexp, Error> {
    let flags = match dot {
        Dot::Any => "s",
        Dot::NoNewline => "",
    };
    translate(&format!("^(?{flags}:{pattern})$"))
}

/// What a dot stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dot {
    /// Any character: Prometheus.
    Any,
    /// Any character but a newline: Alertmanager.
    NoNewline,
}

#[cfg(test)]
mod tests;
