//! Source text to lexemes. Trim markers are applied and comments dropped here, so the parser sees neither.

use crate::Fault;
use crate::quote::unquote;
use crate::tree::Span;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// Literal text between actions.
    Text(String),
    /// `{{`
    Open,
    /// `}}`
    Close,
    Identifier(String),
    Keyword(Keyword),
    /// `.name`
    Field(String),
    /// `$` or `$name`
    Variable(String),
    Dot,
    Str(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Pipe,
    LeftParen,
    RightParen,
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    /// White space between operands: it tells `$x .y` from `$x.y`.
    Space,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    Block,
    Break,
    Continue,
    Define,
    Else,
    End,
    If,
    Nil,
    Range,
    Template,
    With,
}

#[derive(Clone, Debug)]
pub(crate) struct Lexeme {
    pub(crate) token: Token,
    pub(crate) span: Span,
}

/// The lexemes of `source`, the last of which is `End`.
pub(crate) fn lex(source: &str) -> Result<Vec<Lexeme>, Fault> {
    let mut lexer = Lexer { source, at: 0, lexemes: Vec::new() };
    lexer.template()?;
    Ok(lexer.lexemes)
}

const BLANK: [char; 4] = [' ', '\t', '\r', '\n'];

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    lexemes: Vec<Lexeme>,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.source[self.at..]
    }

    fn push(&mut self, token: Token, start: usize) {
        self.lexemes.push(Lexeme { token, span: Span { start, end: self.at } });
    }

    fn template(&mut self) -> Result<(), Fault> {
        let mut trim_left = false;
        loop {
            let start = self.at;
            let open = self.rest().find("{{");
            let end = open.map_or(self.source.len(), |i| start + i);
            let trim_right = open.is_some() && starts_with_trim(&self.source[end + 2..]);
            let mut text = &self.source[start..end];
            if trim_left {
                text = text.trim_start_matches(BLANK);
            }
            if trim_right {
                text = text.trim_end_matches(BLANK);
            }
            let text = text.to_owned();
            self.at = end;
            if !text.is_empty() {
                self.push(Token::Text(text), start);
            }
            if open.is_none() {
                self.push(Token::End, self.at);
                return Ok(());
            }
            self.at += if trim_right { 4 } else { 2 };
            trim_left = if self.comment_follows() { self.comment(end)? } else { self.action(end)? };
        }
    }

    fn comment_follows(&self) -> bool {
        self.rest().starts_with("/*")
    }

    /// Skips a comment and its closing delimiter; tells whether that trims the text after it.
    fn comment(&mut self, open: usize) -> Result<bool, Fault> {
        let Some(len) = self.rest().find("*/") else {
            return Err(Fault::invalid(open, "unclosed comment"));
        };
        self.at += len + 2;
        let after = self.rest().trim_start_matches(BLANK);
        if self.rest().starts_with("}}") {
            self.at += 2;
            return Ok(false);
        }
        if after.len() < self.rest().len() && after.starts_with("-}}") {
            self.at = self.source.len() - after.len() + 3;
            return Ok(true);
        }
        Err(Fault::invalid(open, "comment ends before closing delimiter"))
    }

    /// Reads one action; tells whether its closing delimiter trims the text after it.
    fn action(&mut self, open: usize) -> Result<bool, Fault> {
        self.push(Token::Open, open);
        loop {
            let start = self.at;
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start_matches(BLANK).len();
            if blank > 0 {
                self.at += blank;
                if self.rest().starts_with("-}}") {
                    self.at += 3;
                    self.push(Token::Close, start);
                    return Ok(true);
                }
                self.push(Token::Space, start);
                continue;
            }
            if rest.starts_with("}}") {
                self.at += 2;
                self.push(Token::Close, start);
                return Ok(false);
            }
            let Some(first) = rest.chars().next() else {
                return Err(Fault::invalid(open, "unclosed action"));
            };
            let token = self.token(first)?;
            self.push(token, start);
        }
    }

    fn token(&mut self, first: char) -> Result<Token, Fault> {
        let start = self.at;
        let rest = &self.source[start..];
        let second = rest[first.len_utf8()..].chars().next();
        let simple = match first {
            '|' => Some(Token::Pipe),
            '(' => Some(Token::LeftParen),
            ')' => Some(Token::RightParen),
            ',' => Some(Token::Comma),
            '=' => Some(Token::Assign),
            _ => None,
        };
        if let Some(token) = simple {
            self.at += 1;
            return Ok(token);
        }
        match first {
            ':' if second == Some('=') => {
                self.at += 2;
                Ok(Token::Declare)
            }
            '"' | '`' | '\'' => self.quoted(first),
            '.' if second.is_none_or(|c| !c.is_ascii_digit()) => {
                self.at += 1;
                let name = self.word();
                Ok(if name.is_empty() { Token::Dot } else { Token::Field(name) })
            }
            '$' => {
                self.at += 1;
                Ok(Token::Variable(format!("${}", self.word())))
            }
            '+' | '-' | '.' | '0'..='9' => self.number(),
            c if c.is_alphanumeric() || c == '_' => Ok(word_token(self.word())),
            c => Err(Fault::invalid(start, format!("unexpected {c:?} in action"))),
        }
    }

    fn word(&mut self) -> String {
        let rest = self.rest();
        let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let word = rest[..len].to_owned();
        self.at += len;
        word
    }

    fn quoted(&mut self, quote: char) -> Result<Token, Fault> {
        let start = self.at;
        let mut escaped = false;
        for (i, c) in self.source[start + 1..].char_indices() {
            let ends = c == quote && !escaped;
            if ends {
                self.at = start + 1 + i + 1;
                return self.literal(start, quote);
            }
            if c == '\n' && quote != '`' {
                break;
            }
            escaped = c == '\\' && !escaped && quote != '`';
        }
        Err(Fault::invalid(start, format!("unterminated {}", kind_of(quote))))
    }

    fn literal(&self, start: usize, quote: char) -> Result<Token, Fault> {
        let inner = &self.source[start + 1..self.at - 1];
        if quote == '`' {
            return Ok(Token::Str(inner.to_owned()));
        }
        let text = unquote(inner).map_err(|text| Fault::invalid(start, text))?;
        if quote == '"' {
            return Ok(Token::Str(text));
        }
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) => Ok(Token::Int(i64::from(u32::from(c)))),
            _ => Err(Fault::invalid(start, "a character constant holds one character")),
        }
    }

    fn number(&mut self) -> Result<Token, Fault> {
        let start = self.at;
        let bytes = self.source.as_bytes();
        let mut end = start + 1;
        let hexadecimal = self.rest().trim_start_matches(['+', '-']).to_ascii_lowercase();
        let exponents: &[u8] = if hexadecimal.starts_with("0x") { b"pP" } else { b"eE" };
        while let Some(&byte) = bytes.get(end) {
            let sign = matches!(byte, b'+' | b'-') && exponents.contains(&bytes[end - 1]);
            if !(byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'_' || sign) {
                break;
            }
            end += 1;
        }
        self.at = end;
        let text = &self.source[start..end];
        parse_number(text)
            .ok_or_else(|| Fault::invalid(start, format!("bad number syntax: {text:?}")))
    }
}

fn starts_with_trim(after_open: &str) -> bool {
    after_open.strip_prefix('-').is_some_and(|rest| rest.starts_with(BLANK))
}

const fn kind_of(quote: char) -> &'static str {
    match quote {
        '`' => "raw quoted string",
        '\'' => "character constant",
        _ => "quoted string",
    }
}

fn word_token(word: String) -> Token {
    let keyword = match word.as_str() {
        "true" => return Token::Bool(true),
        "false" => return Token::Bool(false),
        "block" => Keyword::Block,
        "break" => Keyword::Break,
        "continue" => Keyword::Continue,
        "define" => Keyword::Define,
        "else" => Keyword::Else,
        "end" => Keyword::End,
        "if" => Keyword::If,
        "nil" => Keyword::Nil,
        "range" => Keyword::Range,
        "template" => Keyword::Template,
        "with" => Keyword::With,
        _ => return Token::Identifier(word),
    };
    Token::Keyword(keyword)
}

/// Go's number syntax without imaginary numbers; underscores may stand between digits.
fn parse_number(text: &str) -> Option<Token> {
    if text.ends_with('_') || text.contains("__") {
        return None;
    }
    let plain = text.replace('_', "");
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let lower = digits.to_ascii_lowercase();
    let prefixed = [("0x", 16), ("0o", 8), ("0b", 2)];
    for (prefix, radix) in prefixed {
        if let Some(digits) = lower.strip_prefix(prefix) {
            let value = i128::from(u64::from_str_radix(digits, radix).ok()?) * sign;
            return i64::try_from(value).ok().map(Token::Int);
        }
    }
    if lower.bytes().all(|b| b.is_ascii_digit()) && !lower.is_empty() {
        let octal = lower.len() > 1 && lower.starts_with('0');
        let value = u64::from_str_radix(&lower, if octal { 8 } else { 10 }).ok()?;
        return i64::try_from(i128::from(value) * sign).ok().map(Token::Int);
    }
    if !lower.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'+' | b'-')) {
        return None;
    }
    plain.parse().ok().filter(|v: &f64| v.is_finite()).map(Token::Float)
}
