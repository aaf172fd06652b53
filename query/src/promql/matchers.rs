//! Matchers made ready to run: regexes anchored, simple ones turned into comparisons. Used by checks and the memory source.

use model::matcher::{MatchOp, Matcher};
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

/// A regular expression as PromQL means it: anchored at both ends, dot matches newline, bounded in size.
///
/// # Errors
/// The sentence for the user when `pattern` is not one or is too large.
pub fn anchored(pattern: &str) -> Result<Regex, String> {
    regex::RegexBuilder::new(&format!("^(?s:{pattern})$"))
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(limit) => {
                format!("regular expression is larger than {limit} bytes when compiled")
            }
            _ => format!("error parsing regexp: invalid regular expression: `{pattern}`"),
        })
}

/// Makes one comparison ready.
///
/// # Errors
/// The sentence for the user when a regular expression is wrong.
pub fn compile(op: MatchOp, value: &str) -> Result<Compiled, String> {
    let negated = matches!(op, MatchOp::NotEqual | MatchOp::NotRegex);
    let test = match op {
        MatchOp::Equal | MatchOp::NotEqual => Test::Equal(value.to_owned()),
        MatchOp::Regex | MatchOp::NotRegex => match value {
            ".*" => Test::Any,
            ".+" => Test::NotEmpty,
            _ if value.split('|').all(is_plain) => {
                Test::OneOf(value.split('|').map(str::to_owned).collect())
            }
            _ => Test::Regex(anchored(value)?),
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
