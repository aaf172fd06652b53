//! A server that speaks the API's JSON, and what comes of its objects.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::super::{LabelSet, Update};
use super::*;
use crate::scrape::state::Counters;

/// An API server: lists by path, and events for whoever watches a path.
#[derive(Clone)]
struct Api {
    lists: Arc<Mutex<BTreeMap<String, Vec<Value>>>>,
    events: broadcast::Sender<(String, Value)>,
    /// What was asked: path, query and authorization.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Api {
    async fn start(lists: &[(&str, Vec<Value>)]) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let lists =
            lists.iter().map(|(path, objects)| ((*path).to_owned(), objects.clone())).collect();
        let api = Self {
            lists: Arc::new(Mutex::new(lists)),
            events: broadcast::channel(16).0,
            asked: Arc::default(),
        };
        let own = api.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(own.clone().answer(stream));
            }
        });
        (api, url)
    }

    async fn answer(self, mut stream: TcpStream) {
        let mut events = self.events.subscribe();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if stream.read(&mut byte).await.unwrap_or(0) == 0 {
                return;
            }
            request.push(byte[0]);
        }
        let request = String::from_utf8(request).unwrap();
        let target = request.split(' ').nth(1).unwrap().to_owned();
        let authorization =
            request.lines().find(|line| line.to_lowercase().starts_with("authorization: "));
        self.asked.lock().unwrap().push(format!("{target} {}", authorization.unwrap_or_default()));
        let path = target.split('?').next().unwrap();
        if target.contains("watch=true") {
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            while let Ok((watched, event)) = events.recv().await {
                if watched == path
                    && stream.write_all(format!("{event}\n").as_bytes()).await.is_err()
                {
                    return;
                }
            }
            return;
        }
        let items = self.lists.lock().unwrap().get(path).cloned();
        let (status, body) = match items {
            Some(items) => (
                "200 OK",
                json!({"metadata": {"resourceVersion": "7"}, "items": items}).to_string(),
            ),
            None => ("403 Forbidden", "{}".to_owned()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).await.unwrap();
    }

    fn watchers(&self) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| asked.contains("watch=true")).count()
    }
}

fn pod() -> Value {
    json!({
        "metadata": {
            "namespace": "shop", "name": "cart-0", "uid": "u1", "resourceVersion": "5",
            "labels": {"app.kubernetes.io/name": "cart"}, "annotations": {"scrape": "yes"},
            "ownerReferences": [{"controller": true, "kind": "StatefulSet", "name": "cart"}],
            "managedFields": [{"manager": "kubectl"}]
        },
        "spec": {
            "nodeName": "n1",
            "containers": [
                {"name": "web", "image": "cart:1", "ports": [{"name": "http", "containerPort": 80}, {"containerPort": 9100, "protocol": "TCP"}]},
                {"name": "side", "image": "side:1"}
            ],
            "initContainers": [{"name": "init", "image": "init:1"}]
        },
        "status": {
            "podIP": "10.0.0.5", "hostIP": "192.168.0.1", "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "web", "containerID": "cri://1"}]
        }
    })
}

fn service() -> Value {
    json!({
        "metadata": {"namespace": "shop", "name": "cart", "labels": {"team": "a"}},
        "spec": {"type": "ClusterIP", "clusterIP": "10.1.0.1", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]}
    })
}

/// Targets of objects of one role, services and pods beside them.
fn made(role: Role, object: &Value) -> Vec<LabelSet> {
    let named = |object: Value| Objects::from([("shop/cart".to_owned(), object)]);
    let (own, services) = (named(object.clone()), named(service()));
    let pods = Objects::from([("shop/cart-0".to_owned(), pod())]);
    let of = |objects: &'static Objects| objects.iter().collect();
    // The objects of a test live as long as the test program.
    let [own, services, pods] = [own, services, pods].map(|objects| &*Box::leak(Box::new(objects)));
    labels::targets(role, &of(own), &of(services), &of(pods))
}

/// Address and the values of some labels.
fn shown(targets: &[LabelSet], names: &[&str]) -> Vec<String> {
    let value = |labels: &LabelSet, name: &str| {
        labels.get(&format!("__meta_kubernetes_{name}")).cloned().unwrap_or_else(|| "-".to_owned())
    };
    let one = |labels: &LabelSet| {
        let values: Vec<_> = names.iter().map(|name| value(labels, name)).collect();
        format!("{} {}", labels["__address__"], values.join(" "))
    };
    targets.iter().map(one).collect()
}

#[test]
fn each_port_of_a_pod_is_a_target_and_so_is_a_container_without_ports() {
    let targets = made(Role::Pod, &pod());
    let names =
        ["pod_container_name", "pod_container_port_name", "pod_container_init", "pod_container_id"];
    assert_eq!(
        shown(&targets, &names),
        [
            "10.0.0.5:80 web http false cri://1",
            "10.0.0.5:9100 web  false cri://1",
            "10.0.0.5 side - false -",
            "10.0.0.5 init - true -",
        ]
    );
    let names = [
        "namespace",
        "pod_name",
        "pod_label_app_kubernetes_io_name",
        "pod_annotationpresent_scrape",
        "pod_ready",
        "pod_phase",
        "pod_node_name",
        "pod_host_ip",
        "pod_uid",
        "pod_controller_kind",
        "pod_container_image",
    ];
    assert_eq!(
        shown(&targets[..1], &names),
        ["10.0.0.5:80 shop cart-0 cart true true Running n1 192.168.0.1 u1 StatefulSet cart:1"]
    );
    assert!(made(Role::Pod, &json!({"metadata": {"name": "pending"}})).is_empty());
}

#[test]
fn services_nodes_and_ingresses_are_targets() {
    let names = [
        "service_name",
        "service_type",
        "service_cluster_ip",
        "service_port_name",
        "service_label_team",
    ];
    assert_eq!(
        shown(&made(Role::Service, &service()), &names),
        ["cart.shop.svc:8080 cart ClusterIP 10.1.0.1 http a"]
    );
    let node = json!({
        "metadata": {"name": "n1", "labels": {"zone": "z"}},
        "spec": {"providerID": "p://1"},
        "status": {
            "addresses": [{"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "192.168.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}
        }
    });
    let targets = made(Role::Node, &node);
    let names = ["node_name", "node_label_zone", "node_provider_id", "node_address_Hostname"];
    assert_eq!(shown(&targets, &names), ["192.168.0.1:10250 n1 z p://1 n1"]);
    assert_eq!(targets[0]["instance"], "n1");
    let ingress = json!({
        "metadata": {"namespace": "shop", "name": "front"},
        "spec": {
            "ingressClassName": "nginx",
            "tls": [{"hosts": ["*.example.org"]}],
            "rules": [
                {"host": "a.example.org", "http": {"paths": [{"path": "/x"}, {}]}},
                {"host": "b.test"}
            ]
        }
    });
    let names = ["ingress_scheme", "ingress_path", "ingress_class_name", "ingress_host"];
    assert_eq!(
        shown(&made(Role::Ingress, &ingress), &names),
        [
            "a.example.org https /x nginx a.example.org",
            "a.example.org https / nginx a.example.org",
            "b.test http / nginx b.test",
        ]
    );
}

#[test]
fn endpoints_know_their_service_and_pod_and_its_other_ports() {
    let target = json!({"kind": "Pod", "name": "cart-0", "namespace": "shop"});
    let endpoints = json!({
        "metadata": {"namespace": "shop", "name": "cart"},
        "subsets": [{
            "addresses": [{"ip": "10.0.0.5", "nodeName": "n1", "targetRef": target}],
            "notReadyAddresses": [{"ip": "10.0.0.6"}],
            "ports": [{"name": "http", "port": 80}]
        }]
    });
    let names = [
        "endpoint_ready",
        "endpoint_port_name",
        "service_name",
        "pod_name",
        "pod_container_name",
        "endpoint_address_target_name",
    ];
    assert_eq!(
        shown(&made(Role::Endpoints, &endpoints), &names),
        [
            "10.0.0.5:80 true http cart cart-0 web cart-0",
            "10.0.0.6:80 false http cart - - -",
            "10.0.0.5:9100 - - cart cart-0 web -",
        ]
    );
    let slice = json!({
        "metadata": {"namespace": "shop", "name": "cart-x", "labels": {"kubernetes.io/service-name": "cart"}},
        "addressType": "IPv6",
        "endpoints": [{"addresses": ["2001::5"], "conditions": {"ready": true}, "zone": "z", "targetRef": target}],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]
    });
    let names = [
        "endpointslice_endpoint_conditions_ready",
        "endpointslice_port_name",
        "service_name",
        "pod_name",
        "endpointslice_endpoint_zone",
        "endpointslice_address_type",
    ];
    assert_eq!(
        shown(&made(Role::EndpointSlice, &slice), &names),
        ["[2001::5]:80 true http cart cart-0 z IPv6", "10.0.0.5:9100 - - cart cart-0 - IPv6",]
    );
}

/// Discovers as `yaml` says; targets come through the channel.
fn discover(yaml: &str) -> (mpsc::Receiver<Update>, CancellationToken) {
    let config: KubernetesConfig =
        serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{yaml}: {error}"));
    config.check().unwrap();
    let (updates, incoming) = mpsc::channel(8);
    let stop = CancellationToken::new();
    let poll = Poll {
        job: Arc::new(serde_saphyr::from_str("{job_name: k}").unwrap()),
        number: 0,
        updates,
        stop: stop.clone(),
        counters: Arc::new(Counters::default()),
    };
    tokio::spawn(run(poll, config));
    (incoming, stop)
}

#[tokio::test]
async fn what_the_api_server_lists_is_found_and_what_it_tells_is_followed() {
    let path = "/api/v1/namespaces/shop/pods";
    let (api, url) = Api::start(&[(path, vec![pod()])]).await;
    let yaml = format!(
        "{{role: pod, api_server: '{url}', bearer_token: secret, namespaces: {{names: [shop]}}, selectors: [{{role: pod, label: 'a=b'}}]}}"
    );
    let (mut updates, stop) = discover(&yaml);
    assert_eq!(updates.recv().await.unwrap().targets.len(), 4);
    while api.watchers() == 0 {
        tokio::task::yield_now().await;
    }
    let mut other = pod();
    other["metadata"]["name"] = json!("cart-1");
    other["status"]["podIP"] = json!("10.0.0.6");
    api.events.send((path.to_owned(), json!({"type": "ADDED", "object": other}))).unwrap();
    assert_eq!(updates.recv().await.unwrap().targets.len(), 8);
    api.events.send((path.to_owned(), json!({"type": "DELETED", "object": pod()}))).unwrap();
    let left = updates.recv().await.unwrap().targets;
    assert_eq!(
        left.iter().filter(|labels| labels["__address__"].starts_with("10.0.0.6")).count(),
        4
    );
    let asked = api.asked.lock().unwrap().clone();
    assert!(asked[0].contains("limit=500&labelSelector=a%3Db"), "{asked:?}");
    assert!(asked[0].to_lowercase().ends_with("authorization: bearer secret"), "{asked:?}");
    assert!(asked[1].contains("resourceVersion=7"), "{asked:?}");
    stop.cancel();
}

#[tokio::test]
async fn a_list_that_became_too_old_is_read_anew() {
    let (api, url) = Api::start(&[("/api/v1/services", vec![service()])]).await;
    let (mut updates, stop) = discover(&format!("{{role: service, api_server: '{url}'}}"));
    assert_eq!(updates.recv().await.unwrap().targets.len(), 1);
    while api.watchers() == 0 {
        tokio::task::yield_now().await;
    }
    api.lists.lock().unwrap().insert("/api/v1/services".to_owned(), Vec::new());
    let gone = json!({"type": "ERROR", "object": {"kind": "Status", "code": 410}});
    api.events.send(("/api/v1/services".to_owned(), gone)).unwrap();
    assert!(updates.recv().await.unwrap().targets.is_empty());
    stop.cancel();
}

#[test]
fn a_kubeconfig_says_where_the_server_is() {
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts:\n- name: c\n  context: {cluster: k, user: u, namespace: x}\n\
        clusters:\n- name: k\n  cluster: {server: 'https://k.test:6443/', insecure-skip-tls-verify: true}\nusers:\n- name: u\n  user: {token: t}\n";
    std::fs::write(dir.path().join("kube.yml"), kubeconfig).unwrap();
    let check = |yaml: &str| {
        let config: KubernetesConfig = serde_saphyr::from_str(yaml).unwrap();
        Access::new(&config, dir.path()).map(|access| access.server)
    };
    assert_eq!(check("{role: pod, kubeconfig_file: kube.yml}").unwrap(), "https://k.test:6443");
    std::fs::write(
        dir.path().join("exec.yml"),
        kubeconfig.replace("{token: t}", "{exec: {command: aws}}"),
    )
    .unwrap();
    assert!(
        check("{role: pod, kubeconfig_file: exec.yml}")
            .unwrap_err()
            .contains("runs a program for its credentials")
    );
    assert!(check("{role: pod, kubeconfig_file: none.yml}").unwrap_err().contains("cannot read"));
    for (yaml, words) in [
        ("{namespaces: {names: [a]}}", "`role` is missing"),
        (
            "{role: pod, selectors: [{role: node, label: a}]}",
            "a selector of Node has no part in role Pod",
        ),
        ("{role: pod, api_server: 'http://a', kubeconfig_file: b}", "give one of"),
    ] {
        let config: KubernetesConfig = serde_saphyr::from_str(yaml).unwrap();
        assert!(config.check().unwrap_err().contains(words), "{yaml}");
    }
}
