//! A column as SQL shows it, and what it is made of.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::logical_expr::{Expr, cast, ident};
use store::schema::{columns, time_ns};

use super::dimension::Dimension;
use crate::function;

/// Where a column's values come from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The stored column of this name, as it is.
    Stored(&'static str),
    /// A stored time in ms, shown in ns.
    Millis(&'static str),
    /// A stored id of that many bytes, shown in hexadecimal.
    Id(&'static str, usize),
    /// The typed attribute maps, shown as one.
    Attributes,
    /// Any other expression over stored columns.
    Computed(Expr),
    /// A property of the series, joined by `series_id`.
    Series(Dimension),
}

/// The typed attribute maps of logs, spans and resources.
pub(crate) const ATTRIBUTE_MAPS: [&str; 5] = [
    columns::ATTRS_STR,
    columns::ATTRS_INT,
    columns::ATTRS_F64,
    columns::ATTRS_BOOL,
    columns::ATTRS_JSON,
];

impl Source {
    /// The expression over stored columns; `None` for a property of the series.
    pub(crate) fn stored(&self) -> Option<Expr> {
        match self {
            Self::Stored(name) => Some(ident(*name)),
            Self::Millis(name) => Some(cast(ident(*name), time_ns())),
            Self::Id(name, _) => Some(function::hex_id(ident(*name))),
            Self::Attributes => Some(function::attributes(maps())),
            Self::Computed(expr) => Some(expr.clone()),
            Self::Series(_) => None,
        }
    }
}

/// The typed attribute maps as expressions.
pub(crate) fn maps() -> Vec<Expr> {
    ATTRIBUTE_MAPS.iter().map(|name| ident(*name)).collect()
}

/// A column as SQL shows it.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// Name, type and whether it may be null.
    pub field: Field,
    /// Its values.
    pub source: Source,
}

impl Column {
    pub(crate) fn new(name: &str, data_type: DataType, source: Source) -> Self {
        Self { field: Field::new(name, data_type, true), source }
    }
}

/// The schema of `columns`.
pub(crate) fn schema_of(columns: &[Column]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|column| column.field.clone()).collect::<Vec<_>>()))
}
