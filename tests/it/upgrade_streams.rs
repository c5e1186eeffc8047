//! Another process in the place of a node that serves streams: those that are open go on, new ones come
//! to it, and none is refused meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::{Cluster, PATIENCE, own_address, poll};
use crate::http;
use crate::stream::{datagram, echo, hear, route, say, service, udp_client, udp_echo};
use crate::stream_tls::connect;
use crate::upgrade::{Node, ended};

const TEXT: &str = "ping";
const HEARD: &str = "up:pingbye";

/// Where each kind of stream comes to.
#[derive(Clone, Copy)]
struct Doors {
    tcp: SocketAddr,
    tls: SocketAddr,
    udp: SocketAddr,
}

/// Opens streams of each kind, one after the other, until told that it is enough; the first that is not
/// served ends it.
async fn streams(doors: Doors, kind: usize, count: &AtomicUsize, enough: &AtomicBool) {
    while !enough.load(Ordering::Relaxed) {
        let heard = match kind {
            0 => say(TcpStream::connect(doors.tcp).await.unwrap(), TEXT).await.unwrap(),
            1 => say(connect(doors.tls, "up.test").await.unwrap(), TEXT).await.unwrap(),
            _ => {
                let client = udp_client(doors.udp).await;
                let answer = datagram(&client, TEXT.as_bytes(), PATIENCE).await.unwrap();
                format!("{}bye", String::from_utf8(answer).unwrap())
            }
        };
        assert_eq!(heard, HEARD, "kind {kind}");
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Returns a value of the metrics.
async fn metric(node: &Node, subsystem: &str, state: &str) -> u64 {
    let page = http::get(node.status, "/metrics").await.unwrap().body;
    let labels = format!("subsystem=\"{subsystem}\",state=\"{state}\"}} ");
    let line = page.lines().find_map(|line| {
        line.strip_prefix("kong_nginx_connections_total{")?.split_once(&labels)?.1.parse().ok()
    });
    line.unwrap_or_else(|| panic!("no {labels}: {page}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_go_on_and_none_is_refused_while_another_process_takes_over() {
    let cluster = Cluster::without_data().await;
    let doors = Doors { tcp: own_address(), tls: own_address(), udp: own_address() };
    let (tcp_upstream, (udp_upstream, _)) = (echo("up").await, udp_echo("up").await);
    service(&cluster, "tcp", tcp_upstream, json!({})).await;
    service(&cluster, "udp", udp_upstream, json!({"protocol": "udp"})).await;
    let to = |address: SocketAddr| json!([{"port": address.port()}]);
    let tcp = json!({"protocols": ["tcp"], "destinations": to(doors.tcp)});
    route(&cluster, "tcp", "tcp", tcp).await;
    let tls = json!({"protocols": ["tls"], "destinations": to(doors.tls)});
    route(&cluster, "tls", "tcp", tls).await;
    let udp = json!({"protocols": ["udp"], "destinations": to(doors.udp)});
    route(&cluster, "udp", "udp", udp).await;
    let listen = format!("{}, {} ssl, {} udp", doors.tcp, doors.tls, doors.udp);
    let node = Node::start_as_data_plane(&cluster, &[("KONG_STREAM_LISTEN", listen)]).await;
    let is_served = async || {
        let stream = TcpStream::connect(doors.tcp).await.ok()?;
        say(stream, TEXT).await.ok().filter(|heard| heard == HEARD)
    };
    assert!(poll(is_served).await.is_some());

    let (counts, enough) =
        (Arc::new([const { AtomicUsize::new(0) }; 3]), Arc::<AtomicBool>::default());
    let mut clients = JoinSet::new();
    for kind in 0..3 {
        let (counts, enough) = (counts.clone(), enough.clone());
        clients.spawn(async move { streams(doors, kind, &counts[kind], &enough).await });
    }
    let more = async || {
        let before = counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        let all = async || {
            let grown = |kind: usize| counts[kind].load(Ordering::Relaxed) > before[kind] + 20;
            (clients.len() < 3 || (0..3).all(grown)).then_some(())
        };
        assert!(poll(all).await.is_some(), "{before:?} became {counts:?}");
    };
    more().await;
    let mut kept = TcpStream::connect(doors.tcp).await.unwrap();
    hear(&mut kept, "up:").await;
    let session = udp_client(doors.udp).await;
    assert_eq!(datagram(&session, b"1", PATIENCE).await.unwrap(), b"up:1");
    let (pid, accepted) = (node.pid(), metric(&node, "stream", "accepted").await);
    node.run("upgrade", &[]).await.says("Kong upgraded\n");
    assert_ne!(node.pid(), pid);
    kept.write_all(b"still").await.unwrap();
    hear(&mut kept, "still").await;
    assert_eq!(datagram(&session, b"2", PATIENCE).await.unwrap(), b"up:2");
    more().await;
    assert_eq!(say(kept, "-").await.unwrap(), "-bye");
    enough.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    ended(pid).await;
    let goes_on = async || (metric(&node, "stream", "accepted").await > accepted).then_some(());
    assert!(poll(goes_on).await.is_some(), "what was counted goes on");
    assert!(metric(&node, "http", "accepted").await < accepted, "streams count as streams");
}
