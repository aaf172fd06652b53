//! The closed loop against an API server of Kubernetes. No real one can be had from Debian or PyPI: this one speaks the
//! paths we use as the API documents them, with versions, conflicts, tokens and autoscalers.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::haproxy::{Telemetry, actions, until_state};
use crate::server::{Home, Server, until};

const TOKEN: &str = "a-token-of-the-tests";

/// One deployment, `s2`.
struct Cluster {
    replicas: u64,
    version: u64,
    restarted_for: Option<String>,
    /// Autoscalers that have it.
    scalers: Vec<Value>,
    /// Writes that come in between the next reads of a scale and what follows them.
    intruders: u32,
    /// Writes that were taken.
    n_written: u32,
}

struct Stub {
    url: String,
    cluster: Arc<Mutex<Cluster>>,
}

type Answered = (StatusCode, Json<Value>);

fn guarded(headers: &HeaderMap) -> Result<(), Answered> {
    let shown = headers.get("authorization").and_then(|value| value.to_str().ok());
    if shown == Some(&format!("Bearer {TOKEN}")) {
        return Ok(());
    }
    let status = json!({"kind": "Status", "status": "Failure", "reason": "Unauthorized"});
    Err((StatusCode::UNAUTHORIZED, Json(status)))
}

impl Cluster {
    fn deployment(&self) -> Value {
        json!({
            "metadata": {"name": "s2", "namespace": "shop", "resourceVersion": self.version.to_string()},
            "spec": {
                "replicas": self.replicas,
                "template": {"metadata": {"annotations": {"headrope.dev/restarted-for": self.restarted_for}}},
            },
            "status": {"availableReplicas": self.replicas},
        })
    }

    fn scale(&self) -> Value {
        json!({
            "kind": "Scale",
            "apiVersion": "autoscaling/v1",
            "metadata": {"name": "s2", "namespace": "shop", "resourceVersion": self.version.to_string()},
            "spec": {"replicas": self.replicas},
            "status": {"replicas": self.replicas},
        })
    }

    /// Refuses a write over another version than this one.
    fn write(&mut self, body: &Value) -> Result<(), Answered> {
        if body["metadata"]["resourceVersion"].as_str() != Some(&self.version.to_string()) {
            let status = json!({"kind": "Status", "status": "Failure", "reason": "Conflict"});
            return Err((StatusCode::CONFLICT, Json(status)));
        }
        self.version += 1;
        self.n_written += 1;
        Ok(())
    }
}

type Shared = State<Arc<Mutex<Cluster>>>;

async fn deployments(State(own): Shared, headers: HeaderMap) -> Result<Json<Value>, Answered> {
    guarded(&headers)?;
    let items = [own.lock().unwrap().deployment()];
    Ok(Json(
        json!({"kind": "DeploymentList", "metadata": {"resourceVersion": "1"}, "items": items}),
    ))
}

async fn scalers(State(own): Shared, headers: HeaderMap) -> Result<Json<Value>, Answered> {
    guarded(&headers)?;
    let items = own.lock().unwrap().scalers.clone();
    Ok(Json(json!({"metadata": {}, "items": items})))
}

async fn read_scale(State(own): Shared, headers: HeaderMap) -> Result<Json<Value>, Answered> {
    guarded(&headers)?;
    let mut own = own.lock().unwrap();
    let scale = own.scale();
    if own.intruders > 0 {
        (own.intruders, own.version) = (own.intruders - 1, own.version + 1);
    }
    Ok(Json(scale))
}

async fn write_scale(
    State(own): Shared,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Answered> {
    guarded(&headers)?;
    let mut own = own.lock().unwrap();
    own.write(&body)?;
    own.replicas = body["spec"]["replicas"].as_u64().unwrap();
    Ok(Json(own.scale()))
}

async fn read(State(own): Shared, headers: HeaderMap) -> Result<Json<Value>, Answered> {
    guarded(&headers)?;
    Ok(Json(own.lock().unwrap().deployment()))
}

async fn patch(
    State(own): Shared,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> Result<Json<Value>, Answered> {
    guarded(&headers)?;
    assert_eq!(headers["content-type"], "application/merge-patch+json");
    let body: Value = serde_json::from_slice(&body).unwrap();
    let mut own = own.lock().unwrap();
    own.write(&body)?;
    let annotations = &body["spec"]["template"]["metadata"]["annotations"];
    own.restarted_for = annotations["headrope.dev/restarted-for"].as_str().map(str::to_owned);
    Ok(Json(own.deployment()))
}

impl Stub {
    async fn start() -> Self {
        let cluster = Cluster {
            replicas: 3,
            version: 41,
            restarted_for: None,
            scalers: Vec::new(),
            intruders: 0,
            n_written: 0,
        };
        let cluster = Arc::new(Mutex::new(cluster));
        let apps = "/apis/apps/v1/namespaces/shop/deployments";
        let app = Router::new()
            .route(apps, get(deployments))
            .route(&format!("{apps}/s2"), get(read).patch(patch))
            .route(&format!("{apps}/s2/scale"), get(read_scale).put(write_scale))
            .route("/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers", get(scalers))
            .with_state(Arc::clone(&cluster));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        // Ends with the test's runtime.
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, cluster }
    }

    fn with<T>(&self, look: impl FnOnce(&mut Cluster) -> T) -> T {
        look(&mut self.cluster.lock().unwrap())
    }

    async fn until_replicas(&self, wanted: u64, of: &Server) {
        let reached = until("the replicas", async || {
            (self.with(|cluster| cluster.replicas) == wanted).then_some(())
        });
        tokio::select! {
            () = reached => {}
            () = tokio::time::sleep(std::time::Duration::from_secs(60)) => {
                panic!("{:#}\n{}", actions(of).await, of.stderr());
            }
        }
    }
}

const RULES: &str = "groups:\n- name: shop\n  interval: 1s\n  rules:\n  - alert: Busy\n    expr: member_latency_seconds > 0.3\n";

fn book(stub: &Stub, home: &Home, (step, rest): (&str, &str)) -> String {
    let token = home.write("token", TOKEN);
    format!(
        "kind: Target\nmetadata: {{name: shop}}\nspec:\n  driver: kubernetes\n  endpoint: {}\n  token_file: {}\n  \
         group: {{namespace: shop, selector: app=shop}}\n---\nkind: Runbook\nmetadata: {{name: more}}\nspec:\n  trust: auto\n  \
         alerts: ['alertname=\"Busy\"']\n  target: {{ref: shop, member: '{{{{ alert.labels.member }}}}'}}\n  \
         steps: [{step}]\n  verify: {{success: 'max(member_latency_seconds) < 0.3', within: 30s}}\n{rest}",
        stub.url,
        token.display()
    )
}

async fn start(home: &Home, book: &str) -> Server {
    home.write("rules.yaml", RULES);
    home.write("book.yaml", book);
    let config = "[alert]\nrules = [\"rules.yaml\"]\n[action]\nrunbooks = [\"book.yaml\"]\ntrust = \"auto\"\n";
    home.start(config).await
}

const SCALE: &str = "{id: more, do: kubernetes.scale, with: {by: 5, max: 6}}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_has_more_replicas_while_customers_wait() {
    let (home, stub) = (Home::new(), Stub::start().await);
    let server = start(&home, &book(&stub, &home, (SCALE, "  revert: {ttl: 10m}\n"))).await;
    let telemetry = Telemetry::start(&server, [0.1, 0.9, 0.1]);
    stub.until_replicas(6, &server).await;
    telemetry.slow.send_replace([0.1, 0.1, 0.1]);
    stub.until_replicas(3, &server).await;
    let run = until_state(&server, "closed").await;
    assert_eq!(run["finding"], "verified", "{run:#}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_else_scales_it_is_left_alone() {
    let (home, stub) = (Home::new(), Stub::start().await);
    stub.with(|cluster| cluster.intruders = 1);
    let server = start(&home, &book(&stub, &home, (SCALE, "  revert: {ttl: 10m}\n"))).await;
    let telemetry = Telemetry::start(&server, [0.1, 0.9, 0.1]);
    // Somebody wrote between our reading and our writing.
    let run = until_state(&server, "closed").await;
    let id = run["id"].as_str().unwrap();
    let whole = server.get(&format!("/api/headrope/v1/actions/{id}")).await;
    let arrows = whole["run"]["arrows"].to_string();
    assert!(arrows.contains("somebody else was faster"), "{whole:#}");
    assert_eq!(stub.with(|cluster| (cluster.replicas, cluster.n_written)), (3, 0));
    // An autoscaler has it from now on.
    stub.with(|cluster| {
        let of = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "s2"});
        cluster.scalers =
            vec![json!({"metadata": {"name": "shop-hpa"}, "spec": {"scaleTargetRef": of}})];
    });
    telemetry.slow.send_replace([0.1, 0.1, 0.1]);
    until("the alert to end", async || {
        let all = server.get("/api/headrope/v1/incidents").await;
        (all["incidents"][0]["state"] == "resolved").then_some(())
    })
    .await;
    telemetry.slow.send_replace([0.1, 0.9, 0.1]);
    let by_owner = until("a refusal because of the autoscaler", async || {
        let all = server.get("/api/headrope/v1/incidents").await;
        let id =
            all["incidents"].as_array()?.iter().find(|one| one["state"] == "open")?["id"].clone();
        let one = server.get(&format!("/api/headrope/v1/incidents/{}", id.as_str()?)).await;
        let text = one.to_string();
        text.contains("shop-hpa").then_some(text)
    })
    .await;
    assert!(by_owner.contains("HorizontalPodAutoscaler shop-hpa sets it"), "{by_owner}");
    assert_eq!(stub.with(|cluster| cluster.n_written), 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incident_restarts_a_deployment_once_through_a_crash() {
    let (home, stub) = (Home::new(), Stub::start().await);
    let step = "{id: restart, do: kubernetes.restart}";
    let book = book(&stub, &home, (step, ""));
    let server = start(&home, &book).await;
    let telemetry = Telemetry::start(&server, [0.1, 0.9, 0.1]);
    until("the restart", async || stub.with(|cluster| cluster.restarted_for.clone())).await;
    drop(telemetry);
    server.kill().await;
    let server = start(&home, &book).await;
    let _telemetry = Telemetry::start(&server, [0.1, 0.1, 0.1]);
    let run = until_state(&server, "closed").await;
    assert_eq!(run["finding"], "verified", "{run:#}");
    let incident = run["incident"].as_str().map(str::to_owned);
    assert_eq!(stub.with(|c| (c.restarted_for.clone(), c.n_written)), (incident, 1));
    server.stop().await;
}
