//! The closed loop against a real supervisord: a standby process is started while customers wait and stopped when they no
//! longer do; a process that is stopped and does not help is started again.

use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::haproxy::{Telemetry, actions, until_state};
use crate::server::{Home, Server, until};

/// supervisord with a group `web` of three processes, of which two run.
struct Supervisord {
    _child: Child,
    config: std::path::PathBuf,
}

impl Supervisord {
    async fn start(home: &Home) -> Self {
        let dir = home.path().display();
        let config = format!(
            "[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={dir}/s.pid\nidentifier=test\n\
             [unix_http_server]\nfile={dir}/s.sock\n\
             [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
             [supervisorctl]\nserverurl=unix://{dir}/s.sock\n\
             [program:web]\ncommand=/bin/sleep 1000\nprocess_name=web-%(process_num)d\nnumprocs=3\nautostart=false\n\
             startsecs=0\nstdout_logfile=NONE\nstderr_logfile=NONE\n"
        );
        let config = home.write("supervisord.conf", &config);
        let mut command = Command::new("supervisord");
        command.arg("-n").arg("-c").arg(&config).stdin(Stdio::null()).kill_on_drop(true);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("supervisor is installed by `cargo xtask install test`");
        let own = Self { _child: child, config };
        until("supervisord to answer", async || own.status().await.contains("web-0").then_some(()))
            .await;
        for name in ["web:web-0", "web:web-1"] {
            own.ctl(&["start", name]).await;
        }
        own
    }

    async fn ctl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("supervisorctl");
        command.arg("-c").arg(&self.config).args(arguments).stdin(Stdio::null());
        String::from_utf8_lossy(&command.output().await.unwrap().stdout).into_owned()
    }

    async fn status(&self) -> String {
        self.ctl(&["status"]).await
    }

    /// Which of the processes run.
    async fn running(&self) -> Vec<String> {
        let status = self.status().await;
        let lines = status.lines().filter(|line| line.contains("RUNNING"));
        lines.map(|line| line.split_whitespace().next().unwrap_or_default().to_owned()).collect()
    }

    async fn until_running(&self, wanted: &[&str], of: &Server) {
        let reached =
            until("the processes to run", async || (self.running().await == wanted).then_some(()));
        tokio::select! {
            () = reached => {}
            () = tokio::time::sleep(std::time::Duration::from_secs(60)) => {
                panic!("{}\n{:#}\n{}", self.status().await, actions(of).await, of.stderr());
            }
        }
    }
}

fn rules(member: &str) -> String {
    format!(
        "groups:\n- name: shop\n  interval: 1s\n  rules:\n  - alert: Busy\n    expr: max(member_latency_seconds) > 0.3\n    \
         labels: {{member: {member}}}\n"
    )
}

fn book(home: &Home, step: &str, success: &str) -> String {
    format!(
        "kind: Target\nmetadata: {{name: web}}\nspec:\n  driver: supervisor\n  endpoint: unix:{}/s.sock\n  \
         group: {{processes: web}}\n---\nkind: Runbook\nmetadata: {{name: step}}\nspec:\n  trust: auto\n  \
         alerts: ['alertname=\"Busy\"']\n  target: {{ref: web, member: '{{{{ alert.labels.member }}}}'}}\n  \
         guard: {{blast_radius: {{max_unavailable: 70%, min_healthy: 1}}}}\n  \
         steps: [{{id: one, do: {step}, timeout: 10s}}]\n  verify: {{success: '{success}', within: 20s}}\n  \
         revert: {{ttl: 10m}}\n",
        home.path().display()
    )
}

async fn start(home: &Home, member: &str, book: &str) -> Server {
    home.write("rules.yaml", &rules(member));
    home.write("book.yaml", book);
    let config = "[alert]\nrules = [\"rules.yaml\"]\n[action]\nrunbooks = [\"book.yaml\"]\ntrust = \"auto\"\n";
    home.start(config).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_process_is_started_while_it_is_needed() {
    let home = Home::new();
    let supervisor = Supervisord::start(&home).await;
    let success = "max(member_latency_seconds) < 0.3";
    let server = start(&home, "web-2", &book(&home, "supervisor.start", success)).await;
    let telemetry = Telemetry::start(&server, [0.1, 0.9, 0.1]);
    supervisor.until_running(&["web:web-0", "web:web-1", "web:web-2"], &server).await;
    telemetry.slow.send_replace([0.1, 0.1, 0.1]);
    // It helped, the alert ends, and what was started for it is stopped.
    supervisor.until_running(&["web:web-0", "web:web-1"], &server).await;
    let run = until_state(&server, "closed").await;
    assert_eq!(run["finding"], "verified", "{run:#}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_whose_stop_does_not_help_is_started_again() {
    let home = Home::new();
    let supervisor = Supervisord::start(&home).await;
    let success = "max(member_latency_seconds) < 0.01";
    let book = book(&home, "supervisor.stop", success).replace("within: 20s", "within: 3s");
    let server = start(&home, "web-1", &book).await;
    let _telemetry = Telemetry::start(&server, [0.1, 0.9, 0.1]);
    let run = until_state(&server, "closed").await;
    assert_eq!(run["finding"], "ineffective", "{run:#}");
    supervisor.until_running(&["web:web-0", "web:web-1"], &server).await;
    // Stopping one more would leave too few.
    let explained = actions(&server).await;
    assert_eq!(
        explained["runs"].as_array().unwrap().iter().filter(|r| r["state"] == "closed").count(),
        1
    );
    server.stop().await;
}
