//! Streams below HTTP, end to end: TCP and UDP through a data plane that follows a control plane.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::harness::{Cluster, PATIENCE, own_address, poll};
use crate::http;

/// An upstream that says its name, echoes until its client has ended, and then says `bye`.
pub(crate) async fn echo(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(repeat(name, stream));
        }
    });
    address
}

pub(crate) async fn repeat(
    name: &'static str,
    stream: impl AsyncRead + AsyncWrite,
) -> std::io::Result<()> {
    let (mut read, mut write) = tokio::io::split(stream);
    write.write_all(format!("{name}:").as_bytes()).await?;
    write.flush().await?;
    tokio::io::copy(&mut read, &mut write).await?;
    write.write_all(b"bye").await?;
    write.shutdown().await
}

/// Says something, ends, and returns all that comes back.
pub(crate) async fn say(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    text: &str,
) -> std::io::Result<String> {
    let mut heard = String::new();
    let talk = async {
        stream.write_all(text.as_bytes()).await?;
        stream.shutdown().await?;
        stream.read_to_string(&mut heard).await
    };
    timeout(PATIENCE, talk).await.expect("the stream ends")?;
    Ok(heard)
}

/// Reads what is expected next, without waiting for more.
pub(crate) async fn hear(stream: &mut (impl AsyncRead + Unpin), expected: &str) {
    let mut heard = vec![0; expected.len()];
    timeout(PATIENCE, stream.read_exact(&mut heard)).await.expect("it comes").unwrap();
    assert_eq!(String::from_utf8_lossy(&heard), expected);
}

/// Says something on a connection of its own; what cannot be said is not heard either.
async fn ask(address: SocketAddr, text: &str) -> String {
    let stream = TcpStream::connect(address).await.unwrap();
    say(stream, text).await.unwrap_or_default()
}

/// Starts both planes, the data plane with these listeners and more settings.
pub(crate) async fn cluster(listen: &str, more: &[(&str, &str)]) -> Cluster {
    let mut cluster = Cluster::without_data().await;
    let mut settings =
        vec![("KONG_STREAM_LISTEN", listen), ("KONG_PROXY_STREAM_ACCESS_LOG", "stream.log json")];
    settings.extend_from_slice(more);
    cluster.start_data_in("dp", &settings).await;
    cluster
}

/// Returns where a listener of streams is.
pub(crate) fn at(cluster: &Cluster, listener: usize) -> SocketAddr {
    cluster.data.as_ref().unwrap().streams[listener]
}

/// Writes a service for an address.
pub(crate) async fn service(cluster: &Cluster, name: &str, address: SocketAddr, more: Value) {
    let mut service =
        json!({"protocol": "tcp", "host": address.ip().to_string(), "port": address.port()});
    service.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    cluster.put(&format!("/services/{name}"), service).await;
}

/// Writes a route to a service by what it matches.
pub(crate) async fn route(cluster: &Cluster, name: &str, service: &str, matches: Value) {
    let mut route = json!({"protocols": ["tcp"], "service": {"name": service}});
    route.as_object_mut().unwrap().extend(matches.as_object().cloned().unwrap());
    cluster.put(&format!("/routes/{name}"), route).await;
}

/// A route's destinations: one port.
fn port(address: SocketAddr) -> Value {
    json!({"destinations": [{"port": address.port()}]})
}

/// Stops the data plane and returns the lines of its log.
pub(crate) async fn lines(cluster: &mut Cluster) -> Vec<Value> {
    cluster.stop_data().await;
    let text = std::fs::read_to_string(cluster.prefix("dp").join("stream.log")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_go_by_their_port_and_live_ones_stay_when_routes_change() {
    let (blue, green) = (echo("blue").await, echo("green").await);
    let mut cluster = cluster("127.0.0.1:0, 127.0.0.1:0", &[]).await;
    let (first, second) = (at(&cluster, 0), at(&cluster, 1));
    service(&cluster, "blue", blue, json!({})).await;
    service(&cluster, "green", green, json!({})).await;
    route(&cluster, "r", "blue", port(first)).await;
    cluster.converge().await;
    assert_eq!(ask(first, "ping").await, "blue:pingbye");
    assert_eq!(ask(second, "ping").await, "", "no route, no answer");

    let mut kept = TcpStream::connect(first).await.unwrap();
    hear(&mut kept, "blue:").await;
    route(&cluster, "r", "green", port(first)).await;
    cluster.converge().await;
    assert_eq!(ask(first, "ping").await, "green:pingbye");
    assert_eq!(cluster.call("DELETE", "/routes/r", &Value::Null).await.status, 204);
    cluster.converge().await;
    assert_eq!(ask(first, "ping").await, "");
    // More than any buffer on the way holds.
    let long = "long ".repeat(200_000);
    assert_eq!(say(kept, &long).await.unwrap(), format!("{long}bye"));

    let lines = lines(&mut cluster).await;
    let told = |line: &Value| {
        [&line["status"], &line["bytes_received"], &line["bytes_sent"], &line["tries"]]
            .map(|value| value.as_u64().unwrap())
    };
    let told: Vec<_> = lines.iter().map(told).collect();
    let size = long.len() as u64;
    assert_eq!(
        told,
        [
            [200, 4, 12, 1],
            [500, 0, 0, 0],
            [200, 4, 13, 1],
            [500, 0, 0, 0],
            [200, size, size + 8, 1]
        ]
    );
    assert_eq!(lines[0]["upstream_addr"], blue.to_string());
    assert_eq!(lines[4]["service_id"], lines[0]["service_id"]);
    assert_eq!(lines[4]["config_hash"], lines[0]["config_hash"]);
    assert_ne!(lines[2]["config_hash"], lines[0]["config_hash"]);
    assert_eq!((&lines[0]["protocol"], &lines[1]["route_id"]), (&json!("TCP"), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_target_is_tried_and_a_dead_service_closes() {
    let up = echo("up").await;
    let dead = own_address();
    let mut cluster = cluster("127.0.0.1:0, 127.0.0.1:0", &[]).await;
    cluster.put("/upstreams/u", json!({})).await;
    for target in [up, dead] {
        let body = json!({"target": target.to_string()});
        assert_eq!(cluster.call("POST", "/upstreams/u/targets", &body).await.status, 201);
    }
    cluster.put("/services/s", json!({"protocol": "tcp", "host": "u", "port": 1})).await;
    service(&cluster, "dead", dead, json!({"retries": 1})).await;
    route(&cluster, "r", "s", port(at(&cluster, 0))).await;
    route(&cluster, "dead", "dead", port(at(&cluster, 1))).await;
    cluster.converge().await;
    for _ in 0..4 {
        assert_eq!(ask(at(&cluster, 0), "ping").await, "up:pingbye");
    }
    assert_eq!(ask(at(&cluster, 1), "ping").await, "");
    let lines = lines(&mut cluster).await;
    let tries: Vec<_> = lines.iter().map(|line| line["tries"].as_u64().unwrap()).collect();
    assert!(tries[..4].contains(&2), "{tries:?}");
    assert_eq!((&lines[4]["status"], &lines[4]["tries"]), (&json!(502), &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_are_those_of_the_proxy_protocol_where_the_peer_is_believed() {
    let (near, far) = (echo("near").await, echo("far").await);
    let settings = [("KONG_TRUSTED_IPS", "127.0.0.1")];
    let mut cluster = cluster("127.0.0.1:0 proxy_protocol", &settings).await;
    let address = at(&cluster, 0);
    service(&cluster, "near", near, json!({})).await;
    service(&cluster, "far", far, json!({})).await;
    route(&cluster, "near", "near", port(address)).await;
    route(&cluster, "far", "far", json!({"sources": [{"ip": "192.0.2.0/24"}]})).await;
    cluster.converge().await;
    // An address range weighs less than a port, and less than both together.
    let both =
        json!({"sources": [{"ip": "192.0.2.7"}], "destinations": [{"port": address.port()}]});
    assert_eq!(ask(address, "PROXY UNKNOWN\r\nping").await, "near:pingbye");
    route(&cluster, "far", "far", both).await;
    cluster.converge().await;
    let header = "PROXY TCP4 192.0.2.7 198.51.100.9 4000 443\r\n";
    assert_eq!(ask(address, &format!("{header}ping")).await, "far:pingbye");
    assert_eq!(ask(address, "ping without a header").await, "");
    let lines = lines(&mut cluster).await;
    let clients: Vec<_> = lines.iter().map(|line| line["remote_addr"].as_str().unwrap()).collect();
    assert_eq!(clients, ["127.0.0.1", "192.0.2.7", "127.0.0.1"]);
    assert_eq!(lines[2]["status"], 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_ends_a_connection_and_a_drain_waits_for_live_ones() {
    let up = echo("up").await;
    let mut cluster = cluster("127.0.0.1:0, 127.0.0.1:0", &[]).await;
    let (brief, patient) = (at(&cluster, 0), at(&cluster, 1));
    service(&cluster, "brief", up, json!({"read_timeout": 30, "write_timeout": 20})).await;
    service(&cluster, "patient", up, json!({})).await;
    route(&cluster, "brief", "brief", port(brief)).await;
    route(&cluster, "patient", "patient", port(patient)).await;
    cluster.converge().await;
    // On a busy machine it may be over before the upstream has had its turn.
    let ended = poll(async || {
        let mut silent = TcpStream::connect(brief).await.unwrap();
        let mut heard = String::new();
        timeout(PATIENCE, silent.read_to_string(&mut heard)).await.unwrap().unwrap();
        (heard == "up:").then_some(())
    });
    assert!(ended.await.is_some(), "nothing is heard before the silence");

    let mut kept = TcpStream::connect(patient).await.unwrap();
    hear(&mut kept, "up:").await;
    let data = cluster.data.take().unwrap();
    let ending = tokio::spawn(data.quit(PATIENCE));
    let closed = poll(async || TcpStream::connect(patient).await.is_err().then_some(())).await;
    assert!(closed.is_some(), "nobody listens any more");
    assert!(!ending.is_finished());
    assert_eq!(say(kept, "still here").await.unwrap(), "still herebye");
    timeout(PATIENCE, ending).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_applies_to_is_closed_and_connections_are_counted() {
    let up = echo("up").await;
    let more = vec![("KONG_UNSUPPORTED_PLUGINS".to_owned(), "store".to_owned())];
    let mut cluster = Cluster::without_data_with(more).await;
    let settings = [
        ("KONG_STREAM_LISTEN", "127.0.0.1:0"),
        ("KONG_PROXY_STREAM_ACCESS_LOG", "logs/stream.log"),
    ];
    cluster.start_data_in("dp", &settings).await;
    let address = at(&cluster, 0);
    service(&cluster, "s", up, json!({})).await;
    route(&cluster, "r", "s", port(address)).await;
    let plugin = json!({
        "name": "ip-restriction", "protocols": ["tcp"], "config": {"deny": ["192.0.2.1"]},
    });
    let stored = cluster.call("POST", "/services/s/plugins", &plugin).await;
    assert_eq!(stored.status, 201, "{}", stored.body);
    cluster.converge().await;
    assert_eq!(ask(address, "ping").await, "");
    let path = format!("/plugins/{}", stored.json()["id"].as_str().unwrap());
    assert_eq!(cluster.call("PATCH", &path, &json!({"enabled": false})).await.status, 200);
    cluster.converge().await;
    assert_eq!(ask(address, "ping").await, "up:pingbye");
    let status = http::get(cluster.status(), "/status").await.unwrap().json();
    assert!(status["server"]["connections_accepted"].as_u64().unwrap() >= 2, "{status}");
    cluster.stop_data().await;
    let text = std::fs::read_to_string(cluster.prefix("dp").join("logs/stream.log")).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("127.0.0.1 [") && lines[0].contains("] TCP 500 0 0 0."), "{text}");
    assert!(lines[1].contains("] TCP 200 10 4 0."), "{text}");
}

/// An upstream that sends each datagram back behind its name, and counts its clients.
pub(crate) async fn udp_echo(name: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let clients = Arc::new(AtomicUsize::new(0));
    let count = clients.clone();
    tokio::spawn(async move {
        let mut known = Vec::new();
        let mut buffer = vec![0; 70_000];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
            if !known.contains(&peer) {
                known.push(peer);
                count.store(known.len(), Ordering::SeqCst);
            }
            let answer = [name.as_bytes(), b":", &buffer[..length]].concat();
            let _sent = socket.send_to(&answer, peer).await;
        }
    });
    (address, clients)
}

/// Sends a datagram and returns the answer, if there is one soon.
pub(crate) async fn datagram(
    socket: &UdpSocket,
    payload: &[u8],
    patience: Duration,
) -> Option<Vec<u8>> {
    socket.send(payload).await.unwrap();
    let mut buffer = vec![0; 70_000];
    let length = timeout(patience, socket.recv(&mut buffer)).await.ok()?.ok()?;
    buffer.truncate(length);
    Some(buffer)
}

pub(crate) async fn udp_client(address: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(address).await.unwrap();
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_of_a_client_are_one_session() {
    let (upstream, clients) = udp_echo("up").await;
    let mut cluster = cluster("127.0.0.1:0 udp, 127.0.0.1:0 udp", &[]).await;
    let address = at(&cluster, 0);
    let udp = json!({"protocol": "udp"});
    service(&cluster, "s", upstream, udp.clone()).await;
    let mut matches = port(address);
    matches["protocols"] = json!(["udp"]);
    route(&cluster, "r", "s", matches.clone()).await;
    cluster.converge().await;

    let (first, second) = (udp_client(address).await, udp_client(address).await);
    for payload in [&b"one"[..], b"", &[7; 9000]] {
        for client in [&first, &second] {
            let answer = datagram(client, payload, PATIENCE).await.unwrap();
            assert_eq!(answer, [b"up:", payload].concat());
        }
    }
    assert_eq!(clients.load(Ordering::SeqCst), 2);
    // A session keeps its upstream when the route goes; a new client has none.
    assert_eq!(cluster.call("DELETE", "/routes/r", &Value::Null).await.status, 204);
    cluster.converge().await;
    assert_eq!(datagram(&first, b"kept", PATIENCE).await.unwrap(), b"up:kept");
    let third = udp_client(address).await;
    third.send(b"new").await.unwrap();
    let refused = poll(async || {
        let text = std::fs::read_to_string(cluster.prefix("dp").join("stream.log")).ok()?;
        text.contains("\"status\":500").then_some(())
    });
    assert!(refused.await.is_some(), "it is logged");

    // A session that is silent for the service's time ends; the next datagram begins another.
    let brief = json!({"protocol": "udp", "read_timeout": 20, "write_timeout": 20});
    service(&cluster, "s", upstream, brief).await;
    route(&cluster, "r", "s", matches).await;
    cluster.converge().await;
    third.send(b"again").await.unwrap();
    let ended = poll(async || {
        let text = std::fs::read_to_string(cluster.prefix("dp").join("stream.log")).ok()?;
        text.contains("\"bytes_received\":5,").then_some(())
    });
    assert!(ended.await.is_some(), "no session ends");
    third.send(b"again").await.unwrap();
    let again = poll(async || (clients.load(Ordering::SeqCst) == 4).then_some(()));
    assert!(again.await.is_some(), "no other session begins");

    let lines = lines(&mut cluster).await;
    assert!(lines.iter().all(|line| line["protocol"] == "UDP"));
    let unrouted: Vec<_> = lines.iter().filter(|line| line["status"] == 500).collect();
    assert_eq!(unrouted.len(), 1);
    let long = lines.iter().filter(|line| line["bytes_received"].as_u64() > Some(9000)).count();
    assert_eq!(long, 2, "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datagram_that_is_refused_goes_to_another_target() {
    let (live, _) = udp_echo("live").await;
    let dead = own_address();
    let mut cluster = cluster("127.0.0.1:0 udp", &[]).await;
    let address = at(&cluster, 0);
    cluster.put("/upstreams/u.test", json!({})).await;
    for target in [dead, live] {
        let body = json!({"target": target.to_string()});
        assert_eq!(cluster.call("POST", "/upstreams/u.test/targets", &body).await.status, 201);
    }
    cluster.put("/services/s", json!({"protocol": "udp", "host": "u.test", "port": 1})).await;
    let mut matches = port(address);
    matches["protocols"] = json!(["udp"]);
    route(&cluster, "r", "s", matches).await;
    cluster.converge().await;
    // Some sessions begin at the dead one.
    for _ in 0..4 {
        let client = udp_client(address).await;
        assert_eq!(datagram(&client, b"one", PATIENCE).await.unwrap(), b"live:one");
        assert_eq!(datagram(&client, b"two", PATIENCE).await.unwrap(), b"live:two");
    }
    let lines = lines(&mut cluster).await;
    let tries: Vec<_> = lines.iter().map(|line| line["tries"].as_u64().unwrap()).collect();
    assert!(tries.contains(&2) && tries.iter().all(|tries| *tries <= 2), "{tries:?}");
    let moved = |line: &Value| (line["status"].clone(), line["bytes_received"].clone());
    assert!(lines.iter().all(|line| moved(line) == (json!(200), json!(6))), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_serves_the_same_addresses_and_ends_no_session() {
    let (up, (upstream, clients)) = (echo("up").await, udp_echo("udp").await);
    let listen = "127.0.0.1:0, 127.0.0.1:0 udp";
    let mut cluster = cluster(listen, &[]).await;
    let addresses = [at(&cluster, 0), at(&cluster, 1)];
    service(&cluster, "tcp", up, json!({})).await;
    service(&cluster, "udp", upstream, json!({"protocol": "udp"})).await;
    route(&cluster, "tcp", "tcp", port(addresses[0])).await;
    let mut datagrams = port(addresses[1]);
    datagrams["protocols"] = json!(["udp"]);
    route(&cluster, "udp", "udp", datagrams).await;
    cluster.converge().await;
    let mut kept = TcpStream::connect(addresses[0]).await.unwrap();
    hear(&mut kept, "up:").await;
    let client = udp_client(addresses[1]).await;
    assert_eq!(datagram(&client, b"one", PATIENCE).await.unwrap(), b"udp:one");

    let mut reload = |listen: &str| {
        let settings = [
            ("KONG_ROLE", "data_plane"),
            ("KONG_DATABASE", "off"),
            ("KONG_PROXY_LISTEN", "127.0.0.1:0"),
            ("KONG_STREAM_LISTEN", listen),
            ("KONG_PROXY_STREAM_ACCESS_LOG", "stream.log json"),
            ("KONG_NGINX_WORKER_PROCESSES", "2"),
        ];
        let settings = cluster.settings("dp", &settings);
        let data = cluster.data.as_mut().unwrap();
        data.reload(&settings);
        data.streams.clone()
    };
    assert_eq!(reload(listen), addresses);
    assert_eq!(ask(addresses[0], "ping").await, "up:pingbye");
    // Until the cores before have heard of it, they take datagrams, too.
    for _ in 0..10 {
        assert_eq!(datagram(&client, b"two", PATIENCE).await.unwrap(), b"udp:two");
    }
    assert!(clients.load(Ordering::SeqCst) <= 2);
    assert_eq!(reload("off"), []);
    let closed = poll(async || TcpStream::connect(addresses[0]).await.is_err().then_some(()));
    assert!(closed.await.is_some());
    assert_eq!(say(kept, "kept").await.unwrap(), "keptbye");
    let lines = lines(&mut cluster).await;
    let connections = lines.iter().filter(|line| line["protocol"] == "TCP");
    assert!(connections.clone().all(|line| line["status"] == 200), "{lines:?}");
    // A look whether somebody still listens may have become a session, too.
    assert_eq!(connections.filter(|line| line["bytes_received"] != 0).count(), 2);
}
