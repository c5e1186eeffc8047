//! The cores of streams as a whole: start, counters, drain.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::TlsAcceptor;

use super::bind::{StreamSocket, StreamSpec, bind_all};
use super::core::Core;
use super::settings::StreamSettings;
use super::{tcp, udp};
use crate::balancer::dns::resolver::Resolver;
use crate::clock::Clock;
use crate::proxy::listener::{BindError, Cores, Counter, Ending, after, next_order};
use crate::runtime::Handle;

/// Running cores. Dropped, they stop at once.
#[derive(Debug)]
pub struct StreamServer {
    addresses: Vec<SocketAddr>,
    counters: Vec<Arc<CoreCounters>>,
    sockets: Vec<StreamSocket>,
    /// `None` while serving.
    stop: watch::Sender<Option<Ending>>,
    cores: Cores,
}

/// Sums over all cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounts {
    /// Connections accepted and UDP sessions begun since the start.
    pub accepted: u64,
    /// Of those, the ones that got past the TLS handshake.
    pub handled: u64,
    /// Open now.
    pub active: u64,
}

/// The counters of one core, written by that core alone.
#[derive(Debug, Default)]
pub(super) struct CoreCounters {
    pub(super) accepted: Counter,
    pub(super) handled: Counter,
    pub(super) active: Counter,
}

/// A socket of one core.
enum Bound {
    Tcp { listener: TcpListener, tls: Option<TlsAcceptor>, proxy_protocol: bool },
    Udp(UdpSocket),
}

/// What one core takes along to its thread.
struct Bench {
    index: usize,
    counters: Arc<CoreCounters>,
    sockets: Vec<(Bound, SocketAddr)>,
    stop: watch::Receiver<Option<Ending>>,
}

impl StreamServer {
    /// Binds every address and starts `cores` threads that serve what comes there by the config in
    /// force.
    ///
    /// # Errors
    ///
    /// The first address that cannot be served.
    pub fn start(
        cores: usize,
        listeners: Vec<StreamSpec>,
        (handle, names): (&Handle, &Resolver),
        settings: &StreamSettings,
        clock: &Clock,
    ) -> Result<Self, BindError> {
        let cores = cores.max(1);
        let (stop, stopped) = watch::channel(None);
        let counters: Vec<Arc<CoreCounters>> = (0..cores).map(|_| Arc::default()).collect();
        let bench = |(index, counters): (usize, &Arc<CoreCounters>)| Bench {
            index,
            counters: counters.clone(),
            sockets: Vec::new(),
            stop: stopped.clone(),
        };
        let mut benches: Vec<Bench> = counters.iter().enumerate().map(bench).collect();
        let (mut addresses, mut held) = (Vec::with_capacity(listeners.len()), Vec::new());
        for mut spec in listeners {
            let (sockets, addr) = bind_all(&mut spec, cores)?;
            let (asked, udp, proxy_protocol) =
                (spec.listen.addr, spec.udp, spec.listen.proxy_protocol);
            let tls = spec.listen.tls.map(|mut tls| {
                // What is spoken inside is between the client and the upstream.
                Arc::make_mut(&mut tls).alpn_protocols.clear();
                TlsAcceptor::from(tls)
            });
            addresses.push(addr);
            for (index, socket) in sockets.into_iter().enumerate() {
                let fd = socket.try_clone().map_err(|error| BindError::new(addr, error))?;
                held.push(StreamSocket { asked, udp, fd: OwnedFd::from(fd) });
                let bound = match udp {
                    true => Bound::Udp(socket.into()),
                    false => {
                        Bound::Tcp { listener: socket.into(), tls: tls.clone(), proxy_protocol }
                    }
                };
                if let Some(bench) = benches.get_mut(index % cores) {
                    bench.sockets.push((bound, addr));
                }
            }
        }
        let first = addresses.first().copied().unwrap_or_else(|| ([0, 0, 0, 0], 0).into());
        let mut ended = Vec::with_capacity(cores);
        for bench in benches {
            let receiver =
                spawn(bench, (handle.clone(), names.clone()), settings.clone(), clock.clone());
            ended.push(receiver.map_err(|error| BindError::new(first, error))?);
        }
        Ok(Self { addresses, counters, sockets: held, stop, cores: Cores::new(ended) })
    }

    /// Returns the real addresses, in the order of the listeners given.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Takes the sockets out. The cores go on with them.
    pub fn take_sockets(&mut self) -> Vec<StreamSocket> {
        std::mem::take(&mut self.sockets)
    }

    /// Returns a reader of the sums of the counters of all cores; it may outlive this value.
    pub fn counts_reader(&self) -> impl Fn() -> StreamCounts + Send + Sync + 'static {
        let counters = self.counters.clone();
        move || {
            counters.iter().fold(StreamCounts::default(), |sum, core| StreamCounts {
                accepted: sum.accepted + core.accepted.value(),
                handled: sum.handled + core.handled.value(),
                active: sum.active + core.active.value(),
            })
        }
    }

    /// Takes no new sessions, except connections that wait already, and lets those that are there go
    /// on for as long as `ending` says: none of them waits for a request. A later call takes the place
    /// of an earlier one.
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
}

fn spawn(
    bench: Bench,
    (handle, names): (Handle, Resolver),
    settings: StreamSettings,
    clock: Clock,
) -> io::Result<oneshot::Receiver<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (done, ended) = oneshot::channel();
    let name = format!("stream-{}", bench.index);
    std::thread::Builder::new().name(name).spawn(move || {
        let (local, index) = (LocalSet::new(), bench.index);
        if let Err(error) = local.block_on(&runtime, run(bench, (&handle, names), settings, clock))
        {
            tracing::error!(core = index, %error, "a core of streams could not start");
        }
        drop(local);
        // Nobody may wait for the end any more.
        let _told = done.send(());
    })?;
    Ok(ended)
}

async fn run(
    bench: Bench,
    (handle, names): (&Handle, Resolver),
    settings: StreamSettings,
    clock: Clock,
) -> io::Result<()> {
    let Bench { counters, sockets, mut stop, .. } = bench;
    let core = Rc::new(Core::new((handle, names), settings, clock, counters, stop.clone()));
    let mut taking = Vec::with_capacity(sockets.len());
    for (socket, local) in sockets {
        taking.push(match socket {
            Bound::Tcp { listener, tls, proxy_protocol } => {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let door = tcp::Door { listener, local, tls, proxy_protocol };
                tokio::task::spawn_local(tcp::accept_all(core.clone(), door))
            }
            Bound::Udp(socket) => {
                let socket = tokio::net::UdpSocket::from_std(socket)?;
                tokio::task::spawn_local(udp::take_all(core.clone(), socket, local))
            }
        });
    }
    let mut ending = next_order(&mut stop).await;
    let mut emptied = pin!(async {
        for task in taking {
            // One that panicked takes nothing either.
            let _ended = task.await;
        }
        while core.counters.active.value() > 0 {
            core.emptied.notified().await;
        }
    });
    let mut since = Instant::now();
    loop {
        tokio::select! {
            () = &mut emptied => return Ok(()),
            // What is left is cut off when the runtime goes.
            () = sleep_until(after(since, ending.within)) => return Ok(()),
            order = next_order(&mut stop) => (ending, since) = (order, Instant::now()),
        }
    }
}
