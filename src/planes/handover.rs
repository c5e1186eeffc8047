//! A node in the place of another: the new process gets the open sockets of the old one, says when it
//! serves, and the old one ends after what it has under way.
//!
//! They talk over a Unix socket in the prefix. The new process greets; the old one answers with a
//! line of JSON that lists its sockets, then sends the descriptors, in that order. The new process
//! says `ready` and for how many seconds the old one may go on; a connection that ends before that
//! leaves the old one as it was. At last the old one says what it has counted.

use std::fs::Permissions;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::sockets::{Kind, OpenSocket};
use crate::settings::Prefix;
use crate::telemetry::counter::{Snapshot, Streams};

/// What a new process says first; the number is that of this protocol.
const GREETING: &str = "hand over 1\n";

/// What it says when it serves.
const READY: &str = "ready ";

/// How long a word of the other process may take that needs no thought.
const PROMPTLY: Duration = Duration::from_secs(10);

/// How long a new process may take until it serves; its end is noticed before.
const START_WITHIN: Duration = Duration::from_secs(600);

/// Longest line, in bytes.
const LINE_MAX: usize = 1 << 20;

/// Descriptors in one message; the kernel takes at most 253.
const BATCH: usize = 64;

fn path(prefix: &Prefix) -> PathBuf {
    prefix.join("pids/handover.sock")
}

/// Where a running node is asked for its sockets.
pub(super) struct Handover {
    listener: UnixListener,
    path: PathBuf,
}

impl Handover {
    /// Opens it in the prefix, in the place of that of an earlier process.
    pub(super) fn open(prefix: &Prefix) -> io::Result<Self> {
        let path = path(prefix);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// Waits for a process that wants the place of this one.
    pub(super) async fn asked(&self) -> Successor {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) if is_one_of_us(&stream) => return Successor(stream),
                Ok(_) => tracing::warn!("another user's process may not take this one's place"),
                // Out of descriptors, most likely.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Removes it; whoever has a successor leaves that alone.
    pub(super) fn close(self) {
        // One that stays answers nobody.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn is_one_of_us(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|it| it.uid() == own || it.uid() == 0)
}

/// A process that wants the place of this one.
pub(super) struct Successor(UnixStream);

impl Successor {
    /// Gives it the sockets and waits until it serves; returns for how long this process may go on.
    ///
    /// # Errors
    ///
    /// When it does not come to serve; it has changed nothing then.
    pub(super) async fn give(&mut self, sockets: &[OpenSocket]) -> anyhow::Result<Duration> {
        let greeting = timeout(PROMPTLY, self.line()).await.context("it says nothing")??;
        ensure!(greeting == GREETING, "it speaks another protocol");
        timeout(PROMPTLY, self.send(sockets)).await.context("it takes nothing")??;
        let word = timeout(START_WITHIN, self.line()).await.context("it does not get ready")??;
        let seconds = word.strip_prefix(READY).and_then(|it| it.trim().parse().ok());
        Ok(Duration::from_secs(seconds.context("it says nothing that is known")?))
    }

    /// Tells what this process has counted.
    pub(super) async fn tell(mut self, counts: &Snapshot) {
        let line = format!("{}\n", counts_json(counts));
        // It serves in any case.
        let _told = timeout(PROMPTLY, self.0.write_all(line.as_bytes())).await;
    }

    async fn send(&mut self, sockets: &[OpenSocket]) -> io::Result<()> {
        let list: Vec<Value> = sockets
            .iter()
            .map(|it| json!({"kind": it.kind.name(), "asked": it.asked.to_string()}))
            .collect();
        let line = format!("{}\n", json!({ "sockets": list }));
        self.0.write_all(line.as_bytes()).await?;
        for batch in sockets.chunks(BATCH) {
            let fds: Vec<BorrowedFd<'_>> = batch.iter().map(|it| it.fd.as_fd()).collect();
            self.0.async_io(Interest::WRITABLE, || send_fds(&self.0, &fds)).await?;
        }
        Ok(())
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            ensure!(line.len() < LINE_MAX, "a line is too long");
            line.push(self.0.read_u8().await.context("the new process has ended")?);
        }
        Ok(String::from_utf8(line)?)
    }
}

/// The process whose place this one takes.
pub struct Predecessor {
    stream: net::UnixStream,
    sockets: Vec<OpenSocket>,
}

impl Predecessor {
    /// Asks the node of the prefix for its sockets; it goes on serving.
    ///
    /// # Errors
    ///
    /// When no node answers there.
    pub fn ask(prefix: &Prefix) -> anyhow::Result<Self> {
        let path = path(prefix);
        let mut stream = net::UnixStream::connect(&path).with_context(|| {
            let path = path.display();
            format!("the node gives its place to nobody (it runs in the foreground?): {path}")
        })?;
        stream.set_read_timeout(Some(PROMPTLY))?;
        stream.write_all(GREETING.as_bytes())?;
        let list: Value = serde_json::from_str(&read_line(&mut stream)?)?;
        let list = list.get("sockets").and_then(Value::as_array);
        let list = list.context("the node does not tell its sockets")?;
        let mut fds = Vec::new();
        while fds.len() < list.len() {
            receive_fds(&stream, &mut fds).context("cannot take over a socket")?;
        }
        let known = |(told, fd): (&Value, OwnedFd)| {
            let kind = Kind::of(told.get("kind")?.as_str()?)?;
            Some(OpenSocket { kind, asked: told.get("asked")?.as_str()?.parse().ok()?, fd })
        };
        // A socket that this release has no use for is closed here; the old process serves it.
        let sockets = list.iter().zip(fds).filter_map(known).collect();
        Ok(Self { stream, sockets })
    }

    /// Takes the sockets out.
    pub(super) fn sockets(&mut self) -> Vec<OpenSocket> {
        std::mem::take(&mut self.sockets)
    }

    /// Tells the old process that this one serves, and for how long it may go on; returns what it has
    /// counted, if it still says so.
    pub(super) fn relieve(mut self, within: Duration) -> Option<Snapshot> {
        self.stream.write_all(format!("{READY}{}\n", within.as_secs()).as_bytes()).ok()?;
        counts_of(&serde_json::from_str(&read_line(&mut self.stream).ok()?).ok()?)
    }
}

fn read_line(stream: &mut net::UnixStream) -> anyhow::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    // Byte by byte: what comes behind the line may carry descriptors.
    while line.last() != Some(&b'\n') {
        ensure!(line.len() < LINE_MAX, "a line is too long");
        stream.read_exact(&mut byte).context("the node does not answer")?;
        line.extend(byte);
    }
    Ok(String::from_utf8(line)?)
}

fn send_fds(stream: &UnixStream, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(ErrorKind::InvalidInput.into());
    }
    sendmsg(stream, &[IoSlice::new(b".")], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive_fds(stream: &net::UnixStream, fds: &mut Vec<OwnedFd>) -> anyhow::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let into = &mut [IoSliceMut::new(&mut byte)];
    let received = recvmsg(stream, into, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let before = fds.len();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if received.bytes == 0 || fds.len() == before {
        bail!("the node has sent no socket");
    }
    Ok(())
}

fn counts_json(counts: &Snapshot) -> Value {
    json!({
        "accepted": counts.connections_accepted,
        "handled": counts.connections_handled,
        "requests": counts.total_requests,
        "streams": counts.streams.map(|it| json!({"accepted": it.accepted, "handled": it.handled})),
    })
}

fn counts_of(told: &Value) -> Option<Snapshot> {
    let number = |told: &Value, name: &str| told.get(name)?.as_u64();
    let streams = told.get("streams").filter(|it| it.is_object()).map(|it| Streams {
        accepted: number(it, "accepted").unwrap_or_default(),
        handled: number(it, "handled").unwrap_or_default(),
        active: 0,
    });
    Some(Snapshot {
        connections_accepted: number(told, "accepted")?,
        connections_handled: number(told, "handled")?,
        total_requests: number(told, "requests")?,
        streams,
        ..Snapshot::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(name: &str) -> Prefix {
        let folder = format!("hybridctl-handover-{name}-{}", std::process::id());
        let prefix = Prefix::new(&std::env::temp_dir().join(folder).display().to_string());
        prefix.create().unwrap();
        prefix
    }

    fn sockets(count: usize) -> Vec<OpenSocket> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let asked = listener.local_addr().unwrap();
        (0..count).map(|_| OpenSocket::of(Kind::Proxy, asked, &listener).unwrap()).collect()
    }

    #[tokio::test]
    async fn all_sockets_and_counts_come_over() {
        let prefix = prefix("all");
        let handover = Handover::open(&prefix).unwrap();
        let count = BATCH * 2 + 1;
        let at = prefix.clone();
        let successor = tokio::task::spawn_blocking(move || {
            let mut predecessor = Predecessor::ask(&at).unwrap();
            let sockets = predecessor.sockets();
            (sockets, predecessor.relieve(Duration::from_secs(7)))
        });
        let mut asked = handover.asked().await;
        let given = sockets(count);
        assert_eq!(asked.give(&given).await.unwrap(), Duration::from_secs(7));
        let counts = Snapshot {
            connections_accepted: 3,
            total_requests: 5,
            streams: Some(Streams { accepted: 2, handled: 1, active: 0 }),
            ..Snapshot::default()
        };
        asked.tell(&counts).await;
        let (taken, told) = successor.await.unwrap();
        assert_eq!((taken.len(), told), (count, Some(counts)));
        assert!(taken.iter().all(|it| (it.kind, it.asked) == (Kind::Proxy, given[0].asked)));
        let real = std::net::TcpListener::from(taken.into_iter().next().unwrap().fd);
        assert_eq!(real.local_addr().unwrap(), given[0].asked);
        std::fs::remove_dir_all(prefix.path()).unwrap();
    }

    #[tokio::test]
    async fn a_process_that_ends_before_it_serves_takes_nothing() {
        let prefix = prefix("ends");
        let handover = Handover::open(&prefix).unwrap();
        let at = prefix.clone();
        let successor = tokio::task::spawn_blocking(move || Predecessor::ask(&at).map(drop));
        let error = handover.asked().await.give(&sockets(2)).await.unwrap_err();
        assert_eq!(error.to_string(), "the new process has ended");
        successor.await.unwrap().unwrap();
        handover.close();
        assert!(Predecessor::ask(&prefix).is_err());
        std::fs::remove_dir_all(prefix.path()).unwrap();
    }
}
