//! Requests to upstreams with several targets, end to end: shares, keys, retries, names that change.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use crate::harness::{Cluster, own_address, poll};
use crate::http::{self, Answer, Upstream};
use crate::name_server::{NameServer, Said};

/// Makes an upstream with targets, a service for it and a route `/` to that.
pub(crate) async fn balance(cluster: &Cluster, upstream: Value, targets: &[(String, u32)]) {
    declare(cluster, upstream, targets).await;
    cluster.converge().await;
}

/// The same, of a cluster that need not have a data plane.
async fn declare(cluster: &Cluster, upstream: Value, targets: &[(String, u32)]) {
    cluster.put("/upstreams/u.test", upstream).await;
    for (target, weight) in targets {
        weigh(cluster, target, *weight).await;
    }
    cluster.put("/services/s", json!({"url": "http://u.test:1/"})).await;
    cluster.put("/routes/r", json!({"paths": ["/"], "service": {"name": "s"}})).await;
}

/// Gives a target a weight, and makes it if it is not there.
async fn weigh(cluster: &Cluster, target: &str, weight: u32) {
    let path = format!("/upstreams/u.test/targets/{target}");
    if cluster.call("PATCH", &path, &json!({"weight": weight})).await.status != 200 {
        let body = json!({"target": target, "weight": weight});
        let made = cluster.call("POST", "/upstreams/u.test/targets", &body).await;
        assert_eq!(made.status, 201, "{}", made.body);
    }
}

pub(crate) async fn get(cluster: &Cluster, headers: &[(&str, &str)]) -> Answer {
    http::send(cluster.proxy(), "GET", "/", headers, "").await.unwrap()
}

/// Returns who answered.
pub(crate) fn name(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["name"].as_str().unwrap().to_owned()
}

pub(crate) async fn counts(cluster: &Cluster, requests: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..requests {
        *counts.entry(name(&get(cluster, &[]).await)).or_default() += 1;
    }
    counts
}

pub(crate) fn is(counts: &BTreeMap<String, usize>, wanted: &[(&str, usize)]) -> bool {
    counts.iter().map(|(name, count)| (name.as_str(), *count)).eq(wanted.iter().copied())
}

fn at(upstream: &Upstream) -> String {
    upstream.address.to_string()
}

/// Starts both planes; the data plane asks this name server.
async fn with_names(server: &NameServer) -> Cluster {
    let mut cluster = Cluster::without_data().await;
    let address = server.address.to_string();
    cluster
        .start_data_in("dp", &[("KONG_DNS_RESOLVER", &address), ("KONG_DNS_ERROR_TTL", "0")])
        .await;
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_share_by_weight_and_a_change_of_weights_is_followed() {
    let cluster = Cluster::start().await;
    let (one, two) = (Upstream::start("one").await, Upstream::start("two").await);
    balance(&cluster, json!({}), &[(at(&one), 1), (at(&two), 3)]).await;
    let seen = counts(&cluster, 40).await;
    assert!(is(&seen, &[("one", 10), ("two", 30)]), "{seen:?}");
    weigh(&cluster, &at(&two), 0).await;
    cluster.converge().await;
    let seen = counts(&cluster, 10).await;
    assert!(is(&seen, &[("one", 10)]), "{seen:?}");
    weigh(&cluster, &at(&one), 0).await;
    cluster.converge().await;
    let answer = get(&cluster, &[]).await;
    let message = &answer.json()["message"];
    assert_eq!(
        (answer.status, message),
        (503, &json!("failure to get a peer from the ring-balancer"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_goes_to_the_same_target() {
    let cluster = Cluster::start().await;
    let upstreams = [
        Upstream::start("one").await,
        Upstream::start("two").await,
        Upstream::start("three").await,
    ];
    let targets = upstreams.each_ref().map(|upstream| (at(upstream), 100));
    let by_header = json!({"hash_on": "header", "hash_on_header": "X-Key"});
    balance(&cluster, by_header, &targets).await;
    let mut seen = BTreeMap::new();
    for key in 0..20 {
        let key = key.to_string();
        let first = name(&get(&cluster, &[("X-Key", &key)]).await);
        assert_eq!(name(&get(&cluster, &[("X-Key", &key)]).await), first);
        *seen.entry(first).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert_eq!(counts(&cluster, 5).await.len(), 1, "no key is a key too");

    let by_capture = json!({"hash_on": "uri_capture", "hash_on_uri_capture": "key"});
    cluster.put("/upstreams/u.test", by_capture).await;
    let route = json!({"paths": ["/", "~/of/(?<key>[0-9]+)/"], "service": {"name": "s"}});
    cluster.put("/routes/r", route).await;
    cluster.converge().await;
    let mut seen = BTreeMap::new();
    for key in 0..20 {
        let at = async |rest: &str| {
            name(&http::get(cluster.proxy(), &format!("/of/{key}/{rest}")).await.unwrap())
        };
        let first = at("a").await;
        assert_eq!(at("b").await, first);
        *seen.entry(first).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 3, "{seen:?}");

    let by_cookie =
        json!({"hash_on": "cookie", "hash_on_cookie": "at", "hash_on_cookie_path": "/p"});
    cluster.put("/upstreams/u.test", by_cookie).await;
    cluster.converge().await;
    for _ in 0..5 {
        let answer = get(&cluster, &[]).await;
        let cookie = answer.header("set-cookie").unwrap();
        let (pair, rest) = cookie.split_once("; ").unwrap();
        assert_eq!((&pair[..3], pair.len()), ("at=", 39));
        assert_eq!(rest, "Path=/p; SameSite=Lax; HttpOnly");
        let again = get(&cluster, &[("Cookie", pair)]).await;
        assert_eq!((name(&again), again.header("set-cookie")), (name(&answer), None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_refuses_connections_is_passed_over() {
    let cluster = Cluster::start().await;
    let live = Upstream::start("live").await;
    let dead = own_address().to_string();
    // Of many requests, too: the bound on retries is for those that were sent.
    for (algorithm, requests) in [
        ("round-robin", 600),
        ("least-connections", 10),
        ("latency", 10),
        ("consistent-hashing", 10),
    ] {
        let upstream = json!({"algorithm": algorithm});
        balance(&cluster, upstream, &[(at(&live), 100), (dead.clone(), 100)]).await;
        let seen = counts(&cluster, requests).await;
        assert!(is(&seen, &[("live", requests)]), "{algorithm}: {seen:?}");
    }
    let mut service = json!({"url": "http://u.test:1/", "retries": 0});
    cluster.put("/upstreams/u.test", json!({"algorithm": "round-robin"})).await;
    cluster.put("/services/s", service.take()).await;
    cluster.converge().await;
    let mut statuses = BTreeMap::new();
    for _ in 0..10 {
        *statuses.entry(get(&cluster, &[]).await.status).or_insert(0) += 1;
    }
    assert_eq!(statuses, BTreeMap::from([(200, 5), (502, 5)]));
}

/// A server that reads each request and closes without an answer; it counts them.
async fn closing() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counter = counter.clone();
            tokio::spawn(async move {
                let mut head = [0; 1024];
                if stream.read(&mut head).await.is_ok_and(|length| length > 0) {
                    counter.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    (address, count)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_of_which_all_fails_is_asked_about_twice_as_much() {
    const REQUESTS: usize = 200;
    let cluster = Cluster::start().await;
    let mut servers = Vec::new();
    for _ in 0..6 {
        servers.push(closing().await);
    }
    let targets: Vec<_> = servers.iter().map(|(address, _)| (address.to_string(), 1)).collect();
    balance(&cluster, json!({}), &targets).await;
    let asked = || servers.iter().map(|(_, count)| count.load(Ordering::SeqCst)).sum::<usize>();
    assert_eq!(get(&cluster, &[]).await.status, 502);
    assert_eq!(asked(), 6, "the first request is sent to everyone");
    for _ in 1..REQUESTS {
        assert_eq!(get(&cluster, &[]).await.status, 502);
    }
    // A retry for each request and a hundred within ten seconds, of which more than ten may go by.
    let bound = 2 * REQUESTS + 300;
    assert!((REQUESTS + 100..bound).contains(&asked()), "{}", asked());
    assert!(bound < 6 * REQUESTS, "without a bound it would be more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_comes_starts_slowly_where_that_is_wanted() {
    let mut cluster = Cluster::without_data().await;
    let (one, two) = (Upstream::start("one").await, Upstream::start("two").await);
    let three = Upstream::start("three").await;
    declare(&cluster, json!({}), &[(at(&one), 10), (at(&two), 10)]).await;
    cluster.start_data_in("dp", &[("KONG_UPSTREAM_SLOW_START", "86400")]).await;
    cluster.converge().await;
    let seen = counts(&cluster, 10).await;
    assert!(is(&seen, &[("one", 5), ("two", 5)]), "those of the first moment share: {seen:?}");
    weigh(&cluster, &at(&three), 10).await;
    cluster.converge().await;
    let seen = counts(&cluster, 30).await;
    assert!(!seen.contains_key("three"), "{seen:?}");
    // Somebody has to.
    for gone in [&one, &two] {
        weigh(&cluster, &at(gone), 0).await;
    }
    cluster.converge().await;
    let seen = counts(&cluster, 5).await;
    assert!(is(&seen, &[("three", 5)]), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn least_connections_counts_a_request_until_its_answer_is_over() {
    let cluster = Cluster::start().await;
    let slow = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = slow.local_addr().unwrap();
    let (heard, mut hearing) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = slow.accept().await {
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            let _ = heard.send(());
            held.push(stream);
        }
    });
    let fast = Upstream::start("fast").await;
    let targets = [(at(&fast), 100), (address.to_string(), 100)];
    balance(&cluster, json!({"algorithm": "least-connections"}), &targets).await;
    let proxy: SocketAddr = cluster.proxy();
    // Of two equal ones each gets its turn.
    for _ in 0..2 {
        tokio::spawn(async move { http::get(proxy, "/").await });
    }
    hearing.recv().await.unwrap();
    poll(async || (fast.requests() == 1).then_some(())).await.unwrap();
    let seen = counts(&cluster, 10).await;
    assert!(is(&seen, &[("fast", 10)]), "{seen:?}");
    assert!(hearing.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_by_name_is_where_the_name_server_says_from_the_first_request_on() {
    let one = Upstream::start("one").await;
    let port = one.address.port();
    let two = Upstream::start_on("two", TcpListener::bind(("127.0.0.2", port)).await.unwrap());
    let server = NameServer::start().await;
    server.say("t.test", Said::A { ttl: 1, ips: vec![[127, 0, 0, 1]] });
    let cluster = with_names(&server).await;
    balance(&cluster, json!({}), &[(format!("t.test:{port}"), 10)]).await;
    let answer = get(&cluster, &[]).await;
    assert_eq!(name(&answer), "one");
    assert_eq!(answer.json()["headers"]["host"], format!("t.test:{port}"));

    server.say("t.test", Said::A { ttl: 1, ips: vec![[127, 0, 0, 1], [127, 0, 0, 2]] });
    cluster.until("/", |answer| name(answer) == "two").await;
    let seen = counts(&cluster, 10).await;
    assert!(is(&seen, &[("one", 5), ("two", 5)]), "{seen:?}");

    server.say("t.test", Said::A { ttl: 1, ips: vec![[127, 0, 0, 2]] });
    poll(async || is(&counts(&cluster, 4).await, &[("two", 4)]).then_some(())).await.unwrap();
    // Whatever the name server does, the last addresses stay.
    for said in [Said::Failure, Said::Silence] {
        let asked = server.asked("t.test");
        server.say("t.test", said);
        poll(async || (server.asked("t.test") > asked).then_some(())).await.unwrap();
        let seen = counts(&cluster, 4).await;
        assert!(is(&seen, &[("two", 4)]), "{seen:?}");
    }
    assert!(two.requests() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn services_of_a_name_are_balanced_by_their_records() {
    let (one, two) = (Upstream::start("one").await, Upstream::start("two").await);
    let server = NameServer::start().await;
    let ports = [one.address.port(), two.address.port()];
    let services = vec![(1, 1, ports[0], "one.test"), (1, 3, ports[1], "two.test")];
    server.say("s.test", Said::Srv { ttl: 60, services });
    for host in ["one.test", "two.test"] {
        server.say(host, Said::A { ttl: 60, ips: vec![[127, 0, 0, 1]] });
    }
    let cluster = with_names(&server).await;
    balance(&cluster, json!({"use_srv_name": true}), &[("s.test:80".to_owned(), 100)]).await;
    let seen = counts(&cluster, 8).await;
    assert!(is(&seen, &[("one", 2), ("two", 6)]), "{seen:?}");
    let answer = cluster.until("/", |answer| name(answer) == "one").await;
    assert_eq!(answer.json()["headers"]["host"], format!("one.test:{}", ports[0]));

    let health = http::get(cluster.status(), "/upstreams/u.test/health").await.unwrap().json();
    let addresses = &health["data"][0]["data"]["addresses"];
    let address = |port: u16, weight: u32| json!({"ip": "127.0.0.1", "port": port, "weight": weight, "health": "HEALTHCHECKS_OFF"});
    assert_eq!(addresses, &json!([address(ports[0], 1), address(ports[1], 3)]));

    // A service may have such a name itself.
    cluster.put("/services/s", json!({"url": "http://s.test:1/"})).await;
    cluster.converge().await;
    let seen = counts(&cluster, 40).await;
    assert!((8..=12).contains(&seen["one"]), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_without_addresses_is_an_error_of_its_target_alone() {
    let one = Upstream::start("one").await;
    let server = NameServer::start().await;
    let cluster = with_names(&server).await;
    balance(&cluster, json!({}), &[(at(&one), 10), ("none.test:80".to_owned(), 10)]).await;
    let seen = counts(&cluster, 6).await;
    assert!(is(&seen, &[("one", 6)]), "{seen:?}");
    let health = poll(async || {
        let health = http::get(cluster.status(), "/upstreams/u.test/health").await.ok()?.json();
        let words = health["data"].as_array()?.iter().map(|target| target["health"].clone());
        let words: Vec<_> = words.collect();
        (words == ["DNS_ERROR", "HEALTHCHECKS_OFF"]).then_some(())
    });
    health.await.unwrap();
    cluster.put("/services/s", json!({"url": "http://none.test:1/"})).await;
    cluster.converge().await;
    let answer = get(&cluster, &[]).await;
    assert_eq!((answer.status, &answer.json()["message"]), (503, &json!("name resolution failed")));
}
