//! Instants and lengths of time as Go prints and formats them. UTC only: rules know no other zone.

use std::fmt::Write;

const NS_PER_S: i64 = 1_000_000_000;
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// An instant taken apart.
pub(crate) struct Civil {
    pub(crate) year: i64,
    /// 1 to 12.
    pub(crate) month: i64,
    /// 1 to 31.
    pub(crate) day: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
    pub(crate) nanosecond: i64,
    pub(crate) weekday: &'static str,
    /// 1 to 366.
    pub(crate) year_day: i64,
}

impl Civil {
    /// The parts of `ns` since the epoch. Source of the date rule: H. Hinnant, "chrono-compatible low-level date
    /// algorithms".
    pub(crate) fn of(ns: i64) -> Self {
        let seconds = ns.div_euclid(NS_PER_S);
        let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = date(days);
        let weekday = usize::try_from(days.rem_euclid(7)).map_or("", |i| DAYS[i]);
        Self {
            year,
            month,
            day,
            hour: of_day / 3_600,
            minute: of_day / 60 % 60,
            second: of_day % 60,
            nanosecond: ns.rem_euclid(NS_PER_S),
            weekday,
            year_day: (0..366).find(|back| date(days - back).0 != year).unwrap_or(366),
        }
    }

    pub(crate) fn month_name(&self) -> &'static str {
        usize::try_from(self.month - 1).map_or("", |i| MONTHS[i])
    }
}

const fn date(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + if month <= 2 { 1 } else { 0 }, month, day)
}

/// Go's `Time.String`: `2026-08-21 00:00:00 +0000 UTC`.
pub(crate) fn text(ns: i64) -> String {
    format(ns, "2006-01-02 15:04:05.999999999 -0700 MST")
}

/// The reference pieces of Go's layouts; of two that match at one place the longer stands first.
const PIECES: [&str; 30] = [
    "January",
    "Jan",
    "Monday",
    "Mon",
    "MST",
    "2006",
    "-07:00:00",
    "-070000",
    "-07:00",
    "-0700",
    "-07",
    "Z07:00",
    "Z0700",
    "Z07",
    "002",
    "01",
    "02",
    "03",
    "04",
    "05",
    "06",
    "15",
    "PM",
    "pm",
    "_2",
    "1",
    "2",
    "3",
    "4",
    "5",
];

/// Go's `Time.Format` with `layout`.
pub(crate) fn format(ns: i64, layout: &str) -> String {
    let time = Civil::of(ns);
    let mut out = String::new();
    let mut rest = layout;
    while let Some(first) = rest.chars().next() {
        if let Some(len) = fraction_len(rest) {
            fraction(&mut out, &rest[..len], time.nanosecond);
            rest = &rest[len..];
            continue;
        }
        match PIECES.iter().find(|piece| rest.starts_with(**piece)) {
            Some(piece) => {
                put(&mut out, piece, &time);
                rest = &rest[piece.len()..];
            }
            None => {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    out
}

/// Length of a fraction of a second at the beginning of `layout`: `.000` or `.999`, not followed by a digit.
fn fraction_len(layout: &str) -> Option<usize> {
    let digits = layout.strip_prefix(['.', ','])?;
    let digit = digits.chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let len = digits.len() - digits.trim_start_matches(digit).len();
    (!digits[len..].starts_with(|c: char| c.is_ascii_digit())).then_some(len + 1)
}

fn fraction(out: &mut String, piece: &str, nanosecond: i64) {
    let digits = std::format!("{nanosecond:09}");
    let shown = &digits[..(piece.len() - 1).min(9)];
    let shown = if piece.ends_with('9') { shown.trim_end_matches('0') } else { shown };
    if !shown.is_empty() {
        out.push_str(&piece[..1]);
        out.push_str(shown);
    }
}

fn put(out: &mut String, piece: &str, time: &Civil) {
    let hour_12 = (time.hour + 11) % 12 + 1;
    let half = if time.hour < 12 { "AM" } else { "PM" };
    let done = match piece {
        "January" => out.write_str(time.month_name()),
        "Jan" => out.write_str(&time.month_name()[..3]),
        "Monday" => out.write_str(time.weekday),
        "Mon" => out.write_str(&time.weekday[..3]),
        "MST" => out.write_str("UTC"),
        "2006" => write!(out, "{:04}", time.year),
        "06" => write!(out, "{:02}", time.year.rem_euclid(100)),
        "-07:00:00" => out.write_str("+00:00:00"),
        "-070000" => out.write_str("+000000"),
        "-07:00" => out.write_str("+00:00"),
        "-0700" => out.write_str("+0000"),
        "-07" => out.write_str("+00"),
        "Z07:00" | "Z0700" | "Z07" => out.write_str("Z"),
        "002" => write!(out, "{:03}", time.year_day),
        "01" => write!(out, "{:02}", time.month),
        "1" => write!(out, "{}", time.month),
        "02" => write!(out, "{:02}", time.day),
        "_2" => write!(out, "{:2}", time.day),
        "2" => write!(out, "{}", time.day),
        "15" => write!(out, "{:02}", time.hour),
        "03" => write!(out, "{hour_12:02}"),
        "3" => write!(out, "{hour_12}"),
        "04" => write!(out, "{:02}", time.minute),
        "4" => write!(out, "{}", time.minute),
        "05" => write!(out, "{:02}", time.second),
        "5" => write!(out, "{}", time.second),
        "PM" => out.write_str(half),
        _ => out.write_str(&half.to_lowercase()),
    };
    done.expect("a String takes all text");
}

/// Go's `Duration.String`: `1h2m3.5s`, below a second with the fitting unit.
pub(crate) fn duration_text(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let rest = ns.unsigned_abs();
    let small = |unit: u64, name: &str| std::format!("{sign}{}{name}", decimal(rest, unit));
    match rest {
        0 => return "0s".to_owned(),
        1..1_000 => return small(1, "ns"),
        1_000..1_000_000 => return small(1_000, "µs"),
        1_000_000..1_000_000_000 => return small(1_000_000, "ms"),
        _ => {}
    }
    let unit = NS_PER_S.unsigned_abs();
    let (hours, minutes) = (rest / unit / 3_600, rest / unit / 60 % 60);
    let seconds = decimal(rest % (60 * unit), unit);
    match (hours, minutes) {
        (0, 0) => std::format!("{sign}{seconds}s"),
        (0, _) => std::format!("{sign}{minutes}m{seconds}s"),
        _ => std::format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// `value / unit` exactly, without trailing zeros; `unit` is a power of ten.
fn decimal(value: u64, unit: u64) -> String {
    let fraction = std::format!("{:0w$}", value % unit, w = unit.to_string().len() - 1);
    let fraction = fraction.trim_end_matches('0');
    let whole = value / unit;
    if fraction.is_empty() { whole.to_string() } else { std::format!("{whole}.{fraction}") }
}
