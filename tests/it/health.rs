//! Health checks end to end: upstreams that break, hang, die and come back, as probes and traffic
//! see them, and as the APIs tell of them.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::harness::{Cluster, Directory, own_address, poll};
use crate::http::{self, Answer};
use crate::upstream_tls;
use crate::without_database::Node;

/// What an upstream does with its next requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mood {
    Answers(u16),
    Hangs,
    Closes,
}

/// An upstream whose mood can be changed; it takes one request a connection.
pub(crate) struct Moody {
    pub(crate) address: SocketAddr,
    mood: watch::Sender<Mood>,
}

impl Moody {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mood, told) = watch::channel(Mood::Answers(200));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, told.clone()));
            }
        });
        Self { address, mood }
    }

    pub(crate) fn is(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }
}

async fn serve(mut stream: TcpStream, mut mood: watch::Receiver<Mood>) -> Option<()> {
    let at = stream.local_addr().ok()?;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_buf(&mut request).await.ok().filter(|read| *read > 0)?;
    }
    let now = *mood.borrow_and_update();
    match now {
        Mood::Closes => None,
        // Until the mood is another one.
        Mood::Hangs => mood.changed().await.ok(),
        Mood::Answers(status) => {
            let body = at.to_string();
            let length = body.len();
            let head = format!("HTTP/1.1 {status} x\r\nConnection: close\r\n");
            let answer = format!("{head}Content-Length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.ok()
        }
    }
}

/// Makes an upstream with these checks and targets, a service for it and a route `/` to that.
pub(crate) async fn check(cluster: &Cluster, fields: Value, targets: &[SocketAddr]) {
    cluster.put("/upstreams/u.test", fields).await;
    for target in targets {
        let body = json!({"target": target.to_string()});
        let made = cluster.call("POST", "/upstreams/u.test/targets", &body).await;
        assert_eq!(made.status, 201, "{}", made.body);
    }
    let service = json!({"url": "http://u.test:1/", "read_timeout": 1000});
    cluster.put("/services/s", service).await;
    cluster.put("/routes/r", json!({"paths": ["/"], "service": {"name": "s"}})).await;
    cluster.converge().await;
}

pub(crate) async fn get(cluster: &Cluster) -> Answer {
    http::get(cluster.proxy(), "/").await.unwrap()
}

/// Waits until the status API says this of a target.
pub(crate) async fn until_health(cluster: &Cluster, target: SocketAddr, wanted: &str) {
    until_told_health(cluster.status(), target, wanted).await;
}

/// The same of any status API.
pub(crate) async fn until_told_health(status: SocketAddr, target: SocketAddr, wanted: &str) {
    let mut last = Value::Null;
    let reached = poll(async || {
        let health = http::get(status, "/upstreams/u.test/health").await.ok()?.json();
        let rows = health["data"].as_array()?.clone();
        let row = rows.iter().find(|row| row["target"] == target.to_string())?;
        last = row.clone();
        let address = &row["data"]["addresses"][0]["health"];
        (row["health"] == wanted && *address == wanted).then_some(())
    });
    assert!(reached.await.is_some(), "{target} never is {wanted}: {last}");
}

async fn whole(cluster: &Cluster) -> Value {
    let path = "/upstreams/u.test/health?balancer_health=1";
    http::get(cluster.status(), path).await.unwrap().json()["data"].clone()
}

pub(crate) fn probes(kind: &str) -> Value {
    json!({
        "type": kind, "timeout": 1, "https_verify_certificate": true,
        "healthy": {"interval": 0.1, "successes": 1},
        "unhealthy": {"interval": 0.1, "http_failures": 1, "tcp_failures": 1, "timeouts": 1},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_take_a_target_out_and_bring_it_back() {
    let cluster = Cluster::start().await;
    let (good, moody) = (Moody::start().await, Moody::start().await);
    let active = json!({"healthchecks": {"active": probes("http")}});
    check(&cluster, active, &[good.address, moody.address]).await;
    until_health(&cluster, moody.address, "HEALTHY").await;
    for mood in [Mood::Answers(500), Mood::Hangs, Mood::Closes] {
        moody.is(mood);
        until_health(&cluster, moody.address, "UNHEALTHY").await;
        for _ in 0..4 {
            let answer = get(&cluster).await;
            assert_eq!((answer.status, answer.body), (200, good.address.to_string()), "{mood:?}");
        }
        assert_eq!(whole(&cluster).await["balancer_health"], "HEALTHY");
        moody.is(Mood::Answers(200));
        until_health(&cluster, moody.address, "HEALTHY").await;
        let bodies = [get(&cluster).await.body, get(&cluster).await.body];
        assert!(bodies.contains(&moody.address.to_string()), "{bodies:?}");
    }
    // A control plane carries no traffic.
    let told = cluster.call("GET", "/upstreams/u.test/health", &Value::Null).await.json();
    assert_eq!(told["data"][0]["health"], "HEALTHCHECKS_OFF");
    let path = format!("/upstreams/u.test/targets/{}/unhealthy", moody.address);
    assert_eq!(cluster.call("PUT", &path, &Value::Null).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_probes_ask_for_a_connection_only() {
    let cluster = Cluster::start().await;
    let moody = Moody::start().await;
    moody.is(Mood::Closes);
    let dead = own_address();
    let active = json!({"healthchecks": {"active": probes("tcp")}});
    check(&cluster, active, &[dead, moody.address]).await;
    until_health(&cluster, dead, "UNHEALTHY").await;
    until_health(&cluster, moody.address, "HEALTHY").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn https_probes_verify_and_show_the_certificate_of_the_upstream() {
    let mut cluster = Cluster::without_data().await;
    let ours = upstream_tls::Authority::root("ours");
    let theirs = upstream_tls::Authority::root("theirs");
    let trusted = cluster.directory.path().join("trusted.pem");
    std::fs::write(&trusted, &ours.pem).unwrap();
    let trusted = trusted.display().to_string();
    cluster.start_data_in("dp", &[("KONG_LUA_SSL_TRUSTED_CERTIFICATE", &trusted)]).await;
    let known = upstream_tls::upstream(&ours.issue("known"), None).await;
    let stranger = upstream_tls::upstream(&theirs.issue("stranger"), None).await;
    let mut checks = probes("https");
    checks["timeout"] = json!(5);
    check(&cluster, json!({"healthchecks": {"active": checks}}), &[known, stranger]).await;
    until_health(&cluster, stranger, "UNHEALTHY").await;
    until_health(&cluster, known, "HEALTHY").await;
    checks["https_verify_certificate"] = json!(false);
    cluster.put("/upstreams/u.test", json!({"healthchecks": {"active": checks}})).await;
    until_health(&cluster, stranger, "HEALTHY").await;
    checks["https_verify_certificate"] = json!(true);
    checks["https_sni"] = json!("nobody.test");
    cluster.put("/upstreams/u.test", json!({"healthchecks": {"active": checks}})).await;
    until_health(&cluster, known, "UNHEALTHY").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_takes_a_target_out_for_good_and_swaps_keep_that() {
    let cluster = Cluster::start().await;
    let (good, moody) = (Moody::start().await, Moody::start().await);
    let unhealthy = json!({"tcp_failures": 1, "timeouts": 1, "http_failures": 1});
    let passive = json!({"healthchecks": {"passive": {"unhealthy": unhealthy}}});
    check(&cluster, passive, &[good.address, moody.address]).await;
    for (mood, code) in [(Mood::Closes, 200), (Mood::Answers(503), 503), (Mood::Hangs, 200)] {
        moody.is(mood);
        // One of two in turn gets to it; where nothing was answered another one is tried.
        let statuses = [get(&cluster).await.status, get(&cluster).await.status];
        assert!(statuses.contains(&code), "{mood:?}: {statuses:?}");
        until_health(&cluster, moody.address, "UNHEALTHY").await;
        moody.is(Mood::Answers(200));
        for _ in 0..4 {
            assert_eq!(get(&cluster).await.body, good.address.to_string(), "{mood:?}");
        }
        // A change of another target leaves it as it is.
        let path = format!("/upstreams/u.test/targets/{}", good.address);
        let weight = json!({"weight": 7});
        assert_eq!(cluster.call("PATCH", &path, &weight).await.status, 200);
        cluster.converge().await;
        until_health(&cluster, moody.address, "UNHEALTHY").await;
        // Without checks it gets traffic again, and with them it is as good as new.
        let fields = cluster.call("GET", "/upstreams/u.test", &Value::Null).await.json();
        cluster.put("/upstreams/u.test", json!({})).await;
        until_health(&cluster, moody.address, "HEALTHCHECKS_OFF").await;
        let checks = json!({"healthchecks": fields["healthchecks"]});
        cluster.put("/upstreams/u.test", checks).await;
        let weight = json!({"weight": 100});
        assert_eq!(cluster.call("PATCH", &path, &weight).await.status, 200);
        until_health(&cluster, moody.address, "HEALTHY").await;
        cluster.converge().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_little_weight_takes_the_whole_upstream_out() {
    let cluster = Cluster::start().await;
    let (one, two) = (Moody::start().await, Moody::start().await);
    let passive = json!({"unhealthy": {"http_failures": 1}});
    let fields = json!({"healthchecks": {"threshold": 50, "passive": passive}});
    check(&cluster, fields, &[one.address, two.address]).await;
    assert_eq!(whole(&cluster).await["health"], "HEALTHY");
    one.is(Mood::Answers(500));
    let statuses = [get(&cluster).await.status, get(&cluster).await.status];
    assert!(statuses.contains(&500), "{statuses:?}");
    let answer = get(&cluster).await;
    let message = &answer.json()["message"];
    assert_eq!(
        (answer.status, message),
        (503, &json!("failure to get a peer from the ring-balancer"))
    );
    let told = whole(&cluster).await;
    assert_eq!((&told["health"], &told["balancer_health"]), (&json!("UNHEALTHY"), &told["health"]));
    let weight = json!({"total": 200, "available": 100, "unavailable": 100});
    assert_eq!((&told["details"]["healthy"], &told["details"]["weight"]), (&json!(false), &weight));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_declares_targets_healthy_and_each_turn_is_logged_once() {
    let (directory, moody) = (Directory::new(), Moody::start().await);
    let target = moody.address.to_string();
    let passive = json!({"unhealthy": {"http_failures": 2}});
    let tree = json!({
        "_format_version": "3.0",
        "services": [{"name": "s", "host": "u.test", "routes": [{"name": "r", "paths": ["/"]}]}],
        "upstreams": [
            {
                "name": "u.test", "targets": [{"target": target}],
                "healthchecks": {"passive": passive},
            },
            {"name": "v.test", "targets": [{"target": target}]},
        ],
    });
    let node = Node::start(&directory, &tree);
    node.until(node.proxy, "/", 200).await;
    moody.is(Mood::Answers(500));
    for _ in 0..2 {
        node.until(node.proxy, "/", 500).await;
    }
    let message = node.until(node.proxy, "/", 503).await.json()["message"].clone();
    assert_eq!(message, "failure to get a peer from the ring-balancer");
    let health = http::get(node.admin, "/upstreams/u.test/health").await.unwrap().json();
    assert_eq!(health["data"][0]["health"], "UNHEALTHY");
    let declare = async |path: String| http::send(node.admin, "PUT", &path, &[], "").await.unwrap();
    let at = format!("/upstreams/u.test/targets/{target}");
    assert_eq!(declare(format!("{at}/healthy")).await.status, 204);
    node.until(node.proxy, "/", 500).await;
    assert_eq!(declare(format!("{at}/{target}/unhealthy")).await.status, 204);
    node.until(node.proxy, "/", 503).await;
    for (path, status) in [
        ("/upstreams/u.test/targets/10.0.0.1:80/healthy".to_owned(), 404),
        ("/upstreams/nope/targets/10.0.0.1:80/healthy".to_owned(), 404),
        (format!("{at}/10.0.0.1:80/healthy"), 404),
        (format!("{at}/x/healthy"), 404),
        (format!("/upstreams/v.test/targets/{target}/healthy"), 400),
    ] {
        let answer = declare(path.clone()).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        if status == 400 {
            assert_eq!(answer.json()["message"], "no healthchecker found for v.test");
        }
    }
    let lines = poll(async || {
        let log = directory.path().join("prefix/logs/error.log");
        let log = std::fs::read_to_string(log).ok()?;
        let lines = log.lines().filter(|line| line.contains("the health of an address changed"));
        let lines: Vec<_> = lines.map(str::to_owned).collect();
        (lines.len() >= 3).then_some(lines)
    });
    let lines = lines.await.expect("three turns are logged");
    let wanted = [
        ("mostly_healthy", "unhealthy", "traffic: status 500"),
        ("unhealthy", "healthy", "declared"),
        ("mostly_healthy", "unhealthy", "declared"),
    ];
    assert_eq!(lines.len(), wanted.len(), "{lines:#?}");
    for (line, (from, to, why)) in lines.iter().zip(wanted) {
        let told = format!(
            "upstream=\"u.test\" target={target} address={target} from=\"{from}\" to=\"{to}\" why={why}"
        );
        assert!(line.contains(&told), "no {told} in {line}");
    }
}
