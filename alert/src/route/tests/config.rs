//! Configurations that are refused, with the place and the words; and what those that are taken say.

use model::metric::Labels;

use crate::route::Config;
use crate::route::config::Reading;

fn problems(text: &str) -> String {
    match Config::parse(text, "am.yml", &Reading::default()) {
        Ok(_) => "fine".to_owned(),
        Err(problems) => problems.to_string(),
    }
}

const TAIL: &str = "\nreceivers: [{name: a}]\n";

#[test]
fn mistakes_are_told_with_their_place() {
    for (text, wanted) in [
        ("", "am.yml:1:1: no routes provided"),
        ("route: {}", "1:8: root route must specify a default receiver"),
        ("route: {receiver: b}", "1:19: undefined receiver \"b\" used in route"),
        ("route: {receiver: a, matchers: [x=y]}", "root route must not have any matchers"),
        ("route: {receiver: a, match: {x: y}}", "root route must not have any matchers"),
        (
            "route: {receiver: a, mute_time_intervals: [n]}",
            "root route must not have any mute time intervals",
        ),
        (
            "route: {receiver: a, active_time_intervals: [n]}",
            "root route must not have any active time intervals",
        ),
        (
            "route:\n  receiver: a\n  routes:\n  - mute_time_intervals: [night]",
            "4:27: undefined time interval \"night\" used in route",
        ),
        (
            "route: {receiver: a, group_by: ['...', x]}",
            "cannot have wildcard group_by (`...`) and other labels at the same time",
        ),
        ("route: {receiver: a, group_by: [x, x]}", "duplicated label \"x\" in group_by"),
        ("route: {receiver: a, group_interval: 0s}", "group_interval cannot be zero"),
        ("route: {receiver: a, repeat_interval: 0s}", "repeat_interval cannot be zero"),
        ("route: {receiver: a, group_wait: soon}", "1:34: not a valid duration string: \"soon\""),
        ("route: {receiver: a}\nglobal: {resolve_timeout: x}", "2:10: not a valid duration"),
        (
            "route:\n  receiver: a\n  group_wiat: 1s",
            "3:3: field group_wiat not found in type config.Route; did you mean \"group_wait\"?",
        ),
        ("route:\n  receiver: a\n  routes:\n  - matchers: ['x']", "4:16: "),
        (
            "route: {receiver: a}\ntime_intervals: [{name: n}, {name: n}]",
            "time interval \"n\" is not unique",
        ),
        (
            "route: {receiver: a}\ninhibit_rules: [{source_match_re: {x: '('}}]",
            "2:36: error parsing regexp: missing closing ): `^(?:()$`",
        ),
        (
            "route: {receiver: a}\ntime_intervals: [{name: n, time_intervals: [{weekdays: [noday]}]}]",
            "noday is not a valid weekday",
        ),
        (
            "route: {receiver: a}\ntime_intervals: [{name: n, time_intervals: [{location: Mars}]}]",
            "unknown time zone Mars",
        ),
    ] {
        let told = problems(&format!("{text}{TAIL}"));
        assert!(told.contains(wanted), "{text}\n{told}");
    }
    let twice = "route: {receiver: a}\nreceivers: [{name: a}, {name: a}, {}]";
    let told = problems(twice);
    assert!(told.contains("notification config name \"a\" is not unique"), "{told}");
    assert!(told.contains("missing name in receiver"), "{told}");
}

#[test]
fn every_field_is_read() {
    let text = r#"
global: {resolve_timeout: 7m, smtp_from: a@b}
templates: ['*.tmpl']
route:
  receiver: a
  group_by: [alertname]
  labels: {channel: '#ops'}
  routes:
  - matchers: [severity="page", "\"host.name\"=~\"x.*\""]
    group_wait: 1s
    routes:
    - match: {team: db}
      receiver: b
      labels: {owner: db}
receivers:
- name: a
  webhook_configs: [{url: 'http://x/'}, {url: 'http://y/', send_resolved: false}]
  email_configs: [{to: x@y}]
- name: b
time_intervals:
- name: n
  time_intervals:
  - times: [{start_time: '22:00', end_time: '24:00'}]
    weekdays: ['monday:wednesday', saturday]
    days_of_month: ['1:5', '-3:-1']
    months: ['1:3', may:august]
    years: ['2020:2030', 2035]
    location: Asia/Shanghai
tracing: {}
"#;
    let config = Config::parse(text, "am.yml", &Reading::default()).unwrap();
    assert_eq!(config.resolve_timeout.as_secs(), 420);
    assert_eq!(config.templates, ["*.tmpl"]);
    assert_eq!(config.warnings.len(), 1);
    let leaf = &config.routes[2];
    assert_eq!(leaf.key, r#"{}/{"host.name"=~"x.*",severity="page"}/{team="db"}"#);
    assert_eq!((leaf.group_wait.as_secs(), leaf.receiver.as_str()), (1, "b"));
    assert_eq!((leaf.labels["channel"].as_str(), leaf.labels["owner"].as_str()), ("#ops", "db"));
    let places: Vec<_> =
        config.receivers[0].integrations.iter().map(|i| (i.place(), i.send_resolved)).collect();
    let wanted = [("webhook[0]", true), ("webhook[1]", false), ("email[0]", false)];
    assert_eq!(places, wanted.map(|(place, sends)| (place.to_owned(), sends)));
    let labels: Labels = [("severity", "page"), ("host.name", "x1"), ("team", "db")]
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
    assert_eq!(config.routes_of(&labels), [2]);
    let problem =
        config.problem(config.receivers[0].integrations.get(1), Some("url"), "odd".to_owned());
    assert!(problem.to_string().starts_with("am.yml:17:42: odd"), "{problem}");
}
