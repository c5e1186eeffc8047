//! gRPC through a data plane: HTTP/2 on both sides, calls in both directions at once, trailers,
//! and the answers to what is no gRPC (reference gateway-3, sections C.5 and D.4).

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::harness::Cluster;
use crate::http;
use crate::upstream_tls::{Authority, server_config};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Sends each message back as it comes, then a status that tells the call; `/fail` has no message.
async fn answer(
    request: Request<Incoming>,
) -> Result<Response<impl Body<Data = Bytes, Error = Error>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
    let te = request.headers().get("te").cloned();
    let (sender, receiver) = mpsc::channel(4);
    if path.ends_with("/Fail") {
        let response = Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", "9")
            .header("grpc-message", "not now");
        drop(sender);
        return Ok(response.body(StreamBody::new(Messages(receiver))).unwrap());
    }
    tokio::spawn(async move {
        let mut body = request.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            if sender.send(Ok(frame)).await.is_err() {
                return;
            }
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        trailers.insert("x-call", format!("{authority}{path}").parse().unwrap());
        let _gone = sender.send(Ok(Frame::trailers(trailers))).await;
    });
    let mut response = Response::builder().header("content-type", "application/grpc+proto");
    if let Some(te) = te {
        response = response.header("x-te", te);
    }
    Ok(response.body(StreamBody::new(Messages(receiver))).unwrap())
}

struct Messages(mpsc::Receiver<Result<Frame<Bytes>, Error>>);

impl futures_util::Stream for Messages {
    type Item = Result<Frame<Bytes>, Error>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let _ended = builder.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}

/// Starts a gRPC server, over TLS with a certificate.
async fn upstream(tls: Option<rustls::ServerConfig>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                match acceptor {
                    None => serve(stream).await,
                    Some(acceptor) => {
                        let Ok(stream) = acceptor.accept(stream).await else { return };
                        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
                        serve(stream).await;
                    }
                }
            });
        }
    });
    address
}

/// Opens a connection of HTTP/2 to the proxy.
async fn client<B>(address: SocketAddr) -> SendRequest<B>
where
    B: Body<Data = Bytes, Error = Error> + Send + Unpin + 'static,
{
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request<B>(path: &str, body: B) -> Request<B> {
    let request = Request::builder().method("POST").uri(format!("http://api.test{path}"));
    let request = request.header("content-type", "application/grpc").header("te", "trailers");
    request.body(body).unwrap()
}

/// Makes a call of one message.
async fn call(address: SocketAddr, path: &str, message: &'static str) -> Response<Incoming> {
    let body = Full::new(Bytes::from_static(message.as_bytes())).map_err(Error::from);
    client(address).await.send_request(request(path, body)).await.unwrap()
}

/// Starts planes whose proxy speaks HTTP/2 without TLS.
async fn cluster() -> Cluster {
    let mut cluster = Cluster::without_data().await;
    cluster.start_data_in("dp", &[("KONG_PROXY_LISTEN", "127.0.0.1:0 http2")]).await;
    cluster
}

async fn service(cluster: &Cluster, name: &str, url: &str, protocol: &str) {
    cluster.put(&format!("/services/{name}"), json!({"url": url, "retries": 1})).await;
    let route = json!({
        "paths": [format!("/{name}.")], "strip_path": false, "protocols": [protocol],
        "service": {"name": name},
    });
    cluster.put(&format!("/routes/{name}"), route).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_through_with_messages_trailers_and_status() {
    let root = Authority::root("root");
    let plain = upstream(None).await;
    let mut config = server_config(&root.issue("up"), None);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let secure = upstream(Some(config)).await;
    let cluster = cluster().await;
    service(&cluster, "plain", &format!("grpc://{plain}"), "grpc").await;
    service(&cluster, "secure", &format!("grpcs://{secure}"), "grpc").await;
    cluster.converge().await;

    for (name, address) in [("plain", plain), ("secure", secure)] {
        let path = format!("/{name}.Echo/Call");
        let answer = call(cluster.proxy(), &path, "message").await;
        assert_eq!(answer.status(), 200, "{name}");
        assert_eq!(answer.headers()["content-type"], "application/grpc+proto");
        assert_eq!(answer.headers()["x-te"], "trailers");
        assert_eq!(answer.headers()["via"], "2 kong/3.9.1");
        let body = answer.into_body().collect().await.unwrap();
        let trailers = body.trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "0");
        assert_eq!(trailers["x-call"].to_str().unwrap(), format!("{address}{path}"));
        assert_eq!(body.to_bytes(), "message");

        // A failed call may have neither body nor trailers.
        let answer = call(cluster.proxy(), &format!("/{name}.Echo/Fail"), "message").await;
        assert_eq!(answer.headers()["grpc-status"], "9");
        assert_eq!(answer.headers()["grpc-message"], "not now");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_of_a_call_may_speak_in_turn() {
    let plain = upstream(None).await;
    let cluster = cluster().await;
    service(&cluster, "plain", &format!("grpc://{plain}"), "grpc").await;
    cluster.converge().await;
    let (sender, receiver) = mpsc::channel(1);
    let mut connection = client(cluster.proxy()).await;
    let body = StreamBody::new(Messages(receiver));
    // The first message waits for the head of the answer: nothing is buffered on the way.
    let answer = connection.send_request(request("/plain.Echo/Chat", body)).await.unwrap();
    let mut answers = answer.into_body();
    for message in ["one", "two", "three"] {
        sender.send(Ok(Frame::data(Bytes::from_static(message.as_bytes())))).await.unwrap();
        let frame = answers.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), message);
    }
    drop(sender);
    let frame = answers.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_trailers().unwrap()["grpc-status"], "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_grpc_and_what_finds_no_upstream_is_answered_as_by_kong() {
    let cluster = cluster().await;
    service(&cluster, "plain", "grpc://127.0.0.1:1", "grpc").await;
    service(&cluster, "secure", "grpc://127.0.0.1:1", "grpcs").await;
    cluster.converge().await;

    let other = http::send(cluster.proxy(), "POST", "/plain.A/B", &[], "").await.unwrap();
    let message = &other.json()["message"];
    assert_eq!((other.status, message), (415, &json!("Non-gRPC request matched gRPC route")));

    let grpc = [("Content-Type", "application/grpc")];
    let old = http::send(cluster.proxy(), "POST", "/plain.A/B", &grpc, "").await.unwrap();
    assert_eq!((old.status, old.header("upgrade")), (426, Some("HTTP/2")));
    assert_eq!(old.header("grpc-message"), Some("Please use HTTP2 protocol"));

    let open = call(cluster.proxy(), "/secure.A/B", "").await;
    assert_eq!(
        (open.status().as_u16(), &open.headers()["grpc-status"]),
        (200, &"1".parse().unwrap())
    );
    assert_eq!(open.headers()["grpc-message"], "gRPC request matched gRPCs route");
    assert_eq!(open.headers()["content-type"], "application/grpc");

    let down = call(cluster.proxy(), "/plain.A/B", "").await;
    assert_eq!(down.status(), 502);
    assert_eq!(down.headers()["content-type"], "application/grpc");
    assert!(down.headers().contains_key("grpc-status"));
}
