//! HTTP/2 with clients: our own, since much of what a request of it cost was a general library's.
//!
//! Invariants:
//! - one task serves a connection: it reads, polls the streams that were woken, and writes once what
//!   all of them have to say;
//! - an idle connection holds no buffer, and a busy one no more than its windows and [`link::OUT_MAX`];
//! - what only the client's good will bounds is counted ([`patience`]);
//! - a message that is malformed never reaches a handler (RFC 9113, section 8.1.1).

mod answer;
mod body;
mod connection;
mod control;
mod dialogue;
mod frame;
mod hpack;
mod incoming;
mod link;
mod message;
mod patience;
mod ready;
mod receive;
mod request;
mod send;
mod streams;

#[cfg(test)]
mod tests;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::time::timeout;

use self::connection::{Connection, End};
use super::connection::ConnectionInfo;
use super::request::ClientRequest;
use super::response::ClientResponse;
use super::serve::Core;
use super::stream::ClientStream;

pub use self::body::Http2Body;
pub use self::dialogue::Dialogue;

/// How long a connection that we end stays half open, so that the client gets to read all that it was
/// told, and how much of what it sends is thrown away meanwhile, in bytes.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1024 * 1024;

/// Serves a connection to its end. How it ended is the client's affair: nothing is left to answer.
pub(super) async fn serve<H, F>(
    core: Rc<Core>,
    mut stream: ClientStream,
    info: Rc<ConnectionInfo>,
    handler: Rc<H>,
) where
    H: Fn(ClientRequest, Rc<ConnectionInfo>) -> F + 'static,
    F: Future<Output: Into<Box<ClientResponse>>> + 'static,
{
    let id = core.drain.enter();
    let task = poll_fn(|cx| {
        core.drain.watch(id, cx);
        Poll::Ready(cx.waker().clone())
    })
    .await;
    let mut connection = Connection::new(core.clone(), info.clone(), handler, task);
    let end = poll_fn(|cx| connection.poll(cx, &mut stream)).await;
    // Handlers end with the connection, before the client is waited for.
    connection.streams.close_all();
    drop(connection);
    match end {
        End::Gone => {}
        // Late or not, the connection is dropped then.
        End::Said => drop(timeout(LINGER, linger(&core, &mut stream)).await),
    }
    core.drain.leave(id);
}

/// Closes our side, and reads on for a while: a close with bytes unread would take from the client
/// what it is told.
async fn linger(core: &Core, stream: &mut ClientStream) {
    let mut left = LINGER_BYTES;
    if poll_fn(|cx| Pin::new(&mut *stream).poll_shutdown(cx)).await.is_ok() {
        poll_fn(|cx| poll_discard(cx, core, stream, &mut left)).await;
    }
}

/// Throws away what comes, until the client closes or has sent `left` bytes.
fn poll_discard(
    cx: &mut Context<'_>,
    core: &Core,
    stream: &mut ClientStream,
    left: &mut usize,
) -> Poll<()> {
    loop {
        let mut scratch = core.scratch.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch);
        let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer));
        match (read, buffer.filled().len()) {
            (Ok(()), length) if length > 0 && length < *left => *left -= length,
            _ => return Poll::Ready(()),
        }
    }
}
