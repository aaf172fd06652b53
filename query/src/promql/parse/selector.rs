//! Vector selectors: the name and the matchers in braces.

use std::sync::Arc;

use model::matcher::MatchOp;

use super::{Parsed, Parser};
use crate::promql::ast::{BinaryOp, Edges, Expr, LabelMatcher, Offset, VectorSelector};
use crate::promql::lex::Token;
use crate::promql::number::{quote, unquote};
use crate::promql::place::Fault;

impl Parser<'_> {
    /// The braces after `name`, if any. Stands behind the name, or before `{` when there is none.
    pub(super) fn vector_selector(&mut self, name: Option<Arc<str>>, start: usize) -> Parsed<Expr> {
        let mut matchers = Vec::new();
        if self.next.token == Token::LeftBrace {
            self.advance()?;
            self.matchers(&mut matchers)?;
        }
        let place = self.from(start);
        if let Some(name) = &name
            && let Some(second) = matchers.iter().find(|m| m.name.as_ref() == "__name__")
        {
            let message = format!(
                "metric name must not be set twice: {} or {}",
                quote(name),
                quote(&second.value)
            );
            return Err(Fault::new(place, message));
        }
        Ok(Expr::Vector(Box::new(VectorSelector {
            name,
            matchers,
            offset: Offset::default(),
            at: None,
            edges: Edges::Plain,
            statistics_only: false,
            place,
        })))
    }

    fn matchers(&mut self, matchers: &mut Vec<LabelMatcher>) -> Parsed<()> {
        while self.next.token != Token::RightBrace {
            let matcher = self.matcher()?;
            let named_before = |m: &LabelMatcher| {
                m.name.as_ref() == "__name__"
                    && m.op == MatchOp::Equal
                    && m.place.start == m.place.end
            };
            if named_before(&matcher)
                && let Some(first) = matchers.iter().find(|m| named_before(m))
            {
                let message = format!(
                    "metric name must not be set twice: {} or {}",
                    quote(&first.value),
                    quote(&matcher.value)
                );
                return Err(Fault::new(self.from(matcher.place.start), message));
            }
            matchers.push(matcher);
            match self.next.token {
                Token::Comma => {
                    self.advance()?;
                }
                Token::RightBrace => {}
                _ => return self.unexpected("label matching", "\",\" or \"}\""),
            }
        }
        self.advance()?;
        Ok(())
    }

    fn matcher(&mut self) -> Parsed<LabelMatcher> {
        let first = self.next;
        let name: Arc<str> = match first.token {
            Token::Identifier => self.word(first).into(),
            Token::String => unquote(self.word(first)).unwrap_or_default().into(),
            _ => return self.unexpected("label matching", "identifier or \"}\""),
        };
        self.advance()?;
        let quoted = first.token == Token::String;
        let op = match self.next.token {
            Token::Assign => MatchOp::Equal,
            Token::Operator(BinaryOp::NotEqual) => MatchOp::NotEqual,
            Token::MatchRegex => MatchOp::Regex,
            Token::MatchNotRegex => MatchOp::NotRegex,
            Token::Comma | Token::RightBrace if quoted => {
                // A quoted name alone; the empty place marks it as such.
                let place = crate::promql::place::Place::new(first.place.start, first.place.start);
                let op = MatchOp::Equal;
                return Ok(LabelMatcher { name: "__name__".into(), op, value: name, place });
            }
            _ => return self.unexpected("label matching", "label matching operator"),
        };
        self.advance()?;
        if self.next.token != Token::String {
            return self.unexpected("label matching", "string");
        }
        let text = self.advance()?;
        let value = unquote(self.word(text)).unwrap_or_default().into();
        Ok(LabelMatcher { name, op, value, place: self.from(first.place.start) })
    }
}
