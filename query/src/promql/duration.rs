//! Durations as text (`1h30m`), and duration expressions (`[step() * 2]`): read, printed, evaluated.

use super::ast::{BinaryOp, NumberLiteral};
use super::number::to_i64;
use super::place::Place;

/// Units in falling order with their milliseconds.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads `1y2w3d4h5m6s7ms`, units falling and each at most once; milliseconds. A bare `0` is a duration too for files,
/// but not here: it is a number.
#[must_use]
pub fn parse_ms(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total: i64 = 0;
    let mut next_unit = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().position(|byte| !byte.is_ascii_digit())?;
        let count: i64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().position(|byte| byte.is_ascii_digit()).unwrap_or(rest.len());
        let unit = UNITS.iter().position(|(name, _)| *name == &rest[..letters])?;
        if unit < next_unit {
            return None;
        }
        next_unit = unit + 1;
        total = total.checked_add(count.checked_mul(UNITS[unit].1)?)?;
        rest = &rest[letters..];
    }
    // Upstream counts in nanoseconds of an i64.
    (total <= i64::MAX / 1_000_000).then_some(total)
}

/// A duration in the largest exact units: `90d`, `1h30m`, `5m`, `0s`. `ms` must not be negative.
#[must_use]
pub fn format_ms(ms: i64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    let mut rest = ms;
    for (index, (unit, size)) in UNITS.iter().enumerate() {
        // Years and weeks only when nothing is left over: 90d reads better than 12w6d.
        if (index < 2 && rest % size != 0) || rest < *size {
            continue;
        }
        out.push_str(&format!("{}{unit}", rest / size));
        rest %= size;
    }
    out
}

/// What stands in `[ ]` or after `offset` when it is more than one literal.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationExpr {
    /// A number of seconds or a duration.
    Literal(NumberLiteral),
    /// `step()`
    Step(Place),
    /// `range()`
    Range(Place),
    /// Unary minus (`negative`) or plus.
    Unary {
        /// Whether the sign is a minus.
        negative: bool,
        /// The operand.
        operand: Box<Self>,
        /// Sign to operand.
        place: Place,
    },
    /// `+ - * / % ^`
    Binary {
        /// The operator.
        op: BinaryOp,
        /// Left operand.
        left: Box<Self>,
        /// Right operand.
        right: Box<Self>,
        /// Both operands.
        place: Place,
    },
    /// `min_of(a, b)` or `max_of(a, b)`.
    Choice {
        /// Whether it is `min_of`.
        least: bool,
        /// First argument.
        left: Box<Self>,
        /// Second argument.
        right: Box<Self>,
        /// The whole call.
        place: Place,
    },
    /// In parentheses.
    Paren(Box<Self>, Place),
}

/// The query's times that duration expressions and `start()` and its like refer to.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueryTimes {
    /// First step, ms.
    pub start_ms: i64,
    /// Last step, ms.
    pub end_ms: i64,
    /// Distance of steps, ms; 0 in an instant query.
    pub step_ms: i64,
}

/// Why a duration expression has no usable value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DurationFault {
    NotPositive,
    NotFinite,
    OutOfRange,
    DivisionByZero,
    ModuloByZero,
}

impl DurationFault {
    pub(crate) const fn sentence(self) -> &'static str {
        match self {
            Self::NotPositive => "duration must be greater than 0",
            Self::NotFinite => "duration is NaN or infinite",
            Self::OutOfRange => "duration is out of range",
            Self::DivisionByZero => "division by zero",
            Self::ModuloByZero => "modulo by zero",
        }
    }
}

impl DurationExpr {
    /// Where it stands.
    #[must_use]
    pub const fn place(&self) -> Place {
        match self {
            Self::Literal(literal) => literal.place,
            Self::Step(place)
            | Self::Range(place)
            | Self::Unary { place, .. }
            | Self::Binary { place, .. }
            | Self::Choice { place, .. }
            | Self::Paren(_, place) => *place,
        }
    }

    /// Its value in milliseconds at a query's times; `positive` refuses zero and less.
    pub(crate) fn resolve(
        &self,
        times: QueryTimes,
        positive: bool,
    ) -> Result<i64, (Place, DurationFault)> {
        let seconds = self.seconds(times)?;
        let place = self.place();
        if positive && seconds <= 0.0 {
            return Err((place, DurationFault::NotPositive));
        }
        to_ms(seconds).map_err(|fault| (place, fault))
    }

    fn seconds(&self, times: QueryTimes) -> Result<f64, (Place, DurationFault)> {
        Ok(match self {
            Self::Literal(literal) => literal.value,
            Self::Step(_) => times.step_ms as f64 / 1000.0,
            Self::Range(_) => times.end_ms.saturating_sub(times.start_ms) as f64 / 1000.0,
            Self::Unary { negative, operand, .. } => {
                let value = operand.seconds(times)?;
                if *negative { -value } else { value }
            }
            Self::Paren(inner, _) => inner.seconds(times)?,
            Self::Choice { least, left, right, .. } => {
                let (left, right) = (left.seconds(times)?, right.seconds(times)?);
                if *least { left.min(right) } else { left.max(right) }
            }
            Self::Binary { op, left, right, place } => {
                let (left, right) = (left.seconds(times)?, right.seconds(times)?);
                match op {
                    BinaryOp::Add => left + right,
                    BinaryOp::Sub => left - right,
                    BinaryOp::Mul => left * right,
                    BinaryOp::Div if right == 0.0 => {
                        return Err((*place, DurationFault::DivisionByZero));
                    }
                    BinaryOp::Div => left / right,
                    BinaryOp::Mod if right == 0.0 => {
                        return Err((*place, DurationFault::ModuloByZero));
                    }
                    BinaryOp::Mod => left % right,
                    _ => left.powf(right),
                }
            }
        })
    }
}

/// Seconds as milliseconds, truncated; the range is that of nanoseconds in an `i64`.
pub(crate) fn to_ms(seconds: f64) -> Result<i64, DurationFault> {
    if !seconds.is_finite() {
        return Err(DurationFault::NotFinite);
    }
    // Rounded to ns first, so that 0.0003 * 10000 does not lose its last ms.
    let ns = (seconds * 1e9).round();
    if ns.abs() >= 9_223_372_036_854_775_807.0 {
        return Err(DurationFault::OutOfRange);
    }
    Ok(to_i64(ns) / 1_000_000)
}
