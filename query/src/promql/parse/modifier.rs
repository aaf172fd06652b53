//! What follows an expression: ranges, subqueries, `offset`, `@`, `anchored`, `smoothed`.

use super::{Parsed, Parser};
use crate::promql::ast::{At, Edges, Expr, MatrixSelector, Offset, Subquery};
use crate::promql::lex::{Keyword, Token};
use crate::promql::number::to_i64;
use crate::promql::place::{Fault, Place};

/// What a modifier changes: the selector's or subquery's own fields.
struct Target<'a> {
    offset: &'a mut Offset,
    at: &'a mut Option<At>,
    place: &'a mut Place,
}

fn target(expr: &mut Expr) -> Option<Target<'_>> {
    match expr {
        Expr::Vector(s) => {
            Some(Target { offset: &mut s.offset, at: &mut s.at, place: &mut s.place })
        }
        Expr::Matrix(m) => Some(Target {
            offset: &mut m.selector.offset,
            at: &mut m.selector.at,
            place: &mut m.place,
        }),
        Expr::Subquery(s) => {
            Some(Target { offset: &mut s.offset, at: &mut s.at, place: &mut s.place })
        }
        _ => None,
    }
}

impl Parser<'_> {
    pub(super) fn postfix(&mut self, mut expr: Expr) -> Parsed<Expr> {
        // Whether an offset of zero was written cannot be seen from the tree.
        let mut offset_written = false;
        let mut height = self.height;
        loop {
            match self.next.token {
                Token::LeftBracket => {
                    expr = self.bracket(expr, offset_written)?;
                    height += 1;
                    self.grow(height)?;
                    offset_written = false;
                }
                Token::Keyword(Keyword::Offset) => {
                    self.offset(&mut expr, offset_written)?;
                    offset_written = true;
                }
                Token::At => self.at(&mut expr)?,
                Token::Keyword(Keyword::Anchored) => self.edges(&mut expr, Edges::Anchored)?,
                Token::Keyword(Keyword::Smoothed) => self.edges(&mut expr, Edges::Smoothed)?,
                _ => break,
            }
        }
        self.height = height; // Durations have heights of their own.
        Ok(expr)
    }

    fn bracket(&mut self, expr: Expr, offset_written: bool) -> Parsed<Expr> {
        let start = expr.place().start;
        let bracket = self.advance()?;
        let range = self.length()?;
        if self.next.token == Token::Colon {
            self.advance()?;
            let step =
                if self.next.token == Token::RightBracket { None } else { Some(self.length()?) };
            self.expect(Token::RightBracket, "subquery selector", "\"]\"")?;
            return Ok(Expr::Subquery(Box::new(Subquery {
                expr,
                range,
                step,
                offset: Offset::default(),
                at: None,
                place: self.from(start),
            })));
        }
        self.expect(Token::RightBracket, "subquery or range selector", "\"]\"")?;
        let place = self.from(start);
        let refuse = |message: &str| Err(Fault::new(bracket.place.to(place), message));
        let Expr::Vector(selector) = expr else {
            return refuse("ranges only allowed for vector selectors");
        };
        if offset_written {
            return refuse("no offset modifiers allowed before range");
        }
        if selector.at.is_some() {
            return refuse("no @ modifiers allowed before range");
        }
        Ok(Expr::Matrix(Box::new(MatrixSelector { selector: *selector, range, place })))
    }

    fn offset(&mut self, expr: &mut Expr, written: bool) -> Parsed<()> {
        self.advance()?;
        let value = self.offset_value()?;
        let (whole, end) = (expr.place(), self.last_end);
        let Some(target) = target(expr) else {
            let message = "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery";
            return Err(Fault::new(whole, message));
        };
        if written {
            return Err(Fault::new(whole, "offset may not be set multiple times"));
        }
        *target.offset = value;
        target.place.end = end;
        Ok(())
    }

    fn at(&mut self, expr: &mut Expr) -> Parsed<()> {
        self.advance()?;
        let value = match self.next.token {
            Token::Keyword(keyword @ (Keyword::Start | Keyword::End)) => {
                self.advance()?;
                self.expect(Token::LeftParen, "@ modifier", "\"(\"")?;
                self.expect(Token::RightParen, "@ modifier", "\")\"")?;
                if keyword == Keyword::Start { At::Start } else { At::End }
            }
            _ => {
                let number = self.signed_number("@", "timestamp")?;
                let ms = number.value * 1000.0;
                // The bounds of an i64 as floats.
                if !(-9.223_372_036_854_776e18..9.223_372_036_854_775e18).contains(&ms) {
                    let message =
                        format!("timestamp out of bounds for @ modifier: {:.6}", number.value);
                    return Err(Fault::new(number.place, message));
                }
                At::Ms(to_i64(ms.round()))
            }
        };
        let (whole, end) = (expr.place(), self.last_end);
        let Some(target) = target(expr) else {
            let message = "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery";
            return Err(Fault::new(whole, message));
        };
        if target.at.is_some() {
            return Err(Fault::new(whole, "@ <timestamp> may not be set multiple times"));
        }
        *target.at = Some(value);
        target.place.end = end;
        Ok(())
    }

    fn edges(&mut self, expr: &mut Expr, edges: Edges) -> Parsed<()> {
        self.advance()?;
        let word = if edges == Edges::Anchored { "anchored" } else { "smoothed" };
        let (whole, end) = (expr.place(), self.last_end);
        let (current, place) = match expr {
            Expr::Vector(selector) => (&mut selector.edges, &mut selector.place),
            Expr::Matrix(matrix) => (&mut matrix.selector.edges, &mut matrix.place),
            Expr::Subquery(_) => {
                let message = format!("{word} modifier is not supported for subqueries");
                return Err(Fault::new(whole, message));
            }
            _ => {
                let message = format!(
                    "{word} modifier must be preceded by an instant vector selector or range vector selector"
                );
                return Err(Fault::new(whole, message));
            }
        };
        if *current != Edges::Plain && *current != edges {
            let message = "anchored and smoothed modifiers cannot be used together";
            return Err(Fault::new(whole, message));
        }
        *current = edges;
        place.end = end;
        Ok(())
    }
}
