//! Floating-point numbers as Go's `strconv.FormatFloat` writes them.

/// Exponent from which the shortest form turns to scientific notation.
const SHORTEST_THRESHOLD: i32 = 6;

/// `%g`: `precision` significant digits, or the fewest that read back as the same number.
pub(crate) fn general(value: f64, precision: Option<usize>) -> String {
    if let Some(word) = not_finite(value) {
        return word;
    }
    let scientific = match precision {
        Some(precision) => format!("{:.*e}", precision.max(1) - 1, value.abs()),
        None => format!("{:e}", value.abs()),
    };
    let (mantissa, exponent) = split(&scientific);
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.trim_end_matches('0');
    let n_digits = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let point = exponent + 1;
    let threshold = match precision.map(|p| i32::try_from(p.max(1)).unwrap_or(i32::MAX)) {
        None => SHORTEST_THRESHOLD,
        Some(p) if p > n_digits && n_digits >= point => n_digits,
        Some(p) => p,
    };
    let sign = if value.is_sign_negative() { "-" } else { "" };
    if digits.is_empty() {
        return format!("{sign}0");
    }
    if exponent < -4 || exponent >= threshold {
        let (first, rest) = digits.split_at(1);
        let dot = if rest.is_empty() { "" } else { "." };
        return format!("{sign}{first}{dot}{rest}{}", exponent_text(exponent, 'e'));
    }
    let Ok(whole) = usize::try_from(point) else {
        return format!("{sign}0.{}{digits}", "0".repeat(usize::try_from(-point).unwrap_or(0)));
    };
    if whole == 0 {
        return format!("{sign}0.{digits}");
    }
    if whole >= digits.len() {
        return format!("{sign}{digits}{}", "0".repeat(whole - digits.len()));
    }
    format!("{sign}{}.{}", &digits[..whole], &digits[whole..])
}

/// `%e` with `precision` digits after the point, or as many as needed.
pub(crate) fn scientific(value: f64, precision: Option<usize>) -> String {
    if let Some(word) = not_finite(value) {
        return word;
    }
    let text = match precision {
        Some(precision) => format!("{value:.precision$e}"),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = split(&text);
    format!("{mantissa}{}", exponent_text(exponent, 'e'))
}

/// `%f` with `precision` digits after the point, or as many as needed.
pub(crate) fn fixed(value: f64, precision: Option<usize>) -> String {
    if let Some(word) = not_finite(value) {
        return word;
    }
    match precision {
        Some(precision) => format!("{value:.precision$}"),
        None => format!("{value}"),
    }
}

fn not_finite(value: f64) -> Option<String> {
    let word = match value {
        v if v.is_nan() => "NaN",
        f64::INFINITY => "+Inf",
        f64::NEG_INFINITY => "-Inf",
        _ => return None,
    };
    Some(word.to_owned())
}

fn split(scientific: &str) -> (&str, i32) {
    let (mantissa, exponent) =
        scientific.split_once('e').expect("scientific notation has an exponent");
    (mantissa, exponent.parse().expect("an exponent is a small integer"))
}

/// Go writes at least two digits of exponent.
fn exponent_text(exponent: i32, letter: char) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{letter}{sign}{:02}", exponent.unsigned_abs())
}
