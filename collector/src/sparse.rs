//! Columns that are told only of the rows that have a value: the rest becomes null, or empty, without a call for each.
//!
//! Rows are given by number, in ascending order; [`finish`](Texts::finish) is told how many there were.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, FixedSizeBinaryArray, MapArray, NullBufferBuilder, StringBuilder, StructArray,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Fields};
use store::schema;

use crate::error::Error;

/// A text column.
#[derive(Debug)]
pub(crate) struct Texts {
    builder: StringBuilder,
    rows: usize,
}

impl Texts {
    pub(crate) fn new() -> Self {
        Self { builder: StringBuilder::with_capacity(0, 0), rows: 0 }
    }

    /// The text of `row`.
    #[inline]
    pub(crate) fn set(&mut self, row: usize, text: &str) {
        self.set_run(row, 1, text);
    }

    /// The text of `n` rows from `row` on.
    #[inline]
    pub(crate) fn set_run(&mut self, row: usize, n: usize, text: &str) {
        self.pad(row);
        if n == 1 {
            self.builder.append_value(text);
        } else {
            self.builder.append_value_n(text, n);
        }
        self.rows = row + n;
    }

    /// The text of `row`; empty text is none.
    #[inline]
    pub(crate) fn set_filled(&mut self, row: usize, text: &str) {
        if !text.is_empty() {
            self.set(row, text);
        }
    }

    #[inline]
    fn pad(&mut self, rows: usize) {
        if rows > self.rows {
            self.builder.append_nulls(rows - self.rows);
            self.rows = rows;
        }
    }

    /// The column of `rows` rows.
    pub(crate) fn finish(mut self, rows: usize) -> ArrayRef {
        self.pad(rows);
        Arc::new(self.builder.finish())
    }
}

/// A column of ids of `N` bytes.
#[derive(Debug)]
pub(crate) struct Ids<const N: usize> {
    bytes: Vec<u8>,
    valid: NullBufferBuilder,
    rows: usize,
}

impl<const N: usize> Ids<N> {
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::new(), valid: NullBufferBuilder::new(0), rows: 0 }
    }

    /// The id of `row`.
    #[inline]
    pub(crate) fn set(&mut self, row: usize, id: &[u8; N]) {
        self.pad(row);
        self.bytes.extend_from_slice(id);
        self.valid.append_non_null();
        self.rows = row + 1;
    }

    #[inline]
    fn pad(&mut self, rows: usize) {
        if rows > self.rows {
            self.valid.append_n_nulls(rows - self.rows);
            self.bytes.resize(rows * N, 0);
            self.rows = rows;
        }
    }

    /// The column of `rows` rows.
    pub(crate) fn finish(mut self, rows: usize) -> Result<ArrayRef, Error> {
        self.pad(rows);
        let width = i32::try_from(N).map_err(|_| uneven("id", "too wide"))?;
        let ids =
            FixedSizeBinaryArray::try_new(width, Buffer::from_vec(self.bytes), self.valid.finish())
                .map_err(|cause| uneven("id", &cause.to_string()))?;
        Ok(Arc::new(ids))
    }
}

/// Where the entries of each row of a map or list column begin.
#[derive(Debug)]
pub(crate) struct Offsets {
    starts: Vec<i32>,
    entries: i32,
}

impl Offsets {
    pub(crate) fn new() -> Self {
        Self { starts: Vec::new(), entries: 0 }
    }

    /// Notes one more entry of `row`.
    #[inline]
    pub(crate) fn add(&mut self, row: usize) -> Result<(), Error> {
        while self.starts.len() <= row {
            self.starts.push(self.entries);
        }
        // 2^31 entries of at least two bytes each are more than any body may hold.
        self.entries =
            self.entries.checked_add(1).ok_or_else(|| uneven("list", "too many entries"))?;
        Ok(())
    }

    /// The offsets of `rows` rows.
    pub(crate) fn finish(mut self, rows: usize) -> OffsetBuffer<i32> {
        self.starts.resize(rows + 1, self.entries);
        OffsetBuffer::new(ScalarBuffer::from(self.starts))
    }
}

/// The keys and row bounds of a map column; its values are built beside it.
#[derive(Debug)]
pub(crate) struct MapKeys {
    keys: StringBuilder,
    offsets: Offsets,
}

impl MapKeys {
    pub(crate) fn new() -> Self {
        Self { keys: StringBuilder::with_capacity(0, 0), offsets: Offsets::new() }
    }

    /// Adds a key to `row`.
    #[inline]
    pub(crate) fn add(&mut self, row: usize, key: &str) -> Result<(), Error> {
        self.keys.append_value(key);
        self.offsets.add(row)
    }

    /// The column of `rows` rows, with one value for each key.
    pub(crate) fn finish(mut self, rows: usize, values: ArrayRef) -> Result<ArrayRef, Error> {
        let DataType::Map(entries, is_sorted) = schema::map_of(values.data_type().clone()) else {
            return Err(uneven("map", "its type is none of a map"));
        };
        let DataType::Struct(fields) = entries.data_type() else {
            return Err(uneven("map", "its entries are no pairs"));
        };
        let pairs = structs(fields.clone(), vec![Arc::new(self.keys.finish()), values])?;
        let map = MapArray::try_new(entries, self.offsets.finish(rows), pairs, None, is_sorted)
            .map_err(|cause| uneven("map", &cause.to_string()))?;
        Ok(Arc::new(map))
    }
}

/// A struct column without nulls.
pub(crate) fn structs(fields: Fields, arrays: Vec<ArrayRef>) -> Result<StructArray, Error> {
    StructArray::try_new(fields, arrays, None).map_err(|cause| uneven("struct", &cause.to_string()))
}

/// What only a mistake of ours leads to.
pub(crate) fn uneven(what: &str, cause: &str) -> Error {
    Error::Internal(format!("a {what} column is uneven: {cause}"))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};

    use super::*;

    #[test]
    fn rows_without_a_value_are_null() {
        let mut texts = Texts::new();
        texts.set(1, "a");
        texts.set_run(3, 2, "b");
        texts.set_filled(5, "");
        let column = texts.finish(7);
        let found: Vec<_> = column.as_string::<i32>().iter().collect();
        assert_eq!(found, [None, Some("a"), None, Some("b"), Some("b"), None, None]);
        let mut ids = Ids::<2>::new();
        ids.set(1, b"xy");
        let column = ids.finish(3).unwrap();
        let found: Vec<_> = column.as_fixed_size_binary().iter().collect();
        assert_eq!(found, [None, Some(&b"xy"[..]), None]);
        assert_eq!(Texts::new().finish(2).null_count(), 2);
        assert_eq!(Ids::<8>::new().finish(0).unwrap().len(), 0);
    }

    #[test]
    fn rows_without_entries_are_empty() {
        let mut keys = MapKeys::new();
        let mut values = StringBuilder::new();
        for (row, key) in [(1, "a"), (1, "b"), (3, "c")] {
            keys.add(row, key).unwrap();
            values.append_value(key);
        }
        let column = keys.finish(5, Arc::new(values.finish())).unwrap();
        let lengths: Vec<_> = (0..5).map(|row| column.as_map().value_length(row)).collect();
        assert_eq!(lengths, [0, 2, 0, 1, 0]);
        assert_eq!(column.null_count(), 0);
        assert_eq!(column.data_type(), &schema::map_of(DataType::Utf8));
    }
}
