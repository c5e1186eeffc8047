//! The health service of gRPC: one call of `grpc.health.v1.Health/Check` for the server as a whole.

use std::io;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use tokio::io::{AsyncRead, AsyncWrite};

use super::state::Outcome;

const METHOD: &str = "/grpc.health.v1.Health/Check";

/// A message without fields: not compressed, no bytes.
const QUESTION: [u8; 5] = [0; 5];

/// The message that says `SERVING`: field 1 is 1.
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];

/// More bytes than an answer has.
const ANSWER_BYTES_MAX: usize = 64;

/// Asks whether the server serves.
///
/// # Errors
/// The connection, or a breach of HTTP/2.
pub(super) async fn ask(
    scheme: &str,
    authority: &str,
    headers: &[(HeaderName, HeaderValue)],
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
) -> io::Result<Outcome> {
    let request = question(scheme, authority, headers).map_err(io::Error::other)?;
    let (client, connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
    tokio::select! {
        answer = call(client, request) => answer.map_err(io::Error::other),
        ended = connection => {
            ended.map_err(io::Error::other)?;
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

fn question(
    scheme: &str,
    authority: &str,
    headers: &[(HeaderName, HeaderValue)],
) -> http::Result<Request<()>> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(format!("{scheme}://{authority}{METHOD}"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers");
    for (name, value) in headers.iter().filter(|(name, _)| *name != header::HOST) {
        request = request.header(name, value);
    }
    request.body(())
}

async fn call(
    client: h2::client::SendRequest<Bytes>,
    request: Request<()>,
) -> Result<Outcome, h2::Error> {
    let mut client = client.ready().await?;
    let (response, mut body) = client.send_request(request, false)?;
    body.send_data(Bytes::from_static(&QUESTION), true)?;
    let response = response.await?;
    if response.status() != StatusCode::OK {
        return Ok(Outcome::Status(response.status()));
    }
    let mut body = response.into_body();
    let mut answer = Vec::new();
    while let Some(piece) = body.data().await {
        answer.extend_from_slice(&piece?);
        if answer.len() > ANSWER_BYTES_MAX {
            return Ok(Outcome::Unwell);
        }
    }
    // What else a failed call says, such as that there is no such service, is in its trailers.
    let serves = answer == SERVING;
    Ok(if serves { Outcome::Succeeded } else { Outcome::Unwell })
}
