//! The tree of a PromQL expression, with the place of every node. Built by `parse`, judged by `check`, run by `eval`.

use std::sync::Arc;

use model::matcher::MatchOp;

use super::duration::DurationExpr;
use super::functions::Function;
use super::place::Place;

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// `1.5`, `5m`
    Number(NumberLiteral),
    /// `"text"`
    String(StringLiteral),
    /// `name{a="b"}`
    Vector(Box<VectorSelector>),
    /// `name[5m]`
    Matrix(Box<MatrixSelector>),
    /// `expr[1h:5m]`
    Subquery(Box<Subquery>),
    /// `rate(x)`
    Call(Call),
    /// `sum by (a) (x)`
    Aggregate(Box<Aggregate>),
    /// `a + b`
    Binary(Box<Binary>),
    /// `-a`
    Unary(Box<Unary>),
    /// `(a)`
    Paren(Box<Self>, Place),
}

/// A number, or a duration standing for its seconds.
#[derive(Clone, Copy, Debug)]
pub struct NumberLiteral {
    /// Value; seconds when written as a duration.
    pub value: f64,
    /// Whether it was written as a duration, and prints as one.
    pub duration: bool,
    /// Where it stands.
    pub place: Place,
}

impl PartialEq for NumberLiteral {
    fn eq(&self, other: &Self) -> bool {
        // By bits, so that a tree with NaN equals itself.
        self.value.to_bits() == other.value.to_bits()
            && self.duration == other.duration
            && self.place == other.place
    }
}

/// A string in quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StringLiteral {
    /// Text without quotes and escapes.
    pub value: Arc<str>,
    /// Where it stands.
    pub place: Place,
}

/// A condition on a label as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelMatcher {
    /// Label name.
    pub name: Arc<str>,
    /// Comparison.
    pub op: MatchOp,
    /// Text or regular expression.
    pub value: Arc<str>,
    /// Where it stands.
    pub place: Place,
}

/// Where a selector is pinned by `@`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// A time, ms since the epoch.
    Ms(i64),
    /// `start()`
    Start,
    /// `end()`
    End,
}

/// `offset`: a literal, or an expression that the evaluator resolves into `ms`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Offset {
    /// Milliseconds, negative for the future.
    pub ms: i64,
    /// The expression, when it is more than a signed literal.
    pub expr: Option<DurationExpr>,
}

/// A length of time in brackets: a literal, or an expression that the evaluator resolves into `ms`.
#[derive(Clone, Debug, PartialEq)]
pub struct Length {
    /// Milliseconds, positive once resolved.
    pub ms: i64,
    /// The expression, when it is more than a literal.
    pub expr: Option<DurationExpr>,
}

/// How a range selector treats its edges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Edges {
    /// The samples inside, no more.
    #[default]
    Plain,
    /// With the last sample before the window.
    Anchored,
    /// Interpolated at both edges.
    Smoothed,
}

/// `name{a="b"} @ t offset o`
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSelector {
    /// The name before the braces; `None` when there is none, even if `__name__` is matched inside.
    pub name: Option<Arc<str>>,
    /// The matchers in the braces.
    pub matchers: Vec<LabelMatcher>,
    /// `offset`.
    pub offset: Offset,
    /// `@`.
    pub at: Option<At>,
    /// `anchored` or `smoothed`.
    pub edges: Edges,
    /// Set while planning: only counts and sums of histograms are wanted, so that resets are judged sample by sample.
    pub statistics_only: bool,
    /// Where it stands, modifiers included.
    pub place: Place,
}

impl VectorSelector {
    /// Whether it stands for series alone: no offset, no `@`, no edges.
    #[must_use]
    pub fn is_unmodified(&self) -> bool {
        self.offset == Offset::default() && self.at.is_none() && self.edges == Edges::Plain
    }

    /// All conditions: the name's first, then those in the braces.
    #[must_use]
    pub fn all_matchers(&self) -> Vec<model::matcher::Matcher> {
        let name = self
            .name
            .iter()
            .map(|name| model::matcher::Matcher::new("__name__", MatchOp::Equal, name.as_ref()));
        let inside = self
            .matchers
            .iter()
            .map(|m| model::matcher::Matcher::new(m.name.as_ref(), m.op, m.value.as_ref()));
        name.chain(inside).collect()
    }
}

/// `selector[range]`; the modifiers stand in the selector.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSelector {
    /// What is selected.
    pub selector: VectorSelector,
    /// Length of the window.
    pub range: Length,
    /// Where it stands, modifiers included.
    pub place: Place,
}

/// `expr[range:step]`
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    /// Evaluated at each step of the grid.
    pub expr: Expr,
    /// Length of the window.
    pub range: Length,
    /// Distance of steps; `None` for the server's default.
    pub step: Option<Length>,
    /// `offset`.
    pub offset: Offset,
    /// `@`.
    pub at: Option<At>,
    /// Where it stands, modifiers included.
    pub place: Place,
}

/// A function call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Which function.
    pub function: &'static Function,
    /// Arguments in order.
    pub args: Vec<Expr>,
    /// Name to closing parenthesis.
    pub place: Place,
}

/// Which aggregation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the variants are the operators' names")]
pub enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    CountValues,
    Quantile,
    Limitk,
    LimitRatio,
}

const AGGREGATES: [(&str, AggregateOp); 14] = [
    ("sum", AggregateOp::Sum),
    ("avg", AggregateOp::Avg),
    ("count", AggregateOp::Count),
    ("min", AggregateOp::Min),
    ("max", AggregateOp::Max),
    ("group", AggregateOp::Group),
    ("stddev", AggregateOp::Stddev),
    ("stdvar", AggregateOp::Stdvar),
    ("topk", AggregateOp::Topk),
    ("bottomk", AggregateOp::Bottomk),
    ("count_values", AggregateOp::CountValues),
    ("quantile", AggregateOp::Quantile),
    ("limitk", AggregateOp::Limitk),
    ("limit_ratio", AggregateOp::LimitRatio),
];

impl AggregateOp {
    /// The operator with this lowercase name.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        AGGREGATES.iter().find(|(name, _)| *name == word).map(|(_, op)| *op)
    }

    /// Its lowercase name.
    #[must_use]
    pub fn word(self) -> &'static str {
        AGGREGATES.iter().find(|(_, op)| *op == self).map_or("", |(name, _)| name)
    }

    /// Every operator's lowercase name.
    pub fn words() -> impl Iterator<Item = &'static str> {
        AGGREGATES.iter().map(|(name, _)| *name)
    }

    /// Whether a parameter comes before the vector.
    #[must_use]
    pub const fn has_param(self) -> bool {
        matches!(
            self,
            Self::Topk
                | Self::Bottomk
                | Self::CountValues
                | Self::Quantile
                | Self::Limitk
                | Self::LimitRatio
        )
    }
}

/// `op by (labels) (param, expr)`
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// Which aggregation.
    pub op: AggregateOp,
    /// What is aggregated.
    pub expr: Expr,
    /// The parameter of `topk` and its like.
    pub param: Option<Expr>,
    /// Labels of `by` or `without`.
    pub grouping: Vec<Arc<str>>,
    /// Whether it is `without`.
    pub without: bool,
    /// Operator to closing parenthesis or modifier.
    pub place: Place,
}

/// Which binary operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the variants are the operators' names")]
pub enum BinaryOp {
    Or,
    And,
    Unless,
    Equal,
    NotEqual,
    LessOrEqual,
    Less,
    GreaterOrEqual,
    Greater,
    /// `</`: trims a histogram above the bound.
    TrimUpper,
    /// `>/`: trims a histogram below the bound.
    TrimLower,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Atan2,
    Pow,
}

impl BinaryOp {
    /// As written in lowercase.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Or => "or",
            Self::And => "and",
            Self::Unless => "unless",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::LessOrEqual => "<=",
            Self::Less => "<",
            Self::GreaterOrEqual => ">=",
            Self::Greater => ">",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Atan2 => "atan2",
            Self::Pow => "^",
        }
    }

    /// Binding strength, 1 (weakest) to 6.
    #[must_use]
    pub const fn power(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            Self::Equal
            | Self::NotEqual
            | Self::LessOrEqual
            | Self::Less
            | Self::GreaterOrEqual
            | Self::Greater
            | Self::TrimUpper
            | Self::TrimLower => 3,
            Self::Add | Self::Sub => 4,
            Self::Mul | Self::Div | Self::Mod | Self::Atan2 => 5,
            Self::Pow => 6,
        }
    }

    /// `==` and its like: may take `bool`, keeps the left value otherwise.
    #[must_use]
    pub const fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal
                | Self::NotEqual
                | Self::LessOrEqual
                | Self::Less
                | Self::GreaterOrEqual
                | Self::Greater
        )
    }

    /// `and`, `or`, `unless`.
    #[must_use]
    pub const fn is_set(self) -> bool {
        matches!(self, Self::Or | Self::And | Self::Unless)
    }

    /// Arithmetic: the result is no longer what the name says.
    #[must_use]
    pub const fn changes_meaning(self) -> bool {
        matches!(
            self,
            Self::Add | Self::Sub | Self::Mul | Self::Div | Self::Mod | Self::Atan2 | Self::Pow
        )
    }
}

/// How many series of each side may share a signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants say it")]
pub enum Cardinality {
    #[default]
    OneToOne,
    ManyToOne,
    OneToMany,
    ManyToMany,
}

/// How the series of both sides find each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matching {
    /// How many of each side.
    pub card: Cardinality,
    /// Labels of `on` or `ignoring`.
    pub labels: Vec<Arc<str>>,
    /// Whether it is `on`.
    pub on: bool,
    /// Labels of `group_left` or `group_right`.
    pub include: Vec<Arc<str>>,
    /// Value of missing series of the left side.
    pub fill_left: Option<f64>,
    /// Value of missing series of the right side.
    pub fill_right: Option<f64>,
}

/// `left op right`
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// Left operand.
    pub left: Expr,
    /// Right operand.
    pub right: Expr,
    /// Whether `bool` was written.
    pub bool_result: bool,
    /// Matching of series; `None` unless both operands are instant vectors (or a modifier was written).
    pub matching: Option<Matching>,
    /// The operator with its modifiers.
    pub op_place: Place,
    /// Both operands.
    pub place: Place,
}

/// `-expr` or `+expr`
#[derive(Clone, Debug, PartialEq)]
pub struct Unary {
    /// Whether the sign is a minus.
    pub negative: bool,
    /// The operand.
    pub expr: Expr,
    /// Sign to operand.
    pub place: Place,
}

/// What an expression evaluates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the variants say it")]
pub enum ValueType {
    Scalar,
    String,
    Vector,
    Matrix,
}

impl ValueType {
    /// As the HTTP API calls it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
        }
    }

    /// As messages call it.
    #[must_use]
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }
}

impl Expr {
    /// The first function or aggregation that upstream calls experimental: what it says of it, and where it stands.
    #[must_use]
    pub fn experimental(&self) -> Option<(String, Place)> {
        let found = match self {
            Self::Call(call) if call.function.is_experimental() => {
                Some((format!("function {:?} is not enabled", call.function.name), call.place))
            }
            Self::Aggregate(node)
                if matches!(node.op, AggregateOp::Limitk | AggregateOp::LimitRatio) =>
            {
                Some((format!("{}() is not enabled", node.op.word()), node.place))
            }
            _ => None,
        };
        found.or_else(|| self.children().into_iter().find_map(Self::experimental))
    }

    /// Where it stands.
    #[must_use]
    pub const fn place(&self) -> Place {
        match self {
            Self::Number(node) => node.place,
            Self::String(node) => node.place,
            Self::Vector(node) => node.place,
            Self::Matrix(node) => node.place,
            Self::Subquery(node) => node.place,
            Self::Call(node) => node.place,
            Self::Aggregate(node) => node.place,
            Self::Binary(node) => node.place,
            Self::Unary(node) => node.place,
            Self::Paren(_, place) => *place,
        }
    }

    /// What it evaluates to.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Number(_) => ValueType::Scalar,
            Self::String(_) => ValueType::String,
            Self::Vector(_) | Self::Aggregate(_) => ValueType::Vector,
            Self::Matrix(_) | Self::Subquery(_) => ValueType::Matrix,
            Self::Call(call) => call.function.returns,
            Self::Binary(binary) => {
                let scalars = binary.left.value_type() == ValueType::Scalar
                    && binary.right.value_type() == ValueType::Scalar;
                if scalars { ValueType::Scalar } else { ValueType::Vector }
            }
            Self::Unary(unary) => unary.expr.value_type(),
            Self::Paren(inner, _) => inner.value_type(),
        }
    }

    /// Without the parentheses around it.
    #[must_use]
    pub fn bare(&self) -> &Self {
        let mut expr = self;
        while let Self::Paren(inner, _) = expr {
            expr = inner;
        }
        expr
    }

    /// Every selector of series in it, those inside ranges and subqueries included.
    #[must_use]
    pub fn selectors(&self) -> Vec<&VectorSelector> {
        let (mut found, mut rest) = (Vec::new(), vec![self]);
        while let Some(expr) = rest.pop() {
            match expr {
                Self::Vector(selector) => found.push(&**selector),
                Self::Matrix(matrix) => found.push(&matrix.selector),
                _ => rest.extend(expr.children()),
            }
        }
        found
    }

    /// Its direct operands, left to right.
    #[must_use]
    pub fn children(&self) -> Vec<&Self> {
        match self {
            Self::Number(_) | Self::String(_) | Self::Vector(_) | Self::Matrix(_) => Vec::new(),
            Self::Subquery(node) => vec![&node.expr],
            Self::Call(node) => node.args.iter().collect(),
            Self::Aggregate(node) => node.param.iter().chain([&node.expr]).collect(),
            Self::Binary(node) => vec![&node.left, &node.right],
            Self::Unary(node) => vec![&node.expr],
            Self::Paren(inner, _) => vec![inner],
        }
    }

    /// Its direct operands, left to right, to be changed in place.
    pub fn children_mut(&mut self) -> Vec<&mut Self> {
        match self {
            Self::Number(_) | Self::String(_) | Self::Vector(_) | Self::Matrix(_) => Vec::new(),
            Self::Subquery(node) => vec![&mut node.expr],
            Self::Call(node) => node.args.iter_mut().collect(),
            Self::Aggregate(node) => {
                let node = node.as_mut();
                node.param.iter_mut().chain([&mut node.expr]).collect()
            }
            Self::Binary(node) => {
                let node = node.as_mut();
                vec![&mut node.left, &mut node.right]
            }
            Self::Unary(node) => vec![&mut node.expr],
            Self::Paren(inner, _) => vec![inner],
        }
    }
}
