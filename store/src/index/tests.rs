//! Whatever a query may find is among the rows an index points at.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, FixedSizeBinaryArray, Int64Builder, RecordBatch, StringArray, StringBuilder,
};
use model::id::TenantId;
use model::time::Timestamp;
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop, prop_assert, prop_oneof, proptest,
};
use tempfile::TempDir;

use super::*;
use crate::catalogue::DataFile;
use crate::schema::map_builder;
use crate::segment::puffin;
use crate::segment::write::{Facts, Origin, Window, sidecar_path};

/// A segment of which there is nothing but the sidecar.
fn segment(dir: &TempDir, table: Table, batches: &[RecordBatch]) -> Segment {
    let mut builder = Builder::new(table, 1);
    batches.iter().for_each(|batch| builder.add(batch));
    let blobs = builder.finish();
    let sidecar = puffin::encode(blobs.iter().map(|(name, bytes)| (*name, &bytes[..])));
    let path = format!("{}.parquet", uuid::Uuid::new_v4());
    std::fs::write(dir.path().join(sidecar_path(&path)), sidecar).unwrap();
    let facts = Facts {
        table,
        tenant: TenantId::default(),
        window: Window::at(table, 0),
        level: 1,
        path,
        rows: batches.iter().map(|batch| batch.num_rows() as u64).sum(),
        bytes: 0,
        footer_bytes: 0,
        min_time: Timestamp(0),
        max_time: Timestamp(0),
        crc: 0,
        sidecar_bytes: 0,
        metrics: Arc::from([]),
        services: None,
    };
    let data = DataFile {
        id: 1,
        commit_order: 1,
        begin_snapshot: 1,
        end_snapshot: None,
        is_quarantined: false,
        origin: Origin::default(),
        facts,
    };
    Segment::new(data, dir.path())
}

/// A body, a text attribute, a number in the attribute `n`.
type Row = (String, Option<(String, String)>, Option<i64>);

fn logs(rows: &[Row]) -> RecordBatch {
    let bodies: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.0)));
    let mut texts = map_builder(StringBuilder::new());
    let mut numbers = map_builder(Int64Builder::new());
    for (_, text, number) in rows {
        if let Some((name, value)) = text {
            texts.keys().append_value(name);
            texts.values().append_value(value);
        }
        texts.append(true).unwrap();
        if let Some(number) = number {
            numbers.keys().append_value("n");
            numbers.values().append_value(*number);
        }
        numbers.append(true).unwrap();
    }
    let columns: [(&str, ArrayRef); 3] = [
        (columns::BODY, bodies),
        (columns::ATTRS_STR, Arc::new(texts.finish())),
        (columns::ATTRS_INT, Arc::new(numbers.finish())),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn holds(ranges: Option<&Vec<Range<u64>>>, row: usize) -> bool {
    ranges.is_none_or(|ranges| ranges.iter().any(|rows| rows.contains(&(row as u64))))
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,8}",
        "[A-Za-zſK]{3,6}",
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{12}",
        "[0-9a-zA-Z+/]{10,40}",
        "[0-9]{1,12}",
        "[日本語東京都é]{1,4}",
        "[ -~\u{0}\u{1}]{0,12}",
        "error|timeout|connection|refused|GET|user=|café",
        any::<String>(),
        Just(String::new()),
        "[a-z]{40}",
        "[0-9a-z]{1030}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn every_row_that_holds_a_text_is_found(
        vocabulary in prop::collection::vec(word(), 1..30),
        picks in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 500..900),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<bool>()), 30),
    ) {
        let rows: Vec<_> = picks.iter().map(|(a, b)| {
            let (a, b) = (a.get(&vocabulary), b.get(&vocabulary));
            (format!("{a} {b}"), Some(("k".to_owned(), a.clone())), a.parse::<i64>().ok())
        }).collect();
        let dir = TempDir::new().unwrap();
        let segment = segment(&dir, Table::Logs, &[logs(&rows[..300]), logs(&rows[300..])]);
        for (row, from, to, is_upper) in &cuts {
            let body = &row.get(&rows).0;
            let places: Vec<usize> = body.char_indices().map(|(at, _)| at).chain([body.len()]).collect();
            let (a, b) = (*from.get(&places), *to.get(&places));
            let part = &body[a.min(b)..a.max(b)];
            let wanted = if *is_upper { part.to_ascii_uppercase() } else { part.to_owned() };
            let found = super::rows(&segment, &Needle::Text(wanted.clone()));
            let test = regex::RegexBuilder::new(&regex::escape(&wanted)).case_insensitive(true).build().unwrap();
            for (at, (body, _, _)) in rows.iter().enumerate() {
                prop_assert!(!test.is_match(body) || holds(found.as_ref(), at), "{wanted:?} in {body:?}");
            }
        }
        for value in &vocabulary {
            for name in ["k", "n"] {
                let needle = Needle::Attribute { name: name.to_owned(), value: value.clone() };
                let found = super::rows(&segment, &needle);
                for (at, (_, text, number)) in rows.iter().enumerate() {
                    let is_it = match name {
                        "k" => text.as_ref().is_some_and(|(_, text)| text == value),
                        _ => number.is_some_and(|number| number.to_string() == *value),
                    };
                    prop_assert!(!is_it || holds(found.as_ref(), at), "{name}={value:?}");
                }
            }
        }
    }
}

#[test]
fn needles_are_found_in_few_rows() {
    let ids = |row: u64| format!("{:016x}", row.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let word = |row: u64| if row == 30_000 { "catastrophe" } else { "payment" };
    let rows: Vec<_> = (0..40_000_u64)
        .map(|row| {
            let body = format!("{} accepted for order {} in {row} ms", word(row), ids(row));
            (body, Some(("order".to_owned(), ids(row))), Some(i64::try_from(row).unwrap()))
        })
        .collect();
    let dir = TempDir::new().unwrap();
    let segment = segment(&dir, Table::Logs, &[logs(&rows)]);
    let found = |needle: Needle| -> u64 {
        needle.blocks(&Index { segment: &segment }).expect("the index knows it").len() * 128
    };
    assert_eq!(found(Needle::Text("CATASTROPHE".to_owned())), 128);
    assert_eq!(found(Needle::Text("tastrop".to_owned())), 128);
    assert_eq!(found(Needle::Text("nowhere to be seen".to_owned())), 0);
    assert!(found(Needle::Text(ids(12_345))) <= 8_192 * 2);
    assert!(found(Needle::Text(ids(12_345)[2..14].to_owned())) <= 8_192 * 2);
    let attribute = |name: &str, value: &str| Needle::Attribute {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    assert!(found(attribute("order", &ids(7))) <= 8_192 * 2);
    assert!(found(attribute("n", "39999")) <= 8_192 * 2);
    assert_eq!(found(attribute("order", "none")), 0);
    let all = Needle::All(vec![Needle::Text("catastrophe".to_owned()), attribute("n", "30000")]);
    assert_eq!(found(all), 128);
    assert_eq!(
        super::rows(&segment, &Needle::Text("payment".to_owned())),
        None,
        "most rows have it"
    );
    assert_eq!(
        Needle::Text("ms".to_owned()).blocks(&Index { segment: &segment }),
        None,
        "too short"
    );
}

#[test]
fn traces_are_found_in_their_blocks() {
    let id = |trace: u64| {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&trace.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        id
    };
    let ids = (0..20_000_u64).map(|row| id(row % 5_000));
    let column: ArrayRef = Arc::new(FixedSizeBinaryArray::try_from_iter(ids).unwrap());
    let batch = RecordBatch::try_from_iter([(columns::TRACE_ID, column)]).unwrap();
    let dir = TempDir::new().unwrap();
    let segment = segment(&dir, Table::Spans, &[batch]);
    for trace in [0, 1, 129, 2_500, 4_999] {
        let ranges = rows(&segment, &Needle::Trace(id(trace))).unwrap();
        assert_eq!(ranges.len(), 4);
        for row in (0..4).map(|i| trace + 5_000 * i) {
            assert!(ranges.iter().any(|rows| rows.contains(&row)));
        }
    }
    assert_eq!(rows(&segment, &Needle::Trace(id(5_000))), Some(Vec::new()));
    let mut damaged = std::fs::read(segment.sidecar_path()).unwrap();
    damaged.iter_mut().skip(4).step_by(64).take(40).for_each(|byte| *byte ^= 1);
    std::fs::write(segment.sidecar_path(), damaged).unwrap();
    cache::CACHE.set_limit(0);
    assert_eq!(rows(&segment, &Needle::Trace(id(1))), None, "damage costs speed");
}
