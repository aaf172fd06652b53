//! Attributes that segments hold in columns of their own: expressions over the maps see them in the maps.

use std::sync::Arc;

use arrow::array::{RecordBatch, new_null_array};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::{
    Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion,
};
use datafusion::error::Result;
use datafusion::logical_expr::{Case, Expr, cast, ident, lit};
use store::schema::columns::{ATTRIBUTE_MAPS, PROMOTED};

use crate::function;

/// The columns of all `segments`, each name once: as text where its type differs between segments.
pub(super) fn unified(segments: impl IntoIterator<Item = Vec<FieldRef>>) -> Vec<FieldRef> {
    let mut columns: std::collections::BTreeMap<String, FieldRef> =
        std::collections::BTreeMap::new();
    for field in segments.into_iter().flatten() {
        match columns.get(field.name()) {
            Some(known) if known.data_type() != field.data_type() => {
                let text = known.as_ref().clone().with_data_type(DataType::Utf8);
                columns.insert(field.name().clone(), Arc::new(text));
            }
            Some(_) => {}
            None => {
                columns.insert(field.name().clone(), field);
            }
        }
    }
    columns.into_values().collect()
}

/// `schema` with `columns` behind its own.
pub(super) fn widened(schema: &SchemaRef, columns: &[FieldRef]) -> SchemaRef {
    if columns.is_empty() {
        return Arc::clone(schema);
    }
    Arc::new(Schema::new(schema.fields().iter().chain(columns).cloned().collect::<Vec<_>>()))
}

/// `batch`, whose attributes are all in its maps, in the widened schema.
pub(super) fn widen(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let added = schema.fields().iter().skip(batch.num_columns());
    let nulls = added.map(|field| new_null_array(field.data_type(), batch.num_rows()));
    let arrays = batch.columns().iter().cloned().chain(nulls).collect();
    Ok(RecordBatch::try_new(Arc::clone(schema), arrays)?)
}

/// `expr` over stored columns, with the attributes in `promoted` columns as part of their maps.
pub(super) fn through(expr: Expr, promoted: &[FieldRef]) -> Result<Expr> {
    if promoted.is_empty() {
        return Ok(expr);
    }
    let replaced = |expr| Transformed::new(expr, true, TreeNodeRecursion::Jump);
    expr.transform_down(|expr| {
        if let Some(found) = one(&expr, promoted) {
            return Ok(replaced(found));
        }
        let Expr::Column(used) = &expr else { return Ok(Transformed::no(expr)) };
        let Some(map) = ATTRIBUTE_MAPS.iter().position(|name| *name == used.name()) else {
            return Ok(Transformed::no(expr));
        };
        let of_map: Vec<Expr> = promoted
            .iter()
            .filter(|field| place(field.data_type()) == map)
            .flat_map(|field| [lit(key(field)), ident(field.name())])
            .collect();
        if of_map.is_empty() {
            return Ok(Transformed::no(expr));
        }
        Ok(replaced(function::attribute_map([vec![expr], of_map].concat())))
    })
    .data()
}

/// Place in `ATTRIBUTE_MAPS` of the map that values of this type are in.
fn place(data_type: &DataType) -> usize {
    match data_type {
        DataType::Int64 => 1,
        DataType::Float64 => 2,
        DataType::Boolean => 3,
        _ => 0,
    }
}

fn key(field: &FieldRef) -> String {
    field.name().strip_prefix(PROMOTED).unwrap_or(field.name()).to_owned()
}

/// One attribute by name: from its column, or else from the maps, without building those.
fn one(expr: &Expr, promoted: &[FieldRef]) -> Option<Expr> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let (name, maps) = call.args.split_last()?;
    let are_maps = maps
        .iter()
        .all(|map| matches!(map, Expr::Column(column) if ATTRIBUTE_MAPS.contains(&column.name())));
    let Expr::Literal(name, _) = name else { return None };
    let name = name.try_as_str().flatten()?;
    if call.func.name() != "attr" || !are_maps {
        return None;
    }
    let column = promoted.iter().find(|field| key(field) == name);
    Some(match column {
        Some(field) => {
            let (column, text) = (ident(field.name()), cast(ident(field.name()), DataType::Utf8));
            let when = vec![(Box::new(column.is_not_null()), Box::new(text))];
            Expr::Case(Case::new(None, when, Some(Box::new(expr.clone()))))
        }
        None => expr.clone(),
    })
}
