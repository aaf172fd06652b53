//! A range query's answer as a line chart in the terminal: dots of Braille patterns (Unicode 15, block 2800), two by four a
//! character.

use std::fmt::Write as _;

use model::time::Timestamp;
use serde_json::Value;
use viz::unit::Format;

/// Rows of characters of the drawing.
const ROWS: usize = 14;
/// Columns of the labels of the vertical axis.
const AXIS: usize = 10;
/// Series drawn; more would be a smear. The legend says how many are left out.
const SERIES_MAX: usize = 8;
/// Foreground colours (ECMA-48, SGR) of the series in turn.
const COLOURS: [u8; SERIES_MAX] = [36, 33, 35, 32, 34, 31, 96, 93];
/// Bits of the dots of a character: by column, from above (Unicode 15, section 21.1).
const DOTS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];

/// A line with its name: seconds since the epoch and values, in the order of time.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// The floats of an answer of `query_range`.
pub(crate) fn lines(answer: &Value, name: impl Fn(&Value) -> String) -> Vec<Line> {
    let number = |value: &Value| value.as_str().and_then(|text| text.parse::<f64>().ok());
    let point = |point: &Value| Some((point[0].as_f64()?, number(&point[1])?));
    let line = |series: &Value| {
        let points = series["values"].as_array().into_iter().flatten().filter_map(point);
        let is_finite = |point: &(f64, f64)| point.1.is_finite();
        Line { name: name(&series["metric"]), points: points.filter(is_finite).collect() }
    };
    let series = answer["data"]["result"].as_array().into_iter().flatten();
    series.map(line).filter(|line| !line.points.is_empty()).collect()
}

/// The chart, `columns` characters wide; `None` when there is nothing to draw.
pub(crate) fn draw(lines: &[Line], columns: usize, in_colour: bool) -> Option<String> {
    let points = || lines.iter().take(SERIES_MAX).flat_map(|line| &line.points);
    let bounds = |pick: fn(&(f64, f64)) -> f64| {
        let values = points().map(pick);
        values.fold(None, |b: Option<(f64, f64)>, v| {
            Some(b.map_or((v, v), |b| (b.0.min(v), b.1.max(v))))
        })
    };
    let (times, mut values) = (bounds(|point| point.0)?, bounds(|point| point.1)?);
    if values.0 >= 0.0 && values.0 < values.1 / 2.0 {
        values.0 = 0.0; // Shares and counts are read against zero.
    }
    let width = columns.saturating_sub(AXIS + 2).clamp(20, 200);
    let mut canvas = Canvas::new(width);
    for (i, line) in lines.iter().take(SERIES_MAX).enumerate() {
        let place = |(t, v): &(f64, f64)| {
            (
                share(*t, times) * (width * 2 - 1) as f64,
                (1.0 - share(*v, values)) * (ROWS * 4 - 1) as f64,
            )
        };
        let places: Vec<(f64, f64)> = line.points.iter().map(place).collect();
        for ends in places.windows(2) {
            canvas.line(ends[0], ends[1], i);
        }
        if let [only] = places[..] {
            canvas.line(only, only, i);
        }
    }
    Some(canvas.text(values, times, in_colour) + &legend(lines, in_colour))
}

/// Where `value` lies between two others, from 0 to 1; in the middle when they are equal.
fn share(value: f64, (low, high): (f64, f64)) -> f64 {
    if high > low { (value - low) / (high - low) } else { 0.5 }
}

fn legend(lines: &[Line], in_colour: bool) -> String {
    let mut text = String::new();
    for (i, line) in lines.iter().take(SERIES_MAX).enumerate() {
        let last = line.points.last().map_or(f64::NAN, |point| point.1);
        let name = super::harmless(&line.name);
        let _infallible =
            writeln!(text, "{} {name}  {}", paint("●", i, in_colour), Format::Plain.text(last));
    }
    if let Some(more) = lines.len().checked_sub(SERIES_MAX).filter(|more| *more > 0) {
        let _infallible = writeln!(text, "and {more} more series: -o table lists them");
    }
    text
}

fn paint(text: &str, series: usize, in_colour: bool) -> String {
    if in_colour {
        format!("\u{1b}[{}m{text}\u{1b}[0m", COLOURS[series % SERIES_MAX])
    } else {
        text.to_owned()
    }
}

/// Characters with their dots, and the series that drew each last.
struct Canvas {
    width: usize,
    cells: Vec<(u8, usize)>,
}

impl Canvas {
    fn new(width: usize) -> Self {
        Self { width, cells: vec![(0, 0); width * ROWS] }
    }

    /// Dots from one place to another, both in dots from the upper left.
    fn line(&mut self, from: (f64, f64), to: (f64, f64), series: usize) {
        let steps = (to.0 - from.0).abs().max((to.1 - from.1).abs()).ceil().max(1.0);
        let mut step = 0.0;
        while step <= steps {
            let along = step / steps;
            self.dot(from.0 + (to.0 - from.0) * along, from.1 + (to.1 - from.1) * along, series);
            step += 1.0;
        }
    }

    fn dot(&mut self, x: f64, y: f64, series: usize) {
        let (x, y) = (viz::scale::index(x.round()), viz::scale::index(y.round()));
        let place = (x / 2).min(self.width - 1) + (y / 4).min(ROWS - 1) * self.width;
        let cell = &mut self.cells[place];
        *cell = (cell.0 | DOTS[x % 2][y % 4], series);
    }

    fn text(&self, values: (f64, f64), (first, last): (f64, f64), in_colour: bool) -> String {
        let mut text = String::new();
        for (row, cells) in self.cells.chunks(self.width).enumerate() {
            let label = match row {
                0 => Format::Plain.text(values.1),
                row if row == ROWS - 1 => Format::Plain.text(values.0),
                row if row == ROWS / 2 => Format::Plain.text(f64::midpoint(values.0, values.1)),
                _ => String::new(),
            };
            let _infallible = write!(text, "{label:>AXIS$} │");
            for (dots, series) in cells {
                let drawn = char::from_u32(0x2800 + u32::from(*dots)).unwrap_or(' ').to_string();
                text.push_str(&if *dots == 0 {
                    " ".to_owned()
                } else {
                    paint(&drawn, *series, in_colour)
                });
            }
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
        }
        let (from, to) = (clock(first), clock(last));
        let gap = self.width.saturating_sub(from.len() + to.len());
        let _infallible = writeln!(text, "{:>AXIS$} └{}", "", "─".repeat(self.width));
        let _infallible = writeln!(text, "{:>AXIS$}  {from}{}{to}", "", " ".repeat(gap));
        text
    }
}

/// The time of day, UTC.
fn clock(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "Prometheus' times are whole ms")]
    let text = Timestamp::from_ms((seconds * 1e3).round() as i64).to_string();
    let of_day = text.split_once('T').map_or(text.as_str(), |(_, of_day)| of_day);
    format!("{}Z", of_day.get(..8).unwrap_or(of_day))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn line(name: &str, values: impl IntoIterator<Item = f64>) -> Line {
        let points = (0..).zip(values).map(|(i, value)| (f64::from(i) * 60.0, value)).collect();
        Line { name: name.to_owned(), points }
    }

    #[test]
    fn lines_rise_and_fall() {
        let up = line("up", (0..30).map(f64::from));
        let down = line("down", (0..30).map(|i| f64::from(29 - i)));
        expect![[r#"
                    29 │⠑⠢⣀                                  ⣀⠔⠊
                       │  ⠈⠑⠤⡀                            ⢀⠤⠊⠁
                       │     ⠈⠑⢢⡀                      ⢀⡔⠊⠁
                       │        ⠈⠒⢄⡀                ⢀⡠⠒⠁
                       │           ⠈⠱⢄            ⡠⠎⠁
                       │              ⠉⠒⢄⡀    ⢀⡠⠒⠉
                       │                 ⠘⠢⣀⣀⠔⠃
                  14.5 │                 ⢠⠔⠉⠉⠢⡄
                       │              ⣀⠤⠊⠁    ⠈⠑⠤⣀
                       │           ⢀⡰⠊            ⠑⢆⡀
                       │        ⢀⠤⠊⠁                ⠈⠑⠤⡀
                       │     ⢀⡠⠜⠁                      ⠈⠣⢄⡀
                       │  ⢀⡠⠒⠁                            ⠈⠒⢄⡀
                     0 │⡠⠔⠉                                  ⠉⠢⢄
                       └────────────────────────────────────────
                        00:00:00Z                      00:29:00Z
            ● up  29
            ● down  0
        "#]]
        .assert_eq(&draw(&[up, down], 52, false).unwrap());
    }

    #[test]
    fn odd_series_are_drawn_or_left_out() {
        assert!(draw(&[], 80, false).is_none());
        let flat = draw(&[line("one", [5.0])], 0, true).unwrap();
        assert!(flat.contains("\u{1b}[36m"), "{flat}");
        let many: Vec<Line> = (0..11).map(|i| line(&format!("s{i}"), [1.0, 2.0])).collect();
        assert!(
            draw(&many, 80, false).unwrap().ends_with("and 3 more series: -o table lists them\n")
        );
        let answer = serde_json::json!({"data": {"result": [
            {"metric": {}, "values": [[0, "NaN"], [1, "2"]]}, {"metric": {}, "values": [[0, "+Inf"]]}]}});
        let found = lines(&answer, |_| "x".to_owned());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].points, [(1.0, 2.0)]);
    }

    proptest::proptest! {
        #[test]
        fn any_numbers_end(values in proptest::collection::vec(proptest::num::f64::NORMAL, 1..20), columns in 0_usize..400) {
            draw(&[line("x", values)], columns, false).unwrap();
        }
    }
}
