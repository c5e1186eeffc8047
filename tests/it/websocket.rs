//! Protocol switches through a data plane: what follows the 101 belongs to both ends, both ways.

use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{accept_async, client_async};

use crate::harness::Cluster;
use crate::upstream_tls::{Authority, server_config};

/// Reads a head, and what came behind it.
pub(crate) async fn head(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|it| it == b"\r\n\r\n") {
            let rest = read.split_off(end + 4);
            return (String::from_utf8(read).unwrap(), rest);
        }
        assert!(stream.read_buf(&mut read).await.unwrap() > 0, "the connection ended: {read:?}");
    }
}

async fn exactly(stream: &mut TcpStream, mut read: Vec<u8>, length: usize) -> String {
    while read.len() < length {
        assert!(stream.read_buf(&mut read).await.unwrap() > 0, "the connection ended");
    }
    String::from_utf8(read).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_goes_through_and_nothing_goes_before_the_101() {
    let cluster = Cluster::start().await;
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", upstream.local_addr().unwrap());
    cluster.put("/services/ws", json!({"url": url})).await;
    cluster.put("/services/ws/routes/ws", json!({"paths": ["/ws"]})).await;
    cluster.converge().await;

    let mut client = TcpStream::connect(cluster.proxy()).await.unwrap();
    let request = "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
                   Connection: Upgrade\r\nSec-WebSocket-Key: k\r\n\r\nearly";
    client.write_all(request.as_bytes()).await.unwrap();
    let (mut server, _) = upstream.accept().await.unwrap();
    let (asked, rest) = head(&mut server).await;
    assert!(asked.to_ascii_lowercase().contains("\r\nupgrade: websocket\r\n"), "{asked}");
    assert!(rest.is_empty(), "{rest:?} went before the answer");

    let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                  Connection: Upgrade\r\nSec-WebSocket-Accept: a\r\n\r\nfirst";
    server.write_all(answer.as_bytes()).await.unwrap();
    let (answered, rest) = head(&mut client).await;
    assert!(answered.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{answered}");
    assert!(answered.to_ascii_lowercase().contains("\r\nupgrade: websocket\r\n"), "{answered}");
    assert_eq!(exactly(&mut client, rest, 5).await, "first");
    assert_eq!(exactly(&mut server, Vec::new(), 5).await, "early");
    client.write_all(b"ping").await.unwrap();
    assert_eq!(exactly(&mut server, Vec::new(), 4).await, "ping");
    server.write_all(b"pong").await.unwrap();
    assert_eq!(exactly(&mut client, Vec::new(), 4).await, "pong");
    drop(server);
    assert_eq!(client.read(&mut [0; 8]).await.unwrap_or(0), 0, "both ends close together");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_is_refused_is_an_ordinary_answer() {
    let cluster = Cluster::start().await;
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", upstream.local_addr().unwrap());
    cluster.put("/services/ws", json!({"url": url})).await;
    cluster.put("/services/ws/routes/ws", json!({"paths": ["/ws"]})).await;
    cluster.converge().await;

    let mut client = TcpStream::connect(cluster.proxy()).await.unwrap();
    let request =
        "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let (mut server, _) = upstream.accept().await.unwrap();
    head(&mut server).await;
    server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
    let (answered, rest) = head(&mut client).await;
    assert!(answered.starts_with("HTTP/1.1 200 OK\r\n"), "{answered}");
    assert_eq!(exactly(&mut client, rest, 2).await, "no");
    // The connection goes on.
    client.write_all(b"GET /ws HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    head(&mut server).await;
    server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    assert!(head(&mut client).await.0.starts_with("HTTP/1.1 204 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn real_ends_talk_through_it_over_tls_upstream_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let config = server_config(&Authority::root("root").issue("up"), None);
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = accept_async(acceptor.accept(stream).await.unwrap()).await.unwrap();
        // The first word is the server's, right behind its 101.
        socket.send(Message::text("hello")).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() || message.is_binary() {
                socket.send(message).await.unwrap();
            }
        }
    });
    let cluster = Cluster::start().await;
    cluster.put("/services/ws", json!({"url": url})).await;
    cluster.put("/services/ws/routes/ws", json!({"paths": ["/ws"]})).await;
    cluster.converge().await;

    let stream = TcpStream::connect(cluster.proxy()).await.unwrap();
    let asked = client_async(format!("ws://{}/ws/chat", cluster.proxy()), stream).await;
    let (mut client, answer) = asked.unwrap();
    assert_eq!(answer.headers()["via"], "1.1 kong/3.9.1");
    assert_eq!(client.next().await.unwrap().unwrap(), Message::text("hello"));
    for message in [Message::text("one"), Message::binary(vec![7; 300_000]), Message::text("")] {
        client.send(message.clone()).await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), message);
    }
    client.close(None).await.unwrap();
    while client.next().await.is_some_and(|it| it.is_ok()) {}
    server.await.unwrap();
}
