//! E-mail through a real server to `aiosmtpd`, a mail server others wrote, by STARTTLS and with a password.

use std::process::Stdio;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::python::{python, sources};
use crate::server::{Home, Server, until};

/// The server of `mail.py`; it ends with this.
struct Mail {
    port: u16,
    said: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Mail {
    /// Starts it with a certificate for `localhost`, whose authority is left in `ca.pem`.
    async fn start(home: &Home) -> Self {
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        home.write("ca.pem", &authority.self_signed(&authority_key).unwrap().pem());
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().unwrap();
        let of_host = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = home.write("cert.pem", &of_host.signed_by(&key, &issuer).unwrap().pem());
        let key = home.write("key.pem", &key.serialize_pem());
        let mut command = Command::new(python().await);
        command.arg(sources().join("mail.py")).arg(certificate).arg(key);
        let mut process = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = said.next_line().await.unwrap().expect("it tells its port").parse().unwrap();
        Self { port, said, _process: process }
    }

    async fn next(&mut self, server: &Server) -> Value {
        let line = tokio::time::timeout(std::time::Duration::from_secs(90), self.said.next_line());
        let line = line.await.unwrap_or_else(|_| panic!("no message:\n{}", server.stderr()));
        serde_json::from_str(&line.unwrap().expect("it runs")).unwrap()
    }
}

#[tokio::test]
async fn an_alert_is_told_by_mail() {
    let home = Home::new();
    let mut mail = Mail::start(&home).await;
    home.write("password", "hunter2\n");
    let path = |name: &str| home.path().join(name).display().to_string();
    let routes = format!(
        "global:\n  smtp_smarthost: '127.0.0.1:{}'\n  smtp_from: Headrope <headrope@example.org>\n\
         \x20 smtp_auth_username: me\n  smtp_auth_password_file: '{}'\n  smtp_tls_config: {{ca_file: '{}'}}\n\
         route: {{receiver: ops, group_by: [alertname], group_wait: 0s, group_interval: 1s}}\n\
         receivers:\n- name: ops\n  email_configs:\n  - {{to: 'ops@example.org, Nacht <nacht@example.org>', send_resolved: true}}\n",
        mail.port,
        path("password"),
        path("ca.pem"),
    );
    home.write("alertmanager.yml", &routes);
    let server = home.start("[alert]\nalertmanager_config = \"alertmanager.yml\"\n").await;
    let post = async |ends_at: Option<&str>| {
        let mut alert = json!({"labels": {"alertname": "磁盘满", "host": "<a&b>"},
            "annotations": {"summary": "第一行\n.\n..end"}});
        if let Some(ends_at) = ends_at {
            alert["endsAt"] = json!(ends_at);
            alert["startsAt"] = json!("2020-01-01T00:00:00Z");
        }
        let sent = server.client.post(server.url("/api/v2/alerts")).json(&json!([alert]));
        assert_eq!(sent.send().await.unwrap().status(), 200);
    };
    post(None).await;
    let firing = mail.next(&server).await;
    assert_eq!(firing["from"], "headrope@example.org");
    assert_eq!(firing["to"], json!(["ops@example.org", "nacht@example.org"]));
    assert_eq!((&firing["user"], &firing["tls"]), (&json!("me"), &json!(true)));
    assert_eq!(firing["subject"], "[FIRING:1] 磁盘满 (<a&b>)");
    assert_eq!(firing["defects"], json!([]));
    let text = firing["parts"]["text/plain"].as_str().unwrap();
    assert!(text.contains("第一行\n.\n..end\n") && text.contains(" - host = <a&b>\n"), "{text}");
    let html = firing["parts"]["text/html"].as_str().unwrap();
    assert!(html.contains("<td>&lt;a&amp;b&gt;</td>"), "{html}");
    until("the message to be noted", async || {
        let metrics = server.client.get(server.url("/metrics")).send().await.unwrap();
        let line = "headrope_notify_delivered_total{integration=\"email\"} 1\n";
        metrics.text().await.unwrap().contains(line).then_some(())
    })
    .await;

    post(Some("2020-01-02T00:00:00Z")).await;
    let resolved = mail.next(&server).await;
    assert_eq!(resolved["subject"], "[RESOLVED] 磁盘满 (<a&b>)");
    assert_ne!(resolved["id"], firing["id"]);
    assert!(!server.stderr().contains("hunter2"));
    let shown = server.get("/api/v2/status").await.to_string();
    assert!(shown.contains("smtp_auth_username") && !shown.contains("hunter2"), "{shown}");
    server.stop().await;
}
