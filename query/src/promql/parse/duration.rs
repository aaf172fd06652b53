//! Durations in brackets and after `offset`, and their expressions.

use super::{Parsed, Parser, literal};
use crate::promql::ast::{BinaryOp, Length, NumberLiteral, Offset};
use crate::promql::duration::{DurationExpr, DurationFault, to_ms};
use crate::promql::lex::{Keyword, Token};
use crate::promql::place::{Fault, Place};

impl Parser<'_> {
    /// A number with an optional sign.
    pub(super) fn signed_number(&mut self, context: &str, expected: &str) -> Parsed<NumberLiteral> {
        let start = self.next.place.start;
        let negative = match self.next.token {
            Token::Operator(op @ (BinaryOp::Add | BinaryOp::Sub)) => {
                self.advance()?;
                op == BinaryOp::Sub
            }
            _ => false,
        };
        if !matches!(self.next.token, Token::Number | Token::Duration) {
            return self.unexpected(context, expected);
        }
        let number = self.number()?;
        let value = if negative { -number.value } else { number.value };
        Ok(NumberLiteral { value, place: self.from(start), ..number })
    }

    /// What stands between `[` or `:` and `]`.
    pub(super) fn length(&mut self) -> Parsed<Length> {
        let expr = self.duration_expr(0)?;
        match &expr {
            DurationExpr::Literal(number) => {
                let ms = checked_ms(number, true)?;
                Ok(Length { ms, expr: None })
            }
            _ => Ok(Length { ms: 0, expr: Some(expr) }),
        }
    }

    /// What stands after `offset`: one operand, or an expression in parentheses.
    pub(super) fn offset_value(&mut self) -> Parsed<Offset> {
        let start = self.next.place.start;
        let sign = match self.next.token {
            Token::Operator(op @ (BinaryOp::Add | BinaryOp::Sub)) => {
                self.advance()?;
                Some(op == BinaryOp::Sub)
            }
            _ => None,
        };
        let operand = self.duration_primary("offset")?;
        let place = self.from(start);
        if let DurationExpr::Literal(number) = &operand {
            let value = if sign == Some(true) { -number.value } else { number.value };
            let ms = checked_ms(&NumberLiteral { value, ..*number }, false)?;
            return Ok(Offset { ms, expr: None });
        }
        let expr = match sign {
            Some(negative) => DurationExpr::Unary { negative, operand: Box::new(operand), place },
            None => operand,
        };
        Ok(Offset { ms: 0, expr: Some(expr) })
    }

    fn duration_expr(&mut self, min_power: u8) -> Parsed<DurationExpr> {
        self.depth += 1;
        if self.depth > super::DEPTH_MAX {
            return self.too_deep();
        }
        let mut left = self.duration_unary()?;
        let mut height = self.height;
        while let Token::Operator(op) = self.next.token {
            let power = op.power();
            if power < BinaryOp::Add.power() || power < min_power {
                break;
            }
            self.advance()?;
            let right = self.duration_expr(if op == BinaryOp::Pow { power } else { power + 1 })?;
            if let DurationExpr::Literal(number) = &right
                && number.value == 0.0
            {
                let fault = match op {
                    BinaryOp::Div => Some(DurationFault::DivisionByZero),
                    BinaryOp::Mod => Some(DurationFault::ModuloByZero),
                    _ => None,
                };
                if let Some(fault) = fault {
                    return Err(Fault::new(right.place(), fault.sentence()));
                }
            }
            height = height.max(self.height) + 1;
            self.grow(height)?;
            let place = left.place().to(right.place());
            left = DurationExpr::Binary { op, left: Box::new(left), right: Box::new(right), place };
        }
        self.depth -= 1;
        self.height = height;
        Ok(left)
    }

    fn duration_unary(&mut self) -> Parsed<DurationExpr> {
        let start = self.next.place.start;
        let Token::Operator(op @ (BinaryOp::Add | BinaryOp::Sub)) = self.next.token else {
            return self.duration_primary("subquery or range selector");
        };
        self.advance()?;
        let operand = self.duration_expr(BinaryOp::Pow.power())?;
        let place = Place::new(start, self.last_end);
        let negative = op == BinaryOp::Sub;
        Ok(match operand {
            DurationExpr::Literal(number) => DurationExpr::Literal(NumberLiteral {
                value: if negative { -number.value } else { number.value },
                place,
                ..number
            }),
            operand => DurationExpr::Unary { negative, operand: Box::new(operand), place },
        })
    }

    fn duration_primary(&mut self, context: &str) -> Parsed<DurationExpr> {
        let start = self.next.place.start;
        self.height = 1;
        match self.next.token {
            Token::Number | Token::Duration => {
                let lexeme = self.advance()?;
                Ok(DurationExpr::Literal(literal(self.word(lexeme), lexeme)))
            }
            Token::LeftParen => {
                self.advance()?;
                let inner = self.duration_expr(0)?;
                self.expect(Token::RightParen, context, "\")\"")?;
                // Around a literal they mean nothing and are not printed.
                Ok(match inner {
                    DurationExpr::Literal(_) => inner,
                    inner => DurationExpr::Paren(Box::new(inner), self.from(start)),
                })
            }
            Token::Keyword(keyword @ (Keyword::Step | Keyword::Range)) => {
                self.advance()?;
                self.expect(Token::LeftParen, context, "\"(\"")?;
                self.expect(Token::RightParen, context, "\")\"")?;
                let place = self.from(start);
                Ok(match keyword {
                    Keyword::Step => DurationExpr::Step(place),
                    _ => DurationExpr::Range(place),
                })
            }
            Token::Keyword(keyword @ (Keyword::MinOf | Keyword::MaxOf)) => {
                self.advance()?;
                self.expect(Token::LeftParen, context, "\"(\"")?;
                let left = Box::new(self.duration_expr(0)?);
                self.expect(Token::Comma, context, "\",\"")?;
                let right = Box::new(self.duration_expr(0)?);
                self.expect(Token::RightParen, context, "\")\"")?;
                let place = self.from(start);
                let least = keyword == Keyword::MinOf;
                Ok(DurationExpr::Choice { least, left, right, place })
            }
            _ => self.unexpected(context, "number, duration, step(), or range()"),
        }
    }
}

fn checked_ms(number: &NumberLiteral, positive: bool) -> Parsed<i64> {
    if positive && number.value <= 0.0 {
        return Err(Fault::new(number.place, DurationFault::NotPositive.sentence()));
    }
    to_ms(number.value).map_err(|fault| {
        let message = match fault {
            DurationFault::OutOfRange | DurationFault::NotFinite => "duration out of range",
            other => other.sentence(),
        };
        Fault::new(number.place, message)
    })
}
