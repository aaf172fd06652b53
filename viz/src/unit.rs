//! Numbers for people: a UCUM unit becomes a format, a value becomes three significant digits and a suffix.

use crate::scale::floor;
use crate::tick::{self, Ticks};

/// How values of a unit are written.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Format {
    /// A plain number with SI prefixes, then this suffix (may be empty).
    Count(String),
    /// Bytes with IEC prefixes; the suffix follows the unit (`/s` for rates).
    Bytes(String),
    /// A share of one, shown as percent.
    Ratio,
    /// Percent already.
    Percent,
    /// Seconds, shown from ns to days; the field is how many of them one unit of the value is.
    Time(f64),
    /// Seconds since the epoch, not scaled.
    #[default]
    Plain,
}

impl Format {
    /// The format of a UCUM unit as OpenTelemetry uses it; an unknown unit becomes a suffix.
    #[must_use]
    pub fn of(unit: &str) -> Self {
        let (base, per) = unit.split_once('/').map_or((unit, ""), |(base, per)| (base, per));
        let suffix = if per.is_empty() { String::new() } else { format!("/{per}") };
        match (base, per) {
            ("", "") => Self::Plain,
            ("1", "") => Self::Ratio,
            ("%", "") => Self::Percent,
            ("ns", "") => Self::Time(1e-9),
            ("us", "") => Self::Time(1e-6),
            ("ms", "") => Self::Time(1e-3),
            ("s", "") => Self::Time(1.0),
            ("min", "") => Self::Time(60.0),
            ("h", "") => Self::Time(3_600.0),
            ("d", "") => Self::Time(86_400.0),
            ("s", "s") => Self::Ratio, // Busy seconds a second.
            ("By", _) => Self::Bytes(suffix),
            ("1", _) => Self::Count(suffix),
            _ if base.starts_with('{') => Self::Count(suffix),
            ("Cel", _) => Self::Count(" °C".to_owned()),
            _ => Self::Count(format!(" {base}{suffix}")),
        }
    }

    /// The value with three significant digits.
    #[must_use]
    pub fn text(&self, value: f64) -> String {
        if !value.is_finite() {
            return special(value);
        }
        match self {
            Self::Plain => scaled(value, 1_000.0, &SI, ""),
            Self::Count(suffix) => scaled(value, 1_000.0, &SI, suffix),
            Self::Bytes(suffix) => scaled(value, 1_024.0, &IEC, suffix),
            Self::Ratio => format!("{}%", percent(value * 100.0)),
            Self::Percent => format!("{}%", percent(value)),
            Self::Time(seconds) => time(value * seconds),
        }
    }

    /// Ticks that are round in this unit, about `n_max` of them.
    #[must_use]
    pub fn ticks(&self, from: f64, to: f64, n_max: usize) -> Ticks {
        match self {
            Self::Bytes(_) => tick::binary(from, to, n_max),
            Self::Time(seconds) if (to - from) * seconds > 90.0 => {
                sexagesimal(from, to, n_max, *seconds)
            }
            _ => tick::decimal(from, to, n_max),
        }
    }

    /// Labels of ticks: all with as many decimals as the step needs.
    #[must_use]
    pub fn labels(&self, ticks: &Ticks) -> Vec<String> {
        let step = ticks.step;
        let of = |value: &f64| match self {
            Self::Ratio => format!("{:.*}%", tick::decimals(step * 100.0), value * 100.0),
            Self::Percent => format!("{:.*}%", tick::decimals(step), value),
            _ if *value == 0.0 => self.zero(),
            _ => self.text(*value),
        };
        ticks.values.iter().map(of).collect()
    }

    fn zero(&self) -> String {
        match self {
            Self::Bytes(suffix) => format!("0 B{suffix}"),
            Self::Count(suffix) => format!("0{suffix}"),
            Self::Plain | Self::Ratio | Self::Percent | Self::Time(_) => "0".to_owned(),
        }
    }
}

const SI: [&str; 5] = ["", "k", "M", "G", "T"];
const IEC: [&str; 6] = [" B", " KiB", " MiB", " GiB", " TiB", " PiB"];

fn special(value: f64) -> String {
    if value.is_nan() {
        "–".to_owned()
    } else if value > 0.0 {
        "∞".to_owned()
    } else {
        "−∞".to_owned()
    }
}

/// Three significant digits without trailing zeros; whole numbers below 1000 as they are.
#[must_use]
pub fn significant(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0".to_owned() } else { special(value) };
    }
    let exponent = floor((value.abs() * (1.0 + 1e-12)).log10());
    let decimals = usize::try_from((2 - exponent).clamp(0, 12)).unwrap_or(0);
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

fn percent(value: f64) -> String {
    if value.abs() < 0.005 { "0".to_owned() } else { significant(value) }
}

fn scaled(value: f64, base: f64, prefixes: &[&str], suffix: &str) -> String {
    let mut scaled = value;
    let mut power = 0;
    // 999.5 would print as 1000: it belongs to the next prefix already.
    while scaled.abs() >= base * 0.9995 && power + 1 < prefixes.len() {
        scaled /= base;
        power += 1;
    }
    if value != 0.0 && value.abs() < 0.001 {
        return format!("{value:.2e}{suffix}"); // A prefix like m would be taken for minutes or milli-anything.
    }
    format!("{}{}{suffix}", significant(scaled), prefixes[power])
}

/// A duration given in seconds: the unit that keeps it between 1 and 1000, from ns to days.
#[must_use]
pub fn time(seconds: f64) -> String {
    const UNITS: [(f64, &str); 7] = [
        (86_400.0, " d"),
        (3_600.0, " h"),
        (60.0, " min"),
        (1.0, " s"),
        (1e-3, " ms"),
        (1e-6, " µs"),
        (1e-9, " ns"),
    ];
    if seconds == 0.0 || !seconds.is_finite() {
        return if seconds == 0.0 { "0 s".to_owned() } else { special(seconds) };
    }
    // Minutes and more only from two of them: "90 s" says more than "1.5 min".
    let enough = |unit: f64| if unit > 1.0 { 2.0 * unit } else { unit * 0.9995 };
    let found = UNITS.iter().find(|(unit, _)| seconds.abs() >= enough(*unit));
    let (unit, name) = found.copied().unwrap_or((1e-9, " ns"));
    format!("{}{name}", significant(seconds / unit))
}

/// Ticks of a time axis in seconds, minutes, hours or days.
fn sexagesimal(from: f64, to: f64, n_max: usize, seconds: f64) -> Ticks {
    let span = (to - from) * seconds;
    let unit = match span {
        s if s > 2.0 * 86_400.0 => 86_400.0,
        s if s > 2.0 * 3_600.0 => 3_600.0,
        _ => 60.0,
    };
    let ticks = tick::decimal(from * seconds / unit, to * seconds / unit, n_max);
    let back = unit / seconds;
    Ticks { step: ticks.step * back, values: ticks.values.iter().map(|v| v * back).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(unit: &str, value: f64, expected: &str) {
        assert_eq!(Format::of(unit).text(value), expected, "{value} {unit}");
    }

    #[test]
    fn values_have_three_significant_digits() {
        check("By", 0.0, "0 B");
        check("By", 1023.9, "1 KiB");
        check("By", 1000.0, "1000 B");
        check("By", 12_900_000.0, "12.3 MiB");
        check("By/s", 1_048_576.0, "1 MiB/s");
        check("1", 0.12345, "12.3%");
        check("%", 99.96, "100%");
        check("s", 0.001_5, "1.5 ms");
        check("ms", 250.0, "250 ms");
        check("ns", 999_700.0, "1 ms");
        check("s", 90.0, "90 s");
        check("s", 7_200.0, "2 h");
        check("{request}", 1_234.0, "1.23k");
        check("{request}/s", 12.0, "12/s");
        check("Cel", 41.25, "41.2 °C");
        check("", 1_234_567.0, "1.23M");
        check("", 0.004, "0.004");
        check("", 0.000_123, "1.23e-4");
        check("", -2_500.0, "-2.5k");
        check("", f64::NAN, "–");
        check("", f64::NEG_INFINITY, "−∞");
        check("V", 3.3, "3.3 V");
    }

    #[test]
    fn rounding_never_shows_a_thousand() {
        check("", 999.6, "1k");
        check("", 999.4, "999");
        check("s", 0.999_96, "1 s");
    }

    #[test]
    fn tick_labels_share_their_decimals() {
        let format = Format::of("1");
        assert_eq!(
            format.labels(&format.ticks(0.0, 0.02, 4)),
            ["0.0%", "0.5%", "1.0%", "1.5%", "2.0%"]
        );
        let format = Format::of("By");
        assert_eq!(format.labels(&format.ticks(0.0, 2_097_152.0, 2)), ["0 B", "1 MiB", "2 MiB"]);
        let format = Format::of("s");
        assert_eq!(
            format.labels(&format.ticks(0.0, 600.0, 5)),
            ["0", "2 min", "4 min", "6 min", "8 min", "10 min"]
        );
    }
}
