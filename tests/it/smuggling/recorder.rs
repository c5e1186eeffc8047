//! An upstream that reads by rules of its own, stricter than any server's: what reaches it is
//! recorded, and what could be read in two ways is wrong.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Whole requests (`METHOD TARGET`, body), and what was wrong.
type Records = (Vec<(String, Vec<u8>)>, Vec<String>);

pub(super) struct Recorder {
    pub(super) address: SocketAddr,
    records: Arc<Mutex<Records>>,
}

impl Recorder {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let records = Arc::new(Mutex::new(Records::default()));
        let shared = records.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(record(stream, shared.clone()));
            }
        });
        Self { address, records }
    }

    /// Takes what was recorded since the last time.
    pub(super) fn take(&self) -> Records {
        std::mem::take(&mut self.records.lock().unwrap())
    }
}

async fn record(mut stream: TcpStream, records: Arc<Mutex<Records>>) -> Option<()> {
    let mut read = Vec::new();
    loop {
        let verdict = request(&mut stream, &mut read).await;
        if verdict.is_ok() && !read.is_empty() {
            let rest = read.escape_ascii().to_string();
            records.lock().unwrap().1.push(format!("bytes behind a request: {rest}"));
        }
        let line = match verdict {
            Ok((line, body)) => {
                records.lock().unwrap().0.push((line.clone(), body));
                line
            }
            Err(Some(wrong)) => {
                records.lock().unwrap().1.push(wrong);
                return None;
            }
            Err(None) => return None,
        };
        let length = line.len();
        let body = if line.starts_with("HEAD ") { "" } else { &line };
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

async fn more(stream: &mut TcpStream, read: &mut Vec<u8>) -> Result<(), Option<String>> {
    match stream.read_buf(read).await {
        Ok(length) if length > 0 => Ok(()),
        _ => Err(None),
    }
}

/// Takes one line that ends in CRLF; a CR or LF anywhere else is wrong.
async fn line(stream: &mut TcpStream, read: &mut Vec<u8>) -> Result<String, Option<String>> {
    loop {
        if let Some(end) = read.windows(2).position(|it| it == b"\r\n") {
            let line: Vec<u8> = read.drain(..end + 2).take(end).collect();
            let is_wrong = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
            if line.iter().any(is_wrong) {
                return Err(Some(format!("control characters in {}", line.escape_ascii())));
            }
            return Ok(line.iter().map(|byte| char::from(*byte)).collect());
        }
        more(stream, read).await?;
    }
}

/// Reads one whole request; the error is what is wrong, or nothing when the connection ended.
async fn request(
    stream: &mut TcpStream,
    read: &mut Vec<u8>,
) -> Result<(String, Vec<u8>), Option<String>> {
    let first = line(stream, read).await?;
    let wrong = |what: &str| Err(Some(format!("{what} in {first:?}")));
    let parts: Vec<&str> = first.split(' ').collect();
    let [method, target, "HTTP/1.1"] = parts[..] else { return wrong("no request line") };
    if !target.starts_with('/') || target.contains('#') {
        return wrong("no path");
    }
    let (mut hosts, mut lengths, mut codings) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let field = line(stream, read).await?;
        if field.is_empty() {
            break;
        }
        let Some((name, value)) = field.split_once(": ") else { return wrong("no field") };
        let is_token =
            |sign: char| sign.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(sign);
        if name.is_empty() || !name.chars().all(is_token) || value.trim() != value {
            return wrong(&format!("the field {field:?}"));
        }
        match name.to_ascii_lowercase().as_str() {
            "host" => hosts.push(value.to_owned()),
            "content-length" => lengths.push(value.to_owned()),
            "transfer-encoding" => codings.push(value.to_owned()),
            "upgrade" if value != "websocket" => return wrong("another protocol"),
            "http2-settings" | "expect" | "proxy-connection" => return wrong(name),
            _ => {}
        }
    }
    if hosts.len() != 1 {
        return wrong(&format!("hosts {hosts:?}"));
    }
    let body = match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Vec::new(),
        ([length], []) => {
            let Ok(length) = length.parse::<usize>() else { return wrong("no length") };
            take(stream, read, length).await?
        }
        ([], [coding]) if coding == "chunked" => chunks(stream, read).await?,
        _ => return wrong(&format!("lengths {lengths:?} and codings {codings:?}")),
    };
    Ok((format!("{method} {target}"), body))
}

async fn take(
    stream: &mut TcpStream,
    read: &mut Vec<u8>,
    length: usize,
) -> Result<Vec<u8>, Option<String>> {
    while read.len() < length {
        more(stream, read).await?;
    }
    Ok(read.drain(..length).collect())
}

async fn chunks(stream: &mut TcpStream, read: &mut Vec<u8>) -> Result<Vec<u8>, Option<String>> {
    let mut body = Vec::new();
    loop {
        let size = line(stream, read).await?;
        if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Some(format!("a chunk of {size:?}")));
        }
        let Ok(length) = usize::from_str_radix(&size, 16) else {
            return Err(Some(format!("a chunk of {size:?}")));
        };
        if length == 0 {
            break;
        }
        body.extend(take(stream, read, length).await?);
        if !line(stream, read).await?.is_empty() {
            return Err(Some("a chunk longer than its size".to_owned()));
        }
    }
    loop {
        let field = line(stream, read).await?;
        let Some((name, _)) = field.split_once(": ") else { return Ok(body) };
        let steers = ["host", "content-length", "transfer-encoding", "authorization", "connection"];
        if steers.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(Some(format!("the trailer {field:?}")));
        }
    }
}
