//! A small blocking HTTP/1.1 client for one kept-alive connection: Admin writes and polling.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context as _;

use crate::response::{Response, ResponseReader};

/// Longest wait for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// A client of one address; connects when first used and again after the server closed.
pub(crate) struct Client {
    address: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Client {
    /// Returns a client of `address` that is not connected yet.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, buffer: vec![0; 64 * 1024] }
    }

    /// Sends one request and waits for its answer, whatever the status.
    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> anyhow::Result<Response> {
        let body = body.unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let kept = self.stream.is_some();
        match self.exchange(request.as_bytes()) {
            // The server may have closed an idle connection; a fresh one tells the two apart.
            Err(_) if kept && self.stream.is_none() => self.exchange(request.as_bytes()),
            outcome => outcome,
        }
        .with_context(|| format!("{method} http://{}{path} failed", self.address))
    }

    /// Sends one request and fails unless the status says success.
    pub(crate) fn write(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<()> {
        let response = self.send(method, path, Some(body))?;
        anyhow::ensure!(
            (200..300).contains(&response.status),
            "{method} {path} was answered {}: {}",
            response.status,
            String::from_utf8_lossy(&response.body)
        );
        Ok(())
    }

    fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Response> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.address)?,
        };
        stream.write_all(request)?;
        let mut reader = ResponseReader::default();
        loop {
            let count = match stream.read(&mut self.buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                outcome => outcome?,
            };
            anyhow::ensure!(count > 0, "the connection ended before the answer");
            if let Some(response) = reader.feed(&self.buffer[..count])? {
                if !response.closes {
                    self.stream = Some(stream);
                }
                return Ok(response);
            }
        }
    }
}

fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    Ok(stream)
}
