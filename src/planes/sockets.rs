//! The sockets that a node listens on, as a list of (kind, address, descriptor): what it found open,
//! and what it passes on, to the proxy that takes the place of another or to another process.
//!
//! A listening socket holds connections that nobody has accepted yet, so it is passed on open: two
//! of the same address would each hold their own.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use socket2::SockRef;

/// What is served on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Proxy,
    Admin,
    Status,
    Cluster,
    /// Connections below HTTP.
    Stream,
    Datagrams,
}

/// Every kind, with its name between processes.
const NAMES: [(Kind, &str); 6] = [
    (Kind::Proxy, "proxy"),
    (Kind::Admin, "admin"),
    (Kind::Status, "status"),
    (Kind::Cluster, "cluster"),
    (Kind::Stream, "stream"),
    (Kind::Datagrams, "datagrams"),
];

impl Kind {
    pub(super) fn name(self) -> &'static str {
        NAMES.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// Returns the kind of a name, if this release knows it.
    pub(super) fn of(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }
}

/// A socket that is open.
#[derive(Debug)]
pub(super) struct OpenSocket {
    pub(super) kind: Kind,
    /// The address that the settings asked for; its port may be 0.
    pub(super) asked: SocketAddr,
    pub(super) fd: OwnedFd,
}

impl OpenSocket {
    /// Returns another hold of a socket.
    pub(super) fn of(kind: Kind, asked: SocketAddr, open: &impl AsFd) -> io::Result<Self> {
        Ok(Self { kind, asked, fd: open.as_fd().try_clone_to_owned()? })
    }
}

/// The sockets of a node; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Sockets(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    /// What was open before, and nobody has claimed yet.
    found: Vec<OpenSocket>,
    /// What is served.
    open: Vec<OpenSocket>,
}

impl Sockets {
    /// Returns those of a node that finds these open.
    pub(super) fn found(found: Vec<OpenSocket>) -> Self {
        Self(Arc::new(Mutex::new(Held { found, open: Vec::new() })))
    }

    /// Returns whether something was open that nobody has claimed yet.
    pub(super) fn has_found(&self) -> bool {
        !self.lock().found.is_empty()
    }

    /// Takes what was open for an address: several sockets, where several cores had one each.
    pub(super) fn claim(&self, kind: Kind, asked: SocketAddr) -> Vec<TcpListener> {
        self.claim_open(kind, asked).into_iter().map(TcpListener::from).collect()
    }

    /// Takes what was open for an address, be it for connections or for datagrams.
    pub(super) fn claim_open(&self, kind: Kind, asked: SocketAddr) -> Vec<OwnedFd> {
        let mut held = self.lock();
        let (mut claimed, mut left) = (Vec::new(), Vec::new());
        let mut real = None;
        for socket in held.found.drain(..) {
            if (socket.kind, socket.asked) != (kind, asked) {
                left.push(socket);
                continue;
            }
            let at = SockRef::from(&socket.fd).local_addr().ok().and_then(|it| it.as_socket());
            // Port 0 may be asked for more than once, and is another one each time.
            if at.is_some() && (real.is_none() || real == at) {
                real = at;
                claimed.push(socket.fd);
            } else if at.is_some() {
                left.push(socket);
            }
        }
        held.found = left;
        claimed
    }

    /// Notes what is served.
    pub(super) fn put(&self, sockets: impl IntoIterator<Item = OpenSocket>) {
        self.lock().open.extend(sockets);
    }

    /// Lets go of what was found and not claimed.
    pub(super) fn settle(&self) {
        self.lock().found.clear();
    }

    /// Returns another hold of everything that is served.
    pub(super) fn copies(&self) -> io::Result<Vec<OpenSocket>> {
        let held = self.lock();
        let copy = |it: &OpenSocket| OpenSocket::of(it.kind, it.asked, &it.fd);
        held.open.iter().map(copy).collect()
    }

    /// Returns what would be found by a part of this node that takes the place of another.
    pub(super) fn for_next(&self, kinds: &[Kind]) -> io::Result<Self> {
        let copies = self.copies()?.into_iter().filter(|it| kinds.contains(&it.kind));
        Ok(Self::found(copies.collect()))
    }

    /// Notes what is served by a part that has taken the place of another.
    pub(super) fn replace(&self, kinds: &[Kind], next: &Self) {
        let open = std::mem::take(&mut next.lock().open);
        let mut held = self.lock();
        held.open.retain(|it| !kinds.contains(&it.kind));
        held.open.extend(open);
    }

    /// Lets go of everything: from now on only whoever serves a socket holds it.
    pub(super) fn close(&self) {
        *self.lock() = Held::default();
    }

    // A list of sockets is whole at each step, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[test]
    fn a_socket_is_claimed_by_its_kind_and_the_address_that_was_asked_for() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (first, second) = (listener(), listener());
        let of =
            |kind, (open, _): &(TcpListener, SocketAddr)| OpenSocket::of(kind, any, open).unwrap();
        let sockets = Sockets::found(vec![
            of(Kind::Admin, &first),
            of(Kind::Proxy, &first),
            of(Kind::Proxy, &second),
            of(Kind::Proxy, &first),
        ]);
        let at = |claimed: Vec<TcpListener>| -> Vec<SocketAddr> {
            claimed.iter().map(|it| it.local_addr().unwrap()).collect()
        };
        assert!(sockets.claim(Kind::Proxy, first.1).is_empty(), "another address was asked for");
        assert_eq!(at(sockets.claim(Kind::Proxy, any)), [first.1, first.1]);
        assert_eq!(at(sockets.claim(Kind::Proxy, any)), [second.1]);
        assert!(sockets.claim(Kind::Proxy, any).is_empty());
        sockets.settle();
        assert!(sockets.claim(Kind::Admin, any).is_empty());
    }

    #[test]
    fn a_part_that_takes_the_place_of_another_changes_its_own_sockets_alone() {
        let (open, at) = listener();
        let of = |kind| OpenSocket::of(kind, at, &open).unwrap();
        let sockets = Sockets::default();
        sockets.put([of(Kind::Proxy), of(Kind::Admin)]);
        let next = sockets.for_next(&[Kind::Proxy]).unwrap();
        assert_eq!(next.claim(Kind::Proxy, at).len(), 1);
        next.put([of(Kind::Proxy), of(Kind::Proxy)]);
        sockets.replace(&[Kind::Proxy], &next);
        let kinds: Vec<_> = sockets.copies().unwrap().iter().map(|it| it.kind).collect();
        assert_eq!(kinds, [Kind::Admin, Kind::Proxy, Kind::Proxy]);
        sockets.close();
        assert!(sockets.copies().unwrap().is_empty());
    }

    #[test]
    fn kinds_are_found_by_their_names() {
        for (kind, name) in NAMES {
            assert_eq!((kind.name(), Kind::of(name)), (name, Some(kind)));
        }
        assert_eq!(Kind::of("of a later release"), None);
    }
}
