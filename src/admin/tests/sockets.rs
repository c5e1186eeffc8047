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
    let length = headers.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
    assert!(length.parse::<usize>().unwrap() > 100, "the length of what GET answers");
    assert_eq!(body, "");

    let idle = TcpStream::connect(address).await.unwrap();
    stop.send(true).unwrap();
    server.await.unwrap();
    drop(idle);
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

/// Serves an API for a test; it ends with the sender.
async fn served(app: &App) -> (std::net::SocketAddr, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(serve(listener, None, app.admin.router(), Counters::new(1).core(0), stopped));
    (address, stop)
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_order_whatever_happens_to_one() {
    let app = App::start().await;
    let (address, _stop) = served(&app).await;
    let post = |path: &str, ty: &str, body: &str| {
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {ty}\r\nContent-Length: {length}\r\n\r\n\
             {body}"
        )
    };
    let plain = |line: &str| format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n");
    let chunked = "POST /services HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                   Transfer-Encoding: chunked\r\n\r\n5\r\n{\"hos\r\n7\r\nt\":\"a\"}\r\n0\r\n\r\n";
    let requests = [
        plain("GET /services"),
        post("/services", "text/plain", "host=a"),
        post("/services", "application/json", "{"),
        post("/services/x", "application/json", "{\"a\":1}"),
        post("/nope", "application/json", "{\"a\":1}"),
        chunked.to_owned(),
        plain("HEAD /services"),
        plain("DELETE /services/x"),
        plain("GET http://other/services/x"),
        "GET /nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
    ];
    let answers = exchange(address, &requests.concat()).await;
    let statuses: Vec<_> = answers
        .split("HTTP/1.1 ")
        .filter_map(|answer| answer.get(..3)?.parse::<u16>().ok())
        .collect();
    assert_eq!(statuses, [200, 415, 400, 405, 404, 201, 200, 204, 404, 404], "{answers}");
}

#[tokio::test]
async fn a_client_may_ask_before_it_sends_a_body() {
    let app = App::start().await;
    let (address, _stop) = served(&app).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST /services HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Content-Length: 12\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"{\"host\":\"a\"}").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
}
