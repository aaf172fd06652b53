//! The parser: a Pratt loop over the lexer's tokens. Builds the tree; types are judged afterwards by `check`.

mod duration;
mod modifier;
mod selector;

use std::sync::Arc;

use super::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Cardinality, Expr, Matching, NumberLiteral,
    StringLiteral, Unary,
};
use super::functions::Function;
use super::lex::{Keyword, Lexeme, Lexer, Token, describe};
use super::number::{parse_number, quote, unquote};
use super::place::{Fault, ParseError, Place};

/// Longest query text, bytes.
pub const QUERY_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting of parentheses, calls and signs.
const DEPTH_MAX: usize = 200;
/// Highest tree; a chain of operators adds one each. What walks a tree recurses as deep.
const HEIGHT_MAX: usize = 500;

/// Reads and checks an expression.
///
/// # Errors
/// The first thing that is wrong, with upstream's sentence and its place.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    let mut expr = parse_syntax(text)?;
    super::check::check(&mut expr).map_err(|fault| fault.locate(text))?;
    Ok(expr)
}

/// Reads an expression without judging types: for printers and editors that also show what does not type-check.
///
/// # Errors
/// What is not syntax.
pub fn parse_syntax(text: &str) -> Result<Expr, ParseError> {
    if text.len() > QUERY_BYTES_MAX {
        let message = format!("query is longer than {QUERY_BYTES_MAX} bytes");
        return Err(Fault::new(Place::default(), message).locate(text));
    }
    Parser::new(text).and_then(|mut parser| parser.whole()).map_err(|fault| fault.locate(text))
}

type Parsed<T> = Result<T, Fault>;

struct Parser<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    next: Lexeme,
    /// End of the last token taken.
    last_end: usize,
    depth: usize,
    /// Height of the tree parsed last.
    height: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Parsed<Self> {
        let mut lexer = Lexer::new(text);
        let next = lexer.next()?;
        Ok(Self { text, lexer, next, last_end: 0, depth: 0, height: 0 })
    }

    fn whole(&mut self) -> Parsed<Expr> {
        if self.next.token == Token::Eof {
            return Err(Fault::new(self.next.place, "no expression found in input"));
        }
        let expr = self.expr(0)?;
        if self.next.token == Token::Eof { Ok(expr) } else { self.unexpected("", "") }
    }

    fn advance(&mut self) -> Parsed<Lexeme> {
        let taken = self.next;
        self.last_end = taken.place.end;
        self.next = self.lexer.next()?;
        Ok(taken)
    }

    fn word(&self, lexeme: Lexeme) -> &'a str {
        &self.text[lexeme.place.start..lexeme.place.end]
    }

    fn unexpected<T>(&self, context: &str, expected: &str) -> Parsed<T> {
        let mut message = format!("unexpected {}", describe(self.next, self.text));
        if !context.is_empty() {
            message.push_str(&format!(" in {context}"));
        }
        if !expected.is_empty() {
            message.push_str(&format!(", expected {expected}"));
        }
        Err(Fault::new(self.next.place, message))
    }

    fn expect(&mut self, token: Token, context: &str, expected: &str) -> Parsed<Lexeme> {
        if self.next.token == token { self.advance() } else { self.unexpected(context, expected) }
    }

    fn from(&self, start: usize) -> Place {
        Place::new(start, self.last_end)
    }

    /// Sets the height of the tree just built.
    fn grow(&mut self, height: usize) -> Parsed<()> {
        self.height = height;
        if height > HEIGHT_MAX { self.too_deep() } else { Ok(()) }
    }

    fn too_deep<T>(&self) -> Parsed<T> {
        Err(Fault::new(self.next.place, "expression is nested too deeply"))
    }

    fn expr(&mut self, min_power: u8) -> Parsed<Expr> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.too_deep();
        }
        let mut left = self.operand()?;
        let mut height = self.height;
        while let Token::Operator(op) = self.next.token {
            let power = op.power();
            if power < min_power {
                break;
            }
            let op_start = self.advance()?.place.start;
            let (bool_result, matching) = self.matching()?;
            let op_place = self.from(op_start);
            // Only `^` groups to the right.
            let right = self.expr(if op == BinaryOp::Pow { power } else { power + 1 })?;
            height = height.max(self.height) + 1;
            self.grow(height)?;
            let place = left.place().to(right.place());
            left = Expr::Binary(Box::new(Binary {
                op,
                left,
                right,
                bool_result,
                matching,
                op_place,
                place,
            }));
        }
        self.depth -= 1;
        self.height = height;
        Ok(left)
    }

    fn operand(&mut self) -> Parsed<Expr> {
        let start = self.next.place.start;
        if let Token::Operator(op @ (BinaryOp::Add | BinaryOp::Sub)) = self.next.token {
            self.advance()?;
            // Binds like `*`, weaker than `^`.
            let expr = self.expr(BinaryOp::Pow.power())?;
            self.grow(self.height + 1)?;
            let place = self.from(start).to(expr.place());
            let negative = op == BinaryOp::Sub;
            return Ok(match expr {
                Expr::Number(literal) => Expr::Number(NumberLiteral {
                    value: if negative { -literal.value } else { literal.value },
                    place,
                    ..literal
                }),
                expr => Expr::Unary(Box::new(Unary { negative, expr, place })),
            });
        }
        let expr = self.primary()?;
        self.postfix(expr)
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let first = self.next;
        self.height = 1;
        match first.token {
            Token::Number | Token::Duration => Ok(Expr::Number(self.number()?)),
            Token::String => {
                self.advance()?;
                let value = unquote(self.word(first)).unwrap_or_default().into();
                Ok(Expr::String(StringLiteral { value, place: first.place }))
            }
            Token::LeftParen => {
                self.advance()?;
                let inner = self.expr(0)?;
                self.grow(self.height + 1)?;
                self.expect(Token::RightParen, "", "")?;
                Ok(Expr::Paren(Box::new(inner), self.from(first.place.start)))
            }
            Token::LeftBrace => self.vector_selector(None, first.place.start),
            Token::Aggregate(op) => {
                self.advance()?;
                match self.next.token {
                    Token::LeftParen | Token::Keyword(Keyword::By | Keyword::Without) => {
                        self.aggregate(op, first.place.start)
                    }
                    _ => self.named_selector(first),
                }
            }
            Token::Identifier => {
                self.advance()?;
                self.named(first)
            }
            Token::MetricIdentifier => {
                self.advance()?;
                self.named_selector(first)
            }
            Token::Operator(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless) => {
                self.advance()?;
                self.named_selector(first)
            }
            Token::Keyword(keyword) if may_name_a_metric(keyword) => {
                self.advance()?;
                self.named(first)
            }
            _ => self.unexpected("", ""),
        }
    }

    fn number(&mut self) -> Parsed<NumberLiteral> {
        let lexeme = self.advance()?;
        Ok(literal(self.word(lexeme), lexeme))
    }

    fn named(&mut self, name: Lexeme) -> Parsed<Expr> {
        if self.next.token == Token::LeftParen {
            self.call(name)
        } else {
            self.named_selector(name)
        }
    }

    fn named_selector(&mut self, name: Lexeme) -> Parsed<Expr> {
        let text: Arc<str> = self.word(name).into();
        self.vector_selector(Some(text), name.place.start)
    }

    fn call(&mut self, name: Lexeme) -> Parsed<Expr> {
        let word = self.word(name);
        let function = Function::named(word).ok_or_else(|| {
            Fault::new(name.place, format!("unknown function with name {}", quote(word)))
        })?;
        let args = self.args()?;
        Ok(Expr::Call(Call { function, args, place: self.from(name.place.start) }))
    }

    /// Arguments in parentheses.
    fn args(&mut self) -> Parsed<Vec<Expr>> {
        self.expect(Token::LeftParen, "", "")?;
        let mut args = Vec::new();
        let mut height = 1;
        if self.next.token == Token::RightParen {
            self.advance()?;
            return Ok(args);
        }
        loop {
            args.push(self.expr(0)?);
            height = height.max(self.height + 1);
            if self.next.token != Token::Comma {
                break;
            }
            let comma = self.advance()?;
            if self.next.token == Token::RightParen {
                let message = "trailing commas not allowed in function call args";
                return Err(Fault::new(comma.place, message));
            }
        }
        self.grow(height)?;
        self.expect(Token::RightParen, "", "")?;
        Ok(args)
    }

    fn aggregate(&mut self, op: AggregateOp, start: usize) -> Parsed<Expr> {
        let mut modifier = self.grouping_modifier()?;
        if self.next.token != Token::LeftParen {
            return self.unexpected("aggregation", "");
        }
        let mut args = self.args()?;
        if modifier.is_none() {
            modifier = self.grouping_modifier()?;
        }
        let place = self.from(start);
        let (without, grouping) = modifier.unwrap_or_default();
        let Some(expr) = args.pop() else {
            return Err(Fault::new(place, "no arguments for aggregate expression provided"));
        };
        let wanted = if op.has_param() { 2 } else { 1 };
        if args.len() + 1 != wanted {
            let message = format!(
                "wrong number of arguments for aggregate expression provided, expected {wanted}, got {}",
                args.len() + 1
            );
            return Err(Fault::new(place, message));
        }
        let param = args.pop();
        Ok(Expr::Aggregate(Box::new(Aggregate { op, expr, param, grouping, without, place })))
    }

    fn grouping_modifier(&mut self) -> Parsed<Option<(bool, Vec<Arc<str>>)>> {
        let without = match self.next.token {
            Token::Keyword(Keyword::By) => false,
            Token::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.advance()?;
        Ok(Some((without, self.label_list()?)))
    }

    /// `(a, b)`, maybe empty, maybe with a trailing comma.
    fn label_list(&mut self) -> Parsed<Vec<Arc<str>>> {
        self.expect(Token::LeftParen, "grouping opts", "\"(\"")?;
        let mut labels = Vec::new();
        while self.next.token != Token::RightParen {
            labels.push(self.label()?);
            match self.next.token {
                Token::Comma => {
                    self.advance()?;
                }
                Token::RightParen => {}
                _ => return self.unexpected("grouping opts", "\",\" or \")\""),
            }
        }
        self.advance()?;
        Ok(labels)
    }

    fn label(&mut self) -> Parsed<Arc<str>> {
        let lexeme = self.next;
        match lexeme.token {
            Token::String => {
                self.advance()?;
                let name = unquote(self.word(lexeme)).unwrap_or_default();
                if name.is_empty() {
                    let message = format!("invalid label name for grouping: {}", quote(&name));
                    return Err(Fault::new(lexeme.place, message));
                }
                Ok(name.into())
            }
            Token::Identifier | Token::Aggregate(_) | Token::Keyword(_) => {
                self.advance()?;
                Ok(self.word(lexeme).into())
            }
            Token::Operator(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless | BinaryOp::Atan2) => {
                self.advance()?;
                Ok(self.word(lexeme).into())
            }
            Token::Number if self.word(lexeme).starts_with(|c: char| c.is_ascii_alphabetic()) => {
                self.advance()?;
                Ok(self.word(lexeme).into())
            }
            Token::MetricIdentifier => {
                let message =
                    format!("invalid label name for grouping: {}", quote(self.word(lexeme)));
                Err(Fault::new(lexeme.place, message))
            }
            _ => self.unexpected("grouping opts", "label"),
        }
    }

    /// `bool`, then `on` or `ignoring`, then `group_*`, then `fill*`.
    fn matching(&mut self) -> Parsed<(bool, Option<Matching>)> {
        let bool_result = self.next.token == Token::Keyword(Keyword::Bool);
        if bool_result {
            self.advance()?;
        }
        let mut matching = Matching::default();
        let mut written = false;
        if let Token::Keyword(keyword @ (Keyword::On | Keyword::Ignoring)) = self.next.token {
            self.advance()?;
            matching.on = keyword == Keyword::On;
            matching.labels = self.label_list()?;
            written = true;
        }
        if let Token::Keyword(keyword @ (Keyword::GroupLeft | Keyword::GroupRight)) =
            self.next.token
        {
            if !written {
                return self.unexpected("", "");
            }
            self.advance()?;
            matching.card = if keyword == Keyword::GroupLeft {
                Cardinality::ManyToOne
            } else {
                Cardinality::OneToMany
            };
            if self.next.token == Token::LeftParen {
                matching.include = self.label_list()?;
            }
        }
        written |= self.fill(&mut matching)?;
        Ok((bool_result, written.then_some(matching)))
    }

    fn fill(&mut self, matching: &mut Matching) -> Parsed<bool> {
        let mut written = false;
        while let Token::Keyword(
            keyword @ (Keyword::Fill | Keyword::FillLeft | Keyword::FillRight),
        ) = self.next.token
        {
            if written && (keyword == Keyword::Fill || matching.fill_for(keyword)) {
                return self.unexpected("", "");
            }
            self.advance()?;
            self.expect(Token::LeftParen, "fill modifier", "\"(\"")?;
            let value = self.signed_number("fill modifier", "number or duration")?.value;
            self.expect(Token::RightParen, "fill modifier", "\")\"")?;
            if keyword != Keyword::FillRight {
                matching.fill_left = Some(value);
            }
            if keyword != Keyword::FillLeft {
                matching.fill_right = Some(value);
            }
            written = true;
        }
        Ok(written)
    }
}

impl Matching {
    const fn fill_for(&self, keyword: Keyword) -> bool {
        match keyword {
            Keyword::FillLeft => self.fill_left.is_some(),
            _ => self.fill_right.is_some(),
        }
    }
}

const fn may_name_a_metric(keyword: Keyword) -> bool {
    !matches!(
        keyword,
        Keyword::Bool | Keyword::On | Keyword::Ignoring | Keyword::GroupLeft | Keyword::GroupRight
    )
}

/// A number or duration token as a value.
fn literal(word: &str, lexeme: Lexeme) -> NumberLiteral {
    let duration = lexeme.token == Token::Duration;
    let value = if duration {
        super::duration::parse_ms(word).map_or(f64::NAN, |ms| ms as f64 / 1000.0)
    } else {
        parse_number(word).unwrap_or(f64::NAN)
    };
    NumberLiteral { value, duration, place: lexeme.place }
}
