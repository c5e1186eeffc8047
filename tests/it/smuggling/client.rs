//! A client that sends an entry as it is, and reads every answer by its own rules.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::corpus::Entry;
use crate::harness::PATIENCE;

/// What is asked last where a connection goes on: nothing may be left over by then.
const PROBE: &[u8] = b"GET /ok-probe HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

/// An answer, with the text of its body.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    body: String,
    is_head: bool,
}

/// Everything that came back on a connection.
#[derive(Debug)]
pub(super) struct Heard {
    answers: Vec<Answer>,
    /// What is none: too few answers, bytes behind them, or silence.
    wrong: Option<String>,
}

impl Heard {
    /// Compares the answers with those of the table.
    pub(super) fn matches(&self, entry: &Entry) -> Result<(), String> {
        let mut wanted: Vec<u16> = entry.statuses().map(|(status, _)| status).collect();
        let got: Vec<u16> = self.answers.iter().map(|answer| answer.status).collect();
        if !entry.ends() {
            wanted.push(200);
        }
        // Whoever stops half way may still be told that this was not all.
        let also = [&wanted[..], &[400]].concat();
        if got != wanted && !(entry.is_cut() && got == also) {
            return Err(format!("answered {got:?} and not {wanted:?} ({:?})", self.wrong));
        }
        match &self.wrong {
            Some(wrong) => Err(wrong.clone()),
            None => Ok(()),
        }
    }

    /// Returns the requests that the upstream says it has answered, as `METHOD TARGET`.
    pub(super) fn passed(&self) -> impl Iterator<Item = &str> {
        let passed = self.answers.iter().filter(|answer| answer.status == 200);
        passed.map(|answer| if answer.is_head { "HEAD /ok" } else { answer.body.trim_end() })
    }
}

/// Sends an entry and hears it out.
pub(super) async fn talk(proxy: SocketAddr, entry: &Entry) -> Heard {
    let mut heard = Heard { answers: Vec::new(), wrong: None };
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    if timeout(PATIENCE, hear(&mut stream, entry, &mut heard)).await.is_err() {
        heard.wrong = Some("the connection stays open, and nothing comes".to_owned());
    }
    heard
}

async fn hear(stream: &mut TcpStream, entry: &Entry, heard: &mut Heard) {
    // Whoever is refused early may find the connection closed: the answer tells.
    let _sent = stream.write_all(&entry.bytes).await;
    let mut read = Vec::new();
    if entry.is_cut() {
        let _shut = stream.shutdown().await;
    } else {
        for (_, head_only) in entry.statuses() {
            let Some(answer) = answer(stream, &mut read, head_only).await else { return };
            heard.answers.push(answer);
        }
        if !entry.ends() {
            let _sent = stream.write_all(PROBE).await;
        }
    }
    let mut heads = entry.statuses().map(|(_, head_only)| head_only && entry.is_cut());
    while let Some(answer) = answer(stream, &mut read, heads.next().unwrap_or(false)).await {
        heard.answers.push(answer);
    }
    if !read.is_empty() {
        heard.wrong = Some(format!("bytes that are no answer: {}", read.escape_ascii()));
    }
}

/// Reads one final answer; nothing at the end of the connection.
async fn answer(stream: &mut TcpStream, read: &mut Vec<u8>, head_only: bool) -> Option<Answer> {
    loop {
        let end = loop {
            if let Some(end) = read.windows(4).position(|it| it == b"\r\n\r\n") {
                break end + 4;
            }
            stream.read_buf(read).await.ok().filter(|length| *length > 0)?;
        };
        let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
        let status: u16 = head.get(9..12)?.parse().ok()?;
        if (100..200).contains(&status) {
            read.drain(..end);
            continue;
        }
        let length = head.split("content-length: ").nth(1)?.lines().next()?.parse().ok()?;
        let length: usize = if head_only { 0 } else { length };
        while read.len() < end + length {
            stream.read_buf(read).await.ok().filter(|length| *length > 0)?;
        }
        let body = String::from_utf8_lossy(&read[end..end + length]).into_owned();
        read.drain(..end + length);
        return Some(Answer { status, body, is_head: head_only });
    }
}
