//! E-mail to a server on loopback that speaks the protocol, in the clear and with TLS.

mod server;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use expect_test::expect;
use serde_json::{Value, json};

use crate::notify::tests::{alert, message, open, wrong};
use server::{Got, Security, Server};

/// Settings that reach `server`, with `more` over them.
fn settings(server: &Server, more: &Value) -> Value {
    let mut settings = json!({"to": "ops@example.org", "from": "Headrope <headrope@example.org>",
        "smarthost": server.address, "require_tls": server.security != Security::Never,
        "force_implicit_tls": server.security == Security::AtOnce,
        "tls_config": {"ca": server.authority}});
    let fields = settings.as_object_mut().unwrap();
    fields.extend(more.as_object().cloned().unwrap_or_default());
    settings
}

async fn send(server: &Server, more: Value) -> Result<(), String> {
    let channels = open("email", &settings(server, &more), &Value::Null).unwrap();
    channels.deliver(message("email", vec![alert("Slow", "a", None)])).await
}

async fn sent(server: &mut Server, more: Value) -> Got {
    send(server, more).await.unwrap();
    server.next().await
}

#[tokio::test]
async fn a_message_has_text_and_escaped_html() {
    let mut server = Server::start(Security::Never, &[], vec![]).await;
    let channels = open("email", &settings(&server, &Value::Null), &Value::Null).unwrap();
    let mut odd = alert("Slow", "<b>ü</b>", None);
    odd.generator_url = "javascript:alert(1)".to_owned();
    let alerts = vec![odd, alert("Slow", "b", Some(1_700_000_060))];
    channels.deliver(message("email", alerts)).await.unwrap();
    let got = server.next().await;
    assert_eq!(
        got.said,
        [
            "EHLO localhost",
            "MAIL FROM:<headrope@example.org>",
            "RCPT TO:<ops@example.org>",
            "DATA",
            "QUIT"
        ]
    );
    expect![[r##"
        Subject: [FIRING:1] Slow (page)
        From: Headrope <headrope@example.org>
        To: ops@example.org
        Message-Id: <msg_00000000000000000000000000000007@example.org>
        Date: Thu, 01 Jan 1970 00:00:00 +0000
        Auto-Submitted: auto-generated
        MIME-Version: 1.0
        Content-Type: multipart/alternative;
         boundary="=_msg_00000000000000000000000000000007"
    "##]]
    .assert_eq(&got.head());
    let (text, html) = (got.part("text/plain"), got.part("text/html"));
    assert!(text.contains(" - host = <b>ü</b>\n") && text.contains("Resolved:\n"), "{text}");
    assert!(html.contains("<td>&lt;b&gt;ü&lt;/b&gt;</td>"), "{html}");
    assert!(!html.contains("javascript") && html.contains("<a href=\"http://here/alerts\">"));
    assert!(html.contains("<a href=\"http://headrope.example/alerts\">Headrope</a>"), "{html}");
    assert_eq!(channels.counts()["email"].delivered, 1);
}

#[tokio::test]
async fn headers_lists_and_threads_are_as_configured() {
    let mut server = Server::start(Security::Never, &[], vec![]).await;
    let more = json!({"to": "a@b, {{ .CommonLabels.host }}@example.org", "html": "", "hello": "me.example",
        "text": ".\n..two\n{{ .CommonLabels.host }}\n", "threading": {"enabled": true},
        "headers": {"subject": "{{ .Status }} 夜\r\nBcc: x@y", "X-Team": "db", "To": "Team: ops;"}});
    let got = sent(&mut server, more).await;
    assert_eq!(got.said[0], "EHLO me.example");
    assert_eq!(got.said[2..4], ["RCPT TO:<a@b>", "RCPT TO:<a@example.org>"]);
    assert_eq!(got.decoded(), ".\n..two\na\n", "dots are doubled and halved again");
    let head = got.head();
    let subject = format!("subject: =?utf-8?B?{}?=\n", STANDARD.encode("firing 夜  Bcc: x@y"));
    assert!(head.contains(&subject) && !head.contains("Bcc"), "{head}");
    assert!(head.contains("X-Team: db\n") && head.contains("To: Team: ops;\n"), "{head}");
    let thread = head.lines().find_map(|line| line.strip_prefix("References: ")).unwrap();
    assert!(thread.ends_with("-1970-01-01@headrope>"), "{thread}");
    assert!(head.contains(&format!("In-Reply-To: {thread}\n")));
    let forever = json!({"threading": {"enabled": true, "thread_by_date": "none"}});
    let head = sent(&mut server, forever).await.head();
    assert!(head.contains("@headrope>") && !head.contains("-1970-01-01"), "{head}");
    // An address made of labels is an address, and nothing else.
    let error = send(&server, json!({"to": "{{ .Status }}\r\nDATA"})).await.unwrap_err();
    assert!(error.starts_with("to: ") && error.contains("is no address"), "{error}");
}

#[tokio::test]
async fn tls_is_begun_and_checked() {
    for security in [Security::Started, Security::AtOnce] {
        let mut server = Server::start(security, &["AUTH PLAIN"], vec![]).await;
        let secrets = json!({"auth_username": "me", "auth_password": "hunter2"});
        let got = sent(&mut server, secrets).await;
        let n_greetings = got.said.iter().filter(|said| said.starts_with("EHLO")).count();
        assert_eq!(n_greetings, if security == Security::Started { 2 } else { 1 });
        assert!(got.is_private);
        let error = tls_error(&server, json!({})).await;
        assert!(error.contains("TLS: ") && error.contains("UnknownIssuer"), "{error}");
        let other = json!({"ca": server.authority, "server_name": "other.example"});
        let error = tls_error(&server, other).await;
        assert!(error.contains("not valid for name"), "{error}");
        let anyone = json!({"tls_config": {"insecure_skip_verify": true, "min_version": "TLS13"}});
        for _ in 0..2 {
            assert_eq!(server.next().await.data, "", "what TLS stops says nothing");
        }
        assert!(sent(&mut server, anyone).await.is_private);
    }
    // A server without TLS gets nothing, unless told so.
    let server = Server::start(Security::Never, &[], vec![]).await;
    let error = send(&server, json!({"require_tls": true})).await.unwrap_err();
    assert!(error.contains("does not advertise the STARTTLS extension"), "{error}");
    let mut server = Server::start(
        Security::Never,
        &["STARTTLS"],
        vec![vec![("STARTTLS", "220 go\r\n250 injected")]],
    )
    .await;
    let error = send(&server, json!({"require_tls": true})).await.unwrap_err();
    assert!(error.contains("spoke before the handshake"), "{error}");
    assert_eq!(server.next().await.said, ["EHLO localhost", "STARTTLS"]);
}

/// What is told of a message that TLS stops; the connection is tried again until the deadline.
async fn tls_error(server: &Server, tls: Value) -> String {
    let settings = settings(server, &json!({"tls_config": tls}));
    let channels = open("email", &settings, &Value::Null).unwrap();
    let mut message = message("email", vec![alert("Slow", "a", None)]);
    message.deadline = message.at;
    channels.deliver(message).await.unwrap_err()
}

#[tokio::test]
async fn users_are_proved_by_what_the_server_offers() {
    let secrets = json!({"auth_username": "me", "auth_password": "hunter2", "auth_secret": "tan"});
    let encoded = |text: &str| STANDARD.encode(text);
    for (offer, wanted) in [
        ("AUTH PLAIN LOGIN", vec![format!("AUTH PLAIN {}", encoded("\0me\0hunter2"))]),
        ("AUTH=LOGIN", vec!["AUTH LOGIN".to_owned(), encoded("me"), encoded("hunter2")]),
        (
            "AUTH GSSAPI CRAM-MD5 PLAIN",
            vec!["AUTH CRAM-MD5".to_owned(), encoded("me 579058336b941f8ed42643f7ce1b9bfd")],
        ),
    ] {
        let mut server = Server::start(Security::Never, &[offer], vec![]).await;
        let got = sent(&mut server, secrets.clone()).await;
        assert_eq!(got.said[1..=wanted.len()], wanted, "{offer}");
    }
    // None offered, none used: a relay that trusts our address.
    let mut server = Server::start(Security::Never, &[], vec![]).await;
    assert_eq!(sent(&mut server, secrets.clone()).await.said.len(), 5);

    let server = Server::start(Security::Never, &["AUTH PLAIN"], vec![]).await;
    let error = send(&server, json!({"auth_username": "me"})).await.unwrap_err();
    assert!(error.contains("need auth_password"), "{error}");
    let echo = "535 wrong password hunter2";
    let server = Server::start(Security::Never, &["AUTH PLAIN"], vec![vec![("AUTH", echo)]]).await;
    let error = send(&server, secrets.clone()).await.unwrap_err();
    assert!(error.contains("535") && !error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn what_may_be_taken_later_is_tried_again_and_what_never_will_be_is_not() {
    let busy = |at: &'static str| vec![(at, "451 4.7.1 come\r\nback")];
    for at in ["EHLO", "MAIL", "RCPT", "DATA", "."] {
        let mut server =
            Server::start(Security::Never, &[], vec![vec![(at, "451 4.7.1 come back")], vec![]])
                .await;
        let channels = open("email", &settings(&server, &Value::Null), &Value::Null).unwrap();
        channels.deliver(message("email", vec![alert("Slow", "a", None)])).await.unwrap();
        let (first, second) = (server.next().await, server.next().await);
        assert!(
            first.said.len() <= second.said.len() && second.said.ends_with(&["QUIT".to_owned()])
        );
        let counts = channels.counts()["email"];
        assert_eq!((counts.retries, counts.delivered, counts.failed), (1, 1, 0), "{at}");
    }
    for at in ["MAIL", "RCPT", "DATA", "."] {
        let server = Server::start(Security::Never, &[], vec![vec![(at, "550 5.1.1 never")]]).await;
        let channels = open("email", &settings(&server, &Value::Null), &Value::Null).unwrap();
        let told = channels.deliver(message("email", vec![alert("Slow", "a", None)])).await;
        let told = told.unwrap_err();
        assert!(told.starts_with(&format!("smtp://{}: ", server.address)), "{told}");
        assert!(told.contains("550 5.1.1 never"), "{told}");
        let counts = channels.counts()["email"];
        assert_eq!((counts.retries, counts.delivered, counts.failed), (0, 0, 1), "{at}");
    }
    // A second line without a code is no reply.
    let server = Server::start(Security::Never, &[], vec![busy("MAIL"), vec![]]).await;
    send(&server, Value::Null).await.unwrap();
}

#[tokio::test]
async fn an_address_that_is_refused_takes_the_message_from_nobody_else() {
    // A mailbox may be full for days.
    for reply in ["550 no such user", "452 4.2.2 mailbox full"] {
        let scripts = vec![vec![("RCPT TO:<gone@b>", reply)]];
        let mut server = Server::start(Security::Never, &[], scripts).await;
        let more = json!({"to": "gone@b, here@b"});
        let channels = open("email", &settings(&server, &more), &Value::Null).unwrap();
        channels.deliver(message("email", vec![alert("Slow", "a", None)])).await.unwrap();
        assert!(server.next().await.data.contains("To: gone@b,\r\n here@b\r\n"));
        let counts = channels.counts()["email"];
        assert_eq!((counts.delivered, counts.refused_addresses), (1, 1), "{reply}");
    }
}

#[tokio::test]
async fn replies_without_end_are_cut_off() {
    let long: &'static str = format!("250-{}", "x".repeat(8_000)).leak();
    let many: &'static str = "250-x\r\n".repeat(200).leak();
    for reply in [long, many, "hello", "999 what"] {
        let mut server =
            Server::start(Security::Never, &[], vec![vec![("EHLO", reply)], vec![]]).await;
        assert_eq!(sent(&mut server, Value::Null).await.said[0], "EHLO localhost");
        assert_eq!(server.next().await.said.len(), 5, "the second try is taken");
    }
}

#[test]
fn wrong_settings_are_refused_with_a_word() {
    let global = json!({"smtp_smarthost": "mail.example:25", "smtp_from": "a@b",
        "smtp_require_tls": false, "smtp_auth_username": "me", "smtp_auth_password": "hunter2"});
    assert!(open("email", &json!({"to": "x@y"}), &global).is_ok(), "the rest is global");
    let base = json!({"to": "x@y", "from": "a@b", "smarthost": "mail.example:25"});
    for (more, wanted) in [
        (json!({"to": ""}), "to: missing to address in email config"),
        (json!({"from": ""}), "from: no global SMTP from set"),
        (json!({"smarthost": ""}), "smarthost: no global SMTP smarthost set"),
        (json!({"smarthost": "mail"}), "smarthost: \"mail\" is not host:port"),
        (json!({"smarthost": "::1:25"}), "is not host:port"),
        (json!({"to": "nobody"}), "to: \"nobody\" is no address"),
        (json!({"hello": "a b"}), "hello: \"a b\" is no name of a host"),
        (json!({"headers": {"a": "1", "A": "2"}}), "duplicate header \"a\" in email config"),
        (json!({"headers": {"a\r\nb": "1"}}), "is no name of a header"),
        (json!({"headers": {"Content-Type": "x"}}), "remove it"),
        (json!({"auth_password": "a", "auth_password_file": "b"}), "at most one of auth_password"),
        (json!({"tls_config": {"ca": "x"}}), "holds no certificate"),
        (json!({"tls_config": {"max_version": "TLS11"}}), "no version is left"),
        (json!({"tls_config": {"min_version": "9"}}), "is not TLS12 or TLS13"),
        (json!({"threading": {"enabled": true, "thread_by_date": "x"}}), "daily or none"),
        (json!({"html": "{{ nosuch }}"}), "html: "),
        (json!({"smart": "x"}), "unknown field `smart`"),
    ] {
        let mut settings = base.clone();
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let told = wrong("email", settings);
        assert!(told.contains(wanted), "{more}: {told}");
    }
}
