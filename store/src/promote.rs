//! Promoted attributes: those that many rows of a table have stand in columns of their own, `attr.<key>`.
//!
//! Rows come and go in the table's own schema, all attributes in the maps; only segments above level 0 hold some of them in
//! columns. A value of another type than its column stays in the map of its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, MapArray, RecordBatch, StringBuilder, StructArray, UInt32Array,
    new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{interleave, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::error::Error;
use crate::schema::{Table, columns, segment_schema};

/// Columns a table and tenant has at most.
const COLUMNS_MAX: usize = 200;
/// Attributes of a segment that are counted at most.
const COUNTED_MAX: usize = 10_000;
/// A column is worth it from this share of the rows on: one in so many.
const SHARE: u64 = 100;
/// Key of the counts of attributes in a segment's metadata.
pub(crate) const COUNTS_KEY: &str = "headrope.attributes";
const CONTEXT: &str = "promoting attributes";

/// A column an attribute is promoted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Promoted {
    /// Name of the attribute.
    key: String,
    /// Which map its values would be in.
    map: &'static str,
}

impl Promoted {
    pub(crate) fn field(&self) -> Field {
        Field::new(format!("{}{}", columns::PROMOTED, self.key), value_type(self.map), true)
    }

    /// The column that `field` is; `None` for any other.
    fn of(field: &Field) -> Option<Self> {
        let key = field.name().strip_prefix(columns::PROMOTED)?.to_owned();
        let map = MAPS.into_iter().find(|map| value_type(map) == *field.data_type())?;
        Some(Self { key, map })
    }
}

/// Maps with values that columns can have; the text of structured values stays in its map.
const MAPS: [&str; 4] =
    [columns::ATTRS_STR, columns::ATTRS_INT, columns::ATTRS_F64, columns::ATTRS_BOOL];

fn value_type(map: &str) -> DataType {
    match map {
        columns::ATTRS_INT => DataType::Int64,
        columns::ATTRS_F64 => DataType::Float64,
        columns::ATTRS_BOOL => DataType::Boolean,
        _ => DataType::Utf8,
    }
}

/// Whether rows of `table` have attributes to promote.
pub(crate) fn is_promoting(table: Table) -> bool {
    matches!(table, Table::Logs | Table::Spans)
}

/// The columns of promoted attributes in the schema of a segment.
pub(crate) fn columns_of(schema: &Schema) -> Arc<[Promoted]> {
    schema.fields().iter().filter_map(|field| Promoted::of(field)).collect()
}

/// The schema of a segment of `table` with these columns.
pub(crate) fn schema(table: Table, promoted: &[Promoted]) -> SchemaRef {
    let schema = segment_schema(table);
    if promoted.is_empty() {
        return schema;
    }
    let fields = schema.fields().iter().cloned();
    let columns = promoted.iter().map(|column| Arc::new(column.field()));
    Arc::new(Schema::new(fields.chain(columns).collect::<Vec<_>>()))
}

/// How many rows have which attributes, by map and name.
#[derive(Default)]
pub(crate) struct Counts {
    rows: u64,
    counts: BTreeMap<&'static str, HashMap<String, u64>>,
}

impl Counts {
    /// Adds rows in the table's own schema.
    pub(crate) fn add(&mut self, batch: &RecordBatch) {
        self.rows += batch.num_rows() as u64;
        for map in MAPS {
            let counts = self.counts.entry(map).or_default();
            let Some(keys) = batch.column_by_name(map).and_then(|map| map.as_map_opt()) else {
                continue;
            };
            let offsets = keys.value_offsets();
            let (first, last) = (index(offsets[0]), index(offsets[keys.len()]));
            for key in keys.keys().as_string::<i32>().slice(first, last - first).iter().flatten() {
                if let Some(count) = counts.get_mut(key) {
                    *count += 1;
                } else if counts.len() < COUNTED_MAX {
                    counts.insert(key.to_owned(), 1);
                }
            }
        }
    }

    /// As kept in a segment's metadata: rows, then map, name and count of whatever may ever be promoted.
    pub(crate) fn to_text(&self) -> String {
        let often = |count: u64| count * SHARE * 2 >= self.rows;
        let all = self.counts.iter().flat_map(|(map, counts)| {
            counts.iter().map(move |(key, count)| (*map, key.as_str(), *count))
        });
        let kept: Vec<(&str, &str, u64)> = all.filter(|(_, _, count)| often(*count)).collect();
        serde_json::json!([self.rows, kept]).to_string()
    }

    /// Adds what another segment's metadata says.
    pub(crate) fn add_text(&mut self, text: &str) {
        type Text = (u64, Vec<(String, String, u64)>);
        let Ok((rows, counts)) = serde_json::from_str::<Text>(text) else { return };
        self.rows += rows;
        for (map, key, count) in counts {
            if let Some(map) = MAPS.into_iter().find(|known| *known == map) {
                *self.counts.entry(map).or_default().entry(key).or_default() += count;
            }
        }
    }

    /// The attributes worth a column, most frequent first: one column a name, of its most frequent type.
    pub(crate) fn choose(&self) -> Arc<[Promoted]> {
        let mut best: BTreeMap<&str, (u64, &'static str)> = BTreeMap::new();
        for (map, counts) in &self.counts {
            for (key, count) in counts.iter().filter(|(_, count)| **count * SHARE >= self.rows) {
                let known = best.entry(key).or_insert((*count, map));
                *known = (*known).max((*count, map));
            }
        }
        let mut chosen: Vec<(u64, &str, &'static str)> =
            best.into_iter().map(|(key, (count, map))| (count, key, map)).collect();
        chosen.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        chosen.truncate(COLUMNS_MAX);
        // By name, so that the order says nothing.
        chosen.sort_unstable_by_key(|(_, key, _)| *key);
        chosen.into_iter().map(|(_, key, map)| Promoted { key: key.to_owned(), map }).collect()
    }
}

fn index(offset: i32) -> usize {
    usize::try_from(offset).unwrap_or(0)
}

/// `batch`, in the table's own schema, with the attributes of `promoted` in columns.
pub(crate) fn split(
    table: Table,
    batch: &RecordBatch,
    promoted: &[Promoted],
) -> Result<RecordBatch, Error> {
    if promoted.is_empty() {
        return Ok(batch.clone());
    }
    let mut arrays = batch.columns().to_vec();
    let mut found: HashMap<&str, ArrayRef> = HashMap::new();
    for map in MAPS {
        let wanted: HashMap<&str, usize> = promoted
            .iter()
            .filter(|column| column.map == map)
            .enumerate()
            .map(|(place, column)| (column.key.as_str(), place))
            .collect();
        let Ok(at) = batch.schema_ref().index_of(map) else { continue };
        if wanted.is_empty() {
            continue;
        }
        let (rest, columns) = taken_out(batch.column(at).as_map(), &wanted)?;
        arrays[at] = Arc::new(rest);
        let of_map = promoted.iter().filter(|column| column.map == map);
        found.extend(of_map.map(|column| column.key.as_str()).zip(columns));
    }
    for column in promoted {
        let nulls = || new_null_array(&value_type(column.map), batch.num_rows());
        arrays.push(found.remove(column.key.as_str()).unwrap_or_else(nulls));
    }
    RecordBatch::try_new(schema(table, promoted), arrays).map_err(Error::arrow(CONTEXT))
}

/// The map without the `wanted` keys, and a column for each of those in the order of their numbers. Of a key that a row has
/// twice the first stays in the column, the others in the map.
fn taken_out(
    map: &MapArray,
    wanted: &HashMap<&str, usize>,
) -> Result<(MapArray, Vec<ArrayRef>), Error> {
    let keys = map.keys().as_string::<i32>();
    let mut kept = Vec::new();
    let mut lengths = Vec::with_capacity(map.len());
    let mut places: Vec<Vec<Option<u32>>> = vec![vec![None; map.len()]; wanted.len()];
    for (row, ends) in map.value_offsets().windows(2).enumerate() {
        let before = kept.len();
        for entry in index(ends[0])..index(ends[1]) {
            let place = wanted.get(keys.value(entry)).map(|place| &mut places[*place][row]);
            let entry = u32::try_from(entry).unwrap_or(u32::MAX);
            match place {
                // A null is no value: it stays where it can be told from none.
                Some(place @ None) if map.values().is_valid(entry as usize) => *place = Some(entry),
                _ => kept.push(entry),
            }
        }
        lengths.push(kept.len() - before);
    }
    let rest = with_entries(map, &UInt32Array::from(kept), lengths)?;
    let column = |places: Vec<Option<u32>>| {
        take(map.values(), &UInt32Array::from(places), None).map_err(Error::arrow(CONTEXT))
    };
    Ok((rest, places.into_iter().map(column).collect::<Result<_, _>>()?))
}

fn with_entries(
    map: &MapArray,
    entries: &UInt32Array,
    lengths: Vec<usize>,
) -> Result<MapArray, Error> {
    let taken = take(map.entries(), entries, None).map_err(Error::arrow(CONTEXT))?;
    let DataType::Map(field, is_sorted) = map.data_type() else { return Ok(map.clone()) };
    let offsets = OffsetBuffer::from_lengths(lengths);
    MapArray::try_new(Arc::clone(field), offsets, taken.as_struct().clone(), None, *is_sorted)
        .map_err(Error::arrow(CONTEXT))
}

/// Rows as a segment holds them in the table's own schema: all attributes in the maps.
pub(crate) fn fold(table: Table, batch: RecordBatch) -> Result<RecordBatch, Error> {
    let own = segment_schema(table);
    let n_own = own.fields().len();
    if batch.num_columns() == n_own {
        return Ok(batch);
    }
    let mut arrays = batch.columns()[..n_own].to_vec();
    for map in MAPS {
        let fields = batch.schema_ref().fields()[n_own..].iter().zip(&batch.columns()[n_own..]);
        let columns: Vec<(String, &ArrayRef)> = fields
            .filter_map(|(field, column)| Some((Promoted::of(field)?, column)))
            .filter(|(promoted, _)| promoted.map == map)
            .map(|(promoted, column)| (promoted.key, column))
            .collect();
        let Ok(at) = own.index_of(map) else { continue };
        if !columns.is_empty() {
            arrays[at] = Arc::new(with_promoted(arrays[at].as_map(), &columns)?);
        }
    }
    RecordBatch::try_new(own, arrays).map_err(Error::arrow(CONTEXT))
}

/// The map with the values of `columns` (key, values of the map's type, null where there is none) before its own, row by
/// row.
///
/// # Errors
///
/// When a column is of another type or length than the map.
pub fn with_promoted(map: &MapArray, columns: &[(String, &ArrayRef)]) -> Result<MapArray, Error> {
    if columns.iter().any(|(_, column)| column.len() != map.len()) {
        let reason = "columns and map differ in length".to_owned();
        return Err(Error::Batch { table: "attributes", reason });
    }
    let mut keys = StringBuilder::new();
    let mut lengths = Vec::with_capacity(map.len());
    let own = map.keys().as_string::<i32>();
    // Which value comes next: of the map (0) or of one of the columns.
    let mut order: Vec<(usize, usize)> = Vec::new();
    for row in 0..map.len() {
        let before = order.len();
        for (place, (key, column)) in (1..).zip(columns) {
            if column.is_valid(row) {
                keys.append_value(key);
                order.push((place, row));
            }
        }
        for entry in index(map.value_offsets()[row])..index(map.value_offsets()[row + 1]) {
            keys.append_value(own.value(entry));
            order.push((0, entry));
        }
        lengths.push(order.len() - before);
    }
    let mut sources: Vec<&dyn Array> = vec![map.values().as_ref()];
    sources.extend(columns.iter().map(|(_, column)| column.as_ref() as &dyn Array));
    let values = interleave(&sources, &order).map_err(Error::arrow(CONTEXT))?;
    let DataType::Map(field, is_sorted) = map.data_type() else { return Ok(map.clone()) };
    let DataType::Struct(fields) = field.data_type() else { return Ok(map.clone()) };
    let pairs: Vec<ArrayRef> = vec![Arc::new(keys.finish()), values];
    let entries =
        StructArray::try_new(fields.clone(), pairs, None).map_err(Error::arrow(CONTEXT))?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    MapArray::try_new(Arc::clone(field), offsets, entries, None, *is_sorted)
        .map_err(Error::arrow(CONTEXT))
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Builder;
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::*;
    use crate::schema::map_builder;

    type Row = (Vec<(String, Option<String>)>, Vec<(String, Option<i64>)>);

    fn batch(rows: &[Row]) -> RecordBatch {
        let mut texts = map_builder(StringBuilder::new());
        let mut numbers = map_builder(Int64Builder::new());
        for (of_text, of_number) in rows {
            for (key, value) in of_text {
                texts.keys().append_value(key);
                texts.values().append_option(value.as_ref());
            }
            texts.append(true).unwrap();
            for (key, value) in of_number {
                numbers.keys().append_value(key);
                numbers.values().append_option(*value);
            }
            numbers.append(true).unwrap();
        }
        let schema = segment_schema(Table::Logs);
        let arrays = schema.fields().iter().map(|field| -> ArrayRef {
            match field.name().as_str() {
                columns::ATTRS_STR => Arc::new(texts.finish()),
                columns::ATTRS_INT => Arc::new(numbers.finish()),
                _ => new_null_array(field.data_type(), rows.len()),
            }
        });
        let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        RecordBatch::try_new(schema, arrays.collect()).unwrap()
    }

    /// Attributes by map, row and key; of a key that is there twice both values.
    fn sets(batch: &RecordBatch) -> Vec<Vec<(String, String)>> {
        let mut rows = vec![Vec::new(); batch.num_rows()];
        for map in MAPS {
            let map = batch.column_by_name(map).unwrap().as_map();
            let values = arrow::compute::cast(map.values(), &DataType::Utf8).unwrap();
            for (row, set) in rows.iter_mut().enumerate() {
                if map.is_null(row) {
                    continue;
                }
                for entry in index(map.value_offsets()[row])..index(map.value_offsets()[row + 1]) {
                    let value = values.as_string::<i32>();
                    let value = if value.is_null(entry) { "null" } else { value.value(entry) };
                    let key = map.keys().as_string::<i32>().value(entry);
                    set.push((key.to_owned(), value.to_owned()));
                }
            }
        }
        rows.iter_mut().for_each(|set| set.sort());
        rows
    }

    proptest! {
        #[test]
        fn attributes_come_back_whatever_their_types(
            rows in prop::collection::vec(
                (
                    prop::collection::vec(("[ab.]{1,2}", any::<Option<String>>()), 0..4),
                    prop::collection::vec(("[ab.]{1,2}", any::<Option<i64>>()), 0..3),
                ),
                1..30,
            ),
        ) {
            let whole = batch(&rows);
            let mut counts = Counts::default();
            counts.add(&whole.slice(0, 1));
            counts.add(&whole.slice(1, rows.len() - 1));
            let mut again = Counts::default();
            again.add_text(&counts.to_text());
            prop_assert_eq!(again.choose(), counts.choose());
            let promoted = counts.choose();
            // The schemas of real segments say what must be there; here most is null.
            let own = segment_schema(Table::Logs);
            let (wanted, n_own) = (sets(&whole), own.fields().len());
            let parts = [whole.slice(0, rows.len() / 2), whole.slice(rows.len() / 2, rows.len() - rows.len() / 2)];
            let mut found = Vec::new();
            for part in parts {
                let mut arrays = part.columns().to_vec();
                for map in MAPS {
                    let at = own.index_of(map).unwrap();
                    let of_map: Vec<&Promoted> = promoted.iter().filter(|column| column.map == map).collect();
                    let places: HashMap<&str, usize> =
                        of_map.iter().enumerate().map(|(place, column)| (column.key.as_str(), place)).collect();
                    if part.column(at).null_count() > 0 || of_map.is_empty() {
                        continue;
                    }
                    let (rest, taken) = taken_out(part.column(at).as_map(), &places).unwrap();
                    let back: Vec<(String, &ArrayRef)> =
                        of_map.iter().map(|column| column.key.clone()).zip(&taken).collect();
                    arrays[at] = Arc::new(with_promoted(&rest, &back).unwrap());
                }
                prop_assert_eq!(arrays.len(), n_own);
                found.extend(sets(&RecordBatch::try_new(part.schema(), arrays).unwrap()));
            }
            prop_assert_eq!(found, wanted);
        }
    }

    #[test]
    fn frequent_attributes_of_their_main_type_are_chosen() {
        let row = |i: i64| -> Row {
            let mut texts = vec![("often".to_owned(), Some("x".to_owned()))];
            if i == 7 {
                texts.push(("rare".to_owned(), Some("y".to_owned())));
                texts.push(("number".to_owned(), Some("seven".to_owned())));
            }
            (texts, vec![("number".to_owned(), Some(i))])
        };
        let mut counts = Counts::default();
        counts.add(&batch(&(0..500).map(row).collect::<Vec<_>>()));
        let chosen = counts.choose();
        let names: Vec<(&str, &str)> =
            chosen.iter().map(|column| (column.key.as_str(), column.map)).collect();
        assert_eq!(names, [("number", columns::ATTRS_INT), ("often", columns::ATTRS_STR)]);
    }
}
