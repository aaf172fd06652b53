//! Expressions with `$window` where a range stands: checked, and filled in.

use std::time::Duration;

use template::duration;

/// What stands for the range.
pub(super) const WINDOW: &str = "$window";
/// A range of the same length as text, so that places in an expression stay where they are.
const SAME_LENGTH: &str = "100000s";
/// Functions that say how quick something is, and not how much of it there was.
const SPEEDS: [&str; 4] = ["rate", "irate", "deriv", "idelta"];

/// What is wrong with an expression: at which byte, what, and the remedy.
pub(super) type Wrong = (usize, String, &'static str);

/// Checks an expression that counts events of a window.
pub(super) fn check(expr: &str) -> Result<(), Wrong> {
    if !expr.contains(WINDOW) {
        let text = "the range of the window is missing".to_owned();
        return Err((0, text, "write [$window] where the range stands: increase(x[$window])"));
    }
    let plain = expr.replace(WINDOW, SAME_LENGTH);
    query::promql::parse(&plain)
        .map_err(|error| (error.place.start, format!("could not parse expression: {error}"), ""))?;
    for (at, function) in uses(expr) {
        if SPEEDS.contains(&function.as_str()) {
            let text = format!("{function} tells how quick events come, not how many");
            return Err((at, text, "count them: increase(x[$window])"));
        }
    }
    Ok(())
}

/// The expression over `window`. Increases begin with the last sample before it, so that those of windows side by side
/// add up to that of both.
pub(super) fn filled(expr: &str, window: Duration) -> String {
    let length = text_of(window);
    let mut out = String::with_capacity(expr.len() + 16);
    let mut from = 0;
    for (at, function) in uses(expr) {
        out.push_str(&expr[from..at]);
        out.push_str(&length);
        from = at + WINDOW.len();
        let rest = &expr[from..];
        if function == "increase"
            && let Some(after) = rest.trim_start().strip_prefix(']')
        {
            out.push_str("] anchored");
            from = expr.len() - after.len();
        }
    }
    out + &expr[from..]
}

/// A length as PromQL writes it.
pub fn text_of(length: Duration) -> String {
    duration::text(i64::try_from(length.as_millis()).unwrap_or(i64::MAX))
}

/// Each place of [`WINDOW`] outside of texts, with the function around it.
fn uses(expr: &str) -> Vec<(usize, String)> {
    let (mut found, mut open) = (Vec::new(), Vec::new());
    let mut quote = None;
    let mut is_escaped = false;
    for (at, c) in expr.char_indices() {
        if let Some(end) = quote {
            let closes = c == end && !is_escaped;
            is_escaped = c == '\\' && !is_escaped && end != '`';
            quote = (!closes).then_some(end);
            continue;
        }
        match c {
            '"' | '\'' | '`' => quote = Some(c),
            '(' => open.push(word_before(&expr[..at])),
            ')' => drop(open.pop()),
            '$' if expr[at..].starts_with(WINDOW) => {
                found.push((at, open.last().cloned().unwrap_or_default()));
            }
            _ => {}
        }
    }
    found
}

fn word_before(text: &str) -> String {
    let text = text.trim_end();
    let word = text.rfind(|c: char| !(c.is_alphanumeric() || c == '_')).map_or(0, |at| at + 1);
    text.get(word..).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_increases_are_anchored_and_texts_stay() {
        let ten = Duration::from_secs(10);
        let check = |expr: &str, expected: &str| assert_eq!(filled(expr, ten), expected);
        check("sum(increase(x[$window]))", "sum(increase(x[10s] anchored))");
        check(
            r#"sum(increase(x{a="($window"}[ $window ] offset 1m)) + count_over_time(y[$window])"#,
            r#"sum(increase(x{a="($window"}[ 10s] anchored offset 1m)) + count_over_time(y[10s])"#,
        );
    }

    #[test]
    fn what_counts_nothing_is_refused_at_its_place() {
        assert_eq!(check("sum(x)").map_err(|wrong| wrong.0), Err(0));
        assert_eq!(check("sum(rate(x[$window]))").map_err(|wrong| wrong.0), Err(11));
        assert_eq!(check("sum(increase(x[$window])) +").map_err(|wrong| wrong.0), Err(27));
        assert_eq!(check("sum(increase(x[$window]))"), Ok(()));
    }
}
