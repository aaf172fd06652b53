//! The lexer: query text to tokens with byte ranges. Braces and brackets switch the mode; it never allocates per token.

use super::ast::{AggregateOp, BinaryOp};
use super::number::quote;
use super::place::{Fault, Place};

/// What a token is; its text stands in the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Eof,
    Identifier,
    MetricIdentifier,
    Number,
    Duration,
    String,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    At,
    /// `=`, only a label matcher.
    Assign,
    /// `=~`
    MatchRegex,
    /// `!~`
    MatchNotRegex,
    Operator(BinaryOp),
    Aggregate(AggregateOp),
    Keyword(Keyword),
}

/// Reserved words that are neither operators nor aggregators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    Offset,
    Smoothed,
    Anchored,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Bool,
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

const KEYWORDS: [(&str, Keyword); 19] = [
    ("offset", Keyword::Offset),
    ("smoothed", Keyword::Smoothed),
    ("anchored", Keyword::Anchored),
    ("by", Keyword::By),
    ("without", Keyword::Without),
    ("on", Keyword::On),
    ("ignoring", Keyword::Ignoring),
    ("group_left", Keyword::GroupLeft),
    ("group_right", Keyword::GroupRight),
    ("fill", Keyword::Fill),
    ("fill_left", Keyword::FillLeft),
    ("fill_right", Keyword::FillRight),
    ("bool", Keyword::Bool),
    ("start", Keyword::Start),
    ("end", Keyword::End),
    ("step", Keyword::Step),
    ("range", Keyword::Range),
    ("max_of", Keyword::MaxOf),
    ("min_of", Keyword::MinOf),
];

/// A token and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lexeme {
    pub(crate) token: Token,
    pub(crate) place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Top,
    Braces,
    Brackets,
}

/// Yields the tokens of `text` one by one; after the end, `Eof` for ever.
pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    mode: Mode,
    parens: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) const fn new(text: &'a str) -> Self {
        Self { text, at: 0, mode: Mode::Top, parens: 0 }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blank(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                b'#' => self.at += self.rest().find('\n').unwrap_or(self.rest().len()),
                _ => break,
            }
        }
    }

    /// The next token, or why there is none.
    pub(crate) fn next(&mut self) -> Result<Lexeme, Fault> {
        self.skip_blank();
        let start = self.at;
        let token = match self.mode {
            Mode::Top => self.top()?,
            Mode::Braces => self.braces()?,
            Mode::Brackets => self.brackets()?,
        };
        Ok(Lexeme { token, place: Place::new(start, self.at) })
    }

    /// An error at the token that starts here.
    fn fault<T>(&self, message: impl Into<String>) -> Result<T, Fault> {
        let end = self.at + self.rest().chars().next().map_or(0, char::len_utf8);
        Err(Fault::new(Place::new(self.at, end), message))
    }

    /// The character `ahead` bytes from here, as Go quotes one.
    fn quoted(&self, ahead: usize) -> String {
        match self.text.get(self.at + ahead..).and_then(|rest| rest.chars().next()) {
            None => "end of input".to_owned(),
            Some('\'') => "'\\''".to_owned(),
            Some('"') => "'\"'".to_owned(),
            Some(c) => quote(&c.to_string()).replace('"', "'"),
        }
    }

    fn take(&mut self, len: usize, token: Token) -> Token {
        self.at += len;
        token
    }

    fn top(&mut self) -> Result<Token, Fault> {
        let Some(byte) = self.peek() else {
            if self.parens > 0 {
                return self.fault("unclosed left parenthesis");
            }
            return Ok(Token::Eof);
        };
        match byte {
            b'{' => {
                self.mode = Mode::Braces;
                Ok(self.take(1, Token::LeftBrace))
            }
            b'[' => {
                self.mode = Mode::Brackets;
                Ok(self.take(1, Token::LeftBracket))
            }
            b'(' => {
                self.parens += 1;
                Ok(self.take(1, Token::LeftParen))
            }
            b')' => {
                if self.parens == 0 {
                    return self.fault("unexpected right parenthesis ')'");
                }
                self.parens -= 1;
                Ok(self.take(1, Token::RightParen))
            }
            b',' => Ok(self.take(1, Token::Comma)),
            b'@' => Ok(self.take(1, Token::At)),
            b'"' | b'\'' | b'`' => self.string(byte),
            b'0'..=b'9' => self.number(),
            b'.' if self.text.as_bytes().get(self.at + 1).is_some_and(u8::is_ascii_digit) => {
                self.number()
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b':' => Ok(self.word()),
            _ => self.operator(byte),
        }
    }

    fn operator(&mut self, byte: u8) -> Result<Token, Fault> {
        let second = self.text.as_bytes().get(self.at + 1).copied();
        let op = |op: BinaryOp, len: usize| (Token::Operator(op), len);
        let (token, len) = match (byte, second) {
            (b'=', Some(b'=')) => op(BinaryOp::Equal, 2),
            (b'=', Some(b'~')) => return self.fault("unexpected character after '=': '~'"),
            (b'=', _) => (Token::Assign, 1),
            (b'!', Some(b'=')) => op(BinaryOp::NotEqual, 2),
            (b'!', _) => {
                let message = format!("unexpected character after '!': {}", self.quoted(1));
                return self.fault(message);
            }
            (b'<', Some(b'=')) => op(BinaryOp::LessOrEqual, 2),
            (b'<', Some(b'/')) => op(BinaryOp::TrimUpper, 2),
            (b'<', _) => op(BinaryOp::Less, 1),
            (b'>', Some(b'=')) => op(BinaryOp::GreaterOrEqual, 2),
            (b'>', Some(b'/')) => op(BinaryOp::TrimLower, 2),
            (b'>', _) => op(BinaryOp::Greater, 1),
            (b'+', _) => op(BinaryOp::Add, 1),
            (b'-', _) => op(BinaryOp::Sub, 1),
            (b'*', _) => op(BinaryOp::Mul, 1),
            (b'/', _) => op(BinaryOp::Div, 1),
            (b'%', _) => op(BinaryOp::Mod, 1),
            (b'^', _) => op(BinaryOp::Pow, 1),
            _ => return self.fault(format!("unexpected character: {}", self.quoted(0))),
        };
        Ok(self.take(len, token))
    }

    fn braces(&mut self) -> Result<Token, Fault> {
        let Some(byte) = self.peek() else {
            return self.fault("unexpected end of input inside braces");
        };
        let second = self.text.as_bytes().get(self.at + 1).copied();
        match byte {
            b'}' => {
                self.mode = Mode::Top;
                Ok(self.take(1, Token::RightBrace))
            }
            b'{' => self.fault("unexpected left brace '{'"),
            b',' => Ok(self.take(1, Token::Comma)),
            b'"' | b'\'' | b'`' => self.string(byte),
            b'=' if second == Some(b'~') => Ok(self.take(2, Token::MatchRegex)),
            b'=' => Ok(self.take(1, Token::Assign)),
            b'!' if second == Some(b'~') => Ok(self.take(2, Token::MatchNotRegex)),
            b'!' if second == Some(b'=') => Ok(self.take(2, Token::Operator(BinaryOp::NotEqual))),
            b'!' => {
                let message =
                    format!("unexpected character after '!' inside braces: {}", self.quoted(1));
                self.fault(message)
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                let len = word_len(self.rest(), false);
                Ok(self.take(len, Token::Identifier))
            }
            _ => self.fault(format!("unexpected character inside braces: {}", self.quoted(0))),
        }
    }

    fn brackets(&mut self) -> Result<Token, Fault> {
        let Some(byte) = self.peek() else {
            return self.fault("unexpected end of input in duration expression");
        };
        let op = match byte {
            b']' => {
                self.mode = Mode::Top;
                return Ok(self.take(1, Token::RightBracket));
            }
            b':' => return Ok(self.take(1, Token::Colon)),
            b',' => return Ok(self.take(1, Token::Comma)),
            b'(' => return Ok(self.take(1, Token::LeftParen)),
            b')' => return Ok(self.take(1, Token::RightParen)),
            b'0'..=b'9' | b'.' => return self.number(),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                let len = word_len(self.rest(), false);
                let word = self.rest()[..len].to_ascii_lowercase();
                let found = KEYWORDS.iter().find(|(name, _)| *name == word).map(|(_, k)| *k);
                return match found {
                    Some(
                        k @ (Keyword::Step | Keyword::Range | Keyword::MinOf | Keyword::MaxOf),
                    ) => Ok(self.take(len, Token::Keyword(k))),
                    _ => self.fault(format!(
                        "unexpected character in duration expression: {}",
                        self.quoted(0)
                    )),
                };
            }
            b'+' => BinaryOp::Add,
            b'-' => BinaryOp::Sub,
            b'*' => BinaryOp::Mul,
            b'/' => BinaryOp::Div,
            b'%' => BinaryOp::Mod,
            b'^' => BinaryOp::Pow,
            _ => {
                return self.fault(format!(
                    "unexpected character in duration expression: {}",
                    self.quoted(0)
                ));
            }
        };
        Ok(self.take(1, Token::Operator(op)))
    }

    fn string(&mut self, delimiter: u8) -> Result<Token, Fault> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut at = start + 1;
        loop {
            match bytes.get(at) {
                None if delimiter == b'`' => return self.fault("unterminated raw string"),
                None | Some(b'\n') if delimiter != b'`' => {
                    return self.fault("unterminated quoted string");
                }
                Some(b'\\') if delimiter != b'`' => at += 2,
                Some(byte) if *byte == delimiter => break,
                _ => at += 1,
            }
        }
        let literal = &self.text[start..=at];
        if super::number::unquote(literal).is_none() {
            return self.fault(bad_escape(literal));
        }
        self.at = at + 1;
        Ok(Token::String)
    }

    fn number(&mut self) -> Result<Token, Fault> {
        let rest = self.rest();
        let bytes = rest.as_bytes();
        let hex = bytes.len() > 1 && bytes[0] == b'0' && bytes[1].eq_ignore_ascii_case(&b'x');
        let mut len = 0;
        while let Some(byte) = bytes.get(len) {
            let exponent_sign = matches!(byte, b'+' | b'-')
                && !hex
                && len > 0
                && bytes[len - 1].eq_ignore_ascii_case(&b'e')
                && bytes.get(len + 1).is_some_and(u8::is_ascii_digit);
            if !(byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b'.' || exponent_sign) {
                break;
            }
            len += 1;
        }
        let literal = &rest[..len];
        if super::duration::parse_ms(literal).is_some() {
            return Ok(self.take(len, Token::Duration));
        }
        if super::number::parse_number(literal).is_some() {
            return Ok(self.take(len, Token::Number));
        }
        self.fault(format!("bad number or duration syntax: {}", quote(literal)))
    }

    fn word(&mut self) -> Token {
        let len = word_len(self.rest(), true);
        let text = &self.rest()[..len];
        let token =
            if text.contains(':') { Token::MetricIdentifier } else { self.reserved(text, len) };
        self.take(len, token)
    }

    fn reserved(&self, text: &str, len: usize) -> Token {
        let lower = text.to_ascii_lowercase();
        if matches!(lower.as_str(), "inf" | "nan") {
            return Token::Number;
        }
        let op = match lower.as_str() {
            "and" => Some(BinaryOp::And),
            "or" => Some(BinaryOp::Or),
            "unless" => Some(BinaryOp::Unless),
            "atan2" => Some(BinaryOp::Atan2),
            _ => None,
        };
        if let Some(op) = op {
            return Token::Operator(op);
        }
        if let Some(op) = AggregateOp::from_word(&lower) {
            return Token::Aggregate(op);
        }
        let keyword = KEYWORDS.iter().find(|(name, _)| *name == lower).map(|(_, k)| *k);
        match keyword {
            Some(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight)
                if !self.text[self.at + len..].trim_start().starts_with('(') =>
            {
                Token::Identifier
            }
            Some(keyword) => Token::Keyword(keyword),
            None => Token::Identifier,
        }
    }
}

/// What is wrong with the first escape that cannot be read.
fn bad_escape(literal: &str) -> String {
    let mut rest = literal;
    while let Some(at) = rest.find('\\') {
        let escape = &rest[at + 1..];
        let known = |c: char| "abfnrtv\\01234567xuU".contains(c) || literal.starts_with(c);
        match escape.chars().next() {
            Some(c) if !known(c) => {
                return format!("unknown escape sequence U+{:04X} '{c}'", u32::from(c));
            }
            Some(c) => rest = &escape[c.len_utf8()..],
            None => break,
        }
    }
    "escape sequence is not terminated or no valid character".to_owned()
}

/// Bytes of the word at the start of `text`.
fn word_len(text: &str, colons: bool) -> usize {
    text.bytes()
        .position(|byte| {
            !(byte.is_ascii_alphanumeric() || byte == b'_' || (colons && byte == b':'))
        })
        .unwrap_or(text.len())
}

/// How upstream names a token in its messages.
pub(crate) fn describe(lexeme: Lexeme, text: &str) -> String {
    let word = &text[lexeme.place.start..lexeme.place.end];
    match lexeme.token {
        Token::Eof => "end of input".to_owned(),
        Token::Identifier => format!("identifier {}", quote(word)),
        Token::MetricIdentifier => format!("metric identifier {}", quote(word)),
        Token::Number => format!("number {}", quote(word)),
        Token::Duration => format!("duration {}", quote(word)),
        Token::String => format!("string {}", quote(word)),
        Token::Operator(_) | Token::MatchRegex | Token::MatchNotRegex | Token::At => {
            format!("<op:{}>", word.to_ascii_lowercase())
        }
        Token::Aggregate(_) => format!("<aggr:{}>", word.to_ascii_lowercase()),
        Token::Keyword(_) => format!("<{}>", word.to_ascii_lowercase()),
        Token::LeftParen
        | Token::RightParen
        | Token::LeftBrace
        | Token::RightBrace
        | Token::LeftBracket
        | Token::RightBracket
        | Token::Comma
        | Token::Colon
        | Token::Assign => quote(word),
    }
}
