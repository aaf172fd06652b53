//! Searches for traces: which ones, and what each amounts to as a whole.

use futures::future::BoxFuture;
use model::id::TraceId;
use model::time::{TimeRange, Timestamp};

use arrow::array::{Array as _, AsArray as _};

use super::{Rows, ask, count, literal, text_at, within};
use crate::engine::Engine;
use crate::error::Error;

/// Traces in one answer at most.
const TRACES_MAX: usize = 10_000;
/// Spans of a trace that was found may lie this far outside the range searched.
const TRACE_REACH_NS: i64 = 3_600 * model::time::NS_PER_S;

/// A search for traces.
#[derive(Clone, Debug)]
pub struct TraceQuery {
    /// A service of which a span must be there.
    pub service: Option<String>,
    /// A span's name, or its endpoint; together with `service` of the same span.
    pub operation: Option<String>,
    /// The trace as a whole took at least this long.
    pub min_duration_ns: Option<i64>,
    /// The trace as a whole took at most this long.
    pub max_duration_ns: Option<i64>,
    /// A span that failed must be there; with `service` or `operation` it must be one of those.
    pub errors_only: bool,
    /// When the span looked for began.
    pub range: TimeRange,
    /// Traces in the answer, at most 10 000.
    pub limit: usize,
}

/// What a trace amounts to, over all its spans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceSummary {
    /// Its id.
    pub trace_id: TraceId,
    /// Service of the root, or of the earliest span while the root is missing.
    pub root_service: String,
    /// Name of the root, or of the earliest span while the root is missing.
    pub root_name: String,
    /// When the first span began.
    pub start: Timestamp,
    /// From the first start to the last end.
    pub duration_ns: i64,
    /// Spans, each counted once.
    pub spans: u64,
    /// Spans that failed.
    pub errors: u64,
    /// Services met, sorted.
    pub services: Vec<String>,
}

/// Traces found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TracePage {
    /// Newest first.
    pub traces: Vec<TraceSummary>,
    /// Whether there are more.
    pub has_more: bool,
    /// Which spans the answer lacks because they cannot be read, a sentence each.
    pub warnings: Vec<String>,
}

impl Engine {
    /// The newest traces that satisfy a search.
    ///
    /// # Errors
    /// `Exhausted`, `Timeout`, `Unavailable`, `Corrupt`.
    pub fn traces(&self, query: TraceQuery) -> BoxFuture<'_, Result<TracePage, Error>> {
        let time = self.config.timeout;
        Box::pin(self.sound(move |view| {
            let (query, session) = (query.clone(), self.session(view.clone()));
            let work = async move {
                let session = session?;
                let limit = query.limit.clamp(1, TRACES_MAX);
                let answer = ask(session, &search_sql(&query, limit)).await?;
                let mut traces = Vec::new();
                for batch in &answer.batches {
                    read(&Rows(batch), &mut traces)?;
                }
                let has_more = traces.len() > limit;
                traces.truncate(limit);
                Ok(TracePage { traces, has_more, warnings: view.warnings() })
            };
            self.workers.run(time, work)
        }))
    }

    /// Services of which there are spans in `range`, sorted.
    ///
    /// # Errors
    /// As [`Self::traces`].
    pub fn services(&self, range: TimeRange) -> BoxFuture<'_, Result<Vec<String>, Error>> {
        self.names(format!(
            "SELECT DISTINCT service_name AS name FROM spans \
             WHERE {} AND service_name IS NOT NULL ORDER BY 1",
            within(range)
        ))
    }

    /// Names of the spans of `service` (of all services if unset) in `range`, sorted.
    ///
    /// # Errors
    /// As [`Self::traces`].
    pub fn operations(
        &self,
        service: Option<&str>,
        range: TimeRange,
    ) -> BoxFuture<'_, Result<Vec<String>, Error>> {
        let of = service.map_or(String::new(), |s| format!(" AND service_name = {}", literal(s)));
        self.names(format!(
            "SELECT DISTINCT name FROM spans WHERE {}{of} ORDER BY 1",
            within(range)
        ))
    }

    fn names(&self, text: String) -> BoxFuture<'_, Result<Vec<String>, Error>> {
        let time = self.config.timeout;
        Box::pin(self.sound(move |view| {
            let (text, session) = (text.clone(), self.session(view));
            let work = async move {
                let session = session?;
                let answer = ask(session, &text).await?;
                let mut names = Vec::new();
                for batch in &answer.batches {
                    let texts = Rows(batch).texts("name")?;
                    names.extend((0..texts.len()).map(|row| text_at(&texts, row)));
                }
                Ok(names)
            };
            self.workers.run(time, work)
        }))
    }
}

fn search_sql(query: &TraceQuery, limit: usize) -> String {
    let mut wanted = within(query.range);
    if let Some(service) = &query.service {
        wanted += &format!(" AND service_name = {}", literal(service));
    }
    if let Some(operation) = &query.operation {
        let name = literal(operation);
        wanted += &format!(" AND (name = {name} OR endpoint = {name})");
    }
    if query.errors_only {
        wanted += " AND is_error";
    }
    let reach = TimeRange::new(
        Timestamp(query.range.start.0.saturating_sub(TRACE_REACH_NS)),
        Timestamp(query.range.end.0.saturating_add(TRACE_REACH_NS)),
    );
    let (low, high) =
        (query.min_duration_ns.unwrap_or(i64::MIN), query.max_duration_ns.unwrap_or(i64::MAX));
    format!(
        "WITH found AS (SELECT DISTINCT trace_id FROM spans WHERE {wanted}), \
         whole AS (SELECT trace_id, \
           first_value(service_name ORDER BY is_root DESC, time, span_id) AS root_service, \
           first_value(name ORDER BY is_root DESC, time, span_id) AS root_name, \
           min(CAST(time AS BIGINT)) AS start, \
           max(CAST(time AS BIGINT) + duration) - min(CAST(time AS BIGINT)) AS duration_ns, \
           count(DISTINCT span_id) AS spans, \
           count(DISTINCT CASE WHEN is_error THEN span_id END) AS errors, \
           array_agg(DISTINCT service_name) AS services \
           FROM spans WHERE {} AND trace_id IN (SELECT trace_id FROM found) GROUP BY trace_id) \
         SELECT * FROM whole WHERE duration_ns BETWEEN {low} AND {high} \
         ORDER BY start DESC, trace_id LIMIT {}",
        within(reach),
        limit + 1
    )
}

fn read(rows: &Rows<'_>, into: &mut Vec<TraceSummary>) -> Result<(), Error> {
    let ids = rows.texts("trace_id")?;
    let (root_services, root_names) = (rows.texts("root_service")?, rows.texts("root_name")?);
    let (starts, durations) = (rows.integers("start")?, rows.integers("duration_ns")?);
    let (spans, errors) = (rows.integers("spans")?, rows.integers("errors")?);
    let services = rows.0.column_by_name("services").and_then(|column| column.as_list_opt::<i32>());
    for row in 0..ids.len() {
        let met = services.map(|services| services.value(row));
        let met = met.as_ref().and_then(|met| met.as_string_opt::<i32>());
        let mut services: Vec<String> =
            met.into_iter().flatten().flatten().map(str::to_owned).collect();
        services.sort();
        into.push(TraceSummary {
            trace_id: TraceId::parse(&text_at(&ids, row)).unwrap_or_default(),
            root_service: text_at(&root_services, row),
            root_name: text_at(&root_names, row),
            start: Timestamp(starts.value(row)),
            duration_ns: durations.value(row),
            spans: count(spans.value(row)),
            errors: count(errors.value(row)),
            services,
        });
    }
    Ok(())
}
