//! A condition on one label, as PromQL writes it and the store applies it.

/// How a label value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored at both ends, dot matches newline; read by [`crate::regexp`]
    Regex,
    /// `!~`, likewise
    NotRegex,
}

/// A condition on the label `name`; an absent label compares as the empty string.
///
/// `__name__` is the metric: its Prometheus name, or with `=` also its native name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Matcher {
    /// Label name.
    pub name: String,
    /// Comparison.
    pub op: MatchOp,
    /// Text or regular expression compared with.
    pub value: String,
}

impl Matcher {
    /// A matcher.
    #[must_use]
    pub fn new(name: impl Into<String>, op: MatchOp, value: impl Into<String>) -> Self {
        Self { name: name.into(), op, value: value.into() }
    }
}
