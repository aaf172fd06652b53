//! Names of the columns, one home for each; read by `collector` and `query`.
// Columns of metrics.
/// Metric name as sent, dots kept.
pub const METRIC: &str = "metric";
/// Identity of the series.
pub const SERIES_ID: &str = "series_id";
/// Instant of the row: ms in metric tables, ns in the others; of a span its start.
pub const TIME: &str = "time";
/// Power of ten by which `v_ctr` or `v_int` is scaled; null where `v_f64` is set.
pub const SCALE: &str = "scale";
/// Scaled value of a counter.
pub const V_CTR: &str = "v_ctr";
/// Scaled value of any other series.
pub const V_INT: &str = "v_int";
/// Value that does not scale.
pub const V_F64: &str = "v_f64";
/// Plain value, in batches on their way in and in exemplars.
pub const VALUE: &str = "value";
/// Start of the interval a cumulative or delta value covers; null when unknown.
pub const START_TIME: &str = "start_time";
/// Bit 0 stale, bit 1 no recorded value, bit 2 from a rollup.
pub const FLAGS: &str = "flags";
/// Number of measurements, in batches on their way in.
pub const COUNT: &str = "count";
/// Sum of the measurements, in batches on their way in.
pub const SUM: &str = "sum";
/// Smallest measurement.
pub const MIN: &str = "min";
/// Largest measurement.
pub const MAX: &str = "max";
/// Measurements in the zero bucket.
pub const ZERO_COUNT: &str = "zero_count";
/// Width of the zero bucket.
pub const ZERO_THRESHOLD: &str = "zero_threshold";
/// Scale of an exponential histogram; -53 for explicit bounds.
pub const EXP_SCALE: &str = "exp_scale";
/// Identity of the explicit bounds.
pub const BOUNDS_ID: &str = "bounds_id";
/// Upper bounds of explicit buckets, ascending, without +Inf.
pub const BOUNDS: &str = "bounds";
/// 0 unknown, 1 reset, 2 not reset, 3 gauge.
pub const RESET_HINT: &str = "reset_hint";
/// -1 negative buckets, 0 the zero bucket, +1 positive and explicit buckets.
pub const SIDE: &str = "side";
/// Index of an exponential bucket or ordinal of an explicit one.
pub const BUCKET: &str = "bucket";
/// Attributes of the data point, verbatim.
pub const LABELS: &str = "labels";
/// Prometheus name; null when equal to `metric`.
pub const PROM_NAME: &str = "prom_name";
/// Prometheus labels; null when equal to `labels`.
pub const PROM_LABELS: &str = "prom_labels";
/// Discriminant of `model::metric::MetricKind`.
pub const KIND: &str = "kind";
/// Discriminant of `model::metric::Temporality`.
pub const TEMPORALITY: &str = "temporality";
/// UCUM unit as sent.
pub const UNIT: &str = "unit";
/// Description as sent.
pub const HELP: &str = "help";
/// First time seen in the window.
pub const FIRST_TIME: &str = "first_time";
/// Last time seen in the window, as known when the row was written.
pub const LAST_TIME: &str = "last_time";

/// Sum of the values that a counter had right before it was reset, in a rollup; null when there were none.
pub const RESETS: &str = "resets";
/// Start time of the first sample of a rollup.
pub const FIRST_START: &str = "first_start";
/// Start time of the last sample of a rollup.
pub const LAST_START: &str = "last_start";
/// Prefixes of the value columns of a rollup. A `min_` that equals the first value, a `max_` that equals the last one,
/// and the `sum_` of a counter are null.
pub const ROLLED: [&str; 5] = ["first_", "last_", "min_", "max_", "sum_"];

// What emitted a row.
/// Identity of the resource.
pub const RESOURCE_ID: &str = "resource_id";
/// `service.name`.
pub const SERVICE_NAME: &str = "service_name";
/// `service.namespace`.
pub const SERVICE_NAMESPACE: &str = "service_namespace";
/// `service.instance.id`.
pub const SERVICE_INSTANCE_ID: &str = "service_instance_id";
/// `service.version`.
pub const SERVICE_VERSION: &str = "service_version";
/// `service.criticality`.
pub const SERVICE_CRITICALITY: &str = "service_criticality";
/// `deployment.environment.name`.
pub const DEPLOYMENT_ENVIRONMENT: &str = "deployment_environment";
/// `host.name`.
pub const HOST_NAME: &str = "host_name";
/// `container.id`.
pub const CONTAINER_ID: &str = "container_id";
/// `k8s.cluster.name`.
pub const K8S_CLUSTER: &str = "k8s_cluster";
/// `k8s.namespace.name`.
pub const K8S_NAMESPACE: &str = "k8s_namespace";
/// `k8s.pod.name`.
pub const K8S_POD: &str = "k8s_pod";
/// `k8s.node.name`.
pub const K8S_NODE: &str = "k8s_node";
/// Kind of the owning workload: `deployment`, `statefulset`, `daemonset`, `cronjob` or `job`.
pub const K8S_WORKLOAD_KIND: &str = "k8s_workload_kind";
/// Name of the owning workload.
pub const K8S_WORKLOAD_NAME: &str = "k8s_workload_name";
/// `process.pid`.
pub const PROCESS_PID: &str = "process_pid";
/// `telemetry.sdk.language`.
pub const TELEMETRY_SDK_LANGUAGE: &str = "telemetry_sdk_language";
/// Name of the instrumentation scope.
pub const SCOPE_NAME: &str = "scope_name";
/// Version of the instrumentation scope.
pub const SCOPE_VERSION: &str = "scope_version";

// Attributes not held by a column of their own, by type.
/// Attributes of an exemplar, event or link, as text.
pub const ATTRIBUTES: &str = "attributes";
/// Text attributes.
pub const ATTRS_STR: &str = "attrs_str";
/// Integer attributes.
pub const ATTRS_INT: &str = "attrs_int";
/// Floating-point attributes.
pub const ATTRS_F64: &str = "attrs_f64";
/// Boolean attributes.
pub const ATTRS_BOOL: &str = "attrs_bool";
/// Arrays, maps and bytes (base64) as JSON text.
pub const ATTRS_JSON: &str = "attrs_json";

// Logs.
/// When the record was seen by the first collector.
pub const OBSERVED_TIME: &str = "observed_time";
/// OTLP severity number, 0 when unset.
pub const SEVERITY_NUMBER: &str = "severity_number";
/// Severity as sent.
pub const SEVERITY_TEXT: &str = "severity_text";
/// Text, or JSON text of a structured body; never null.
pub const BODY: &str = "body";
/// Mined template.
pub const PATTERN_ID: &str = "pattern_id";
/// OTLP `event_name`.
pub const EVENT_NAME: &str = "event_name";
/// `exception.type`.
pub const EXCEPTION_TYPE: &str = "exception_type";
/// `exception.message`.
pub const EXCEPTION_MESSAGE: &str = "exception_message";
/// xxh3-64 of the stack trace.
pub const EXCEPTION_STACK_HASH: &str = "exception_stack_hash";
/// W3C trace id, 16 bytes.
pub const TRACE_ID: &str = "trace_id";
/// W3C span id, 8 bytes.
pub const SPAN_ID: &str = "span_id";
/// WAL sequence of the batch the row came with, set by the store.
pub const INGEST_SEQ: &str = "ingest_seq";

// Spans.
/// Nanoseconds.
pub const DURATION: &str = "duration";
/// Span id of the parent; null for a root.
pub const PARENT_SPAN_ID: &str = "parent_span_id";
/// Name of a span or event.
pub const NAME: &str = "name";
/// `unspecified`, `internal`, `server`, `client`, `producer` or `consumer`.
pub const SPAN_KIND: &str = "kind";
/// `unset`, `ok` or `error`.
pub const STATUS: &str = "status";
/// Status message.
pub const STATUS_MESSAGE: &str = "status_message";
/// Whether it has no parent.
pub const IS_ROOT: &str = "is_root";
/// Whether it is where a request enters its service (server or consumer).
pub const IS_ENTRY: &str = "is_entry";
/// Whether it failed, by status, error type, HTTP or RPC code.
pub const IS_ERROR: &str = "is_error";
/// `error.type`.
pub const ERROR_TYPE: &str = "error_type";
/// `http.request.method`.
pub const HTTP_METHOD: &str = "http_method";
/// `http.response.status_code`.
pub const HTTP_STATUS: &str = "http_status";
/// `http.route`.
pub const HTTP_ROUTE: &str = "http_route";
/// `url.path`.
pub const URL_PATH: &str = "url_path";
/// `url.full`.
pub const URL_FULL: &str = "url_full";
/// `server.address`.
pub const SERVER_ADDRESS: &str = "server_address";
/// `server.port`.
pub const SERVER_PORT: &str = "server_port";
/// `client.address`.
pub const CLIENT_ADDRESS: &str = "client_address";
/// `network.peer.address`.
pub const PEER_ADDRESS: &str = "peer_address";
/// `network.peer.port`.
pub const PEER_PORT: &str = "peer_port";
/// `service.peer.name` or `peer.service`.
pub const PEER_SERVICE: &str = "peer_service";
/// `rpc.system`.
pub const RPC_SYSTEM: &str = "rpc_system";
/// `rpc.method`.
pub const RPC_METHOD: &str = "rpc_method";
/// `rpc.response.status_code`.
pub const RPC_STATUS: &str = "rpc_status";
/// `db.system.name`.
pub const DB_SYSTEM: &str = "db_system";
/// `db.namespace`.
pub const DB_NAMESPACE: &str = "db_namespace";
/// `db.collection.name`.
pub const DB_COLLECTION: &str = "db_collection";
/// `db.operation.name`.
pub const DB_OPERATION: &str = "db_operation";
/// `db.query.summary`.
pub const DB_SUMMARY: &str = "db_summary";
/// xxh3-64 of the normalised query text.
pub const DB_FINGERPRINT: &str = "db_fingerprint";
/// `db.response.status_code`.
pub const DB_STATUS: &str = "db_status";
/// `messaging.system`.
pub const MESSAGING_SYSTEM: &str = "messaging_system";
/// `messaging.operation.type`.
pub const MESSAGING_OPERATION: &str = "messaging_operation";
/// `messaging.destination.name`.
pub const MESSAGING_DESTINATION: &str = "messaging_destination";
/// `messaging.consumer.group.name`.
pub const MESSAGING_GROUP: &str = "messaging_group";
/// `messaging.destination.partition.id`.
pub const MESSAGING_PARTITION: &str = "messaging_partition";
/// What was asked for: route, templated path, RPC method, destination or span name.
pub const ENDPOINT: &str = "endpoint";
/// Whom a client span called.
pub const PEER_KEY: &str = "peer_key";
/// How many spans this one stands for after sampling.
pub const WEIGHT: &str = "weight";
/// W3C tracestate.
pub const TRACE_STATE: &str = "trace_state";
/// List of structs, see `schema::event_fields`.
pub const EVENTS: &str = "events";
/// List of structs, see `schema::link_fields`.
pub const LINKS: &str = "links";

// Trace index.
/// Start of the window the row belongs to.
pub const WINDOW: &str = "window";
/// Earliest span start.
pub const START: &str = "start";
/// Latest span end.
pub const END: &str = "end";
/// Service of the root span; null while it was not seen.
pub const ROOT_SERVICE: &str = "root_service";
/// Name of the root span.
pub const ROOT_NAME: &str = "root_name";
/// Status of the root span.
pub const ROOT_STATUS: &str = "root_status";
/// Number of spans in the window.
pub const SPAN_COUNT: &str = "span_count";
/// Number of failed spans.
pub const ERROR_COUNT: &str = "error_count";
/// Services met, sorted, unique.
pub const SERVICES: &str = "services";
/// Durations in ns of the entry spans, in start order.
pub const ENTRY_DURATIONS: &str = "entry_durations";

/// What names of columns of promoted attributes begin with: the attribute's name follows, dots and all. They are chosen
/// by place: `ProjectionMask::columns` takes a dot for a step into a struct and finds none of them.
pub const PROMOTED: &str = "attr.";

/// The typed attribute maps of logs, spans and resources, in column order.
pub const ATTRIBUTE_MAPS: [&str; 5] = [ATTRS_STR, ATTRS_INT, ATTRS_F64, ATTRS_BOOL, ATTRS_JSON];

/// Canonical text columns of `resources`, in column order.
pub const RESOURCE_TEXTS: [&str; 15] = [
    SERVICE_NAME,
    SERVICE_NAMESPACE,
    SERVICE_INSTANCE_ID,
    SERVICE_VERSION,
    SERVICE_CRITICALITY,
    DEPLOYMENT_ENVIRONMENT,
    HOST_NAME,
    CONTAINER_ID,
    K8S_CLUSTER,
    K8S_NAMESPACE,
    K8S_POD,
    K8S_NODE,
    K8S_WORKLOAD_KIND,
    K8S_WORKLOAD_NAME,
    TELEMETRY_SDK_LANGUAGE,
];

/// Resource columns repeated on every log record and span, in column order.
pub const EMITTER_TEXTS: [&str; 6] =
    [SERVICE_NAME, K8S_NAMESPACE, K8S_POD, K8S_NODE, HOST_NAME, DEPLOYMENT_ENVIRONMENT];

/// Optional text columns of `spans` after `is_error`, in column order.
pub const SPAN_TEXTS: [&str; 28] = [
    ERROR_TYPE,
    HTTP_METHOD,
    HTTP_ROUTE,
    URL_PATH,
    URL_FULL,
    SERVER_ADDRESS,
    CLIENT_ADDRESS,
    PEER_ADDRESS,
    PEER_SERVICE,
    RPC_SYSTEM,
    RPC_METHOD,
    RPC_STATUS,
    DB_SYSTEM,
    DB_NAMESPACE,
    DB_COLLECTION,
    DB_OPERATION,
    DB_SUMMARY,
    DB_STATUS,
    MESSAGING_SYSTEM,
    MESSAGING_OPERATION,
    MESSAGING_DESTINATION,
    MESSAGING_GROUP,
    MESSAGING_PARTITION,
    ENDPOINT,
    PEER_KEY,
    SCOPE_NAME,
    SCOPE_VERSION,
    TRACE_STATE,
];
