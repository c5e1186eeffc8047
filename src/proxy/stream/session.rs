//! One session, from its first byte or datagram to its line in the access log.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use super::core::{Core, Target, Wanted};
use crate::domain::hash::ConfigHash;
use crate::proxy::upstream::Moved;
use crate::router::Protocol;

/// What became of a session, as nginx numbers it.
pub(super) mod status {
    /// It was joined to an upstream.
    pub(in crate::proxy::stream) const OK: u16 = 200;
    /// The client does not say what the listener asks for.
    pub(in crate::proxy::stream) const BAD_REQUEST: u16 = 400;
    /// There is no way for it.
    pub(in crate::proxy::stream) const INTERNAL: u16 = 500;
    /// No upstream was reached.
    pub(in crate::proxy::stream) const BAD_GATEWAY: u16 = 502;
}

/// A session. It counts as open, and is logged, when this is dropped.
pub(super) struct Session {
    core: Rc<Core>,
    pub(super) started: Instant,
    pub(super) udp: bool,
    /// The client, as far as the peer is believed.
    pub(super) client: SocketAddr,
    /// Our end.
    pub(super) local: SocketAddr,
    /// Whether TLS ends here.
    pub(super) tls: bool,
    pub(super) sni: Option<Box<str>>,
    pub(super) config_hash: Option<ConfigHash>,
    pub(super) target: Option<Target>,
    /// Who was asked last.
    pub(super) upstream: Option<SocketAddr>,
    /// How many peers were asked.
    pub(super) tries: u32,
    pub(super) status: u16,
    pub(super) moved: Moved,
}

impl Session {
    /// Begins a session; the addresses are written as IPv4 where they stand for it.
    pub(super) fn begin(core: Rc<Core>, udp: bool, peer: SocketAddr, local: SocketAddr) -> Self {
        core.counters.active.add();
        Self {
            core,
            started: Instant::now(),
            udp,
            client: canonical(peer),
            local: canonical(local),
            tls: false,
            sni: None,
            config_hash: None,
            target: None,
            upstream: None,
            tries: 0,
            status: status::INTERNAL,
            moved: Moved::default(),
        }
    }

    /// Finds where it goes; logs why it goes nowhere.
    pub(super) fn route(&mut self, protocol: Protocol) -> Option<Target> {
        let (client, local) = (self.client, self.local);
        let wanted = Wanted { protocol, sni: self.sni.as_deref(), client, local };
        let (config_hash, found) = self.core.find(&wanted);
        self.config_hash = Some(config_hash);
        match found {
            Ok(target) => {
                self.target = Some(target.clone());
                Some(target)
            }
            Err(reason) => {
                tracing::error!(%client, address = %local, sni = self.sni.as_deref(), "{reason}");
                None
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(lines) = &self.core.lines {
            lines.write(self, self.core.clock.now());
        }
        self.core.counters.active.subtract();
        if self.core.counters.active.value() == 0 {
            self.core.emptied.notify_one();
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
