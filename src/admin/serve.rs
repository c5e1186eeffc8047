//! Serving an API on a listener, with or without TLS, until told to stop.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time;
use tokio_rustls::TlsAcceptor;

use crate::pki::listener::client_name;
use crate::telemetry::counter::{Activity, CoreCounters, OpenConnection};
use crate::telemetry::trouble::Trouble;

/// The address that a request comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// The common name of the certificate that a client has proved to hold.
#[derive(Clone, Debug)]
pub(super) struct ClientName(pub(super) Arc<str>);

/// A client that has not sent its handshake by then is dropped.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client that has not sent the headers of its next request by then is dropped. Clients keep idle
/// connections for use again; nginx, and so Kong, gives them this long.
const IDLE: Duration = Duration::from_secs(75);

/// How long requests under way may still take after the stop.
const GRACE: Duration = Duration::from_secs(10);

/// The pause after a failed accept: out of file descriptors, a loop would only burn the core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long no accept has failed when accepting is in order again.
const ACCEPT_QUIET: Duration = Duration::from_secs(5);

/// Serves `app` on a listener until `stop` is true or its sender is gone, then lets the requests
/// under way finish. Connections end with the future.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    app: axum::Router,
    counters: CoreCounters,
    mut stop: watch::Receiver<bool>,
) {
    let tls = tls.map(TlsAcceptor::from);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut trouble = Trouble::lasting(ACCEPT_QUIET);
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stopped| *stopped) => break,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                if trouble.ends() {
                    tracing::info!("admin connections are accepted again");
                }
                let (app, tls, graceful) = (app.clone(), tls.clone(), graceful.watcher());
                let open = Open(Arc::new(Mutex::new(counters.connection())));
                connections.spawn(serve_one(stream, peer, tls, app, (graceful, open)));
            }
            Err(error) => {
                if trouble.begins() {
                    tracing::error!(%error, "cannot accept admin connections");
                }
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let finish = async {
        graceful.shutdown().await;
        while connections.join_next().await.is_some() {}
    };
    if time::timeout(GRACE, finish).await.is_err() {
        tracing::warn!("admin requests were cut off at the stop");
    }
}

/// A connection in the counters, shared by its requests.
#[derive(Clone)]
struct Open(Arc<Mutex<OpenConnection>>);

impl Open {
    fn tell(&self, what: impl FnOnce(&OpenConnection)) {
        what(&self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

async fn serve_one(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    app: axum::Router,
    watched: (Watcher, Open),
) {
    // Answers are small and wait for nothing; without it they would wait for the peer's ack.
    let _ = stream.set_nodelay(true);
    match tls {
        None => serve_stream(stream, peer, None, app, watched).await,
        Some(tls) => match time::timeout(PATIENCE, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                // Whoever sent one has passed the listener's check of it.
                let name = stream.get_ref().1.peer_certificates().and_then(client_name);
                serve_stream(stream, peer, name, app, watched).await;
            }
            Ok(Err(error)) => tracing::debug!(%peer, %error, "admin TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "admin TLS handshake took too long"),
        },
    }
}

async fn serve_stream(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    name: Option<String>,
    app: axum::Router,
    (graceful, open): (Watcher, Open),
) {
    open.tell(|open| open.set(Activity::Waiting));
    let name = name.map(|name| ClientName(name.into()));
    let service = TowerToHyperService::new(app);
    let service = hyper::service::service_fn(move |mut request: hyper::Request<_>| {
        request.extensions_mut().insert(Peer(peer));
        if let Some(name) = &name {
            request.extensions_mut().insert(name.clone());
        }
        let (answered, open) = (hyper::service::Service::call(&service, request), open.clone());
        async move {
            open.tell(OpenConnection::request);
            let answer = answered.await;
            open.tell(|open| open.set(Activity::Waiting));
            answer
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    let mut http1 = builder.http1();
    http1.timer(TokioTimer::new()).header_read_timeout(IDLE).title_case_headers(true);
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    if let Err(error) = graceful.watch(connection).await {
        tracing::debug!(%peer, %error, "admin connection ended early");
    }
}
