//! Numbers as labels write them.

/// A float in OpenMetrics' canonical form: `1.0`, `0.25`, `1e+06`, `+Inf`.
///
/// Source: what Go's `FormatFloat(v, 'g', -1, 64)` gives, with `.0` where neither a dot nor an exponent is in it.
pub(crate) fn open_metrics(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        let plain = format!("{value}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

/// `value` in canonical form if it is a float.
pub(crate) fn normalized(value: &str) -> Option<String> {
    let canonical = open_metrics(read(value)?);
    (canonical != value).then_some(canonical)
}

/// A float as the text formats write it: decimal, `NaN`, `Inf`.
pub(crate) fn read(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    // The quiet NaN that Prometheus writes for every NaN that is no stale marker.
    Some(if value.is_nan() { f64::from_bits(0x7ff8_0000_0000_0001) } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_canonical() {
        for (text, canonical) in [
            ("1", "1.0"),
            ("0", "0.0"),
            ("-1", "-1.0"),
            ("0.250", "0.25"),
            ("100000", "100000.0"),
            ("1000000", "1e+06"),
            ("1234567", "1.234567e+06"),
            ("0.0001", "0.0001"),
            ("0.00008999999999999979", "8.999999999999979e-05"),
            ("1e300", "1e+300"),
            ("+Inf", "+Inf"),
            ("inf", "+Inf"),
        ] {
            assert_eq!(read(text).map(open_metrics).as_deref(), Some(canonical), "{text}");
        }
        assert_eq!(normalized("1.0"), None);
        assert_eq!(normalized("one"), None);
        assert_eq!(read("0x1p3"), None);
        assert_eq!(read("1_000"), None);
    }
}
