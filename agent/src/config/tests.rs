//! Tests of the configuration: what is read, what is refused, and that secrets stay secret.

use super::*;

#[test]
fn durations_survive_a_round_trip() {
    for text in ["500ms", "1s", "1m30s", "2h", "1d1ms"] {
        let value = duration::parse(text).expect(text);
        assert_eq!(duration::Text(value).to_string(), text);
    }
    for bad in ["", "1", "s", "1 s", "-1s", "1x", "99999999999999999999s", "9999999999999999d"] {
        assert!(duration::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_default_is_valid_and_survives_toml() {
    let config = Config::default();
    config.check().expect("the default works");
    let text = toml::to_string(&config).expect("every field has a TOML form");
    let again: Config = toml::from_str(&text).expect("what we write we read");
    assert_eq!(format!("{config:?}"), format!("{again:?}"));
}

#[test]
fn a_bad_value_is_named_with_its_remedy() {
    let check = |change: fn(&mut Config), expected: &str| {
        let mut config = Config::default();
        change(&mut config);
        let error = config.check().expect_err(expected);
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.kind(), crate::ErrorKind::Invalid);
    };
    check(|c| c.interval = Duration::ZERO, "`interval`: 0s is not between 100ms and 1h");
    check(
        |c| c.process_interval = Duration::from_millis(500),
        "`process_interval`: 500ms is not between 1s and 1h",
    );
    check(|c| c.process_top_n = 0, "`process_top_n`: 0 is not between 1 and 500");
    check(
        |c| c.endpoint = "localhost".into(),
        "`endpoint`: `localhost` is not a URL such as http://127.0.0.1:4317",
    );
    check(
        |c| c.endpoint = "ftp://h".into(),
        "`endpoint`: the scheme `ftp` is none of http, https, grpc, grpcs",
    );
    check(
        |c| drop(c.headers.insert("a b".into(), "x".into())),
        "`headers`: `a b` is not a header name in lower case",
    );
}

#[test]
fn an_unknown_field_is_refused_with_its_position() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("agent.toml");
    std::fs::write(&path, "interval = \"1s\"\nintervall = 3\n").expect("written");
    let error = Config::load(&path).expect_err("there is no such field").to_string();
    assert!(error.contains("line 2") && error.contains("intervall"), "{error}");
}

#[test]
fn a_token_never_shows() {
    let config = Config { token: Some("s3cret".into()), ..Config::default() };
    let text = format!("{config:?}{}", toml::to_string(&config).expect("TOML"));
    assert!(!text.contains("s3cret"), "{text}");
}
