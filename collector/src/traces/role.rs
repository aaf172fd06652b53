//! Which attribute keys, current and old, play which role in a span's canonical columns (semantic conventions 1.44).
//!
//! A role's keys are in order: the first one present wins. Old names that mean different things on different kinds of
//! span have roles of their own and are told apart in `canonical`.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::LazyLock;

use xxhash_rust::xxh3::xxh3_64;

use crate::attributes::Pair;
use crate::recent::Identity;

macro_rules! roles {
    ($($role:ident: $($key:literal),+;)*) => {
        /// What an attribute says about a span.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Role { $($role),* }

        /// Number of roles.
        pub(super) const N_ROLES: usize = [$(Role::$role),*].len();

        const KEYS: [(Role, &[&str]); N_ROLES] = [$((Role::$role, &[$($key),+])),*];
    };
}

roles! {
    ErrorType: "error.type";
    HttpMethod: "http.request.method", "http.method";
    HttpStatus: "http.response.status_code", "http.status_code";
    HttpRoute: "http.route";
    UrlTemplate: "url.template";
    UrlPath: "url.path";
    UrlFull: "url.full", "http.url";
    HttpTarget: "http.target";
    HttpHost: "http.host", "http.server_name";
    ServerAddress: "server.address";
    ServerPort: "server.port";
    ClientAddress: "client.address", "http.client_ip";
    PeerAddress: "network.peer.address", "net.sock.peer.addr", "net.peer.ip";
    PeerPort: "network.peer.port", "net.sock.peer.port";
    NetPeerName: "net.peer.name";
    NetPeerPort: "net.peer.port";
    NetHostName: "net.host.name";
    NetHostPort: "net.host.port";
    PeerService: "service.peer.name", "peer.service";
    RpcSystem: "rpc.system.name", "rpc.system";
    RpcService: "rpc.service";
    RpcMethod: "rpc.method";
    RpcStatus: "rpc.status_code", "rpc.response.status_code", "rpc.connect_rpc.error_code", "rpc.jsonrpc.error_code";
    RpcGrpcStatus: "rpc.grpc.status_code";
    DbSystem: "db.system.name", "db.system";
    DbNamespace: "db.namespace", "db.name", "db.redis.database_index", "db.elasticsearch.cluster.name";
    DbCollection: "db.collection.name", "db.sql.table", "db.cassandra.table", "db.mongodb.collection", "db.cosmosdb.container";
    DbOperation: "db.operation.name", "db.operation";
    DbSummary: "db.query.summary";
    DbText: "db.query.text", "db.statement";
    DbStatus: "db.response.status_code";
    MessagingSystem: "messaging.system";
    MessagingOperation: "messaging.operation.type", "messaging.operation.name", "messaging.operation";
    MessagingDestination: "messaging.destination.name";
    MessagingTemplate: "messaging.destination.template";
    MessagingGroup: "messaging.consumer.group.name", "messaging.kafka.consumer.group", "messaging.eventhubs.consumer.group", "messaging.rocketmq.client_group", "messaging.destination.subscription.name", "messaging.servicebus.destination.subscription_name";
    MessagingPartition: "messaging.destination.partition.id", "messaging.kafka.destination.partition";
}

type ByHash = HashMap<u64, (&'static str, Role, usize), BuildHasherDefault<Identity>>;

/// By xxh3-64 of the key, which every attribute has at hand.
static BY_KEY: LazyLock<ByHash> = LazyLock::new(|| {
    let of_role = |(role, keys): &(Role, &[&'static str])| {
        let role = *role;
        let entry = move |(rank, key): (usize, &&'static str)| {
            (xxh3_64(key.as_bytes()), (*key, role, rank))
        };
        keys.iter().enumerate().map(entry).collect::<Vec<_>>()
    };
    KEYS.iter().flat_map(of_role).collect()
});

/// The role of an attribute and its key's place in the role's order, or `None` for one without.
pub(super) fn of_pair(pair: &Pair<'_>) -> Option<(Role, usize)> {
    let (key, role, rank) = BY_KEY.get(&pair.hash)?;
    (*key == pair.key).then_some((*role, *rank))
}

/// Whether the attribute is the text of a database query.
pub(super) fn is_query_text(pair: &Pair<'_>) -> bool {
    matches!(of_pair(pair), Some((Role::DbText, _)))
}

const DB_SYSTEMS: [(&str, &str); 21] = [
    ("mssql", "microsoft.sql_server"),
    ("oracle", "oracle.db"),
    ("db2", "ibm.db2"),
    ("informix", "ibm.informix"),
    ("netezza", "ibm.netezza"),
    ("dynamodb", "aws.dynamodb"),
    ("redshift", "aws.redshift"),
    ("cosmosdb", "azure.cosmosdb"),
    ("spanner", "gcp.spanner"),
    ("hanadb", "sap.hana"),
    ("maxdb", "sap.maxdb"),
    ("firebird", "firebirdsql"),
    ("h2", "h2database"),
    ("adabas", "softwareag.adabas"),
    ("ingres", "actian.ingres"),
    ("cache", "intersystems.cache"),
    ("intersystems_cache", "intersystems.cache"),
    ("cloudscape", "other_sql"),
    ("firstsql", "other_sql"),
    ("mssqlcompact", "other_sql"),
    ("other_sql", "other_sql"),
];

/// The current name of a database system.
pub(super) fn db_system(name: &str) -> &str {
    DB_SYSTEMS.iter().find(|(old, _)| *old == name).map_or(name, |(_, current)| current)
}

/// The current name of an RPC system.
pub(super) fn rpc_system(name: &str) -> &str {
    match name {
        "apache_dubbo" => "dubbo",
        "connect_rpc" => "connectrpc",
        name => name,
    }
}

/// The name of a gRPC status code.
pub(super) fn grpc_status(code: i64) -> Option<&'static str> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    usize::try_from(code).ok().and_then(|code| NAMES.get(code).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_one_role_and_roles_stand_at_their_discriminant() {
        let n_keys: usize = KEYS.iter().map(|(_, keys)| keys.len()).sum();
        assert_eq!(BY_KEY.len(), n_keys);
        for (i, (role, _)) in KEYS.iter().enumerate() {
            assert_eq!(*role as usize, i);
        }
        let of_key = |key: &'static str| {
            let hash = xxh3_64(key.as_bytes());
            of_pair(&Pair { key: key.into(), value: crate::any::Any::Empty, hash })
        };
        assert_eq!(of_key("http.method"), Some((Role::HttpMethod, 1)));
        assert_eq!(of_key("http.methods"), None);
    }
}
