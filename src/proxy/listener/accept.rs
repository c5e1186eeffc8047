//! Accepting, until it ends, and then what waits already; for HTTP and for streams.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use crate::telemetry::trouble::Trouble;

/// How long accepting pauses when the process is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long no accept has failed when accepting is in order again.
const ACCEPT_QUIET: Duration = Duration::from_secs(5);

/// Most connections that are accepted once accepting ends: with another process on the same socket
/// there could always be one more.
const LAST_MAX: usize = 4096;

/// Gives connections to `welcome` until `is_over`, which is asked while there are none and wakes the
/// task when it would say something else, and then those that wait already.
pub(in crate::proxy) async fn accept_until(
    listener: TcpListener,
    address: SocketAddr,
    mut is_over: impl FnMut(&mut Context<'_>) -> bool,
    mut welcome: impl FnMut(TcpStream, SocketAddr),
) {
    let mut trouble = Trouble::lasting(ACCEPT_QUIET);
    loop {
        let accepted = poll_fn(|cx| match listener.poll_accept(cx) {
            Poll::Pending if is_over(cx) => Poll::Ready(None),
            accepted => accepted.map(Some),
        });
        match accepted.await {
            None => break,
            Some(Ok((socket, peer))) => {
                if trouble.ends() {
                    tracing::info!(%address, "connections are accepted again");
                }
                welcome(socket, peer);
            }
            Some(Err(error)) if is_of_one_connection(&error) => {}
            Some(Err(error)) => {
                if trouble.begins() {
                    tracing::error!(%address, %error, "cannot accept connections");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // What the kernel has accepted is lost with the socket, and the runtime may not know of it yet.
    let Ok(listener) = listener.into_std() else { return };
    for _ in 0..LAST_MAX {
        match listener.accept() {
            Ok((socket, peer)) => {
                let socket =
                    socket.set_nonblocking(true).and_then(|()| TcpStream::from_std(socket));
                if let Ok(socket) = socket {
                    welcome(socket, peer);
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(_) => return,
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
