//! Log records, from OTLP/JSON to rows.

use expect_test::{Expect, expect};

use super::*;
use crate::config::Config;
use crate::fixture::{Desk, NOW, log};
use crate::stats::Signal;

const AT: &str = r#""timeUnixNano":"1800000000000000000""#;

#[track_caller]
fn check(record: &str, expected: Expect) {
    expected.assert_eq(&Desk::new().admit(Signal::Logs, &log(record)).text());
}

#[test]
fn a_record_keeps_its_body_severity_context_and_typed_attributes() {
    let record = format!(
        r#"{{{AT},"observedTimeUnixNano":"1800000000000000001","severityNumber":10,"severityText":"Information",
        "traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"EEE19B7EC3C1B174","eventName":"order.paid",
        "body":{{"stringValue":"Example log record"}},"attributes":[
        {{"key":"string.attribute","value":{{"stringValue":"some string"}}}},
        {{"key":"boolean.attribute","value":{{"boolValue":true}}}},
        {{"key":"int.attribute","value":{{"intValue":"10"}}}},
        {{"key":"double.attribute","value":{{"doubleValue":637.704}}}},
        {{"key":"array.attribute","value":{{"arrayValue":{{"values":[{{"stringValue":"many"}},{{"intValue":1}}]}}}}}},
        {{"key":"map.attribute","value":{{"kvlistValue":{{"values":[{{"key":"k","value":{{"stringValue":"v"}}}}]}}}}}},
        {{"key":"bytes","value":{{"bytesValue":"AP8="}}}},
        {{"key":"exception.type","value":{{"stringValue":"IOError"}}}},
        {{"key":"exception.message","value":{{"stringValue":"disk"}}}},
        {{"key":"exception.stacktrace","value":{{"stringValue":"at main"}}}}]}}"#
    );
    check(
        &record,
        expect![[r#"
        logs time=2027-01-15T08:00:00Z observed_time=2027-01-15T08:00:00.000000001Z service_name=shop severity_number=10 severity_text=Information body=Example log record event_name=order.paid exception_type=IOError exception_message=disk exception_stack_hash=14823087497014218734 trace_id=5b8efff798038103d269b633813fc60c span_id=eee19b7ec3c1b174 attrs_str={string.attribute: some string, exception.type: IOError, exception.message: disk, exception.stacktrace: at main} attrs_int={int.attribute: 10} attrs_f64={double.attribute: 637.704} attrs_bool={boolean.attribute: true} attrs_json={array.attribute: ["many",1], map.attribute: {"k":"v"}, bytes: "AP8="}
    "#]],
    );
}

#[test]
fn a_structured_body_is_json_and_its_keys_are_attributes() {
    let record = format!(
        r#"{{{AT},"body":{{"kvlistValue":{{"values":[{{"key":"user","value":{{"stringValue":"ann"}}}},
        {{"key":"n","value":{{"intValue":"5"}}}},{{"key":"given","value":{{"boolValue":true}}}}]}}}},
        "attributes":[{{"key":"given","value":{{"stringValue":"stays"}}}}]}}"#
    );
    check(
        &record,
        expect![[r#"
        logs time=2027-01-15T08:00:00Z observed_time=2027-01-15T08:00:00Z service_name=shop severity_number=0 body={"user":"ann","n":5,"given":true} attrs_str={given: stays, user: ann} attrs_int={n: 5}
    "#]],
    );
}

#[test]
fn the_observed_time_stands_in_for_a_missing_one_and_ours_for_both() {
    let times = |record: &str| {
        let seen = Desk::new().admit(Signal::Logs, &log(record));
        (seen.column(Table::Logs, "time"), seen.column(Table::Logs, "observed_time"))
    };
    let observed = vec!["2027-01-15T07:59:59Z".to_owned()];
    let ours = vec!["2027-01-15T08:00:00Z".to_owned()];
    assert_eq!(
        times(r#"{"observedTimeUnixNano":"1799999999000000000"}"#),
        (observed.clone(), observed.clone())
    );
    assert_eq!(times("{}"), (ours.clone(), ours.clone()));
    assert_eq!(times(r#"{"timeUnixNano":"1799999999000000000"}"#), (observed, ours));
    assert_eq!(NOW.s(), 1_800_000_000);
}

#[test]
fn severities_are_read_from_text_when_the_number_is_missing() {
    let of = |fields: &str| {
        let seen = Desk::new().admit(Signal::Logs, &log(&format!("{{{AT},{fields}}}")));
        seen.column(Table::Logs, "severity_number").concat()
    };
    assert_eq!(of(r#""severityText":"warning""#), "13");
    assert_eq!(of(r#""severityText":"whatever""#), "0");
    assert_eq!(of(r#""severityNumber":99,"severityText":"ERROR""#), "17");
    assert_eq!(of(r#""severityNumber":"SEVERITY_NUMBER_FATAL""#), "21");
}

#[test]
fn old_and_future_records_are_rejected_and_bad_ids_dropped() {
    let records = [
        r#"{"timeUnixNano":"1799827199000000000","body":{"stringValue":"two days and a second ago"}}"#,
        r#"{"timeUnixNano":"1800000601000000000","body":{"stringValue":"ahead"}}"#,
        r#"{"timeUnixNano":"1800000000000000000","traceId":"abcd","spanId":"00","body":{"intValue":5}}"#,
        r#"{"timeUnixNano":"1800000000000000000","traceId":"00000000000000000000000000000000"}"#,
    ];
    check(
        &records.join(","),
        expect![[r#"
        logs time=2027-01-15T08:00:00Z observed_time=2027-01-15T08:00:00Z service_name=shop severity_number=0 body=5
        logs time=2027-01-15T08:00:00Z observed_time=2027-01-15T08:00:00Z service_name=shop severity_number=0
        adjusted 1 id_dropped
        2 of 4 log records rejected: 1 too old (first: record "two days and a second ago", time 2027-01-13T07:59:59.000000000Z, but it is 2027-01-15T08:00:00.000000000Z and 2d back is the limit); 1 from the future (first: record "ahead", time 2027-01-15T08:10:01.000000000Z, but it is 2027-01-15T08:00:00.000000000Z and 10m ahead is the limit)
    "#]],
    );
}

#[test]
fn long_bodies_and_values_are_cut_and_surplus_attributes_dropped() {
    let config = Config {
        attributes_max: 2,
        attribute_bytes_max: 5,
        log_body_bytes_max: 4,
        ..Config::default()
    };
    let record = format!(
        r#"{{{AT},"body":{{"stringValue":"aäöü"}},"attributes":[
        {{"key":"long","value":{{"stringValue":"123456"}}}},
        {{"key":"list","value":{{"arrayValue":{{"values":[{{"intValue":1}},{{"intValue":2}},{{"intValue":3}}]}}}}}},
        {{"key":"surplus","value":{{"intValue":1}}}}]}}"#
    );
    let seen = Desk::with(config, usize::MAX).admit(Signal::Logs, &log(&record));
    expect![[r#"
        logs time=2027-01-15T08:00:00Z observed_time=2027-01-15T08:00:00Z service_name=shop severity_number=0 body=aä attrs_str={long: 12345, list: [1,2,}
        adjusted 1 attributes_over_limit
        adjusted 2 attribute_cut
        adjusted 1 body_cut
    "#]].assert_eq(&seen.text());
}
