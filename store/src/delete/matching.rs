//! Which rows of a batch a delete is about.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit, UInt64Type};
use model::id::ResourceId;
use model::matcher::Matcher;
use model::time::NS_PER_MS;

use crate::delete::DeleteFrom;
use crate::delete::marker::Marker;
use crate::error::Error;
use crate::index::Attributes;
use crate::registry::Resource;
use crate::registry::select::Test;
use crate::schema::columns;

/// Matchers with their expressions compiled: name as given, name as a column, test.
pub(crate) struct Conditions(Vec<(String, String, Test)>);

impl Conditions {
    pub(crate) fn new(matchers: &[Matcher]) -> Result<Self, Error> {
        let condition = |matcher: &Matcher| {
            let column = matcher.name.replace('.', "_");
            Ok((matcher.name.clone(), column, Test::new(matcher)?))
        };
        matchers.iter().map(condition).collect::<Result<_, Error>>().map(Self)
    }

    /// Columns among `known` that are needed to tell.
    pub(crate) fn columns<'a>(&self, known: &[&'a str]) -> Vec<&'a str> {
        let is_named = |known: &&&str| {
            self.0.iter().any(|(name, column, _)| {
                column == **known || known.strip_prefix(columns::PROMOTED) == Some(name.as_str())
            })
        };
        let rest = [columns::TIME, columns::RESOURCE_ID];
        let is_rest =
            |name: &&&str| rest.contains(*name) || columns::ATTRIBUTE_MAPS.contains(*name);
        known.iter().filter(|name| is_named(name) || is_rest(name)).copied().collect()
    }
}

/// For each row of `batch` whether `marker` deletes it. A row is about its time and `reach_ns` after it.
pub(crate) fn hits(
    marker: &Marker,
    batch: &RecordBatch,
    reach_ns: i64,
) -> Result<Vec<bool>, Error> {
    let delete = &marker.record.delete;
    let times = times_ns(batch)?;
    let first = delete.first.0.saturating_sub(reach_ns);
    let is_in_range = |ns: &i64| first <= *ns && *ns <= delete.last.0;
    let mut hits: Vec<bool> = times.iter().map(is_in_range).collect();
    if delete.from == DeleteFrom::Metrics {
        let ids = batch.column_by_name(columns::SERIES_ID).map(AsArray::as_primitive::<UInt64Type>);
        for (hit, id) in
            hits.iter_mut().zip(ids.map(|ids| ids.values().iter()).into_iter().flatten())
        {
            *hit &= marker.ids.contains(id);
        }
        return Ok(hits);
    }
    for (name, column, test) in &marker.conditions.0 {
        let texts = Texts::new(batch, (name, column), &marker.resources)?;
        for (row, hit) in hits.iter_mut().enumerate().filter(|(_, hit)| **hit) {
            *hit = test.holds(&texts.at(row));
        }
    }
    Ok(hits)
}

/// Times of the rows in ns.
fn times_ns(batch: &RecordBatch) -> Result<Vec<i64>, Error> {
    let times = batch
        .column_by_name(columns::TIME)
        .ok_or_else(|| Error::Delete { reason: "a segment has no times".to_owned() })?;
    let unit_ns = match times.data_type() {
        DataType::Timestamp(TimeUnit::Millisecond, _) => NS_PER_MS,
        _ => 1,
    };
    let ticks = cast(times, &DataType::Int64).map_err(Error::arrow("reading times"))?;
    let ticks = ticks.as_primitive::<Int64Type>().values();
    Ok(ticks.iter().map(|tick| tick.saturating_mul(unit_ns)).collect())
}

/// What one name of a predicate means in a batch, tried in this order.
struct Texts<'a> {
    column: Option<Text>,
    /// Values of the attribute that stand in a column of its own.
    promoted: Option<StringArray>,
    name: &'a str,
    maps: Vec<Attributes>,
    resources: Option<(ArrayRef, &'a HashMap<ResourceId, Arc<Resource>>)>,
}

enum Text {
    Plain(StringArray),
    Id(FixedSizeBinaryArray),
}

impl<'a> Texts<'a> {
    fn new(
        batch: &RecordBatch,
        (name, column): (&'a str, &str),
        known: &'a HashMap<ResourceId, Arc<Resource>>,
    ) -> Result<Self, Error> {
        let wrap = || Error::arrow("reading what a delete is about");
        let column = match batch.column_by_name(column) {
            Some(ids) if matches!(ids.data_type(), DataType::FixedSizeBinary(_)) => {
                Some(Text::Id(ids.as_fixed_size_binary().clone()))
            }
            Some(map) if matches!(map.data_type(), DataType::Map(..)) => None,
            Some(values) => {
                let texts = cast(values, &DataType::Utf8).map_err(wrap())?;
                Some(Text::Plain(texts.as_string::<i32>().clone()))
            }
            None => None,
        };
        let promoted = match batch.column_by_name(&format!("{}{name}", columns::PROMOTED)) {
            Some(values) => {
                let texts = cast(values, &DataType::Utf8).map_err(wrap())?;
                Some(texts.as_string::<i32>().clone())
            }
            None => None,
        };
        let maps = columns::ATTRIBUTE_MAPS.iter().filter_map(|name| batch.column_by_name(name));
        let maps = maps.filter_map(Attributes::of).collect();
        let ids = batch.column_by_name(columns::RESOURCE_ID).cloned();
        Ok(Self { column, promoted, name, maps, resources: ids.map(|ids| (ids, known)) })
    }

    /// The text in `row`; empty when there is none.
    fn at(&self, row: usize) -> Cow<'_, str> {
        match &self.column {
            Some(Text::Plain(texts)) if texts.is_valid(row) => return texts.value(row).into(),
            Some(Text::Id(ids)) if ids.is_valid(row) => {
                return ids.value(row).iter().map(|byte| format!("{byte:02x}")).collect();
            }
            _ => {}
        }
        if let Some(texts) = self.promoted.as_ref().filter(|texts| texts.is_valid(row)) {
            return texts.value(row).into();
        }
        let mut pairs = self.maps.iter().flat_map(|map| map.row(row));
        if let Some((_, value)) = pairs.find(|(name, _)| *name == self.name) {
            return value.into();
        }
        self.of_resource(row).unwrap_or_default().into()
    }

    fn of_resource(&self, row: usize) -> Option<String> {
        let (ids, known) = self.resources.as_ref()?;
        let id = ids.as_primitive::<UInt64Type>().value(row);
        known.get(&ResourceId(id))?.text(self.name).map(str::to_owned)
    }
}
