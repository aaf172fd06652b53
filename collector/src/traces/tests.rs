//! Spans, from OTLP/JSON to rows; old attribute names, derived columns, and what is rejected.

use expect_test::{Expect, expect};

use super::*;
use crate::fixture::{Desk, Seen, span};
use crate::stats::Signal;

#[track_caller]
fn admit(fields: &str) -> Seen {
    Desk::new().admit(Signal::Traces, &span(fields))
}

#[track_caller]
fn check(fields: &str, expected: Expect) {
    expected.assert_eq(&admit(fields).text());
}

/// `key=value` pairs as OTLP/JSON; numbers become integers.
fn attributes(pairs: &[(&str, &str)]) -> String {
    let pair = |(key, value): &(&str, &str)| match value.parse::<i64>() {
        Ok(_) => format!(r#"{{"key":"{key}","value":{{"intValue":"{value}"}}}}"#),
        Err(_) => format!(r#"{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#),
    };
    let pairs: Vec<String> = pairs.iter().map(pair).collect();
    format!(r#","attributes":[{}]"#, pairs.join(","))
}

/// The named columns of one span of this kind with these attributes.
fn columns_of(kind: i32, pairs: &[(&str, &str)], names: &[&str]) -> Vec<String> {
    let seen = admit(&format!(r#","kind":{kind}{}"#, attributes(pairs)));
    names.iter().map(|name| seen.column(Table::Spans, name).concat()).collect()
}

const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const PRODUCER: i32 = 4;

#[test]
fn a_span_keeps_everything_it_came_with() {
    let fields = r#","parentSpanId":"eee19b7ec3c1b173","kind":2,"traceState":"ot=th:c;rv:1,x=y","status":{"code":2,"message":"boom"},
        "attributes":[{"key":"my.span.attr","value":{"stringValue":"some value"}},{"key":"n","value":{"intValue":"1"}}],
        "events":[{"timeUnixNano":"1799999999100000000","name":"exception","attributes":[
            {"key":"exception.type","value":{"stringValue":"IOError"}},{"key":"exception.message","value":{"stringValue":"disk"}}]}],
        "links":[{"traceId":"5b8efff798038103d269b633813fc60d","spanId":"eee19b7ec3c1b175","attributes":[{"key":"a","value":{"intValue":1}}]},
                 {"traceId":"5b8e","spanId":"eee19b7ec3c1b175"}]"#;
    check(
        fields,
        expect![[r#"
        spans time=2027-01-15T07:59:59Z duration=500000000 trace_id=5b8efff798038103d269b633813fc60c span_id=eee19b7ec3c1b174 parent_span_id=eee19b7ec3c1b173 service_name=shop name=a span kind=server status=error status_message=boom is_root=false is_entry=true is_error=true endpoint=a span trace_state=ot=th:c;rv:1,x=y weight=4.0 attrs_str={my.span.attr: some value} attrs_int={n: 1} events=[{time: 2027-01-15T07:59:59.100Z, name: exception, attributes: {exception.type: IOError, exception.message: disk}, exception_type: IOError, exception_message: disk}] links=[{trace_id: 5b8efff798038103d269b633813fc60d, span_id: eee19b7ec3c1b175, attributes: {a: 1}}]
        adjusted 1 id_dropped
    "#]],
    );
}

#[test]
fn old_and_new_http_names_lead_to_the_same_columns() {
    let names = [
        "http_method",
        "http_status",
        "http_route",
        "url_path",
        "server_address",
        "server_port",
        "client_address",
        "endpoint",
        "is_error",
        "is_entry",
    ];
    let old = columns_of(
        SERVER,
        &[
            ("http.method", "GET"),
            ("http.status_code", "503"),
            ("http.route", "/users/{id}"),
            ("http.target", "/users/42?full=1"),
            ("net.host.name", "shop.example"),
            ("net.host.port", "443"),
            ("net.peer.name", "10.0.0.9"),
        ],
        &names,
    );
    let new = columns_of(
        SERVER,
        &[
            ("http.request.method", "GET"),
            ("http.response.status_code", "503"),
            ("http.route", "/users/{id}"),
            ("url.path", "/users/42"),
            ("server.address", "shop.example"),
            ("server.port", "443"),
            ("client.address", "10.0.0.9"),
        ],
        &names,
    );
    assert_eq!(old, new);
    let expected = [
        "GET",
        "503",
        "/users/{id}",
        "/users/42",
        "shop.example",
        "443",
        "10.0.0.9",
        "GET /users/{id}",
        "true",
        "true",
    ];
    assert_eq!(new, expected);
}

#[test]
fn the_current_name_wins_and_the_original_stays() {
    let seen = admit(&attributes(&[("http.method", "POST"), ("http.request.method", "GET")]));
    assert_eq!(seen.column(Table::Spans, "http_method"), ["GET"]);
    assert_eq!(
        seen.column(Table::Spans, "attrs_str"),
        ["{http.method: POST, http.request.method: GET}"]
    );
}

#[test]
fn endpoints_come_from_route_template_path_method_or_destination() {
    let endpoint = |kind, pairs: &[(&str, &str)]| columns_of(kind, pairs, &["endpoint"]).concat();
    let get = ("http.request.method", "GET");
    assert_eq!(endpoint(CLIENT, &[get, ("url.template", "/u/{id}")]), "GET /u/{id}");
    assert_eq!(endpoint(CLIENT, &[get, ("url.full", "https://h/u/42?x")]), "GET /u/{}");
    assert_eq!(
        endpoint(SERVER, &[("rpc.service", "shop.Cart"), ("rpc.method", "Add")]),
        "shop.Cart/Add"
    );
    assert_eq!(
        endpoint(
            PRODUCER,
            &[("messaging.operation", "publish"), ("messaging.destination.name", "orders")]
        ),
        "send orders"
    );
    assert_eq!(endpoint(SERVER, &[]), "a span");
}

#[test]
fn databases_peers_and_rpc_status_are_named_as_today() {
    let names = ["db_system", "db_namespace", "db_operation", "peer_key", "rpc_status", "is_error"];
    let of = |pairs: &[(&str, &str)]| columns_of(CLIENT, pairs, &names);
    assert_eq!(
        of(&[
            ("db.system", "mssql"),
            ("db.name", "shop"),
            ("db.operation", "SELECT"),
            ("net.peer.name", "db1"),
            ("net.peer.port", "1433")
        ]),
        ["microsoft.sql_server", "shop", "SELECT", "db1:1433", "null", "false"]
    );
    assert_eq!(
        of(&[("rpc.system", "grpc"), ("rpc.grpc.status_code", "14"), ("peer.service", "cart")]),
        ["null", "null", "null", "cart", "UNAVAILABLE", "true"]
    );
    assert_eq!(of(&[("rpc.grpc.status_code", "0")])[4..], ["OK", "false"]);
}

#[test]
fn errors_are_told_by_status_else_by_protocol() {
    let is_error = |kind: i32, status: i32, pairs: &[(&str, &str)]| {
        let fields = format!(r#","kind":{kind},"status":{{"code":{status}}}{}"#, attributes(pairs));
        admit(&fields).column(Table::Spans, "is_error").concat() == "true"
    };
    let not_found = [("http.response.status_code", "404")];
    assert!(is_error(CLIENT, 0, &not_found));
    assert!(!is_error(SERVER, 0, &not_found));
    assert!(!is_error(CLIENT, 1, &not_found), "the application says it is well");
    assert!(is_error(SERVER, 0, &[("error.type", "timeout")]));
    assert!(is_error(SERVER, 2, &[]));
    assert!(!is_error(SERVER, 0, &[]));
}

#[test]
fn query_texts_are_stored_without_their_literals() {
    let seen = admit(&attributes(&[("db.query.text", "SELECT * FROM t WHERE mail = 'a@b.c'")]));
    assert_eq!(
        seen.column(Table::Spans, "attrs_str"),
        ["{db.query.text: SELECT * FROM t WHERE mail = ?}"]
    );
    assert_ne!(seen.column(Table::Spans, "db_fingerprint"), ["null"]);
}

#[test]
fn spans_with_bad_ids_or_times_are_rejected_and_the_good_one_is_kept() {
    let spans = |fields: &[&str]| {
        let spans: Vec<String> = fields.iter().map(|fields| format!("{{{fields}}}")).collect();
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}]}}]}}]}}"#, spans.join(","))
    };
    let ids = r#""traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174""#;
    let at = r#""startTimeUnixNano":"1799999999000000000""#;
    let request = spans(&[
        &format!(r#""name":"short","traceId":"5b8e","spanId":"eee19b7ec3c1b174",{at}"#),
        &format!(
            r#""name":"zero","traceId":"00000000000000000000000000000000","spanId":"eee19b7ec3c1b174",{at}"#
        ),
        &format!(r#""name":"no id",{at}"#),
        &format!(r#""name":"no span id","traceId":"5b8efff798038103d269b633813fc60c",{at}"#),
        &format!(r#""name":"bad parent","parentSpanId":"ee",{ids},{at}"#),
        &format!(r#""name":"no time",{ids}"#),
        &format!(r#""name":"old",{ids},"startTimeUnixNano":"1799000000000000000""#),
        &format!(r#""name":"backwards",{ids},{at},"endTimeUnixNano":"1799999998000000000""#),
        &format!(r#""name":"endless",{ids},{at},"endTimeUnixNano":"18446744073709551615""#),
    ]);
    expect![[r#"
        spans time=2027-01-15T07:59:59Z duration=0 trace_id=5b8efff798038103d269b633813fc60c span_id=eee19b7ec3c1b174 name=backwards kind=unspecified status=unset is_root=true is_entry=true is_error=false endpoint=backwards weight=1.0
        spans time=2027-01-15T07:59:59Z duration=0 trace_id=5b8efff798038103d269b633813fc60c span_id=eee19b7ec3c1b174 name=endless kind=unspecified status=unset is_root=true is_entry=true is_error=false endpoint=endless weight=1.0
        adjusted 2 duration_clamped
        7 of 9 spans rejected: 3 with an invalid trace id (first: span `short`, trace id `5b8e` of 2 bytes: it must be 16 bytes and not all zero); 1 with an invalid span id (first: span `no span id`, span id `` of 0 bytes: it must be 8 bytes and not all zero); 1 with an invalid parent span id (first: span `bad parent`, parent span id `ee` of 1 bytes: it must be 8 bytes and not all zero); 1 without a time (first: span `no time`, its time is 0); 1 too old (first: span `old`, time 2027-01-03T18:13:20.000000000Z, but it is 2027-01-15T08:00:00.000000000Z and 2d back is the limit)
    "#]].assert_eq(&Desk::new().admit(Signal::Traces, &request).text());
}

#[test]
fn weights_come_from_the_sampling_threshold() {
    for (state, expected) in [
        ("", 1.0),
        ("ot=th:8", 2.0),
        ("a=b, ot=rv:1;th:c", 4.0),
        ("ot=th:0", 1.0),
        ("ot=th:x", 1.0),
    ] {
        assert!((weight(state) - expected).abs() < 1e-6, "{state}");
    }
}
