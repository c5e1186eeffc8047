//! The demo upstream: an HTTP server that tells what reached it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;

/// How long a connection may stay silent.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How large the head of a request may be, in bytes.
const HEAD_MAX: u64 = 64 << 10;

/// Serves on a free port of the loopback interface until the process ends.
pub(super) fn start() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("cannot start the demo upstream")?;
    let address = listener.local_addr()?;
    thread::Builder::new().name("demo-upstream".into()).spawn(move || {
        for stream in listener.incoming().flatten() {
            // A connection that cannot get its thread is closed.
            let _ = thread::Builder::new().spawn(move || serve(&stream));
        }
    })?;
    Ok(address)
}

fn serve(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(IDLE_TIMEOUT))?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        let mut body_length = 0;
        loop {
            let mut line = String::new();
            if (&mut reader).take(HEAD_MAX).read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                body_length = value.trim().parse().unwrap_or(0);
            }
            head.push(line.to_owned());
        }
        std::io::copy(&mut (&mut reader).take(body_length), &mut std::io::sink())?;
        let mut lines = head.iter();
        let request = lines.next().cloned().unwrap_or_default();
        let headers: Vec<&String> = lines.collect();
        let body = serde_json::json!({
            "hello": "from the demo upstream", "request": request, "headers": headers,
        });
        let body = format!("{body:#}\n");
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        (&*stream).write_all(answer.as_bytes())?;
    }
}
