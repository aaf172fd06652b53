//! Query text cut into coloured pieces. Total: any text is cut, nothing is lost, nothing fails.

/// What a piece of query text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Blanks, and text of no meaning to the tokenizer.
    Plain,
    /// A word of the language.
    Keyword,
    /// A function.
    Function,
    /// A metric, table or field name.
    Name,
    /// A label or column within braces or parentheses.
    Label,
    /// Quoted text.
    Text,
    /// A number or duration.
    Number,
    /// Operators and brackets.
    Operator,
    /// A remark.
    Comment,
}

impl Class {
    /// The class name of the style sheet.
    #[must_use]
    pub const fn css(self) -> &'static str {
        match self {
            Self::Plain => "t-plain",
            Self::Keyword => "t-keyword",
            Self::Function => "t-function",
            Self::Name => "t-name",
            Self::Label => "t-label",
            Self::Text => "t-text",
            Self::Number => "t-number",
            Self::Operator => "t-operator",
            Self::Comment => "t-comment",
        }
    }
}

/// The language of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// `PromQL`.
    Promql,
    /// SQL.
    Sql,
    /// Words, phrases and `field:value`.
    Search,
}

/// Cuts `text`; the pieces in order are the text.
#[must_use]
pub fn tokens(text: &str, language: Language) -> Vec<(Class, &str)> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut braces = 0usize;
    while !rest.is_empty() {
        let (class, len) = piece(rest, language, braces > 0);
        let len = len.clamp(1, rest.len());
        let len = (len..=rest.len()).find(|n| rest.is_char_boundary(*n)).unwrap_or(rest.len());
        let (head, tail) = rest.split_at(len);
        match head {
            "{" => braces += 1,
            "}" => braces = braces.saturating_sub(1),
            _ => {}
        }
        pieces.push((class, head));
        rest = tail;
    }
    pieces
}

/// Class and length of the first piece.
fn piece(rest: &str, language: Language, in_braces: bool) -> (Class, usize) {
    let first = rest.chars().next().unwrap_or(' ');
    let while_ = |accept: fn(char) -> bool| rest.find(|c| !accept(c)).unwrap_or(rest.len());
    match first {
        c if c.is_whitespace() => (Class::Plain, while_(char::is_whitespace)),
        '#' if language == Language::Promql => (Class::Comment, line(rest)),
        '-' if language == Language::Sql && rest.starts_with("--") => (Class::Comment, line(rest)),
        '"' | '\'' | '`' => (quoted_class(first, language), quoted(rest, first, language)),
        c if c.is_ascii_digit() => {
            (Class::Number, while_(|c| c.is_ascii_alphanumeric() || c == '.'))
        }
        c if is_word(c) => {
            let len = while_(|c| is_word(c) || c.is_ascii_digit());
            (word(&rest[..len], &rest[len..], language, in_braces), len)
        }
        c => (Class::Operator, c.len_utf8()),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphabetic() || matches!(c, '_' | ':' | '.' | '$' | '@')
}

fn line(rest: &str) -> usize {
    rest.find('\n').unwrap_or(rest.len())
}

fn quoted_class(quote: char, language: Language) -> Class {
    if language == Language::Sql && quote != '\'' { Class::Label } else { Class::Text }
}

/// Length of quoted text with its quotes; to the end when it is not closed.
fn quoted(rest: &str, quote: char, language: Language) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' && language != Language::Sql && quote != '`' {
            escaped = true;
        } else if c == quote {
            return at + c.len_utf8();
        }
    }
    rest.len()
}

fn word(word: &str, after: &str, language: Language, in_braces: bool) -> Class {
    let called = after.trim_start().starts_with('(');
    let lower = word.to_ascii_lowercase();
    match language {
        Language::Promql if PROMQL.contains(&lower.as_str()) => Class::Keyword,
        Language::Promql if in_braces => Class::Label,
        Language::Sql if SQL.contains(&lower.as_str()) => Class::Keyword,
        Language::Promql | Language::Sql if called => Class::Function,
        Language::Search if ["and", "or", "not"].contains(&lower.as_str()) => Class::Keyword,
        Language::Search if word.contains(':') => Class::Label,
        Language::Search => Class::Plain,
        Language::Promql | Language::Sql => Class::Name,
    }
}

const PROMQL: [&str; 14] = [
    "and",
    "or",
    "unless",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "bool",
    "offset",
    "@",
    "start",
    "end",
];

const SQL: [&str; 52] = [
    "select",
    "from",
    "where",
    "group",
    "by",
    "order",
    "limit",
    "offset",
    "having",
    "as",
    "and",
    "or",
    "not",
    "in",
    "is",
    "null",
    "like",
    "ilike",
    "between",
    "case",
    "when",
    "then",
    "else",
    "end",
    "join",
    "left",
    "right",
    "inner",
    "outer",
    "full",
    "cross",
    "on",
    "using",
    "union",
    "all",
    "distinct",
    "with",
    "asc",
    "desc",
    "interval",
    "true",
    "false",
    "exists",
    "cast",
    "over",
    "partition",
    "values",
    "explain",
    "describe",
    "show",
    "tables",
    "analyze",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(text: &str, language: Language) -> Vec<(Class, &str)> {
        tokens(text, language).into_iter().filter(|(class, _)| *class != Class::Plain).collect()
    }

    #[test]
    fn promql_names_labels_and_functions_differ() {
        let got = classes(
            "sum by (job) (rate(http_requests_total{code=~\"5..\"}[5m])) # why",
            Language::Promql,
        );
        for expected in [
            (Class::Function, "rate"),
            (Class::Keyword, "by"),
            (Class::Name, "http_requests_total"),
            (Class::Label, "code"),
            (Class::Text, "\"5..\""),
            (Class::Number, "5m"),
            (Class::Comment, "# why"),
        ] {
            assert!(got.contains(&expected), "{expected:?} in {got:?}");
        }
    }

    #[test]
    fn sql_quotes_are_text_or_names() {
        let got =
            classes("SELECT \"a b\", count(*) FROM logs WHERE body = 'it''s' -- x", Language::Sql);
        for expected in [
            (Class::Keyword, "SELECT"),
            (Class::Label, "\"a b\""),
            (Class::Function, "count"),
            (Class::Name, "logs"),
            (Class::Comment, "-- x"),
        ] {
            assert!(got.contains(&expected), "{expected:?} in {got:?}");
        }
    }

    #[test]
    fn no_text_is_lost_and_none_is_refused() {
        for text in [
            "",
            "\"open",
            "a{b=\"\\",
            "中文 指标{标签=\"值\"}",
            "}}}{",
            "\u{202e}",
            "1e",
            "::",
            "'",
            "-",
            "--",
        ] {
            for language in [Language::Promql, Language::Sql, Language::Search] {
                let joined: String =
                    tokens(text, language).into_iter().map(|(_, piece)| piece).collect();
                assert_eq!(joined, text);
            }
        }
    }
}
