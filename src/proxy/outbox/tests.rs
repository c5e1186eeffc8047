//! What is held and when it goes out, over real sockets.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::*;

/// A test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a peer may take nothing.
const SHORT: Duration = Duration::from_millis(100);

/// Returns both ends of a connection.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (near, far) = tokio::join!(connecting, listener.accept());
    (near.unwrap(), far.unwrap().0)
}

/// Runs a test as a core would, with an outbox.
async fn on_a_core<T>(work: impl Future<Output = T>) -> T {
    let on_core = async {
        let outbox = Outbox::open(SHORT);
        let done = work.await;
        outbox.emptied().await;
        done
    };
    timeout(PATIENCE, LocalSet::new().run_until(on_core)).await.unwrap()
}

/// Returns so many bytes that differ from those around them.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[tokio::test]
async fn what_is_written_in_a_turn_goes_out_at_its_end() {
    on_a_core(async {
        let (near, mut far) = pair().await;
        let mut socket = Socket::new(near);
        socket.write_all(b"one ").await.unwrap();
        socket.write_all(b"two").await.unwrap();
        let mut byte = [0; 1];
        let early = far.try_read(&mut byte).unwrap_err();
        assert_eq!(early.kind(), io::ErrorKind::WouldBlock);
        let mut read = [0; 7];
        far.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"one two");
    })
    .await;
}

#[tokio::test]
async fn a_long_write_goes_behind_what_is_held() {
    on_a_core(async {
        let (near, mut far) = pair().await;
        let mut socket = Socket::new(near);
        let sent = pattern(SMALL_MAX * 3);
        let (small, large) = sent.split_at(100);
        socket.write_all(small).await.unwrap();
        socket.write_all(large).await.unwrap();
        let mut read = vec![0; sent.len()];
        far.read_exact(&mut read).await.unwrap();
        assert_eq!(read, sent);
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_holds_up_its_writer_and_loses_nothing() {
    on_a_core(async {
        let (near, mut far) = pair().await;
        let mut socket = Socket::new(near);
        let sent = pattern(16 * 1024 * 1024);
        let mut written = 0;
        // Writes until it would have to wait.
        let mut pieces = sent.chunks(1000);
        for piece in pieces.by_ref() {
            let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut socket).poll_write(cx, piece)));
            match polled.await {
                Poll::Ready(length) => written += length.unwrap(),
                Poll::Pending => break,
            }
            tokio::task::yield_now().await;
        }
        assert!(written < sent.len(), "nothing held it up");
        let held = socket.held.borrow().bytes.len();
        assert!(held <= HELD_MAX, "{held} bytes are held");
        let rest = sent.get(written..).unwrap();
        let mut read = vec![0; sent.len()];
        let (wrote, _) = tokio::join!(socket.write_all(rest), far.read_exact(&mut read));
        wrote.unwrap();
        assert_eq!(read, sent);
    })
    .await;
}

#[tokio::test]
async fn what_is_held_is_sent_though_its_owner_has_gone() {
    on_a_core(async {
        let (near, mut far) = pair().await;
        let mut socket = Socket::new(near);
        socket.write_all(b"last words").await.unwrap();
        drop(socket);
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"last words");
    })
    .await;
}

#[tokio::test]
async fn what_is_thrown_away_is_never_sent() {
    on_a_core(async {
        let (near, mut far) = pair().await;
        let mut socket = Socket::new(near);
        socket.write_all(b"not this").await.unwrap();
        socket.discard();
        assert_eq!(socket.gone(), 0);
        socket.write_all(b"but this").await.unwrap();
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        assert_eq!(socket.gone(), 8);
        drop(socket);
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"but this");
    })
    .await;
}

#[tokio::test]
async fn a_core_that_ends_sends_what_is_held() {
    let (near, mut far) = pair().await;
    on_a_core(async {
        let mut socket = Socket::new(near);
        socket.write_all(b"last words").await.unwrap();
    })
    .await;
    let mut read = Vec::new();
    far.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"last words");
}

#[tokio::test]
async fn a_shutdown_goes_behind_what_is_held() {
    on_a_core(async {
        let (near, mut far) = pair().await;
        let mut socket = Socket::new(near);
        socket.write_all(b"bye").await.unwrap();
        socket.shutdown().await.unwrap();
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"bye");
    })
    .await;
}

#[tokio::test]
async fn a_failure_is_told_to_the_next_who_writes() {
    on_a_core(async {
        let (near, far) = pair().await;
        let mut socket = Socket::new(near);
        socket2::SockRef::from(&far).set_linger(Some(Duration::ZERO)).unwrap();
        drop(far);
        // The reset is known once reading has met it.
        let mut byte = [0; 1];
        socket.read(&mut byte).await.unwrap_err();
        socket.write_all(b"x").await.unwrap();
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        assert_eq!(socket.gone(), 0);
        socket.write_all(b"y").await.unwrap_err();
    })
    .await;
}

#[tokio::test]
async fn without_an_outbox_writes_go_out_at_once() {
    let (near, mut far) = pair().await;
    let mut socket = Socket::new(near);
    socket.write_all(b"now").await.unwrap();
    let mut read = [0; 3];
    timeout(PATIENCE, far.read_exact(&mut read)).await.unwrap().unwrap();
    assert_eq!(&read, b"now");
}

/// Writes until the peer takes no more and something is held; returns how much was written.
async fn fill(socket: &mut Socket) -> usize {
    let mut written = 0;
    loop {
        socket.write_all(&pattern(1000)).await.unwrap();
        written += 1000;
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        if !socket.held.borrow().bytes.is_empty() {
            return written;
        }
    }
}

#[tokio::test]
async fn a_core_that_ends_waits_for_a_slow_peer() {
    let (near, mut far) = pair().await;
    let (filled, is_filled) = tokio::sync::oneshot::channel();
    let reading = tokio::spawn(async move {
        is_filled.await.unwrap();
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.unwrap();
        read.len()
    });
    let written = on_a_core(async {
        let mut socket = Socket::new(near);
        let written = fill(&mut socket).await;
        drop(socket);
        filled.send(()).unwrap();
        written
    });
    assert_eq!(written.await, reading.await.unwrap());
}

#[tokio::test]
async fn a_socket_without_an_owner_is_closed_when_its_peer_takes_nothing() {
    let (near, _far) = pair().await;
    let held = on_a_core(async {
        let mut socket = Socket::new(near);
        fill(&mut socket).await;
        Rc::downgrade(&socket.held)
    });
    assert!(held.await.upgrade().is_none());
}

#[tokio::test]
async fn a_socket_is_its_owners_though_its_peer_takes_nothing() {
    let (near, mut far) = pair().await;
    on_a_core(async {
        let mut socket = Socket::new(near);
        let written = fill(&mut socket).await;
        timeout(SHORT * 3, std::future::pending::<()>()).await.unwrap_err();
        let mut read = vec![0; written];
        far.read_exact(&mut read).await.unwrap();
    })
    .await;
}
