//! The API over real sockets: framing, HEAD, keep-alive, the stop.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::app::App;
use crate::admin::serve::serve;
use crate::telemetry::counter::Counters;

/// Sends text to a socket and reads until the server closes.
async fn exchange(address: std::net::SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn requests_are_served_until_the_stop() {
    let app = App::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let counters = Counters::new(1);
    let server = tokio::spawn(serve(listener, None, app.admin.router(), counters.core(0), stopped));

    let posted = exchange(
        address,
        "POST /services HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: 12\r\n\r\n{\"host\":\"a\"}\
         GET /services HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(posted.starts_with("HTTP/1.1 201 Created\r\n"), "{posted}");
    assert!(posted.contains("HTTP/1.1 200 OK\r\n"), "{posted}");

    let head =
        exchange(address, "HEAD /services HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    let (headers, body) = head.split_once("\r\n\r\n").unwrap();
    let length = headers.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert!(length.parse::<usize>().unwrap() > 100, "the length of what GET answers");
    assert_eq!(body, "");

    let idle = TcpStream::connect(address).await.unwrap();
    stop.send(true).unwrap();
    server.await.unwrap();
    drop(idle);
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}
