//! Matchers made ready to run: regexes anchored, simple ones turned into comparisons. Used by checks and the memory source.

use std::sync::Arc;

use model::matcher::{MatchOp, Matcher};
use model::regexp::{self, Dot, Regexp};
use regex::Regex;

/// Largest compiled regex, bytes.
const REGEX_BYTES_MAX: usize = 256 * 1024;

/// A matcher that can be applied to values.
#[derive(Clone, Debug)]
pub struct Compiled {
    negated: bool,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Equal(String),
    OneOf(Vec<String>),
    Any,
    NotEmpty,
    Regex(Regex),
}

impl Compiled {
    /// Whether a label with this value passes; an absent label is the empty string.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        let found = match &self.test {
            Test::Equal(text) => text == value,
            Test::OneOf(texts) => texts.iter().any(|text| text == value),
            Test::Any => true,
            Test::NotEmpty => !value.is_empty(),
            Test::Regex(regex) => regex.is_match(value),
        };
        found != self.negated
    }
}

/// A regular expression whose groups can be put into a replacement.
#[derive(Clone, Debug)]
pub(crate) struct Replacing {
    regex: Regex,
    form: Arc<Regexp>,
}

impl Replacing {
    /// `template` with the groups of the match of all of `text`; `None` if it does not match.
    pub(crate) fn expand(&self, text: &str, template: &str) -> Option<String> {
        let captures = self.regex.captures(text)?;
        let mut out = String::new();
        let group = |i| captures.get(i).map(|group| group.as_str());
        // A string takes everything.
        self.form.expand(template, group, &mut out).ok()?;
        Some(out)
    }

    /// Whether it matches all of `text`.
    pub(crate) fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

/// A regular expression as `label_replace` means it: anchored at both ends, dot matches newline, bounded in size.
///
/// # Errors
/// The sentence for the user when `pattern` is not one or is too large.
pub(crate) fn replacing(pattern: &str) -> Result<Replacing, String> {
    let form = regexp::translate_within(pattern, Dot::Any).map_err(|error| error.to_string())?;
    Ok(Replacing { regex: build(&form, pattern)?, form: Arc::new(form) })
}

fn build(form: &Regexp, written: &str) -> Result<Regex, String> {
    regex::RegexBuilder::new(&form.rust)
        .nest_limit(regexp::NEST_LIMIT)
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(limit) => {
                format!("regular expression is larger than {limit} bytes when compiled")
            }
            _ => regexp::Fault::Depth.of(written).to_string(),
        })
}

/// Makes one comparison ready.
///
/// # Errors
/// The sentence for the user when a regular expression is wrong.
pub fn compile(op: MatchOp, value: &str) -> Result<Compiled, String> {
    compile_as(op, value, Dot::Any)
}

/// Makes a comparison ready whose dot is what its language says: PromQL's any character, Alertmanager's no newline.
///
/// # Errors
/// The sentence for the user when a regular expression is wrong.
pub fn compile_as(op: MatchOp, value: &str, dot: Dot) -> Result<Compiled, String> {
    let negated = matches!(op, MatchOp::NotEqual | MatchOp::NotRegex);
    let test = match op {
        MatchOp::Equal | MatchOp::NotEqual => Test::Equal(value.to_owned()),
        MatchOp::Regex | MatchOp::NotRegex => match value {
            ".*" if dot == Dot::Any => Test::Any,
            ".+" if dot == Dot::Any => Test::NotEmpty,
            _ if value.split('|').all(is_plain) => {
                Test::OneOf(value.split('|').map(str::to_owned).collect())
            }
            _ => {
                let form = match dot {
                    Dot::Any => regexp::translate_whole(value),
                    Dot::NoNewline => regexp::translate_within(value, dot),
                };
                Test::Regex(build(&form.map_err(|error| error.to_string())?, value)?)
            }
        },
    };
    Ok(Compiled { negated, test })
}

fn is_plain(part: &str) -> bool {
    !part.contains(['\\', '.', '+', '*', '?', '(', ')', '[', ']', '{', '}', '^', '$'])
}

/// Makes a set of matchers ready, each with its label name.
///
/// # Errors
/// The sentence for the user when a regular expression is wrong.
pub fn compile_all(matchers: &[Matcher]) -> Result<Vec<(String, Compiled)>, String> {
    matchers.iter().map(|m| Ok((m.name.clone(), compile(m.op, &m.value)?))).collect()
}

#[cfg(test)]
mod tests;
