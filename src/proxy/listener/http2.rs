//! HTTP/2 with clients, by hyper: its bounds, and what of a request hyper does not look at.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use http::uri::Authority;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::body::ProxyBody;
use super::connection::ConnectionInfo;
use super::http1::{is_host, is_method};
use super::request::ClientRequest;
use super::response::ClientResponse;
use super::serve::{Core, Working};
use super::stream::ClientStream;
use crate::headers::RequestHead;

/// How much of a request body may wait to be read, for a stream and for all of a connection, in
/// bytes.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// The longest frame that is taken, in bytes.
const FRAME_MAX: u32 = 16 * 1024;

/// How much of an answer may wait to be sent, for each stream, in bytes.
const SEND_BUFFER_MAX: usize = 128 * 1024;

/// How many streams a client may reset before anybody looked at them, and how many it may break
/// so that we reset them.
const EARLY_RESETS_MAX: usize = 20;
const OWN_RESETS_MAX: usize = 100;

/// How many more requests a client may give up before their answers than it lets be answered:
/// each has cost an upstream something ("rapid reset").
const GIVEN_UP_MAX: u32 = 200;

/// How many requests of a connection were given up, less those that were answered.
#[derive(Default)]
struct Patience(Cell<u32>);

/// A request whose answer is awaited.
struct Awaited {
    patience: Rc<Patience>,
    answered: bool,
}

impl Awaited {
    /// Tells that there is an answer.
    fn end(&mut self) {
        self.answered = true;
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        let count = self.patience.0.get();
        self.patience.0.set(match self.answered {
            true => count.saturating_sub(1),
            false => count.saturating_add(1),
        });
    }
}

/// Serves a connection to its end. How it ended is the client's affair: nothing is left to answer.
pub(super) async fn serve<H, F>(
    core: Rc<Core>,
    stream: ClientStream,
    info: Rc<ConnectionInfo>,
    handler: Rc<H>,
) where
    H: Fn(ClientRequest, Rc<ConnectionInfo>) -> F + 'static,
    F: Future<Output = ClientResponse> + 'static,
{
    let limits = core.limits;
    let patience = Rc::<Patience>::default();
    let (counting, counted) = (core.clone(), patience.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let working = Working::begin(counting.clone());
        let mut awaited = Awaited { patience: counted.clone(), answered: false };
        let (head, body) = request.into_parts();
        let mut head = RequestHead::from(head);
        let answer = match check(&mut head) {
            Ok(()) => {
                let request = ClientRequest::http2(head, body, limits.body_timeout);
                Ok(Box::pin(handler(request, info.clone())))
            }
            Err(refusal) => Err(refusal),
        };
        async move {
            let _working = working;
            let answer = match answer {
                Ok(answer) => answer.await,
                Err(refusal) => refused(refusal),
            };
            awaited.end();
            Ok::<_, Infallible>(to_hyper(answer))
        }
    });
    let connection = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.h2_streams_max)
        .max_header_list_size(limits.h2_header_list_max)
        .max_frame_size(FRAME_MAX)
        .max_pending_accept_reset_streams(EARLY_RESETS_MAX)
        .max_local_error_reset_streams(OWN_RESETS_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER_MAX)
        .keep_alive_interval(limits.header_timeout)
        .keep_alive_timeout(limits.header_timeout)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let id = core.drain.enter();
    let (mut watched, mut finishing) = (false, false);
    poll_fn(|cx| {
        if !watched {
            core.drain.watch(id, cx);
            watched = true;
        }
        if core.drain.is_draining() && !finishing {
            connection.as_mut().graceful_shutdown();
            finishing = true;
        }
        if patience.0.get() > GIVEN_UP_MAX {
            return Poll::Ready(());
        }
        connection.as_mut().poll(cx).map(|_ended| ())
    })
    .await;
    core.drain.leave(id);
}

/// Holds a head to what one of HTTP/1 is held to, and puts the host where one of HTTP/1 has it
/// (RFC 9113, section 8.3).
fn check(head: &mut RequestHead) -> Result<(), StatusCode> {
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    let host = head.headers.get(header::HOST);
    let is_doubled = head.headers.get_all(header::HOST).nth(1).is_some();
    let authority = head.uri.authority().map(Authority::as_str);
    let differs = host.zip(authority).is_some_and(|(host, authority)| {
        !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes())
    });
    let named = authority.map(str::as_bytes).or(host.map(HeaderValue::as_bytes));
    let is_bad = is_doubled || differs || !named.is_some_and(is_host);
    if is_bad || !is_method(head.method.as_str().as_bytes()) {
        return Err(StatusCode::BAD_REQUEST);
    }
    if host.is_none()
        && let Some(host) = authority.and_then(|authority| HeaderValue::from_str(authority).ok())
    {
        head.headers.insert(header::HOST, host);
    }
    Ok(())
}

fn refused(status: StatusCode) -> ClientResponse {
    let message = match status {
        StatusCode::METHOD_NOT_ALLOWED => "Method not allowed",
        _ => "Bad request",
    };
    ClientResponse::line(status, message)
}

fn to_hyper(answer: ClientResponse) -> Response<ProxyBody> {
    let mut response = Response::new(answer.body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers.into();
    response
}

/// Runs hyper's HTTP/2 streams on the core that owns the connection.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
