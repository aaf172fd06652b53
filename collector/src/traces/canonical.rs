//! The canonical columns of a span: old and new attribute names resolved, and what is derived from several of them.

use std::borrow::Cow;

use arrow::array::ArrayRef;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use store::schema::columns as names;

use super::role::{self, N_ROLES, Role};
use super::{endpoint, query_text};
use crate::any::Any;
use crate::attributes::Pair;
use crate::sparse::Texts;

/// Text columns made here: all of `SPAN_TEXTS` but those of the scope and the trace state, which end the list.
const N_TEXTS: usize = names::SPAN_TEXTS.len() - 3;

/// Query texts are fingerprinted up to here.
const QUERY_TEXT_BYTES_MAX: usize = 64 << 10;

/// Where a text column stands in `SPAN_TEXTS`, at compile time.
const fn at(name: &str) -> usize {
    let mut i = 0;
    while !equal(names::SPAN_TEXTS[i].as_bytes(), name.as_bytes()) {
        i += 1;
    }
    assert!(i < N_TEXTS, "the column is made elsewhere");
    i
}

const fn equal(a: &[u8], b: &[u8]) -> bool {
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}

const RPC_STATUS: usize = at(names::RPC_STATUS);
const ERROR_TYPE: usize = at(names::ERROR_TYPE);

/// Roles whose text is the column's text.
const DIRECT: [(usize, Role); 14] = [
    (ERROR_TYPE, Role::ErrorType),
    (at(names::HTTP_METHOD), Role::HttpMethod),
    (at(names::HTTP_ROUTE), Role::HttpRoute),
    (at(names::URL_FULL), Role::UrlFull),
    (at(names::PEER_ADDRESS), Role::PeerAddress),
    (at(names::PEER_SERVICE), Role::PeerService),
    (at(names::DB_NAMESPACE), Role::DbNamespace),
    (at(names::DB_COLLECTION), Role::DbCollection),
    (at(names::DB_OPERATION), Role::DbOperation),
    (at(names::DB_SUMMARY), Role::DbSummary),
    (at(names::DB_STATUS), Role::DbStatus),
    (at(names::MESSAGING_SYSTEM), Role::MessagingSystem),
    (at(names::MESSAGING_GROUP), Role::MessagingGroup),
    (at(names::MESSAGING_PARTITION), Role::MessagingPartition),
];

/// What a span's attributes say, by role.
struct Roles<'a>([Option<(&'a Any<'a>, usize)>; N_ROLES]);

impl<'a> Roles<'a> {
    fn of(pairs: &'a [Pair<'a>]) -> Self {
        let mut roles = Self([None; N_ROLES]);
        for pair in pairs {
            let (Some((role, rank)), value) = (role::of_pair(pair), &pair.value) else {
                continue;
            };
            if *value == Any::Empty {
                continue;
            }
            let slot = &mut roles.0[role as usize];
            if slot.is_none_or(|(_, held)| rank < held) {
                *slot = Some((value, rank));
            }
        }
        roles
    }

    fn value(&self, role: Role) -> Option<&'a Any<'a>> {
        self.0[role as usize].map(|(value, _)| value)
    }

    /// The text of a role, `None` when absent or empty.
    fn text(&self, role: Role) -> Option<Cow<'a, str>> {
        self.value(role).map(Any::text).filter(|text| !text.is_empty())
    }

    fn first(&self, roles: &[Role]) -> Option<Cow<'a, str>> {
        roles.iter().find_map(|role| self.text(*role))
    }

    fn number(&self, roles: &[Role]) -> Option<u16> {
        let numbers = roles.iter().filter_map(|role| self.value(*role));
        numbers.filter_map(Any::integer).find_map(|number| u16::try_from(number).ok())
    }
}

/// The canonical columns of one span.
pub(super) struct Canonical<'a> {
    texts: [Option<Cow<'a, str>>; N_TEXTS],
    pub(super) http_status: Option<u16>,
    pub(super) server_port: Option<u16>,
    pub(super) peer_port: Option<u16>,
    pub(super) db_fingerprint: Option<u64>,
}

impl<'a> Canonical<'a> {
    /// Resolves the attributes of a span of this kind and name.
    pub(super) fn of(pairs: &'a [Pair<'a>], kind: SpanKind, name: &'a str) -> Self {
        let roles = Roles::of(pairs);
        let is_server = matches!(kind, SpanKind::Server | SpanKind::Consumer);
        let (server, client, port): (&[Role], &[Role], &[Role]) = if is_server {
            (
                &[Role::ServerAddress, Role::NetHostName, Role::HttpHost],
                &[Role::ClientAddress, Role::NetPeerName],
                &[Role::ServerPort, Role::NetHostPort],
            )
        } else {
            (
                &[Role::ServerAddress, Role::NetPeerName, Role::HttpHost],
                &[Role::ClientAddress],
                &[Role::ServerPort, Role::NetPeerPort],
            )
        };
        let mut canonical = Self {
            texts: [const { None }; N_TEXTS],
            http_status: roles.number(&[Role::HttpStatus]),
            server_port: roles.number(port),
            peer_port: roles.number(&[Role::PeerPort]),
            db_fingerprint: roles.text(Role::DbText).map(|text| {
                let end = text.floor_char_boundary(QUERY_TEXT_BYTES_MAX);
                query_text::fingerprint(&text[..end])
            }),
        };
        for (column, role) in DIRECT {
            canonical.texts[column] = roles.text(role);
        }
        canonical.set(const { at(names::SERVER_ADDRESS) }, roles.first(server));
        canonical.set(const { at(names::CLIENT_ADDRESS) }, roles.first(client));
        canonical.set(const { at(names::URL_PATH) }, path(&roles));
        canonical.rpc(&roles);
        canonical.set(
            const { at(names::DB_SYSTEM) },
            rename(roles.text(Role::DbSystem), role::db_system),
        );
        canonical.messaging(&roles);
        let endpoint = canonical.endpoint(&roles, name);
        canonical.set(const { at(names::ENDPOINT) }, Some(endpoint));
        let peer = if is_server { None } else { canonical.peer() };
        canonical.set(const { at(names::PEER_KEY) }, peer);
        canonical
    }

    /// Whether the span failed: its status if the application set one, else what its protocol says.
    pub(super) fn is_error(&self, kind: SpanKind, code: StatusCode) -> bool {
        match code {
            StatusCode::Error => true,
            StatusCode::Ok => false,
            StatusCode::Unset => {
                let errors_from = if kind == SpanKind::Client { 400 } else { 500 };
                let rpc_status = self.texts[RPC_STATUS].as_deref();
                self.texts[ERROR_TYPE].is_some()
                    || self.http_status.is_some_and(|status| status >= errors_from)
                    || rpc_status.is_some_and(|status| !matches!(status, "OK" | "ok" | "0"))
            }
        }
    }

    fn text(&self, column: usize) -> Option<&str> {
        self.texts[column].as_deref()
    }

    fn set(&mut self, column: usize, text: Option<Cow<'a, str>>) {
        self.texts[column] = text;
    }

    fn rpc(&mut self, roles: &Roles<'a>) {
        self.set(
            const { at(names::RPC_SYSTEM) },
            rename(roles.text(Role::RpcSystem), role::rpc_system),
        );
        let method = match (roles.text(Role::RpcService), roles.text(Role::RpcMethod)) {
            (Some(service), Some(method)) if !method.contains('/') => {
                Some(Cow::Owned(format!("{service}/{method}")))
            }
            (_, method) => method,
        };
        self.set(const { at(names::RPC_METHOD) }, method);
        let grpc = roles.value(Role::RpcGrpcStatus).and_then(Any::integer);
        let grpc = grpc.and_then(role::grpc_status).map(Cow::Borrowed);
        self.set(const { at(names::RPC_STATUS) }, roles.text(Role::RpcStatus).or(grpc));
    }

    fn messaging(&mut self, roles: &Roles<'a>) {
        let current =
            |name: &str| if name == "publish" { "send".to_owned() } else { name.to_owned() };
        let operation = roles.text(Role::MessagingOperation);
        self.set(
            const { at(names::MESSAGING_OPERATION) },
            operation.map(|name| Cow::Owned(current(&name))),
        );
        let destination = roles.first(&[Role::MessagingDestination, Role::MessagingTemplate]);
        self.set(const { at(names::MESSAGING_DESTINATION) }, destination);
    }

    fn endpoint(&self, roles: &Roles<'a>, name: &'a str) -> Cow<'a, str> {
        let templated =
            || self.text(const { at(names::URL_PATH) }).map(|path| endpoint::template(path).into());
        let route = roles.first(&[Role::HttpRoute, Role::UrlTemplate]);
        let is_http = self.text(const { at(names::HTTP_METHOD) }).is_some() || route.is_some();
        let path = route.or_else(|| if is_http { templated() } else { None });
        if let Some(path) = path {
            return match self.text(const { at(names::HTTP_METHOD) }) {
                Some(method) => Cow::Owned(format!("{method} {path}")),
                None => path,
            };
        }
        if let Some(method) = self.text(const { at(names::RPC_METHOD) }) {
            return Cow::Owned(method.to_owned());
        }
        let operation = self.text(const { at(names::MESSAGING_OPERATION) });
        // The template, so that temporary queues are one endpoint.
        let destination = roles.first(&[Role::MessagingTemplate, Role::MessagingDestination]);
        match (operation, destination) {
            (Some(operation), Some(destination)) => {
                Cow::Owned(format!("{operation} {destination}"))
            }
            _ => Cow::Borrowed(name),
        }
    }

    fn peer(&self) -> Option<Cow<'a, str>> {
        let with_port = |address: &str, port: Option<u16>| {
            port.map_or_else(|| address.to_owned(), |port| format!("{address}:{port}"))
        };
        let service = self.text(const { at(names::PEER_SERVICE) }).map(str::to_owned);
        let server =
            || Some(with_port(self.text(const { at(names::SERVER_ADDRESS) })?, self.server_port));
        let peer =
            || Some(with_port(self.text(const { at(names::PEER_ADDRESS) })?, self.peer_port));
        let database = || self.text(const { at(names::DB_SYSTEM) }).map(str::to_owned);
        service.or_else(server).or_else(peer).or_else(database).map(Cow::Owned)
    }
}

/// `url.path`, else the path in the old `http.target` or in the full URL.
fn path<'a>(roles: &Roles<'a>) -> Option<Cow<'a, str>> {
    let of_target = || {
        let target = roles.text(Role::HttpTarget)?;
        Some(Cow::Owned(target.split(['?', '#']).next()?.to_owned()))
    };
    let of_url = || {
        let url = roles.text(Role::UrlFull)?;
        endpoint::path_of(&url).map(|path| Cow::Owned(path.to_owned()))
    };
    roles.text(Role::UrlPath).or_else(of_target).or_else(of_url)
}

fn rename<'a>(text: Option<Cow<'a, str>>, current: fn(&str) -> &str) -> Option<Cow<'a, str>> {
    text.map(
        |text| if current(&text) == text { text } else { Cow::Owned(current(&text).to_owned()) },
    )
}

/// Builds the text columns of spans.
pub(super) struct TextColumns([Texts; N_TEXTS]);

impl TextColumns {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| Texts::new()))
    }

    /// The texts of `row`, cut to `bytes_max`; the cut was counted with the attribute itself.
    pub(super) fn push(&mut self, row: usize, canonical: &Canonical<'_>, bytes_max: usize) {
        for (column, text) in self.0.iter_mut().zip(&canonical.texts) {
            if let Some(text) = text {
                column.set(row, &text[..text.floor_char_boundary(bytes_max)]);
            }
        }
    }

    /// The columns of `rows` rows under their names.
    pub(super) fn finish(self, rows: usize) -> Vec<(&'static str, ArrayRef)> {
        let columns = names::SPAN_TEXTS.into_iter().zip(self.0);
        columns.map(|(name, column)| (name, column.finish(rows))).collect()
    }
}
