//! Targets by name beyond what an A record says: IPv6, services that move, name servers that are
//! mute.

use std::net::Ipv6Addr;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::balancing::{balance, counts, get, is, name};
use crate::harness::{Cluster, PATIENCE, poll};
use crate::health::probes;
use crate::http::{self, Upstream};
use crate::name_server::{NameServer, Said};

/// Starts both planes; the data plane asks this name server, and has more settings.
async fn with_names(server: &NameServer, more: &[(&str, &str)]) -> Cluster {
    let mut cluster = Cluster::without_data().await;
    let address = server.address.to_string();
    let mut settings = vec![("KONG_DNS_RESOLVER", address.as_str()), ("KONG_DNS_ERROR_TTL", "0")];
    settings.extend_from_slice(more);
    cluster.start_data_in("dp", &settings).await;
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_ipv6_are_asked_for_probed_and_proxied_to() {
    let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await else {
        eprintln!("skipped: this machine has no ::1");
        return;
    };
    let port = listener.local_addr().unwrap().port();
    let six = Upstream::start_on("six", listener);
    let server = NameServer::start().await;
    server.say("six.test", Said::Aaaa { ttl: 60, ip: Ipv6Addr::LOCALHOST });
    let order = [("KONG_DNS_ORDER", "LAST,SRV,A,AAAA,CNAME")];
    let cluster = with_names(&server, &order).await;
    let targets = [(format!("six.test:{port}"), 10), (format!("[::1]:{port}"), 10)];
    let fields = json!({"healthchecks": {"active": probes("http")}});
    balance(&cluster, fields, &targets).await;
    let [by_name, by_address] = targets.map(|(target, _)| target);
    // The address takes every request until the name has been answered; then they take turns.
    let turns = poll(async || {
        let mut hosts = Vec::new();
        for _ in 0..2 {
            let answer = get(&cluster, &[]).await;
            assert_eq!(name(&answer), "six");
            hosts.push(answer.json()["headers"]["host"].as_str()?.to_owned());
        }
        hosts.sort_unstable();
        (hosts == [&*by_address, &*by_name]).then_some(())
    });
    assert!(turns.await.is_some(), "{by_name} and {by_address} do not take turns");
    let told = poll(async || {
        let health = http::get(cluster.status(), "/upstreams/u.test/health").await.ok()?.json();
        let rows = health["data"].as_array()?;
        let healthy = |row: &&Value| {
            row["health"] == "HEALTHY" && row["data"]["addresses"][0]["port"] == port
        };
        (rows.len() == 2 && rows.iter().filter(healthy).count() == 2).then_some(())
    });
    told.await.unwrap();
    // Two requests, and probes beside them.
    poll(async || (six.requests() > 3).then_some(())).await.unwrap();
    // A service may be at such an address itself.
    cluster.put("/services/s", json!({"url": format!("http://[::1]:{port}/")})).await;
    cluster.converge().await;
    assert_eq!(name(&get(&cluster, &[]).await), "six");
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_move_are_followed() {
    let (one, two) = (Upstream::start("one").await, Upstream::start("two").await);
    let server = NameServer::start().await;
    let say = |services: &[(u16, &Upstream)]| {
        let service = |(weight, upstream): &(u16, &Upstream)| {
            (1, *weight, upstream.address.port(), "host.test")
        };
        let services = services.iter().map(service).collect();
        server.say("s.test", Said::Srv { ttl: 1, services });
    };
    server.say("host.test", Said::A { ttl: 60, ips: vec![[127, 0, 0, 1]] });
    say(&[(1, &one)]);
    let cluster = with_names(&server, &[]).await;
    balance(&cluster, json!({}), &[("s.test:80".to_owned(), 100)]).await;
    let shares = async |requests: usize, wanted: &[(&str, usize)]| {
        let mut last = None;
        let reached = poll(async || {
            let seen = counts(&cluster, requests).await;
            let reached = is(&seen, wanted).then_some(());
            last = Some(seen);
            reached
        });
        assert!(reached.await.is_some(), "{last:?}, not {wanted:?}");
    };
    shares(3, &[("one", 3)]).await;
    say(&[(1, &one), (3, &two)]);
    shares(8, &[("one", 2), ("two", 6)]).await;
    say(&[(1, &two)]);
    shares(4, &[("two", 4)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mute_name_server_holds_a_request_no_longer_than_connecting_may_take() {
    let server = NameServer::start().await;
    server.say("mute.test", Said::Silence);
    let cluster = with_names(&server, &[]).await;
    balance(&cluster, json!({}), &[("mute.test:80".to_owned(), 100)]).await;
    for (host, message) in [
        ("mute.test", "name resolution failed"),
        ("u.test", "failure to get a peer from the ring-balancer"),
    ] {
        let service = json!({"url": format!("http://{host}:1/"), "connect_timeout": 50});
        cluster.put("/services/s", service).await;
        cluster.converge().await;
        // What asks the server itself goes on for longer than that.
        let answer = timeout(PATIENCE, get(&cluster, &[])).await.expect("an answer");
        assert_eq!((answer.status, &answer.json()["message"]), (503, &json!(message)));
    }
}
