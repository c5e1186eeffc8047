//! HTTP/1 with clients: our own, since it is a third of what a request costs, and since an idle
//! connection should hold no buffer.
//!
//! Invariants:
//! - a request that two readers could read differently is refused, and its connection closed;
//! - the next head is read only when the body before it was read whole;
//! - an idle connection holds no buffer: the core's is lent while there is something to read.

mod answer;
mod body;
mod date;
mod head;
mod reading;
mod wire;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use http::{Method, StatusCode, Version};
use http_body::Body as _;
use tokio::time::timeout;

use self::answer::{Answer, Asked};
use self::head::Head;
use self::wire::Remaining;
use super::connection::ConnectionInfo;
use super::refusal::Refused;
use super::request::{ClientBody, ClientRequest, UpgradedClient};
use super::response::ClientResponse;
use super::serve::{Core, Working};
use super::stream::ClientStream;

pub use self::body::Http1Body;
pub(super) use self::date::Date;
pub(super) use self::head::{Refusal, content_length, is_host, is_method};
pub use self::reading::{WholeRequest, read_whole};
pub(super) use self::wire::Wire;

/// How long a connection whose request was not read to its end stays half open, so that the client
/// gets to read the answer (nginx `lingering_timeout`).
const LINGER: Duration = Duration::from_secs(5);

/// How much of what a client goes on sending is thrown away meanwhile, in bytes.
const LINGER_BYTES: usize = 1024 * 1024;

/// How a connection goes on after a request.
enum Next {
    /// With another request.
    Request,
    /// Not at all.
    Close,
    /// The answer is out, but the client may still be sending.
    Linger,
    /// In another protocol.
    Switch,
}

/// Serves a connection to its end. `input` was read from it already.
pub(super) fn serve<H, F>(
    core: Rc<Core>,
    stream: ClientStream,
    input: BytesMut,
    info: Rc<ConnectionInfo>,
    handler: Rc<H>,
) -> impl Future<Output = ()>
where
    H: Fn(ClientRequest, Rc<ConnectionInfo>) -> F + 'static,
    F: Future<Output: Into<Box<ClientResponse>>> + 'static,
{
    // Made here, the connection is no part of the future.
    let wire = Rc::new(RefCell::new(Wire::new(core.clone(), stream, input)));
    serve_wire(core, wire, info, handler)
}

async fn serve_wire<H, F>(
    core: Rc<Core>,
    wire: Rc<RefCell<Wire>>,
    info: Rc<ConnectionInfo>,
    handler: Rc<H>,
) where
    H: Fn(ClientRequest, Rc<ConnectionInfo>) -> F + 'static,
    F: Future<Output: Into<Box<ClientResponse>>> + 'static,
{
    let id = core.drain.enter();
    poll_fn(|cx| {
        core.drain.watch(id, cx);
        Poll::Ready(())
    })
    .await;
    let end = loop {
        match poll_fn(|cx| wire.borrow_mut().poll_head(cx)).await {
            Ok(Some(head)) => match exchange(&core, &wire, head, &info, &*handler).await {
                Next::Request => {}
                end => break end,
            },
            Ok(None) => break Next::Close,
            Err(refusal) => break refuse(&core, &wire, refusal, info.connection.peer).await,
        }
    };
    match end {
        Next::Linger => Box::pin(linger(&wire)).await,
        Next::Switch => hand_over(wire),
        Next::Request | Next::Close => {
            poll_fn(|cx| wire.borrow_mut().stream.poll_farewell(cx)).await
        }
    }
    core.drain.leave(id);
}

/// Serves one request.
async fn exchange<H, F>(
    core: &Rc<Core>,
    wire: &Rc<RefCell<Wire>>,
    head: Head,
    info: &Rc<ConnectionInfo>,
    handler: &H,
) -> Next
where
    H: Fn(ClientRequest, Rc<ConnectionInfo>) -> F + 'static,
    F: Future<Output: Into<Box<ClientResponse>>> + 'static,
{
    let working = Working::begin(core.clone());
    let Head { parts, remaining, keep_alive, takes_trailers, .. } = head;
    let body = match remaining {
        Remaining::None => ClientBody::Empty,
        remaining => {
            wire.borrow_mut().remaining = remaining;
            ClientBody::Http1(Http1Body::new(wire.clone()))
        }
    };
    let mut asked = Asked {
        head_only: parts.method == Method::HEAD,
        http11: parts.version == Version::HTTP_11,
        trailers: takes_trailers,
        keep_alive,
    };
    // Some kilobytes large: boxed here, it is not copied on its way.
    let mut work = Box::pin(handler(ClientRequest::http1(parts, body, wire.clone()), info.clone()));
    let response = poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(response) => Poll::Ready(Some(response.into())),
        Poll::Pending => wire.borrow_mut().poll_gone(cx).map(|()| None),
    });
    let response = response.await;
    drop(work);
    let Some(response) = response else { return Next::Close };

    let switches = response.status == StatusCode::SWITCHING_PROTOCOLS;
    let in_step = wire.borrow_mut().begin_answer();
    asked.keep_alive &= in_step && !core.drain.is_draining();
    let mut answer = Answer::new(core, response, &asked);
    let sent = poll_fn(|cx| answer.poll(cx, wire)).await;
    let keep_alive = answer.keep_alive;
    answer.finish(core);
    drop(working);
    match sent {
        Err(_) => Next::Close,
        Ok(()) if switches => Next::Switch,
        Ok(()) if !in_step => Next::Linger,
        Ok(()) if !keep_alive => Next::Close,
        Ok(()) => match poll_fn(|cx| wire.borrow_mut().poll_discard(cx)).await {
            true => Next::Request,
            false => Next::Close,
        },
    }
}

/// Answers what is not served, and tells of it.
async fn refuse(
    core: &Rc<Core>,
    wire: &Rc<RefCell<Wire>>,
    refusal: Refusal,
    peer: SocketAddr,
) -> Next {
    let _working = Working::begin(core.clone());
    let gone = refusal == Refusal::Gone;
    let response = refusal.response();
    let bytes_sent = if gone { 0 } else { response.body.size_hint().lower() };
    let input = std::mem::take(&mut wire.borrow_mut().input);
    // A first line that is not whole is none, but where it is what was refused.
    let line = head::first_line(&input, !matches!(refusal, Refusal::Late | Refusal::Gone));
    core.refusals.tell(&Refused { peer, line, status: response.status, bytes_sent });
    if gone {
        return Next::Close;
    }
    let asked = Asked { head_only: false, http11: true, trailers: false, keep_alive: false };
    let mut answer = Answer::new(core, response, &asked);
    let sent = poll_fn(|cx| answer.poll(cx, wire)).await;
    answer.finish(core);
    if sent.is_ok() { Next::Linger } else { Next::Close }
}

/// Closes our side, and reads on for a while: a close with bytes unread would take the answer away
/// from the client.
async fn linger(wire: &RefCell<Wire>) {
    let reading = async {
        let shut = poll_fn(|cx| {
            use tokio::io::AsyncWrite as _;
            Pin::new(&mut wire.borrow_mut().stream).poll_shutdown(cx)
        });
        if shut.await.is_ok() {
            let mut left = LINGER_BYTES;
            poll_fn(|cx| wire.borrow_mut().poll_linger(cx, &mut left)).await;
        }
    };
    // Late or not, the connection is dropped now.
    let _in_time = timeout(LINGER, reading).await;
}

/// Gives the connection to whoever asked for it.
fn hand_over(wire: Rc<RefCell<Wire>>) {
    // The request is over, and with it the only other owner, its body.
    let Ok(wire) = Rc::try_unwrap(wire) else { return };
    let Wire { stream, input, upgrade, .. } = wire.into_inner();
    if let Some(waiting) = upgrade {
        // Whoever does not wait any more does not want it.
        let _kept = waiting.send(UpgradedClient::new(input, stream)).is_ok();
    }
}
