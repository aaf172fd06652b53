//! From DataFusion's errors to ours: whose fault it is, where in the text, and what name was meant.

use datafusion::catalog::CatalogProviderList;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::{Blame, Error, Position, near};

/// What `error` means for the one who wrote `text`.
pub(crate) fn blame(error: &DataFusionError, text: &str, state: &SessionState) -> Error {
    let root = error.find_root();
    let message = sentence(root);
    match root {
        DataFusionError::Shared(inner) => blame(inner, text, state),
        DataFusionError::Collection(errors) if !errors.is_empty() => blame(&errors[0], text, state),
        DataFusionError::ResourcesExhausted(_) => Error::Exhausted(message),
        DataFusionError::External(inner) => match inner.downcast_ref::<Error>() {
            Some(ours) => ours.clone(),
            None => Error::Internal(message),
        },
        DataFusionError::ObjectStore(inner)
            if matches!(**inner, datafusion::object_store::Error::NotFound { .. }) =>
        {
            Error::Unavailable(format!(
                "a segment went away during the query, try again: {message}"
            ))
        }
        DataFusionError::ParquetError(_)
        | DataFusionError::ObjectStore(_)
        | DataFusionError::IoError(_) => Error::Corrupt(message),
        DataFusionError::Internal(_)
        | DataFusionError::ExecutionJoin(_)
        | DataFusionError::Substrait(_)
        | DataFusionError::Ffi(_) => Error::Internal(message),
        DataFusionError::ArrowError(..) | DataFusionError::Execution(_) => {
            Error::Execution(message)
        }
        DataFusionError::SchemaError(inner, _) => unknown_column(inner, error, text, message),
        _ => unknown_name(error, text, message, state),
    }
}

/// The message alone: no stack trace, no class of error in front.
fn sentence(error: &DataFusionError) -> String {
    let text = match error {
        DataFusionError::External(inner) => inner.to_string(),
        DataFusionError::ArrowError(inner, _) => inner.to_string(),
        DataFusionError::SQL(inner, _) => inner.to_string(),
        other => other.message().into_owned(),
    };
    let end = text.find("\n\nbacktrace:").unwrap_or(text.len());
    text[..end].trim_end_matches('.').trim().to_owned()
}

fn unknown_column(
    schema_error: &SchemaError,
    error: &DataFusionError,
    text: &str,
    message: String,
) -> Error {
    let SchemaError::FieldNotFound { field, valid_fields } = schema_error else {
        return invalid(message, position(error, text), None);
    };
    let mut known: Vec<&str> = valid_fields.iter().map(|column| column.name()).collect();
    known.sort_unstable();
    known.dedup();
    let hint = match near(field.name(), known.iter().copied()).as_slice() {
        [] if known.is_empty() => None,
        [] => Some(format!("columns: {}", list(&known))),
        names => Some(format!("did you mean {}?", list(names))),
    };
    let position = position(error, text).or_else(|| word(text, field.name()));
    invalid(format!("there is no column \"{}\"", field.flat_name()), position, hint)
}

fn unknown_name(
    error: &DataFusionError,
    text: &str,
    message: String,
    state: &SessionState,
) -> Error {
    let Some(name) = missing_table(&message) else {
        return invalid(message, position(error, text), None);
    };
    let tables = table_names(state.catalog_list().as_ref());
    let names = near(&name, tables.iter().map(String::as_str));
    let hint = match names.as_slice() {
        [] => "SHOW TABLES lists all; a metric is a table of its name in double quotes".to_owned(),
        names => {
            let quoted: Vec<String> = names.iter().map(|name| quoted(name)).collect();
            let quoted: Vec<&str> = quoted.iter().map(String::as_str).collect();
            format!("did you mean {}?", list(&quoted))
        }
    };
    let position = position(error, text).or_else(|| word(text, &name));
    invalid(format!("there is no table \"{name}\""), position, Some(hint))
}

fn invalid(message: String, position: Option<Position>, hint: Option<String>) -> Error {
    Error::Invalid { message, blame: Box::new(Blame { position, hint }) }
}

/// `table 'headrope.public.x' not found` names `x`.
fn missing_table(message: &str) -> Option<String> {
    let rest = message.strip_prefix("table '")?;
    let path = rest.strip_suffix("' not found")?;
    let name = path.strip_prefix("headrope.").unwrap_or(path);
    Some(name.strip_prefix("public.").unwrap_or(name).to_owned())
}

fn table_names(catalogs: &dyn CatalogProviderList) -> Vec<String> {
    catalogs
        .catalog("headrope")
        .and_then(|catalog| catalog.schema("public"))
        .map(|schema| schema.table_names())
        .unwrap_or_default()
}

fn quoted(name: &str) -> String {
    let is_plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if is_plain { name.to_owned() } else { format!("\"{name}\"") }
}

fn list(names: &[&str]) -> String {
    let shown: Vec<&str> = names.iter().copied().take(40).collect();
    let more = if names.len() > shown.len() { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// Where the planner says it is.
fn position(error: &DataFusionError, text: &str) -> Option<Position> {
    let span = error.diagnostic()?.span?;
    let start = Position::at(text, span.start.line, span.start.column).start;
    let end = Position::at(text, span.end.line, span.end.column).start;
    Some(Position::of(text, start, end))
}

/// Where the word `name` stands first, outside strings and comments.
fn word(text: &str, name: &str) -> Option<Position> {
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location().ok()?;
    let token = tokens.iter().find(|token| match &token.token {
        Token::Word(word) => word.value.eq_ignore_ascii_case(name),
        _ => false,
    })?;
    let start = Position::at(text, token.span.start.line, token.span.start.column).start;
    let end = Position::at(text, token.span.end.line, token.span.end.column).start;
    Some(Position::of(text, start, end))
}
