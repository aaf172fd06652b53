//! From text to one statement that only reads: macros replaced, size and nesting checked.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Query, SetExpr, Statement, Visit as _, Visitor};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};
use model::time::TimeRange;

use crate::error::{Error, Position};

/// Nested parentheses, subqueries and the like.
const DEPTH_MAX: usize = 50;

/// Words and operators; lists of values may be longer. A chain of operators nests as deep as it is long, and is
/// walked by recursion in many places.
const TOKENS_MAX: usize = 4_000;

/// Operators of which each level of nesting is named by the text of all levels below it: planning takes time in the
/// square of their number.
const ARITHMETIC_MAX: usize = 400;

/// Commas between parentheses: values of an `IN`, arguments.
const VALUES_MAX: usize = 50_000;

/// Other commas: columns, tables, expressions to group or to sort by. A plan's schemas hold them at each level.
const ITEMS_MAX: usize = 2_000;

/// `UNION` and the like; each is a plan of its own.
const SET_OPERATIONS_MAX: usize = 200;

const RANGE_MACRO: &str = "$__range";

/// Reads `text`, which must hold one query, `EXPLAIN`, `DESCRIBE` or `SHOW`.
pub(crate) fn prepare(text: &str, range: Option<TimeRange>) -> Result<Statement, Error> {
    let dialect = GenericDialect {};
    let tokens = Tokenizer::new(&dialect, text)
        .tokenize_with_location()
        .map_err(|error| misread(&ParserError::from(error), text))?;
    check_size(&tokens, text)?;
    let tokens = expand(tokens, range, text)?;
    let writing = writing(&tokens);
    let mut parser =
        Parser::new(&dialect).with_recursion_limit(DEPTH_MAX).with_tokens_with_locations(tokens);
    let mut statements = parser.parse_statements().map_err(|error| match writing {
        Some(word) => refused(&word),
        None => misread(&error, text),
    })?;
    match (statements.pop(), statements.is_empty()) {
        (Some(statement), true) => check_reads(statement),
        (Some(_), false) => Err(Error::invalid("one statement at a time, please")),
        (None, _) => Err(Error::invalid("the query is empty")),
    }
}

fn check_size(tokens: &[TokenWithSpan], text: &str) -> Result<(), Error> {
    let counts = |token: &&TokenWithSpan| {
        !matches!(
            token.token,
            Token::Whitespace(_)
                | Token::Comma
                | Token::Number(..)
                | Token::SingleQuotedString(_)
                | Token::NationalStringLiteral(_)
        )
    };
    let refused = |token: &TokenWithSpan, limit: usize, what: &str| {
        Err(Error::invalid_at(
            format!("the query has more than {limit} {what}"),
            Position::at(text, token.span.start.line, token.span.start.column),
        ))
    };
    if let Some(token) = tokens.iter().filter(counts).nth(TOKENS_MAX) {
        return refused(token, TOKENS_MAX, "words and operators");
    }
    let (values, items) = commas(tokens);
    if let Some(token) = values.get(VALUES_MAX) {
        return refused(token, VALUES_MAX, "values in lists");
    }
    if let Some(token) = items.get(ITEMS_MAX) {
        return refused(token, ITEMS_MAX, "columns and tables in lists");
    }
    if let Some(token) =
        tokens.iter().filter(|t| is_set_operation(&t.token)).nth(SET_OPERATIONS_MAX)
    {
        return refused(token, SET_OPERATIONS_MAX, "set operations such as UNION");
    }
    match tokens.iter().filter(|token| is_arithmetic(&token.token)).nth(ARITHMETIC_MAX) {
        Some(token) => refused(token, ARITHMETIC_MAX, "arithmetic operators"),
        None => Ok(()),
    }
}

/// Commas in parentheses that hold values, and those at the level of a query.
fn commas(tokens: &[TokenWithSpan]) -> (Vec<&TokenWithSpan>, Vec<&TokenWithSpan>) {
    let mut significant =
        tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).peekable();
    let (mut values, mut items) = (Vec::new(), Vec::new());
    let mut holds_values: Vec<bool> = Vec::new();
    while let Some(token) = significant.next() {
        match token.token {
            Token::LParen => {
                let is_query =
                    significant.peek().and_then(|next| keyword(&next.token)).is_some_and(|word| {
                        matches!(word, Keyword::SELECT | Keyword::WITH | Keyword::FROM)
                    });
                holds_values.push(!is_query);
            }
            Token::RParen => {
                holds_values.pop();
            }
            Token::Comma if holds_values.last() == Some(&true) => values.push(token),
            Token::Comma => items.push(token),
            _ => {}
        }
    }
    (values, items)
}

const fn keyword(token: &Token) -> Option<Keyword> {
    match token {
        Token::Word(word) => Some(word.keyword),
        _ => None,
    }
}

const fn is_set_operation(token: &Token) -> bool {
    matches!(keyword(token), Some(Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT))
}

const fn is_arithmetic(token: &Token) -> bool {
    matches!(
        token,
        Token::Plus
            | Token::Minus
            | Token::Mul
            | Token::Div
            | Token::Mod
            | Token::StringConcat
            | Token::DoubleColon
            | Token::LBracket
            | Token::Ampersand
            | Token::Pipe
            | Token::Caret
            | Token::Arrow
            | Token::LongArrow
    )
}

/// Replaces `$__range` by the condition on `time`. The new tokens stand where the macro stood, so that positions in
/// messages stay those of the text the user wrote.
fn expand(
    tokens: Vec<TokenWithSpan>,
    range: Option<TimeRange>,
    text: &str,
) -> Result<Vec<TokenWithSpan>, Error> {
    let mut expanded = Vec::with_capacity(tokens.len());
    for token in tokens {
        match &token.token {
            Token::Placeholder(name) if name == RANGE_MACRO => {
                let Some(range) = range else {
                    return Err(Error::invalid_at(
                        "$__range needs a time range, and the request has none",
                        Position::at(text, token.span.start.line, token.span.start.column),
                    ));
                };
                expanded.extend(
                    condition(range)?
                        .into_iter()
                        .map(|new| TokenWithSpan { token: new, span: token.span }),
                );
            }
            Token::Placeholder(name) if name.starts_with("$__") => {
                return Err(Error::invalid_at(
                    format!("there is no macro {name}, only {RANGE_MACRO}"),
                    Position::at(text, token.span.start.line, token.span.start.column),
                ));
            }
            _ => expanded.push(token),
        }
    }
    Ok(expanded)
}

fn condition(range: TimeRange) -> Result<Vec<Token>, Error> {
    let text = format!(
        "(time >= to_timestamp_nanos({}) AND time < to_timestamp_nanos({}))",
        range.start.0, range.end.0
    );
    Tokenizer::new(&GenericDialect {}, &text)
        .tokenize()
        .map_err(|error| Error::Internal(format!("range condition: {error}")))
}

/// The first word where it is that of a statement that writes, which may be of a dialect the parser does not know.
fn writing(tokens: &[TokenWithSpan]) -> Option<String> {
    let first = tokens.iter().find(|t| !matches!(t.token, Token::Whitespace(_)))?;
    let is_writing = matches!(
        keyword(&first.token)?,
        Keyword::ALTER
            | Keyword::COPY
            | Keyword::CREATE
            | Keyword::DELETE
            | Keyword::DROP
            | Keyword::INSERT
            | Keyword::MERGE
            | Keyword::REPLACE
            | Keyword::SET
            | Keyword::TRUNCATE
            | Keyword::UPDATE
    );
    is_writing.then(|| first.token.to_string())
}

/// A parser's complaint, its position taken out of the sentence.
fn misread(error: &ParserError, text: &str) -> Error {
    let message = match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
        ParserError::RecursionLimitExceeded => {
            return Error::invalid(format!("the query nests deeper than {DEPTH_MAX} levels"));
        }
    };
    let Some((sentence, place)) = message.rsplit_once(" at Line: ") else {
        return Error::invalid(message.clone());
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let position = place
        .split_once(", Column: ")
        .and_then(|(line, column)| Some(Position::at(text, number(line)?, number(column)?)));
    match position {
        Some(position) => Error::invalid_at(sentence, position),
        None => Error::invalid(message.clone()),
    }
}

fn check_reads(statement: Statement) -> Result<Statement, Error> {
    match &statement {
        Statement::Query(query) => check_query(query)?,
        Statement::Explain { statement, .. } => match statement.as_ref() {
            Statement::Query(query) => check_query(query)?,
            other => return Err(refused(&other.to_string())),
        },
        Statement::ExplainTable { .. }
        | Statement::ShowTables { .. }
        | Statement::ShowColumns { .. }
        | Statement::ShowVariable { .. }
        | Statement::ShowFunctions { .. } => {}
        other => return Err(refused(&other.to_string())),
    }
    Ok(statement)
}

/// `SELECT ... INTO` makes a table, and an `INSERT` may stand where a query may.
fn check_query(query: &Query) -> Result<(), Error> {
    match query.visit(&mut Bodies) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Visits the bodies of a query and of all queries in it.
struct Bodies;

impl Visitor for Bodies {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Error> {
        match check_body(&query.body) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

fn check_body(body: &SetExpr) -> Result<(), Error> {
    match body {
        SetExpr::Select(select) if select.into.is_some() => {
            Err(Error::invalid("SELECT INTO is refused: queries only read"))
        }
        SetExpr::Select(_) | SetExpr::Values(_) | SetExpr::Table(_) | SetExpr::Query(_) => Ok(()),
        SetExpr::SetOperation { left, right, .. } => {
            check_body(left)?;
            check_body(right)
        }
        SetExpr::Insert(statement)
        | SetExpr::Update(statement)
        | SetExpr::Delete(statement)
        | SetExpr::Merge(statement) => Err(refused(&statement.to_string())),
    }
}

/// Names a statement by its first keyword.
fn refused(statement: &str) -> Error {
    let word = statement.split_whitespace().next().unwrap_or("this").to_uppercase();
    Error::invalid(format!(
        "{word} is refused: SQL only reads here (SELECT, EXPLAIN, DESCRIBE, SHOW); data comes in over OTLP and \
         settings from the configuration"
    ))
}

#[cfg(test)]
mod tests {
    use model::time::Timestamp;

    use super::*;

    fn refuse(text: &str) -> Error {
        prepare(text, None).expect_err(text)
    }

    #[test]
    fn only_reading_statements_pass() {
        for text in [
            "select 1",
            "SELECT 1;",
            "with a as (select 1) select * from a",
            "explain analyze select 1",
            "explain format tree select 1",
            "describe logs",
            "show tables",
            "values (1), (2)",
            "select 1 union all (select 2)",
        ] {
            prepare(text, None).expect(text);
        }
        for text in [
            "create table t (a int)",
            "create external table t stored as parquet location '/etc'",
            "insert into logs values (1)",
            "delete from logs",
            "update logs set body = ''",
            "drop table logs",
            "copy logs to '/tmp/x.csv'",
            "copy (select 1) to 'x.csv'",
            "set datafusion.execution.batch_size = 1",
            "truncate table logs",
            "explain insert into logs values (1)",
            "select 1 into t",
            "create external table t stored as csv location '/etc/passwd'",
            "/* */ create external table t (a int) stored as csv location 'x' options (a 'b')",
            "select * from (select 1 into t) a",
            "select 1 where 1 in (select 1 into t)",
            "select 1 union all (select 1 into t)",
            "explain select (select 1 into t)",
            "with a as (select 1 into t) select * from a",
            "prepare p as select 1",
            "begin",
        ] {
            let message = refuse(text).to_string();
            assert!(message.contains("refused"), "{text}: {message}");
        }
        assert_eq!(refuse("  ").to_string(), "the query is empty");
        assert_eq!(refuse("select 1; select 2").to_string(), "one statement at a time, please");
    }

    #[test]
    fn misreadings_have_a_position() {
        let error = refuse("select *\nfrom a b c");
        let position = error.position().unwrap();
        assert_eq!((position.line, position.column), (2, 10), "{error}");
        assert!(!error.to_string().contains("Line"), "{error}");
        assert!(refuse("select 'open").position().is_some());
    }

    #[test]
    fn the_range_macro_needs_a_range_and_stays_out_of_strings() {
        let error = refuse("select * from logs where $__range");
        assert_eq!(error.position().unwrap().column, 26);
        let range = TimeRange::new(Timestamp(5), Timestamp(7));
        let text = "select '$__range' from logs where $__range";
        let statement = prepare(text, Some(range)).unwrap().to_string();
        assert!(statement.contains("to_timestamp_nanos(5)"), "{statement}");
        assert!(statement.contains("'$__range'"), "{statement}");
        assert!(refuse("select $__from").to_string().contains("$__from"));
    }

    #[test]
    fn hostile_texts_are_refused_without_overflow() {
        let deep = format!("select {}1{}", "(".repeat(100_000), ")".repeat(100_000));
        assert!(refuse(&deep).to_string().contains("more than"));
        let nested = format!("select {}1{}", "(".repeat(500), ")".repeat(500));
        assert!(refuse(&nested).to_string().contains("deeper"));
        let chain = format!("select 1{}", "+1".repeat(500_000));
        assert!(refuse(&chain).to_string().contains("more than"));
        let not = format!("select {} true", "not ".repeat(3_000));
        refuse(&not);
        let list = |n: usize| vec!["'x'"; n].join(",");
        prepare(&format!("select * from t where a in ({})", list(50_000)), None).unwrap();
        for (text, wanted) in [
            (format!("select * from t where a in ({})", list(200_000)), "values in lists"),
            (format!("select {}", list(100_000)), "columns and tables"),
            (format!("select * from (select {})", list(100_000)), "columns and tables"),
            (format!("select 1{}", " union all select 1".repeat(1_200)), "UNION"),
            (format!("select 1{}", " intersect select 1".repeat(1_200)), "UNION"),
        ] {
            let error = refuse(&text);
            assert!(error.to_string().contains(wanted), "{error}");
            assert!(error.position().is_some(), "{error}");
        }
    }
}
