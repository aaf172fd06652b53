//! Durations as Prometheus writes them (`1h30m`), and nothing else.

/// Units from large to small, with their length in milliseconds.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Milliseconds of `text`: whole numbers with units `y w d h m s ms`, large to small, each at most once; or `0`.
///
/// `None` when it is not of that form, or too long for an i64.
#[must_use]
pub fn parse_ms(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut total: i64 = 0;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let after = &rest[digits..];
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (_, unit_ms) = units.by_ref().find(|(unit, _)| *unit == &after[..end])?;
        let count: i64 = rest[..digits].parse().ok()?;
        total = total.checked_add(count.checked_mul(*unit_ms)?)?;
        rest = &after[end..];
    }
    (!text.is_empty()).then_some(total)
}

/// The shortest text that [`parse_ms`] reads back as `ms`; a negative length gets a sign.
#[must_use]
pub fn text(ms: i64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut out = String::from(if ms < 0 { "-" } else { "" });
    let mut rest = ms.unsigned_abs();
    for (unit, unit_ms) in UNITS {
        let unit_ms = unit_ms.unsigned_abs();
        // Years and weeks only when nothing else is needed, as Prometheus prints them.
        let whole_only = matches!(unit, "y" | "w");
        if rest >= unit_ms && (!whole_only || rest.is_multiple_of(unit_ms)) {
            out.push_str(&format!("{}{unit}", rest / unit_ms));
            rest %= unit_ms;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_what_they_print_and_refuse_the_rest() {
        for (written, ms) in
            [("1h30m", 5_400_000), ("1d", 86_400_000), ("1ms", 1), ("2w", 1_209_600_000)]
        {
            assert_eq!(parse_ms(written), Some(ms), "{written}");
            assert_eq!(text(ms), written);
        }
        assert_eq!(parse_ms("0"), Some(0));
        for bad in ["", "1", "m", "1m1h", "1m1m", "-1m", "1.5h", "1 m", "99999999999999y", "٣m"] {
            assert_eq!(parse_ms(bad), None, "{bad}");
        }
    }
}
