//! Files that are read, and files that are refused with the place of what is wrong.

use std::io::Write;

use super::*;

fn load_text(text: &str) -> Result<Plan, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("prometheus.yml");
    std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
    let config = ScrapeConfig { config_files: vec![path], ..ScrapeConfig::default() };
    let prefix = format!("{}/", dir.path().display());
    load(&config).map_err(|error| error.to_string().replace(&prefix, ""))
}

fn refused(text: &str, message: &str) {
    let error = load_text(text).err().unwrap_or_else(|| panic!("accepted: {text}"));
    assert!(error.starts_with(message), "{error}\n{text}");
}

#[test]
fn jobs_take_from_global_what_they_do_not_say() {
    let plan = load_text(
        "global:\n  scrape_interval: 15s\n  external_labels: {replica: a}\n  sample_limit: 7\n  evaluation_interval: 1m\n\
         scrape_configs:\n- job_name: a\n  static_configs:\n  - targets: ['h:1', 'h:2']\n    labels: {version: 1.10}\n\
         - job_name: b\n  scrape_interval: 5s\n  sample_limit: 9\n  scrape_native_histograms: true\n",
    )
    .unwrap();
    assert_eq!(plan.external.value("replica"), Some("a"));
    let [a, b] = plan.jobs.as_slice() else { panic!("two jobs") };
    assert_eq!((a.scrape_interval, a.scrape_timeout), (Span::parse("15s"), Span::parse("10s")));
    assert_eq!((b.scrape_interval, b.scrape_timeout), (Span::parse("5s"), Span::parse("5s")));
    assert_eq!((a.sample_limit, b.sample_limit), (Some(7), Some(9)));
    assert_eq!(a.scrape_protocols.as_deref(), Some(&Protocol::DEFAULT[..]));
    assert_eq!(b.scrape_protocols.as_deref(), Some(&Protocol::NATIVE[..]));
    // A number in a label is the text that was written.
    assert_eq!(a.static_configs[0].labels.as_ref().unwrap()["version"], "1.10");
}

#[test]
fn what_is_not_supported_is_named_with_its_line() {
    refused(
        "rule_files: [a.yml]\n",
        "prometheus.yml: 1:1: field `rule_files` is not supported here: rules are named under `[alert] rules`",
    );
    refused(
        "scrape_configs:\n- job_name: a\n  ec2_sd_configs: []\n",
        "prometheus.yml: 3:3: field `ec2_sd_configs` is not supported here: Headrope does not know it; take it out",
    );
    refused(
        "scrape_configs:\n- job_name: a\n  tls_config:\n    server_name: x\n",
        "prometheus.yml: 4:5: field `server_name` is not supported here: not supported yet",
    );
    refused(
        "scrape_configs:\n- job_name: a\n  metric_path: /x\n",
        "prometheus.yml: 3:3: field `metric_path` is not supported here: did you mean `metrics_path`?",
    );
}

#[test]
fn values_that_cannot_work_are_named_with_their_line() {
    let job = |rest: &str| format!("scrape_configs:\n- job_name: a\n  {rest}\n");
    refused(&job("scrape_interval: soon"), "prometheus.yml: 3:20: \"soon\" is not a duration");
    refused(&job("body_size_limit: much"), "prometheus.yml: 3:20: \"much\" is not a size");
    refused(
        &job("scrape_timeout: 2m"),
        "prometheus.yml: 2:3: job \"a\": `scrape_timeout` 2m is not between 0 and",
    );
    refused(
        &job("relabel_configs: [{action: hashmod, target_label: x}]"),
        "prometheus.yml: 2:3: job \"a\": relabel configuration for hashmod",
    );
    refused(
        &job("bearer_token: a\n  basic_auth: {username: b}"),
        "prometheus.yml: 2:3: job \"a\": give one of `basic_auth`",
    );
    refused(&job("proxy_url: 'http://'"), "prometheus.yml: 2:3: job \"a\": `proxy_url`");
    refused(
        &job("tls_config: {ca_file: none.pem}"),
        "prometheus.yml: 2:3: job \"a\": `tls_config`: cannot read",
    );
    refused("scrape_configs:\n- scheme: http\n", "prometheus.yml: 2:3: `job_name` is empty");
    refused(
        "scrape_configs: [{job_name: a}, {job_name: a}]\n",
        "`scrape.config_files`: found multiple scrape configs with job name \"a\"",
    );
    refused("scrape_configs:\n- job_name: [\n", "prometheus.yml: ");
}

#[test]
fn further_files_hold_jobs_alone() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("main.yml", "global: {scrape_interval: 3s}\nscrape_config_files: ['more*.yml']\n");
    write("more1.yml", "scrape_configs: [{job_name: x}]\n");
    write("more2.yml", "scrape_configs: [{job_name: y}]\n");
    let config =
        ScrapeConfig { config_files: vec![dir.path().join("main.yml")], ..ScrapeConfig::default() };
    let names: Vec<_> = load(&config)
        .unwrap()
        .jobs
        .into_iter()
        .map(|job| (job.job_name, job.scrape_interval))
        .collect();
    assert_eq!(names, [("x".to_owned(), Span::parse("3s")), ("y".to_owned(), Span::parse("3s"))]);
    write("more2.yml", "global: {}\n");
    assert!(
        load(&config)
            .unwrap_err()
            .to_string()
            .contains("more2.yml: 1:1: field `global` is not supported here")
    );
}

#[test]
fn external_labels_of_several_files_are_joined_and_must_agree() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, labels: &str| {
        let path = dir.path().join(name);
        let text = format!("global: {{external_labels: {{{labels}}}}}\n");
        std::fs::write(&path, text).unwrap();
        path
    };
    let check = |second: &str| {
        let config_files = vec![
            file("a.yml", "region: eu, replica: '1'"),
            file("b.yml", second),
            file("c.yml", ""),
        ];
        load(&ScrapeConfig { config_files, ..ScrapeConfig::default() })
    };
    let plan = check("region: eu, zone: z").unwrap();
    let labels: Vec<_> = plan.external.iter().collect();
    assert_eq!(labels, [("region", "eu"), ("replica", "1"), ("zone", "z")]);
    let error = check("region: us").unwrap_err().to_string();
    let first = dir.path().join("a.yml").display().to_string();
    assert!(
        error.contains("b.yml: `global.external_labels`: \"region\" is \"us\" here"),
        "{error}"
    );
    assert!(error.contains(&format!("and \"eu\" in {first}")), "{error}");
}

#[test]
fn passwords_in_urls_are_not_shown() {
    let config = ScrapeConfig {
        write_url: "http://user:secret@h/api/v1/write".to_owned(),
        ..ScrapeConfig::default()
    };
    let shown = serde_json::to_string(&config).unwrap();
    assert!(shown.contains("http://***@h/api/v1/write") && !shown.contains("secret"), "{shown}");
    let job = |rest: &str| format!("scrape_configs:\n- job_name: a\n  {rest}\n");
    let wrong = |text: &str| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("prometheus.yml");
        std::fs::write(&path, text).unwrap();
        let config_files = vec![path];
        load(&ScrapeConfig { config_files, ..ScrapeConfig::default() }).unwrap_err().to_string()
    };
    for text in [
        job("http_sd_configs: [{url: 'ftp://user:secret@h/'}]"),
        job("http_sd_configs: [{url: 'http://user:sec/secret@h/'}]"),
        job("consul_sd_configs: [{server: 'user:secret@h/'}]"),
    ] {
        let error = wrong(&text);
        assert!(error.contains("***@h/") && !error.contains("secret"), "{error}");
    }
    let job: Job = serde_saphyr::from_str(
        "{job_name: a, http_sd_configs: [{url: 'http://user:secret@h/'}], consul_sd_configs: [{server: 'user:secret@h'}]}",
    )
    .unwrap();
    let shown = serde_json::to_string(&job).unwrap();
    assert!(!shown.contains("secret") && shown.matches("***@h").count() == 2, "{shown}");
}
