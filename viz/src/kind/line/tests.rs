//! Golden pictures of charts, hit tests, and tables.

use expect_test::{ExpectFile, expect_file};

use super::*;
use crate::painter::Painter;
use crate::palette::{DARK, LIGHT, Theme};
use crate::svg::Svg;

const START_MS: i64 = 1_700_000_000_000;

fn series(name: &str, slot: usize, values: Vec<f64>) -> Series {
    Series { name: name.to_owned(), slot, values, ..Series::default() }
}

fn wave(n: usize, phase: f64) -> Vec<f64> {
    (0..n).map(|i| 40.0 + 30.0 * (float(i) / 6.0 + phase).sin()).collect()
}

fn data(series: Vec<Series>) -> Data {
    let n = series.first().map_or(0, |series| series.values.len());
    let times_ms: Vec<i64> = (0..n).map(|i| START_MS + i64::try_from(i).unwrap() * 1_000).collect();
    Data {
        times_ms,
        series,
        step_ms: 1_000,
        range_ms: (START_MS, START_MS + 60_000),
        ..Data::default()
    }
}

fn draw(data: Data, theme: Theme) -> String {
    let size = Size { width: 480.0, height: 160.0 };
    let mut svg = Svg::new(size, theme);
    layout(Arc::new(data), size).draw(&mut svg);
    svg.finish()
}

fn check(data: Data, theme: Theme, expected: ExpectFile) {
    expected.assert_eq(&draw(data, theme));
}

#[test]
fn lines_in_both_themes() {
    let two = || data(vec![series("a", 0, wave(61, 0.0)), series("b", 1, wave(61, 2.0))]);
    check(two(), LIGHT, expect_file!["../../../golden/line_light.svg"]);
    check(two(), DARK, expect_file!["../../../golden/line_dark.svg"]);
}

#[test]
fn a_stack_of_shares() {
    let share = |phase| wave(61, phase).into_iter().map(|v| v / 200.0).collect();
    let mut stacked = data(vec![series("user", 0, share(0.0)), series("system", 1, share(1.0))]);
    stacked.stacked = true;
    stacked.style = Style::Area;
    stacked.unit = Format::Ratio;
    stacked.y_max = Some(1.0);
    stacked.thresholds = vec![(0.8, Ink::Warn)];
    check(stacked, LIGHT, expect_file!["../../../golden/stack_light.svg"]);
}

#[test]
fn marks_stand_beside_their_names_and_crowded_names_are_left_out() {
    let mut marked = data(vec![series("a", 0, wave(61, 0.0))]);
    let mark = |s: i64, ink: Ink, name: &str| (START_MS + s * 1_000, ink, name.to_owned());
    marked.marks = vec![
        mark(-5, Ink::Warn, "outside"),
        mark(20, Ink::Error, "fires"),
        mark(20, Ink::Accent, "action"),
    ];
    let crowd = (0..9).map(|_| mark(40, Ink::Warn, "back"));
    marked.marks.extend(crowd);
    marked.marks.push(mark(59, Ink::Ok, "resolved"));
    let drawn = draw(marked.clone(), LIGHT);
    assert_eq!(drawn.matches("back").count(), MARK_ROWS_SEEN);
    assert!(!drawn.contains("outside"));
    check(marked, LIGHT, expect_file!["../../../golden/marks_light.svg"]);
}

/// Rows of names one above the other.
const MARK_ROWS_SEEN: usize = 4;

#[test]
fn gaps_are_hatched_and_lonely_points_are_dots() {
    let mut values = wave(61, 0.0);
    values[10..30].fill(f64::NAN);
    values[31..50].fill(f64::NAN);
    check(data(vec![series("a", 2, values)]), DARK, expect_file!["../../../golden/gap_dark.svg"]);
}

#[test]
fn bars_stand_on_zero() {
    let mut bars = data(vec![series("all", 4, wave(13, 0.0))]);
    bars.times_ms = (0..13).map(|i| START_MS + i * 5_000).collect();
    bars.style = Style::Bars;
    bars.step_ms = 5_000;
    bars.unit = Format::Bytes(String::new());
    check(bars, LIGHT, expect_file!["../../../golden/bars_light.svg"]);
}

#[test]
fn odd_data_draw_without_nonsense() {
    let nan = vec![f64::NAN; 61];
    let infinite = vec![f64::INFINITY; 61];
    let sets = [vec![], vec![0.0], vec![5.0], vec![-3.0; 61], nan, infinite, vec![1e300, -1e300]];
    for values in sets {
        for (style, stacked) in [(Style::Line, false), (Style::Area, true), (Style::Bars, true)] {
            let mut odd = data(vec![series("a", 0, values.clone())]);
            (odd.style, odd.stacked) = (style, stacked);
            let svg = draw(odd, LIGHT);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{values:?} {style:?}: {svg}");
        }
    }
}

#[test]
fn any_size_is_drawn() {
    for (width, height) in [(0.0, 0.0), (1.0, 1.0), (30.0, 2_000.0), (5_000.0, 10.0)] {
        let size = Size { width, height };
        let scene = layout(Arc::new(data(vec![series("a", 0, wave(61, 0.0))])), size);
        let mut svg = Svg::new(size, LIGHT);
        scene.draw(&mut svg);
        assert!(!svg.finish().contains("NaN"), "{size:?}");
    }
}

#[test]
fn the_hit_inverts_the_layout() {
    let size = Size { width: 640.0, height: 200.0 };
    let set = data(vec![series("a", 0, wave(61, 0.0)), series("b", 1, wave(61, 2.0))]);
    let scene = layout(Arc::new(set), size);
    for (i, at_ms) in scene.data.times_ms.clone().into_iter().enumerate() {
        let wanted = scene.at(at_ms).unwrap().values[1];
        let hit = scene.hit(Point::new(scene.x_of(at_ms), wanted.y)).unwrap();
        assert_eq!((hit.time_idx, hit.at_ms), (i, at_ms));
        let nearest = hit.values[hit.nearest.unwrap()];
        assert!((nearest.y - wanted.y).abs() < 1e-9);
        assert!((scene.time_at(scene.x_of(at_ms)) - at_ms).abs() <= 1);
    }
    assert_eq!(scene.hit(Point::new(1.0, 1.0)), None);
}

#[test]
fn nothing_is_hit_in_a_gap() {
    let mut set = data(vec![series("a", 0, wave(31, 0.0))]);
    set.range_ms = (START_MS - 60_000, START_MS + 60_000);
    let scene = layout(Arc::new(set), Size { width: 640.0, height: 200.0 });
    assert_eq!(scene.at(START_MS - 30_000), None);
    assert_eq!(scene.hit(Point::new(scene.plot.x + 1.0, 50.0)), None);
    assert!(scene.at(START_MS + 30_400).is_some());
}

#[test]
fn hidden_series_leave_the_picture_but_not_the_table() {
    let mut set =
        data(vec![series("a", 0, wave(3, 0.0)), series("b", 1, vec![1e9, f64::NAN, 2.0])]);
    set.series[1].hidden = true;
    let scene = layout(Arc::new(set), Size { width: 300.0, height: 100.0 });
    assert_eq!(scene.at(START_MS).unwrap().values.len(), 1);
    let table = scene.table();
    assert_eq!(table.head, ["time", "a", "b"]);
    assert_eq!(table.rows[1][2], "");
    assert_eq!(table.rows[0][0], "2023-11-14 22:13:20");
}

#[test]
fn cursor_and_selection_draw_over_the_plot() {
    let size = Size { width: 300.0, height: 100.0 };
    let scene = layout(Arc::new(data(vec![series("a", 0, wave(61, 0.0))])), size);
    let mut svg = Svg::new(size, LIGHT);
    scene.draw_cursor(&scene.at(START_MS + 30_000).unwrap(), &mut svg);
    scene.draw_selection(-10.0, 9_999.0, &mut svg);
    assert!(
        svg.measure(
            "ab",
            crate::painter::TextStyle {
                ink: Ink::Text,
                size: 10.0,
                align: crate::painter::Align::Start
            }
        ) > 10.0
    );
    let text = svg.finish();
    assert_eq!(text.matches("<rect").count(), 4, "{text}");
}

#[test]
fn the_summary_ignores_what_is_absent() {
    let got = summary(&[1.0, f64::NAN, 3.0, f64::NAN]);
    assert_eq!(got, Summary { last: 3.0, min: 1.0, mean: 2.0, max: 3.0 });
    assert!(summary(&[]).mean.is_nan());
}
