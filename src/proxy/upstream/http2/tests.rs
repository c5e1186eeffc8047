//! Against HTTP/2 upstreams: sharing of connections, what may be sent again, limits.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local};

use crate::proxy::upstream::*;

type Server = Connection<TcpStream, Bytes>;

/// Runs a test on one core, as everything here is made for.
async fn on_one_core(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

/// Starts an upstream that runs `serve` for its n-th connection.
async fn upstream<F>(streams_max: u32, serve: impl Fn(usize, Server) -> F + 'static) -> PeerAddress
where
    F: Future<Output = ()> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let serve = Rc::new(serve);
    spawn_local(async move {
        for index in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let serve = serve.clone();
            spawn_local(async move {
                let mut builder = h2::server::Builder::new();
                let opened = builder.max_concurrent_streams(streams_max).handshake(stream).await;
                serve(index, opened.unwrap()).await;
            });
        }
    });
    PeerAddress { addr, tls: None, http2: true }
}

/// Answers each request in a task of its own.
async fn answer_all<F>(mut server: Server, answer: impl Fn(Call) -> F)
where
    F: Future<Output = ()> + 'static,
{
    while let Some(Ok((request, respond))) = server.accept().await {
        spawn_local(answer(Call { request, respond }));
    }
}

struct Call {
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
}

/// Sends the body back, and trailers.
async fn echo(mut call: Call) {
    let response = Response::builder().status(200).header("content-type", "application/grpc");
    let mut out = call.respond.send_response(response.body(()).unwrap(), false).unwrap();
    let body = call.request.body_mut();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        out.send_data(data, false).unwrap();
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    out.send_trailers(trailers).unwrap();
}

fn pool() -> Pool {
    Pool::new(PoolLimits::default())
}

async fn send(
    pool: &Pool,
    peer: &PeerAddress,
    body: &mut RequestBody,
    read_ms: u64,
) -> Result<UpstreamResponse, UpstreamError> {
    let mut head = UpstreamHead::new(&Method::POST, "/pkg.S/Call");
    head.append_own("host: ", b"up.test");
    let timeouts = Timeouts { connect_ms: 5_000, write_ms: 5_000, read_ms };
    pool.send(peer, &mut head, body, timeouts, &TimerSlot::default()).await
}

async fn call(pool: &Pool, peer: &PeerAddress, text: &'static str) -> UpstreamResponse {
    let mut body = RequestBody::Bytes(Bytes::from_static(text.as_bytes()));
    send(pool, peer, &mut body, 5_000).await.unwrap()
}

#[tokio::test]
async fn calls_share_a_connection_and_keep_their_trailers() {
    on_one_core(async {
        let peer = upstream(50, |_, server| answer_all(server, echo)).await;
        let pool = pool();
        let calls = ["one", "two", "three"].map(|text| {
            let (pool, peer) = (pool.clone(), peer.clone());
            async move {
                let answer = call(&pool, &peer, text).await;
                assert_eq!(answer.head.status, StatusCode::OK);
                assert_eq!(answer.head.headers.get("content-type").unwrap(), "application/grpc");
                let body = answer.body.collect().await.unwrap();
                assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
                assert_eq!(body.to_bytes(), text);
            }
        });
        futures_util::future::join_all(calls).await;
        assert_eq!(pool.http2_count(), 1);
        assert!(call(&pool, &peer, "four").await.reused);
    })
    .await;
}

#[tokio::test]
async fn a_connection_without_room_is_joined_by_another() {
    on_one_core(async {
        let peer = upstream(1, |_, server| answer_all(server, echo)).await;
        let pool = pool();
        // Before the first answer nobody knows how many streams the upstream allows.
        call(&pool, &peer, "one").await.body.collect().await.unwrap();
        let held = call(&pool, &peer, "two").await;
        let other = call(&pool, &peer, "three").await;
        assert_eq!(pool.http2_count(), 2);
        assert_eq!(other.body.collect().await.unwrap().to_bytes(), "three");
        assert_eq!(held.body.collect().await.unwrap().to_bytes(), "two");
    })
    .await;
}

#[tokio::test]
async fn what_was_refused_may_be_sent_again_and_what_was_begun_may_not() {
    on_one_core(async {
        for (reason, sent) in [(Reason::REFUSED_STREAM, false), (Reason::INTERNAL_ERROR, true)] {
            let peer = upstream(9, move |_, server| {
                answer_all(server, move |mut call| async move { call.respond.send_reset(reason) })
            })
            .await;
            let mut body = RequestBody::Bytes(Bytes::from_static(b"x"));
            let error = send(&pool(), &peer, &mut body, 5_000).await.unwrap_err();
            assert_eq!((error.kind, error.request_sent), (UpstreamErrorKind::Closed, sent));
            assert_eq!(error.may_retry(false), !sent);
            assert!(matches!(body, RequestBody::Bytes(_)));
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_the_upstream_left_is_replaced() {
    on_one_core(async {
        let peer = upstream(9, |index, mut server| async move {
            while let Some(Ok((request, respond))) = server.accept().await {
                spawn_local(echo(Call { request, respond }));
                if index == 0 {
                    server.graceful_shutdown();
                }
            }
        })
        .await;
        let pool = pool();
        for text in ["one", "two", "three"] {
            let answer = call(&pool, &peer, text).await;
            assert_eq!(answer.body.collect().await.unwrap().to_bytes(), text);
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_without_answers_is_late_and_given_up() {
    on_one_core(async {
        let opened = Rc::new(Cell::new(0));
        let count = opened.clone();
        let peer = upstream(9, move |index, server| {
            count.set(index + 1);
            answer_all(server, |call| async move {
                let _held = call;
                std::future::pending::<()>().await;
            })
        })
        .await;
        let pool = pool();
        for connections in [1, 2] {
            let mut body = RequestBody::None;
            let error = send(&pool, &peer, &mut body, 20).await.unwrap_err();
            assert_eq!(error.kind, UpstreamErrorKind::Timeout(Step::Read));
            assert_eq!(opened.get(), connections);
        }
    })
    .await;
}

#[tokio::test]
async fn answers_that_break_off_or_stop_are_told_apart() {
    on_one_core(async {
        for (reason, kind) in [
            (Some(Reason::INTERNAL_ERROR), UpstreamErrorKind::Closed),
            (None, UpstreamErrorKind::Timeout(Step::Read)),
        ] {
            let arrived = Rc::new(Notify::new());
            let seen = arrived.clone();
            let peer = upstream(9, move |_, server| {
                let seen = seen.clone();
                answer_all(server, move |mut call| {
                    let seen = seen.clone();
                    async move {
                        let mut out = call.respond.send_response(Response::new(()), false).unwrap();
                        out.send_data(Bytes::from_static(b"some"), false).unwrap();
                        seen.notified().await;
                        match reason {
                            Some(reason) => out.send_reset(reason),
                            None => std::future::pending().await,
                        }
                    }
                })
            })
            .await;
            let answer = send(&pool(), &peer, &mut RequestBody::None, 200).await.unwrap();
            arrived.notify_one();
            assert_eq!(answer.body.collect().await.unwrap_err().kind, kind);
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_its_first_request_did_not_wait_for_serves_the_next() {
    on_one_core(async {
        let opened = Rc::new(Cell::new(0));
        let count = opened.clone();
        let peer = upstream(9, move |index, server| {
            count.set(index + 1);
            answer_all(server, echo)
        })
        .await;
        let pool = pool();
        let mut body = RequestBody::None;
        let mut gone = Box::pin(send(&pool, &peer, &mut body, 5_000));
        assert!(futures_util::poll!(&mut gone).is_pending());
        drop(gone);
        call(&pool, &peer, "next").await;
        assert_eq!((opened.get(), pool.http2_count()), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_nobody_reads_holds_up_no_other() {
    on_one_core(async {
        let peer = upstream(9, |_, server| {
            answer_all(server, |mut call| async move {
                let mut out = call.respond.send_response(Response::new(()), false).unwrap();
                // More than the stream's window; what the connection has not taken waits.
                let _ended = out.send_data(Bytes::from(vec![0; 1 << 20]), true);
            })
        })
        .await;
        let pool = pool();
        let unread = call(&pool, &peer, "").await;
        for _ in 0..20 {
            let answer = call(&pool, &peer, "").await;
            assert_eq!(answer.body.collect().await.unwrap().to_bytes().len(), 1 << 20);
        }
        assert_eq!(pool.http2_count(), 1);
        drop(unread);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_breaks_off_is_not_the_upstreams_fault() {
    on_one_core(async {
        let peer = upstream(9, |_, server| {
            answer_all(server, |mut call| async move {
                while let Some(Ok(_)) = call.request.body_mut().data().await {}
            })
        })
        .await;
        let frames = [Ok(http_body::Frame::data(Bytes::from_static(b"a"))), Err("gone".into())];
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let mut body = RequestBody::Boxed(Box::pin(body));
        let error = send(&pool(), &peer, &mut body, 5_000).await.unwrap_err();
        assert_eq!(error.kind, UpstreamErrorKind::RequestBody);
        assert!(!body.is_replayable());
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_speaks_something_else_is_told_apart_from_one_that_is_not_there() {
    on_one_core(async {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = PeerAddress { addr: closed.local_addr().unwrap(), tls: None, http2: true };
        drop(closed);
        let mut body = RequestBody::None;
        let error = send(&pool(), &peer, &mut body, 5_000).await.unwrap_err();
        assert_eq!((error.kind, error.request_sent), (UpstreamErrorKind::Connect, false));

        let http1 = TcpListener::bind("127.0.0.1:0").await.unwrap();
        peer.addr = http1.local_addr().unwrap();
        spawn_local(async move {
            let (mut stream, _) = http1.accept().await.unwrap();
            let answer = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.unwrap();
        });
        let error = send(&pool(), &peer, &mut body, 5_000).await.unwrap_err();
        // Whether that is found out before or after the request left is the network's to say.
        let kinds = [UpstreamErrorKind::Connect, UpstreamErrorKind::Closed];
        assert!(kinds.contains(&error.kind), "{error:?}");
    })
    .await;
}
