//! One whole trace, found by its id alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, BooleanArray, Int64Array, StringArray, StructArray};
use arrow::datatypes::{DataType, TimestampNanosecondType};
use futures::future::BoxFuture;
use model::id::{SpanId, TraceId};
use model::time::Timestamp;
use store::schema::columns;

use super::logs::resource_attributes;
use super::{Attributes, Rows, ask, entries_at, literal, text_at};
use crate::catalog::View;
use crate::engine::Engine;
use crate::error::Error;

/// A span with everything that was sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Span {
    /// Its id.
    pub span_id: SpanId,
    /// The span that caused it; `None` for a root.
    pub parent_span_id: Option<SpanId>,
    /// The service; empty when unknown.
    pub service: String,
    /// What it did.
    pub name: String,
    /// `unspecified`, `internal`, `server`, `client`, `producer` or `consumer`.
    pub kind: String,
    /// When it began.
    pub start: Timestamp,
    /// How long it took.
    pub duration_ns: i64,
    /// `unset`, `ok` or `error`.
    pub status: String,
    /// What the status says.
    pub status_message: String,
    /// Whether it failed, by status, error type, HTTP or RPC code.
    pub is_error: bool,
    /// Attributes, those in columns of their own included.
    pub attributes: Attributes,
    /// Attributes of the resource.
    pub resource: Attributes,
    /// Events, in the order sent.
    pub events: Vec<SpanEvent>,
    /// Links, in the order sent.
    pub links: Vec<SpanLink>,
}

/// Something that happened during a span.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanEvent {
    /// When.
    pub time: Timestamp,
    /// What.
    pub name: String,
    /// Attributes, those of an exception included.
    pub attributes: Attributes,
}

/// Another span this one refers to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanLink {
    /// Its trace.
    pub trace_id: TraceId,
    /// Its id.
    pub span_id: SpanId,
    /// Attributes.
    pub attributes: Attributes,
}

/// A trace: every span of it that the store has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// Its id.
    pub trace_id: TraceId,
    /// By start, parents before the children they begin together with; each span once.
    pub spans: Vec<Span>,
    /// Which spans the answer lacks because they cannot be read, a sentence each; they may be of other traces.
    pub warnings: Vec<String>,
}

/// Columns that hold an attribute of the span, and its name.
const ATTRIBUTE_COLUMNS: [(&str, &str); 28] = [
    (columns::ERROR_TYPE, "error.type"),
    (columns::HTTP_METHOD, "http.request.method"),
    (columns::HTTP_STATUS, "http.response.status_code"),
    (columns::HTTP_ROUTE, "http.route"),
    (columns::URL_PATH, "url.path"),
    (columns::URL_FULL, "url.full"),
    (columns::SERVER_ADDRESS, "server.address"),
    (columns::SERVER_PORT, "server.port"),
    (columns::CLIENT_ADDRESS, "client.address"),
    (columns::PEER_ADDRESS, "network.peer.address"),
    (columns::PEER_PORT, "network.peer.port"),
    (columns::PEER_SERVICE, "service.peer.name"),
    (columns::RPC_SYSTEM, "rpc.system.name"),
    (columns::RPC_METHOD, "rpc.method"),
    (columns::RPC_STATUS, "rpc.response.status_code"),
    (columns::DB_SYSTEM, "db.system.name"),
    (columns::DB_NAMESPACE, "db.namespace"),
    (columns::DB_COLLECTION, "db.collection.name"),
    (columns::DB_OPERATION, "db.operation.name"),
    (columns::DB_SUMMARY, "db.query.summary"),
    (columns::DB_STATUS, "db.response.status_code"),
    (columns::MESSAGING_SYSTEM, "messaging.system"),
    (columns::MESSAGING_OPERATION, "messaging.operation.type"),
    (columns::MESSAGING_DESTINATION, "messaging.destination.name"),
    (columns::MESSAGING_GROUP, "messaging.consumer.group.name"),
    (columns::MESSAGING_PARTITION, "messaging.destination.partition.id"),
    (columns::SCOPE_NAME, "otel.scope.name"),
    (columns::SCOPE_VERSION, "otel.scope.version"),
];

impl Engine {
    /// The trace with this id; `None` when the store has no span of it, nor any that cannot be read.
    ///
    /// # Errors
    /// `Exhausted`, `Timeout`, `Unavailable`, `Corrupt`.
    pub fn trace(&self, id: TraceId) -> BoxFuture<'_, Result<Option<Trace>, Error>> {
        let time = self.config.timeout;
        Box::pin(self.sound(move |view| {
            let session = self.session(view.clone());
            let work = async move {
                let session = session?;
                let columns: Vec<&str> = ATTRIBUTE_COLUMNS.iter().map(|column| column.0).collect();
                let text = format!(
                    "SELECT time, duration, span_id, parent_span_id, service_name, name, kind, status, \
                     status_message, is_error, attributes, events, links, resource_id, {} \
                     FROM spans WHERE trace_id = {}",
                    columns.join(", "),
                    literal(&id.to_string())
                );
                let answer = ask(session, &text).await?;
                // A span sent twice is one span; of two versions the later read wins, which holds more of it.
                let mut spans: BTreeMap<SpanId, Span> = BTreeMap::new();
                for batch in &answer.batches {
                    for span in read(&Rows(batch), &view)? {
                        spans.insert(span.span_id, span);
                    }
                }
                let trace = Trace { trace_id: id, spans: ordered(spans), warnings: view.warnings() };
                Ok((!trace.spans.is_empty() || !trace.warnings.is_empty()).then_some(trace))
            };
            self.workers.run(time, work)
        }))
    }
}

/// By start; of spans that start together the parent stands first.
fn ordered(spans: BTreeMap<SpanId, Span>) -> Vec<Span> {
    let parents: BTreeMap<SpanId, Option<SpanId>> =
        spans.iter().map(|(id, span)| (*id, span.parent_span_id)).collect();
    // Parents may form a ring in hostile data, so the walk is bounded by the number of spans.
    let depth = |id: SpanId| {
        let mut at = id;
        let walk = std::iter::from_fn(|| {
            at = (*parents.get(&at)?)?;
            Some(())
        });
        walk.take(parents.len().min(1_000)).count()
    };
    let mut keyed: Vec<(Timestamp, usize, Span)> =
        spans.into_values().map(|span| (span.start, depth(span.span_id), span)).collect();
    keyed.sort_by_key(|(start, depth, span)| (*start, *depth, span.span_id));
    keyed.into_iter().map(|(_, _, span)| span).collect()
}

struct SpanColumns {
    times: Int64Array,
    durations: Int64Array,
    ids: StringArray,
    parents: StringArray,
    errors: BooleanArray,
    resources: Vec<u64>,
    texts: [StringArray; 5],
    attributes: Vec<(StringArray, &'static str)>,
}

impl SpanColumns {
    fn of(rows: &Rows<'_>) -> Result<Self, Error> {
        let attributes =
            ATTRIBUTE_COLUMNS.iter().map(|(column, key)| Ok((rows.texts(column)?, *key)));
        Ok(Self {
            times: rows.integers("time")?,
            durations: rows.integers("duration")?,
            ids: rows.texts("span_id")?,
            parents: rows.texts("parent_span_id")?,
            errors: rows.as_type("is_error", &DataType::Boolean)?.as_boolean().clone(),
            resources: rows.ids("resource_id")?,
            texts: [
                rows.texts("service_name")?,
                rows.texts("name")?,
                rows.texts("kind")?,
                rows.texts("status")?,
                rows.texts("status_message")?,
            ],
            attributes: attributes.collect::<Result<_, Error>>()?,
        })
    }
}

fn read(rows: &Rows<'_>, view: &Arc<View>) -> Result<Vec<Span>, Error> {
    let columns = SpanColumns::of(rows)?;
    let maps = rows.maps("attributes")?;
    let (events, links) = (rows.0.column_by_name("events"), rows.0.column_by_name("links"));
    let mut spans = Vec::with_capacity(columns.ids.len());
    for row in 0..columns.ids.len() {
        let mut attributes = entries_at(&maps, row);
        for (column, key) in columns.attributes.iter().filter(|(column, _)| column.is_valid(row)) {
            // The original spelling stays an attribute; the column repeats it then.
            if !attributes.iter().any(|(name, _)| name == key) {
                attributes.push(((*key).to_owned(), column.value(row).to_owned()));
            }
        }
        attributes.sort();
        let [service, name, kind, status, status_message] =
            columns.texts.each_ref().map(|texts| text_at(texts, row));
        spans.push(Span {
            span_id: SpanId::parse(&text_at(&columns.ids, row)).unwrap_or_default(),
            parent_span_id: SpanId::parse(&text_at(&columns.parents, row)),
            service,
            name,
            kind,
            status,
            status_message,
            start: Timestamp(columns.times.value(row)),
            duration_ns: columns.durations.value(row),
            is_error: columns.errors.value(row),
            attributes,
            resource: resource_attributes(view, columns.resources[row]),
            events: items(events, row).as_ref().map(events_of).unwrap_or_default(),
            links: items(links, row).as_ref().map(links_of).unwrap_or_default(),
        });
    }
    Ok(spans)
}

/// The structs in the list of `row`.
fn items(column: Option<&arrow::array::ArrayRef>, row: usize) -> Option<StructArray> {
    let list = column?.as_list_opt::<i32>()?;
    list.is_valid(row).then(|| list.value(row))?.as_struct_opt().cloned()
}

fn events_of(items: &StructArray) -> Vec<SpanEvent> {
    let text = |name: &str, row: usize| {
        let column = items.column_by_name(name)?.as_string_opt::<i32>()?;
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    let event = |row: usize| {
        let times = items.column_by_name(columns::TIME)?;
        let times = times.as_primitive_opt::<TimestampNanosecondType>()?;
        let maps = items.column_by_name(columns::ATTRIBUTES)?.as_map_opt()?;
        let mut attributes = entries_at(maps, row);
        for (column, key) in [
            (columns::EXCEPTION_TYPE, "exception.type"),
            (columns::EXCEPTION_MESSAGE, "exception.message"),
        ] {
            if let Some(value) = text(column, row)
                && !attributes.iter().any(|(name, _)| name == key)
            {
                attributes.push((key.to_owned(), value));
            }
        }
        attributes.sort();
        let name = text(columns::NAME, row).unwrap_or_default();
        Some(SpanEvent { time: Timestamp(times.value(row)), name, attributes })
    };
    (0..items.len()).filter_map(event).collect()
}

fn links_of(items: &StructArray) -> Vec<SpanLink> {
    let link = |row: usize| {
        let id = |name: &str| {
            items
                .column_by_name(name)?
                .as_fixed_size_binary_opt()
                .map(|ids| ids.value(row).to_vec())
        };
        let maps = items.column_by_name(columns::ATTRIBUTES)?.as_map_opt()?;
        Some(SpanLink {
            trace_id: TraceId(id(columns::TRACE_ID)?.try_into().ok()?),
            span_id: SpanId(id(columns::SPAN_ID)?.try_into().ok()?),
            attributes: entries_at(maps, row),
        })
    };
    (0..items.len()).filter_map(link).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_stand_before_children_and_rings_end() {
        let span = |id: u8, parent: Option<u8>| Span {
            span_id: SpanId([id; 8]),
            parent_span_id: parent.map(|parent| SpanId([parent; 8])),
            ..Span::default()
        };
        let all =
            [span(1, Some(9)), span(9, None), span(5, Some(1)), span(3, Some(4)), span(4, Some(3))];
        let spans = ordered(all.into_iter().map(|span| (span.span_id, span)).collect());
        let ids: Vec<u8> = spans.iter().map(|span| span.span_id.0[0]).collect();
        assert_eq!(&ids[..3], [9, 1, 5]);
    }
}
