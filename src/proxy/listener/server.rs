//! The proxy cores as a whole: start, counters, drain.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::TlsAcceptor;

use super::bind::{BindError, ListenSpec, bind_all};
use super::connection::ConnectionInfo;
use super::cores::Cores;
use super::counters::{ConnectionCounts, CoreCounters, sum};
use super::refusal::Refusals;
use super::request::ClientRequest;
use super::response::ClientResponse;
use super::serve::{Begin, Core, Door, ServeLimits, accept_all};
use crate::clock::turn;
use crate::proxy::outbox::Outbox;

/// How long what is under way may take when a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// For connections that wait for a request of their client, which may be on its way.
    pub idle: Duration,
    /// For everything else, protocols that were switched to included.
    pub within: Duration,
}

impl Ending {
    /// At once.
    pub const NOW: Self = Self { idle: Duration::ZERO, within: Duration::ZERO };
}

/// Running proxy cores. Dropped, they stop at once.
#[derive(Debug)]
pub struct ProxyServer {
    addresses: Vec<SocketAddr>,
    counters: Vec<Arc<CoreCounters>>,
    /// The sockets, by the addresses that were asked for, beside the cores' own hold of them.
    sockets: Vec<(SocketAddr, TcpListener)>,
    /// `None` while serving.
    stop: watch::Sender<Option<Ending>>,
    cores: Cores,
}

/// What one core takes along to its thread.
struct Bench {
    index: usize,
    limits: ServeLimits,
    counters: Arc<CoreCounters>,
    refusals: Refusals,
    sockets: Vec<(TcpListener, SocketAddr, ListenSpec)>,
    stop: watch::Receiver<Option<Ending>>,
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
        F: Future<Output: Into<Box<ClientResponse>>> + 'static,
    {
        let listeners = listeners.into_iter().map(|spec| (spec, Vec::new())).collect();
        Self::start_on(cores, listeners, limits, Refusals::default(), make_handler)
    }

    /// Does the same with the sockets of each address that are open already, and tells of requests that
    /// no handler sees.
    pub fn start_on<M, H, F>(
        cores: usize,
        listeners: Vec<(ListenSpec, Vec<TcpListener>)>,
        limits: ServeLimits,
        refusals: Refusals,
        make_handler: M,
    ) -> Result<Self, BindError>
    where
        M: Fn(usize) -> H + Send + Sync + 'static,
        H: Fn(ClientRequest, Rc<ConnectionInfo>) -> F + 'static,
        F: Future<Output: Into<Box<ClientResponse>>> + 'static,
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
                refusals: refusals.clone(),
                sockets: Vec::new(),
                stop: stopped.clone(),
            })
            .collect();
        let mut addresses = Vec::with_capacity(listeners.len());
        let mut held = Vec::new();
        for (spec, open) in listeners {
            let spec = with_alpn(spec);
            let (sockets, addr) = bind_all(&spec, open, cores)?;
            addresses.push(addr);
            for (index, socket) in sockets.into_iter().enumerate() {
                let copy = socket.try_clone().map_err(|error| BindError::new(addr, error))?;
                held.push((spec.addr, copy));
                if let Some(bench) = benches.get_mut(index % cores) {
                    bench.sockets.push((socket, addr, spec.clone()));
                }
            }
        }
        let make_handler = Arc::new(make_handler);
        let first = addresses.first().copied().unwrap_or_else(|| ([0, 0, 0, 0], 0).into());
        let mut ended = Vec::with_capacity(cores);
        for bench in benches {
            let receiver = spawn(bench, make_handler.clone());
            ended.push(receiver.map_err(|error| BindError::new(first, error))?);
        }
        Ok(Self { addresses, counters, sockets: held, stop, cores: Cores::new(ended) })
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

    /// Takes the sockets out, each with the address that was asked for. The cores go on with them.
    pub fn take_sockets(&mut self) -> Vec<(SocketAddr, TcpListener)> {
        std::mem::take(&mut self.sockets)
    }

    /// Stops accepting, except what waits already, and lets what is under way finish. A later call
    /// takes the place of an earlier one.
    pub fn retire(&mut self, ending: Ending) {
        // A socket that is open anywhere goes on taking connections.
        self.sockets.clear();
        self.stop.send_replace(Some(ending));
    }

    /// Returns when every core has ended.
    pub async fn ended(&mut self) {
        self.cores.ended().await;
    }

    /// Returns whether every core has ended.
    pub fn has_ended(&mut self) -> bool {
        self.cores.have_ended()
    }

    /// Stops accepting, lets requests in flight finish (idle connections close at once), and
    /// returns when every core has ended, which `deadline` bounds.
    pub async fn drain(mut self, deadline: Duration) {
        self.retire(Ending { idle: Duration::ZERO, within: deadline });
        self.ended().await;
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
    F: Future<Output: Into<Box<ClientResponse>>> + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (done, ended) = oneshot::channel();
    let name = format!("proxy-{}", bench.index);
    std::thread::Builder::new().name(name).spawn(move || {
        let local = LocalSet::new();
        let index = bench.index;
        let serving = local.run_until(run(bench, || make_handler(index)));
        if let Err(error) = runtime.block_on(turn::keep(serving)) {
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
    F: Future<Output: Into<Box<ClientResponse>>> + 'static,
{
    let Bench { index, limits, counters, refusals, sockets, mut stop } = bench;
    let core = Rc::new(Core::new(index, limits, counters, refusals));
    let outbox = Outbox::open(limits.send_timeout);
    let handler = Rc::new(make_handler());
    let mut accepting = Vec::with_capacity(sockets.len());
    for (socket, local, spec) in sockets {
        let listener = tokio::net::TcpListener::from_std(socket)?;
        let (tls, http2) = (spec.tls.map(TlsAcceptor::from), spec.http2);
        let begin = Begin { http2, proxy_protocol: spec.proxy_protocol };
        let door = Door { listener, local, tls, begin };
        accepting.push(tokio::task::spawn_local(accept_all(core.clone(), door, handler.clone())));
    }
    let mut ending = next_order(&mut stop).await;
    core.drain.begin();
    let mut emptied = pin!(async {
        for task in accepting {
            // One that panicked accepts nothing either.
            let _ended = task.await;
        }
        while core.counters.active.value() > 0 {
            core.drain.emptied.notified().await;
        }
        // The last answers may not have gone.
        outbox.emptied().await;
    });
    let mut since = Instant::now();
    loop {
        tokio::select! {
            () = &mut emptied => return Ok(()),
            // What is left is cut off when the runtime goes.
            () = sleep_until(after(since, ending.within)) => return Ok(()),
            () = sleep_until(after(since, ending.idle)), if !core.drain.is_closing() => {
                core.drain.close_idle();
            }
            order = next_order(&mut stop) => (ending, since) = (order, Instant::now()),
        }
    }
}

/// Waits for the order to end; a server that was dropped has no patience.
pub(in crate::proxy) async fn next_order(stop: &mut watch::Receiver<Option<Ending>>) -> Ending {
    loop {
        if stop.changed().await.is_err() {
            return Ending::NOW;
        }
        if let Some(ending) = *stop.borrow_and_update() {
            return ending;
        }
    }
}

/// A time that is too far to be written is never.
pub(in crate::proxy) fn after(since: Instant, span: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
    since + span.min(NEVER)
}
