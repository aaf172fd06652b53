//! supervisord's XML-RPC: the processes of one group, started and stopped. Starting what runs and stopping what does not
//! are successes, so that twice is once.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

use super::{Driver, Endpoint, Failure, Order, RetryClass, connect};
use crate::address::Allowed;
use crate::plan::Member;
use crate::runbook::Target;
use value::{Value, read};

mod value;

/// Longest answer: a process has about 1.5 kB.
const ANSWER_BYTES_MAX: u64 = 8 << 20;
/// Faults that say that it is as wished already (supervisor 4.2, `xmlrpc.py`).
const NOT_RUNNING: i64 = 70;
const ALREADY_STARTED: i64 = 60;
/// States of a process (supervisor 4.2, `states.py`).
const STOPPED: i64 = 0;
const STARTING: i64 = 10;
const RUNNING: i64 = 20;
const STOPPING: i64 = 40;

/// Speaks to supervisord.
pub(crate) struct Supervisor {
    pub(crate) allowed: Arc<Allowed>,
}

impl Driver for Supervisor {
    fn class(&self, _: &Target) -> RetryClass {
        RetryClass::Set
    }

    fn observe<'a>(
        &'a self,
        target: &'a Target,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Vec<Member>, String>> {
        Box::pin(async move {
            let answer = self.call(target, ("supervisor.getAllProcessInfo", &[]), timeout).await?;
            let answer = answer.map_err(|(_, words)| words)?;
            members_of(&answer, &target.group.processes)
        })
    }

    fn apply<'a>(
        &'a self,
        target: &'a Target,
        Order { change, timeout, .. }: Order<'a>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let (method, done) = match (change.field.as_str(), change.value.as_str()) {
                ("state", "running") => ("supervisor.startProcess", ALREADY_STARTED),
                ("state", "stopped") => ("supervisor.stopProcess", NOT_RUNNING),
                (field, value) => {
                    let why = format!("{field} {value} is nothing that can be set");
                    return Err(Failure::Refused(why));
                }
            };
            let name = format!("{}:{}", target.group.processes, change.member);
            // It answers once the process has run for its `startsecs`, or has ended.
            match self.call(target, (method, &[&name]), timeout).await? {
                Ok(_) => Ok(()),
                Err((code, _)) if code == done => Ok(()),
                Err((_, words)) => Err(Failure::Unknown(format!("{name}: {words}"))),
            }
        })
    }
}

/// What a method answers, or its fault.
type Answer = Result<Value, (i64, String)>;

impl Supervisor {
    async fn call(
        &self,
        target: &Target,
        (method, names): (&str, &[&str]),
        timeout: Duration,
    ) -> Result<Answer, String> {
        let place = &target.endpoint;
        let request = request(method, names);
        let talk = async {
            match Endpoint::parse(place)? {
                Endpoint::Unix(path) => {
                    let stream = UnixStream::connect(path).await;
                    converse(stream.map_err(|error| error.to_string())?, &request).await
                }
                Endpoint::Tcp(address) => {
                    converse(connect(&self.allowed, &address).await?, &request).await
                }
            }
        };
        let answer = tokio::time::timeout(timeout, talk).await;
        let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {timeout:?}")));
        let answer = answer.and_then(|text| answer_of(&text));
        answer.map_err(|error| format!("{place}: {error}"))
    }
}

fn request(method: &str, names: &[&str]) -> String {
    let mut body =
        format!("<?xml version=\"1.0\"?><methodCall><methodName>{method}</methodName><params>");
    for name in names {
        let name = name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let written = write!(body, "<param><value><string>{name}</string></value></param>");
        written.expect("a String takes all text");
    }
    body.push_str("</params></methodCall>");
    format!(
        "POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
) -> Result<String, String> {
    let talk = async {
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        (&mut stream).take(ANSWER_BYTES_MAX + 1).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = talk.await.map_err(|error| error.to_string())?;
    if answer.len() as u64 > ANSWER_BYTES_MAX {
        return Err(format!("the answer is longer than {ANSWER_BYTES_MAX} bytes"));
    }
    String::from_utf8(answer).map_err(|_| "the answer is no text".to_owned())
}

/// The value or fault in an HTTP answer.
fn answer_of(text: &str) -> Result<Answer, String> {
    let (head, body) = text.split_once("\r\n\r\n").ok_or("the answer is not HTTP")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        let line = head.lines().next().unwrap_or_default();
        return Err(format!("it answered {:?}", crate::journal::record::cut(line, 200)));
    }
    let (value, is_fault) = read(body)?;
    if !is_fault {
        return Ok(Ok(value));
    }
    let code = value.field("faultCode").and_then(Value::number).unwrap_or_default();
    let words = value.field("faultString").and_then(Value::text).unwrap_or("a fault without words");
    Ok(Err((code, crate::journal::record::cut(words, 200).to_owned())))
}

/// The processes of one group.
fn members_of(answer: &Value, group: &str) -> Result<Vec<Member>, String> {
    let Value::List(all) = answer else { return Err("the list of processes is none".to_owned()) };
    let mut members = Vec::new();
    for process in all {
        let text = |name: &str| process.field(name).and_then(Value::text);
        if text("group") != Some(group) {
            continue;
        }
        let name = text("name").ok_or("a process has no name")?;
        let state = process.field("state").and_then(Value::number);
        let state = state.ok_or_else(|| format!("{name} has no state"))?;
        let runs = matches!(state, RUNNING | STARTING);
        let word = if runs { "running" } else { "stopped" };
        members.push(Member {
            name: name.to_owned(),
            // Whoever was stopped is well; whoever ended by itself is not.
            up: matches!(state, RUNNING | STARTING | STOPPED | STOPPING),
            serving: state == RUNNING,
            fields: BTreeMap::from([("state".to_owned(), word.to_owned())]),
            configured: BTreeMap::new(),
            sessions: 0,
            owner: None,
        });
    }
    if members.is_empty() {
        return Err(format!("there is no process in a group {group:?}"));
    }
    Ok(members)
}

/// Refuses names that would be more than a name.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.is_empty() && name.len() <= 256 && name.chars().all(is_plain) {
        return Ok(());
    }
    Err(format!("{name:?} is no group of supervisord: letters, digits and -_."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n\r\n<?xml version='1.0'?>\n{body}")
    }

    fn process(name: &str, state: i64) -> String {
        format!(
            "<value><struct><member><name>name</name><value><string>{name}</string></value></member>\
             <member><name>group</name><value>web</value></member>\
             <member><name>state</name><value><int>{state}</int></value></member></struct></value>"
        )
    }

    #[test]
    fn processes_are_read_by_their_states() {
        let all: String = [(0, 20), (1, 0), (2, 200), (3, 10)]
            .map(|(i, s)| process(&format!("web-{i}"), s))
            .concat();
        let body = format!(
            "<methodResponse><params><param><value><array><data>{all}</data></array></value></param></params></methodResponse>"
        );
        let answer = answer_of(&http(&body)).unwrap().unwrap();
        let members = members_of(&answer, "web").unwrap();
        let short: Vec<_> =
            members.iter().map(|m| (m.up, m.serving, &*m.fields["state"])).collect();
        let wanted = [
            (true, true, "running"),
            (true, false, "stopped"),
            (false, false, "stopped"),
            (true, false, "running"),
        ];
        assert_eq!(short, wanted);
        assert!(members_of(&answer, "other").unwrap_err().contains("no process"));
    }

    #[test]
    fn faults_and_garbage_are_told() {
        let fault = "<methodResponse><fault><value><struct><member><name>faultCode</name><value><int>70</int></value></member>\
                     <member><name>faultString</name><value><string>NOT_RUNNING: a &lt;b&gt;</string></value></member></struct></value></fault></methodResponse>";
        assert_eq!(answer_of(&http(fault)).unwrap(), Err((70, "NOT_RUNNING: a <b>".to_owned())));
        for bad in [
            "",
            "HTTP/1.1 401 Unauthorized\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\n\r\n<methodResponse><params><param><value><int>x</int></value></param></params></methodResponse>",
        ] {
            assert!(answer_of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_data() {
        let request = request("supervisor.stopProcess", &["web:<x>&"]);
        assert!(request.contains("<string>web:&lt;x&gt;&amp;</string>"), "{request}");
    }
}
