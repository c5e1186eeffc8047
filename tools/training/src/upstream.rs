//! What is behind the data plane: two servers of HTTP/1.1 and of HTTP/2 in clear, which answer by the
//! path that they are asked for.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;

/// A body of any kind.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The servers.
pub(crate) struct Upstreams(pub(crate) [SocketAddr; 2]);

impl Upstreams {
    /// Starts them; they end with the process.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        Ok(Self([serve().await?, serve().await?]))
    }
}

async fn serve() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                // How a connection ends is the data plane's affair.
                let _ = builder.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
            });
        }
    });
    Ok(address)
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let received = request.into_body().collect().await?.to_bytes();
    let response = Response::builder().header("server", "upstream");
    let text = || response_text(received.len());
    let answered = if path.ends_with("/large") {
        response.header("content-type", "application/octet-stream").body(whole(vec![b'x'; 1 << 20]))
    } else if path.ends_with("/pieces") {
        response.header("content-type", "text/plain").body(pieces())
    } else if path.ends_with("/nothing") {
        response.status(StatusCode::NO_CONTENT).body(whole(Vec::new()))
    } else if path.ends_with("/same") {
        response.status(StatusCode::NOT_MODIFIED).header("etag", "\"7\"").body(whole(Vec::new()))
    } else if path.ends_with("/broken") {
        response.status(StatusCode::INTERNAL_SERVER_ERROR).body(whole(text()))
    } else if path.ends_with("/Call") {
        response.header("content-type", "application/grpc").body(called())
    } else if path.ends_with("/rich") {
        response
            .header("content-type", "application/json; charset=utf-8")
            .header("cache-control", "private, max-age=60")
            .header("etag", "W/\"f00-ba5\"")
            .header("vary", "accept-encoding")
            .header("set-cookie", "session=0123456789abcdef; Path=/; HttpOnly")
            .header("strict-transport-security", "max-age=31536000; includeSubDomains")
            .header("x-content-type-options", "nosniff")
            .header("x-frame-options", "DENY")
            .body(whole(text().repeat(20)))
    } else {
        response.header("content-type", "text/plain").body(whole(text()))
    };
    Ok(answered.unwrap_or_else(|_| Response::new(whole(Vec::new()))))
}

/// Returns a hundred bytes that tell how long the request's body was.
fn response_text(received: usize) -> Vec<u8> {
    format!("{received:0>100}").into_bytes()
}

/// Makes a body of one piece.
pub(crate) fn whole(bytes: Vec<u8>) -> Body {
    Full::new(Bytes::from(bytes)).boxed_unsync()
}

/// Makes a body whose length is not told.
pub(crate) fn pieces() -> Body {
    let data = |size| Ok(Frame::data(Bytes::from(vec![b'p'; size])));
    StreamBody::new(stream::iter([data(100), data(5000), data(1)])).boxed_unsync()
}

/// Makes the answer of a call: a message of three bytes, and trailers.
fn called() -> Body {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", hyper::header::HeaderValue::from_static("0"));
    let frames = [Frame::data(Bytes::from_static(b"\0\0\0\0\x03abc")), Frame::trailers(trailers)];
    StreamBody::new(stream::iter(frames.map(Ok))).boxed_unsync()
}
