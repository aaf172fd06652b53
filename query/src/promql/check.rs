//! Judges a tree: operand types, argument counts, matchers, regexes. A second walk, so that editors can use what fails it.

use model::matcher::MatchOp;

use super::ast::{
    Aggregate, AggregateOp, Binary, Call, Cardinality, Expr, Matching, ValueType, VectorSelector,
};
use super::matchers::compile;
use super::number::quote;
use super::place::{Fault, Place};

/// Regular expressions of one selector and of a whole expression: each takes time and memory once compiled.
const SELECTOR_REGEXES_MAX: usize = 100;
const REGEXES_MAX: usize = 1_000;

/// Refuses what upstream refuses; fills in the default matching of binary operators between vectors.
pub(crate) fn check(expr: &mut Expr) -> Result<(), Fault> {
    let mut n_all = 0;
    for selector in expr.selectors() {
        let n = selector.matchers.iter().filter(|matcher| is_regex(matcher.op)).count();
        n_all += n;
        if n > SELECTOR_REGEXES_MAX {
            let message = format!(
                "{n} regular expressions in one selector, the limit is {SELECTOR_REGEXES_MAX}: join them by `|`"
            );
            return refuse(selector.place, message);
        }
    }
    if n_all > REGEXES_MAX {
        let message = format!(
            "{n_all} regular expressions in one expression, the limit is {REGEXES_MAX}: ask in several queries"
        );
        return refuse(expr.place(), message);
    }
    visit(expr).map(|_| ())
}

const fn is_regex(op: MatchOp) -> bool {
    matches!(op, MatchOp::Regex | MatchOp::NotRegex)
}

type Checked<T> = Result<T, Fault>;

fn refuse<T>(place: Place, message: impl Into<String>) -> Checked<T> {
    Err(Fault::new(place, message))
}

fn visit(expr: &mut Expr) -> Checked<ValueType> {
    match expr {
        Expr::Number(_) | Expr::String(_) => {}
        Expr::Vector(selector) => check_selector(selector, true)?,
        Expr::Matrix(matrix) => check_selector(&matrix.selector, true)?,
        Expr::Subquery(subquery) => {
            let found = visit(&mut subquery.expr)?;
            if found != ValueType::Vector {
                let message = format!(
                    "subquery is only allowed on instant vector, got {} instead",
                    found.word()
                );
                return refuse(subquery.place, message);
            }
        }
        Expr::Call(call) => check_call(call)?,
        Expr::Aggregate(aggregate) => check_aggregate(aggregate)?,
        Expr::Binary(binary) => check_binary(binary)?,
        Expr::Unary(unary) => {
            let found = visit(&mut unary.expr)?;
            if !matches!(found, ValueType::Scalar | ValueType::Vector) {
                let message = format!(
                    "unary expression only allowed on expressions of type scalar or instant vector, got {}",
                    quote(found.phrase())
                );
                return refuse(unary.place, message);
            }
        }
        Expr::Paren(inner, _) => return visit(inner),
    }
    Ok(expr.value_type())
}

fn check_selector(selector: &VectorSelector, needs_matcher: bool) -> Checked<()> {
    let mut selective = selector.name.is_some();
    for matcher in &selector.matchers {
        let compiled = compile(matcher.op, &matcher.value)
            .map_err(|message| Fault::new(matcher.place, message))?;
        selective |= !compiled.matches("");
    }
    if needs_matcher && !selective {
        let message = "vector selector must contain at least one non-empty matcher";
        return refuse(selector.place, message);
    }
    Ok(())
}

fn expect_type(expr: &mut Expr, wanted: ValueType, context: &str) -> Checked<()> {
    let found = visit(expr)?;
    if found == wanted {
        return Ok(());
    }
    let (wanted, found) = (wanted.phrase(), found.phrase());
    refuse(expr.place(), format!("expected type {wanted} in {context}, got {found}"))
}

fn check_call(call: &mut Call) -> Checked<()> {
    let function = call.function;
    let (types, given) = (function.args.len(), call.args.len());
    let context = |words: &str| {
        format!("expected {words} argument(s) in call to {}, got {given}", quote(function.name))
    };
    if function.variadic == 0 {
        if types != given {
            return refuse(call.place, context(&types.to_string()));
        }
    } else {
        let least = types - 1;
        if given < least {
            return refuse(call.place, context(&format!("at least {least}")));
        }
        if let Ok(extra) = usize::try_from(function.variadic)
            && given > least + extra
        {
            return refuse(call.place, context(&format!("at most {}", least + extra)));
        }
    }
    let context = format!("call to function {}", quote(function.name));
    if function.name == "info"
        && let Some(second) = call.args.get_mut(1)
    {
        check_info_selector(second, &context)?;
        return expect_type(&mut call.args[0], ValueType::Vector, &context);
    }
    for (i, arg) in call.args.iter_mut().enumerate() {
        expect_type(arg, function.args[i.min(types - 1)], &context)?;
    }
    Ok(())
}

fn check_info_selector(second: &Expr, context: &str) -> Checked<()> {
    let found = second.value_type();
    if found != ValueType::Vector {
        let message = format!("expected type instant vector in {context}, got {}", found.phrase());
        return refuse(second.place(), message);
    }
    let Expr::Vector(selector) = second else {
        let message = format!(
            "expected label selectors as the second argument to \"info\" function, got {}",
            quote(found.phrase())
        );
        return refuse(second.place(), message);
    };
    if selector.name.is_some() {
        let message = "expected label selectors only, got vector selector instead";
        return refuse(second.place(), message);
    }
    check_selector(selector, false)
}

fn check_aggregate(aggregate: &mut Aggregate) -> Checked<()> {
    expect_type(&mut aggregate.expr, ValueType::Vector, "aggregation expression")?;
    let wanted = match aggregate.op {
        AggregateOp::CountValues => ValueType::String,
        _ => ValueType::Scalar,
    };
    match &mut aggregate.param {
        Some(param) => expect_type(param, wanted, "aggregation parameter"),
        None => Ok(()),
    }
}

fn check_binary(binary: &mut Binary) -> Checked<()> {
    let (left, right) = (visit(&mut binary.left)?, visit(&mut binary.right)?);
    let op = binary.op;
    let op_place = binary.op_place;
    if binary.bool_result && !op.is_comparison() {
        let message = "bool modifier can only be used on comparison operators";
        return refuse(op_place, message);
    }
    if op.is_comparison()
        && !binary.bool_result
        && left == ValueType::Scalar
        && right == ValueType::Scalar
    {
        return refuse(op_place, "comparisons between scalars must use BOOL modifier");
    }
    if let Some(m) = &binary.matching
        && m.on
        && let Some(label) = m.labels.iter().find(|label| m.include.contains(label))
    {
        let message =
            format!("label {} must not occur in ON and GROUP clause at once", quote(label));
        return refuse(op_place, message);
    }
    for (found, operand) in [(left, &binary.left), (right, &binary.right)] {
        if !matches!(found, ValueType::Scalar | ValueType::Vector) {
            let message = "binary expression must contain only scalar and instant vector types";
            return refuse(operand.place(), message);
        }
    }
    if left != ValueType::Vector || right != ValueType::Vector {
        return check_scalar_binary(binary);
    }
    let matching = binary.matching.get_or_insert_with(Matching::default);
    if op.is_set() {
        if matching.card != Cardinality::OneToOne && matching.card != Cardinality::ManyToMany {
            let message = format!("no grouping allowed for {} operation", quote(op.word()));
            return refuse(binary.place, message);
        }
        if matching.fill_left.is_some() || matching.fill_right.is_some() {
            let message = "filling in missing series not allowed for set operators";
            return refuse(binary.place, message);
        }
        matching.card = Cardinality::ManyToMany;
    }
    Ok(())
}

fn check_scalar_binary(binary: &mut Binary) -> Checked<()> {
    if let Some(matching) = binary.matching.take() {
        if !matching.labels.is_empty() {
            let message = "vector matching only allowed between instant vectors";
            return refuse(binary.place, message);
        }
        if matching.fill_left.is_some() || matching.fill_right.is_some() {
            let message = "filling in missing series only allowed between instant vectors";
            return refuse(binary.place, message);
        }
    }
    if binary.op.is_set() {
        let message = format!(
            "set operator {} not allowed in binary scalar expression",
            quote(binary.op.word())
        );
        return refuse(binary.place, message);
    }
    Ok(())
}

/// Whether a name matcher in the selector is anything but an equality; used by `info`.
pub(crate) fn is_negative(op: MatchOp) -> bool {
    matches!(op, MatchOp::NotEqual | MatchOp::NotRegex)
}
