//! The proxy cores as a whole: start, counters, drain.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Response;
use tokio::sync::{oneshot, watch};
use tokio::task::LocalSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::bind::{BindError, ListenSpec, bind_all};
use super::body::ProxyBody;
use super::connection::ConnectionInfo;
use super::counters::{ConnectionCounts, CoreCounters, sum};
use super::request::ClientRequest;
use super::serve::{Core, Door, ServeLimits, accept_all};

/// Running proxy cores. Dropped without [`ProxyServer::drain`], they stop at once.
#[derive(Debug)]
pub struct ProxyServer {
    addresses: Vec<SocketAddr>,
    counters: Vec<Arc<CoreCounters>>,
    /// `None` while serving; then how long requests in flight may take.
    stop: watch::Sender<Option<Duration>>,
    ended: Vec<oneshot::Receiver<()>>,
}

/// What one core takes along to its thread.
struct Bench {
    index: usize,
    limits: ServeLimits,
    counters: Arc<CoreCounters>,
    sockets: Vec<(TcpListener, SocketAddr, ListenSpec)>,
    stop: watch::Receiver<Option<Duration>>,
}

impl ProxyServer {
    /// Binds every address and starts `cores` threads that serve them with the handlers that
    /// `make_handler` makes, once per core and on the core's own thread, inside its `LocalSet`.
    ///
    /// A handler gets the request and the facts of its connection; it need not be `Send`.
    pub fn start<M, H, F>(
        cores: usize,
        listeners: Vec<ListenSpec>,
        limits: ServeLimits,
        make_handler: M,
    ) -> Result<Self, BindError>
    where
        M: Fn(usize) -> H + Send + Sync + 'static,
        H: Fn(ClientRequest, Rc<ConnectionInfo>) -> F + 'static,
        F: Future<Output = Response<ProxyBody>> + 'static,
    {
        let cores = cores.max(1);
        let (stop, stopped) = watch::channel(None);
        let counters: Vec<Arc<CoreCounters>> = (0..cores).map(|_| Arc::default()).collect();
        let mut benches: Vec<Bench> = counters
            .iter()
            .enumerate()
            .map(|(index, counters)| Bench {
                index,
                limits,
                counters: counters.clone(),
                sockets: Vec::new(),
                stop: stopped.clone(),
            })
            .collect();
        let mut addresses = Vec::with_capacity(listeners.len());
        for spec in listeners {
            let spec = with_alpn(spec);
            let (sockets, addr) = bind_all(&spec, cores)?;
            addresses.push(addr);
            for (bench, socket) in benches.iter_mut().zip(sockets) {
                bench.sockets.push((socket, addr, spec.clone()));
            }
        }
        let make_handler = Arc::new(make_handler);
        let first = addresses.first().copied().unwrap_or_else(|| ([0, 0, 0, 0], 0).into());
        let mut ended = Vec::with_capacity(cores);
        for bench in benches {
            let receiver = spawn(bench, make_handler.clone());
            ended.push(receiver.map_err(|error| BindError::new(first, error))?);
        }
        Ok(Self { addresses, counters, stop, ended })
    }

    /// Returns the real addresses, in the order of the listeners given.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Returns the sums of the counters of all cores.
    pub fn counts(&self) -> ConnectionCounts {
        sum(&self.counters)
    }

    /// Returns a reader of the counters that may outlive this value.
    pub fn counts_reader(&self) -> impl Fn() -> ConnectionCounts + Send + Sync + 'static {
        let counters = self.counters.clone();
        move || sum(&counters)
    }

    /// Stops accepting, lets requests in flight finish (idle connections close at once), and
    /// returns when every core has ended, which `deadline` bounds.
    pub async fn drain(self, deadline: Duration) {
        self.stop.send_replace(Some(deadline));
        for ended in self.ended {
            // A core that panicked has ended too.
            let _ended = ended.await;
        }
    }
}

fn with_alpn(mut spec: ListenSpec) -> ListenSpec {
    if let Some(config) = &mut spec.tls {
        let config = Arc::make_mut(config);
        config.alpn_protocols = if spec.http2 {
            vec![b"h2".to_vec(), b"http/1.1".to_vec()]
        } else {
            vec![b"http/1.1".to_vec()]
        };
    }
    spec
}

fn spawn<M, H, F>(bench: Bench, make_handler: Arc<M>) -> io::Result<oneshot::Receiver<()>>
where
    M: Fn(usize) -> H + Send + Sync + 'static,
    H: Fn(ClientRequest, Rc<ConnectionInfo>) -> F + 'static,
    F: Future<Output = Response<ProxyBody>> + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (done, ended) = oneshot::channel();
    let name = format!("proxy-{}", bench.index);
    std::thread::Builder::new().name(name).spawn(move || {
        let local = LocalSet::new();
        let index = bench.index;
        if let Err(error) = local.block_on(&runtime, run(bench, || make_handler(index))) {
            tracing::error!(core = index, %error, "a proxy core could not start");
        }
        drop(local);
        // Nobody may wait for the end any more.
        let _told = done.send(());
    })?;
    Ok(ended)
}

async fn run<H, F>(bench: Bench, make_handler: impl FnOnce() -> H) -> io::Result<()>
where
    H: Fn(ClientRequest, Rc<ConnectionInfo>) -> F + 'static,
    F: Future<Output = Response<ProxyBody>> + 'static,
{
    let Bench { index, limits, counters, sockets, mut stop } = bench;
    let core = Rc::new(Core::new(index, limits, counters));
    let handler = Rc::new(make_handler());
    let mut accepting = Vec::with_capacity(sockets.len());
    for (socket, local, spec) in sockets {
        let listener = tokio::net::TcpListener::from_std(socket)?;
        let (tls, proxy_protocol) = (spec.tls.map(TlsAcceptor::from), spec.proxy_protocol);
        let door = Door { listener, local, tls, http2: spec.http2, proxy_protocol };
        accepting.push(tokio::task::spawn_local(accept_all(core.clone(), door, handler.clone())));
    }
    // A dropped server is a drain without patience.
    let deadline = stop.wait_for(Option::is_some).await.ok().and_then(|order| *order);
    for task in accepting {
        task.abort();
    }
    core.drain.begin();
    let emptied = async {
        while core.counters.active.value() > 0 {
            core.drain.emptied.notified().await;
        }
    };
    // Past the deadline what is left is cut off when the runtime goes.
    let _in_time = timeout(deadline.unwrap_or_default(), emptied).await;
    Ok(())
}
