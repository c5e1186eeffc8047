//! One probe of one address (behaviour: reference gateway-3, section E.2).

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::checks::{Probe, ProbeKind};
use super::grpc;
use super::state::Outcome;
use crate::balancer::address::Address;

/// A status line is not longer.
const LINE_BYTES_MAX: usize = 1024;

/// Probes an address.
pub(super) async fn run(
    probe: &Probe,
    tls: Option<&Arc<ClientConfig>>,
    address: &Address,
) -> Outcome {
    let outcome = match tokio::time::timeout(probe.timeout, ask(probe, tls, address)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => {
            tracing::debug!(address = %address.socket(), %error, "a probe failed");
            Outcome::Failed
        }
        Err(_) => Outcome::TimedOut,
    };
    tracing::trace!(address = %address.socket(), %outcome, "probed");
    outcome
}

async fn ask(
    probe: &Probe,
    tls: Option<&Arc<ClientConfig>>,
    address: &Address,
) -> io::Result<Outcome> {
    let stream = TcpStream::connect(address.socket()).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else { return speak(probe, address, stream).await };
    let name = probe.sni.as_deref().unwrap_or(&address.target.host).to_owned();
    let name = ServerName::try_from(name).map_err(io::Error::other)?;
    let stream = TlsConnector::from(tls.clone()).connect(name, stream).await?;
    speak(probe, address, stream).await
}

async fn speak(
    probe: &Probe,
    address: &Address,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
) -> io::Result<Outcome> {
    match probe.kind {
        ProbeKind::Tcp => Ok(Outcome::Succeeded),
        ProbeKind::Http | ProbeKind::Https => http(probe, address, stream).await,
        ProbeKind::Grpc | ProbeKind::Grpcs => {
            let scheme = if probe.kind.is_secure() { "https" } else { "http" };
            grpc::ask(scheme, &host(probe, address), &probe.headers, stream).await
        }
    }
}

async fn http(
    probe: &Probe,
    address: &Address,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
) -> io::Result<Outcome> {
    stream.write_all(&request(probe, address)).await?;
    stream.flush().await?;
    let mut line = Vec::with_capacity(64);
    while !line.contains(&b'\n') {
        if line.len() >= LINE_BYTES_MAX {
            return Ok(Outcome::Unwell);
        }
        if stream.read_buf(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(status(&line).map_or(Outcome::Unwell, Outcome::Status))
}

fn request(probe: &Probe, address: &Address) -> Vec<u8> {
    let mut request = format!("GET {} HTTP/1.0\r\n", probe.path).into_bytes();
    let mut line = |name: &[u8], value: &[u8]| {
        for piece in [name, b": ", value, b"\r\n"] {
            request.extend_from_slice(piece);
        }
    };
    for (name, value) in &probe.headers {
        line(name.as_str().as_bytes(), value.as_bytes());
    }
    if !probe.headers.iter().any(|(name, _)| *name == http::header::HOST) {
        line(b"Host", host(probe, address).as_bytes());
    }
    request.extend_from_slice(b"\r\n");
    request
}

/// Returns the Host of a probe: without a port, unless the upstream's has one.
fn host(probe: &Probe, address: &Address) -> String {
    let host = probe.host.as_deref().unwrap_or(&address.target.host);
    match probe.host.is_none() && host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}

/// Reads a status line.
fn status(line: &[u8]) -> Option<http::StatusCode> {
    let line = std::str::from_utf8(line.split(|byte| *byte == b'\n').next()?).ok()?;
    let mut words = line.split_ascii_whitespace();
    let (major, minor) = words.next()?.strip_prefix("HTTP/")?.split_once('.')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    if !(is_number(major) && is_number(minor)) {
        return None;
    }
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests;
