//! Go's `text/template` as Prometheus rule files use it: parsed once, executed often, by `alert` and `action`.
//!
//! Pure: the clock, queries and addresses come in through [`Context`]. Output, steps, nesting and source are
//! bounded, so that a hostile template costs what its bounds say and never the process.

mod builtin;
mod calendar;
mod collection;
mod compare;
pub mod duration;
mod exec;
mod function;
mod humanize;
mod kv;
mod lex;
mod number;
mod parse;
mod printf;
mod quote;
mod sink;
mod tree;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use value::{Map, Sample, Value};

/// Longest source of one template, in bytes.
pub const SOURCE_BYTES_MAX: usize = 64 * 1024;
/// Longest output of one execution, and longest text a function may build, in bytes.
pub const OUTPUT_BYTES_MAX: usize = 1024 * 1024;
/// Most steps of one execution: one a node, operand or turn of a loop, and one for each 256 bytes a function reads.
pub const STEPS_MAX: u64 = 1_000_000;
/// Deepest nesting of blocks, parentheses and template calls together.
pub const DEPTH_MAX: usize = 100;

/// What a caller should do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The template is wrong, or does not fit its data: mend it.
    Invalid,
    /// A bound was hit: ask for less.
    Exhausted,
}

/// Why a template was refused or failed. Prints as `template: NAME:LINE:COLUMN: TEXT`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("template: {name}:{line}:{column}: {text}")]
pub struct Error {
    /// Name given to [`Template::parse`].
    pub name: String,
    /// Line of the offending piece, from 1.
    pub line: usize,
    /// Column of the offending piece in characters, from 1.
    pub column: usize,
    /// What is wrong; while executing it begins `executing "NAME" at <SOURCE>: `.
    pub text: String,
    kind: ErrorKind,
}

impl Error {
    /// What to do about it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// A fault at a byte of the source, before line and column are known.
#[derive(Clone, Debug)]
struct Fault {
    at: usize,
    text: String,
    kind: ErrorKind,
}

impl Fault {
    fn invalid(at: usize, text: impl Into<String>) -> Self {
        Self { at, text: text.into(), kind: ErrorKind::Invalid }
    }

    fn exhausted(at: usize, text: impl Into<String>) -> Self {
        Self { at, text: text.into(), kind: ErrorKind::Exhausted }
    }

    fn into_error(self, name: &str, source: &str) -> Error {
        let before = &source[..source.floor_char_boundary(self.at)];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        Error {
            name: name.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            text: self.text,
            kind: self.kind,
        }
    }
}

/// How a template asks for samples: PromQL in, samples or a sentence saying why not out.
pub type Query<'a> = dyn Fn(&str) -> Result<Vec<Sample>, String> + 'a;

/// What a template is executed with.
pub struct Context<'a> {
    /// The initial dot, also `$`.
    pub data: Value,
    /// Values of the predeclared variables, in the order given to [`Template::parse`]; missing ones are nil.
    pub variables: Vec<Value>,
    /// The present, in nanoseconds since the epoch: what `now` tells.
    pub now_ns: i64,
    /// What `externalURL` returns; its path is what `pathPrefix` returns.
    pub external_url: &'a str,
    /// Answers `query`.
    pub query: &'a Query<'a>,
}

/// What becomes of the values a template writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Escape {
    /// They stand as they are.
    #[default]
    None,
    /// They are escaped for HTML, but for those that are marked as safe.
    Html,
}

/// A parsed template with the templates it defines.
#[derive(Clone, Debug)]
pub struct Template {
    name: String,
    source: String,
    body: Vec<tree::Node>,
    defined: BTreeMap<String, Vec<tree::Node>>,
    variables: Vec<String>,
}

impl Template {
    /// Parses `source`. `variables` are declared beforehand, with their `$`, outside of `define`s; functions are
    /// checked to exist.
    ///
    /// # Errors
    /// The first thing that is no template, or a source beyond the bounds.
    pub fn parse(name: &str, source: &str, variables: &[&str]) -> Result<Self, Error> {
        let parsed = parse::parse(name, source, variables);
        let (body, defined) = parsed.map_err(|fault| fault.into_error(name, source))?;
        Ok(Self {
            name: name.to_owned(),
            source: source.to_owned(),
            body,
            defined,
            variables: variables.iter().map(|&v| v.to_owned()).collect(),
        })
    }

    /// Executes it; nothing is kept between executions.
    ///
    /// # Errors
    /// The first operation that fails, or the bound that was hit.
    pub fn execute(&self, context: &Context<'_>) -> Result<String, Error> {
        self.execute_with(&[], context, Escape::None)
    }

    /// Executes it with the templates that `library` defines: its own come first, then those of the last in the list.
    ///
    /// # Errors
    /// The first operation that fails, or the bound that was hit.
    pub fn execute_with(
        &self,
        library: &[Self],
        context: &Context<'_>,
        escape: Escape,
    ) -> Result<String, Error> {
        let done = exec::execute(self, library, context, escape);
        done.map_err(|fault| fault.into_error(&self.name, &self.source))
    }

    /// Name given to [`Template::parse`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text it was parsed from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }
}
