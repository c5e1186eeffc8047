//! One address of a target: who it is, and what is known of it as long as anyone serves it.
//!
//! An address is keyed by its identity ([`Identity`]) and shared by all generations of a balancer
//! that list it, so that its counts outlive changes of other targets, of weights and of configs.
//! What a change may alter, such as its weight, stands in [`Member`].

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use super::health::AddressHealth;
use super::peer::Authority;
use super::target::Endpoint;
use crate::clock::turn;

/// After how long a latency counts for 1/e of what it did (reference gateway-3, section E.1).
const DECAY_NS: f64 = 10e9;

/// What makes an address the same one, within its upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// The target that it belongs to.
    pub target: Endpoint,
    /// The name that an SRV record gives it; the target's host without one.
    pub host: Arc<str>,
    /// The address.
    pub ip: IpAddr,
    /// The port; that of the SRV record if there is one.
    pub port: u16,
}

/// An address and its state. Nothing here takes a lock.
///
/// What a pick reads stands first, in one cache line: least-connections and latency look at several.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Address {
    /// A number that no other address of this process has.
    pub number: u64,
    /// How it does.
    pub health: AddressHealth,
    latency: Latency,
    connections: AtomicU32,
    /// The [`Moment`] from which its slow start counts; 0 without one.
    begun: AtomicU64,
    /// The target that it belongs to.
    pub target: Endpoint,
    /// The name of the SRV record that it comes from; else the host of its target.
    pub host: Arc<str>,
    /// The address.
    pub ip: IpAddr,
    /// The port.
    pub port: u16,
    authority: Authority,
    srv_authority: Option<Authority>,
}

/// An address as one generation of a balancer lists it.
#[derive(Clone, Debug)]
pub struct Member {
    /// The address.
    pub address: Arc<Address>,
    /// Its share of the traffic; 0 is listed and gets none.
    pub weight: u32,
}

impl Address {
    /// Makes an address that nobody asked yet; `latency_ms` is what it is believed to take.
    pub fn new(identity: Identity, latency_ms: f64) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let Identity { target, host, ip, port } = identity;
        let is_srv = host != target.host;
        Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            authority: Authority::new(&target.host, port),
            srv_authority: is_srv.then(|| Authority::new(&host, port)),
            target,
            host,
            ip,
            port,
            health: AddressHealth::new(),
            connections: AtomicU32::new(0),
            begun: AtomicU64::new(0),
            latency: Latency::new(latency_ms),
        }
    }

    /// Returns what makes it the same one.
    pub fn identity(&self) -> Identity {
        let (target, host) = (self.target.clone(), self.host.clone());
        Identity { target, host, ip: self.ip, port: self.port }
    }

    /// Returns where to connect to.
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }

    /// Returns host and port as a Host header has them, without the port if it is `usual`. The host
    /// is that of the target, or the name of the SRV record if that is wanted and there is one.
    pub fn authority(&self, by_srv_name: bool, usual: u16) -> &str {
        let srv = self.srv_authority.as_ref().filter(|_| by_srv_name);
        srv.unwrap_or(&self.authority).unless_usual(usual)
    }

    /// Returns how many requests it has under way, as far as they are counted.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts a request that is under way until the lease is dropped.
    pub fn lease(self: &Arc<Self>) -> Lease {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Lease(self.clone())
    }

    /// Lets its slow start count from a moment on.
    pub(super) fn begin(&self, now: Moment) {
        self.begun.store(now.0.max(1), Ordering::Relaxed);
    }

    /// Returns the moment from which its slow start counts; none without one.
    pub(super) fn begun(&self) -> Option<Moment> {
        let begun = self.begun.load(Ordering::Relaxed);
        (begun > 0).then_some(Moment(begun))
    }

    /// Returns for how many nanoseconds its slow start has counted; none without one.
    pub(super) fn begun_ns(&self, now: Moment) -> Option<u64> {
        self.begun().map(|begun| now.0.saturating_sub(begun.0))
    }

    /// Returns the average latency at a moment, in milliseconds: it fades while nobody asks.
    pub fn latency_ms(&self, now: Moment) -> f64 {
        self.latency.at(now)
    }

    /// Notes how long an answer took.
    pub fn note_latency(&self, took: Duration, now: Moment) {
        self.latency.note(took.as_secs_f64() * 1_000.0, now);
    }

    /// Returns the average latency, in milliseconds, and the moment that it is of.
    pub(super) fn latency(&self) -> (f64, Moment) {
        let Latency { average_ms, noted } = &self.latency;
        let average_ms = f64::from_bits(average_ms.load(Ordering::Relaxed));
        (average_ms, Moment(noted.load(Ordering::Relaxed)))
    }

    /// Takes over an average latency, in milliseconds, of a moment.
    pub(super) fn set_latency(&self, average_ms: f64, noted: Moment) {
        self.latency.average_ms.store(average_ms.to_bits(), Ordering::Relaxed);
        self.latency.noted.store(noted.0, Ordering::Relaxed);
    }
}

/// A request under way at an address.
#[derive(Debug)]
pub struct Lease(Arc<Address>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long before the first moment that was asked for there are moments: what the process before
/// this one knew is of such.
const PAST: Duration = Duration::from_secs(3_600);

/// A moment, in nanoseconds since [`PAST`] before the first one that was asked for. Picking compares
/// many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// Returns the present moment.
    pub fn now() -> Self {
        Self::of(turn::now())
    }

    /// Returns a moment that is known as an instant.
    pub fn of(instant: Instant) -> Self {
        static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
        let since = instant.saturating_duration_since(*FIRST) + PAST;
        // A process does not run for the 500 years that fit.
        Self(since.as_secs().wrapping_mul(1_000_000_000) + u64::from(since.subsec_nanos()))
    }

    /// Returns a later moment.
    pub fn after(self, pause: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Returns an earlier moment, or the first that there is.
    pub(super) fn before(self, pause: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Returns how long ago an earlier moment was.
    pub(super) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// An exponentially weighted moving average. Two cores that note at the same moment may lose one of
/// the two, which an average bears.
#[derive(Debug)]
struct Latency {
    /// The bits of a number of milliseconds.
    average_ms: AtomicU64,
    /// The [`Moment`] that it is of.
    noted: AtomicU64,
}

impl Latency {
    fn new(latency_ms: f64) -> Self {
        let average_ms = AtomicU64::new(latency_ms.to_bits());
        Self { average_ms, noted: AtomicU64::new(Moment::now().0) }
    }

    fn at(&self, now: Moment) -> f64 {
        let since = now.0.saturating_sub(self.noted.load(Ordering::Relaxed));
        f64::from_bits(self.average_ms.load(Ordering::Relaxed)) * fading(since)
    }

    fn note(&self, took_ms: f64, now: Moment) {
        let noted = self.noted.fetch_max(now.0, Ordering::Relaxed);
        let keep = fading(now.0.saturating_sub(noted));
        let old = f64::from_bits(self.average_ms.load(Ordering::Relaxed));
        // Many answers at one moment still move the average.
        let keep = keep.min(0.99);
        let average = old * keep + took_ms * (1.0 - keep);
        self.average_ms.store(average.to_bits(), Ordering::Relaxed);
    }
}

/// Returns e^(-since/decay), to within 0.3 %: picking computes it for many addresses.
fn fading(since_ns: u64) -> f64 {
    const HALVINGS_PER_NS: f64 = std::f64::consts::LOG2_E / DECAY_NS;
    let halvings = since_ns as f64 * HALVINGS_PER_NS;
    if halvings >= 60.0 {
        return 0.0;
    }
    let whole = halvings as i32;
    let rest = halvings - f64::from(whole);
    // 2^-rest by a parabola through its ends and middle.
    let curve = 1.0 - rest * (0.671_572_9 - 0.171_572_9 * rest);
    // The exponent's bits of a power of two; below 2^10, for there are fewer than 60 halvings.
    curve * f64::from_bits(u64::from((1023 - whole).unsigned_abs()) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(latency_ms: f64) -> Arc<Address> {
        let target = Endpoint { host: "a.test".into(), port: 80 };
        let (host, ip) = (target.host.clone(), IpAddr::from([10, 0, 0, 1]));
        Arc::new(Address::new(Identity { target, host, ip, port: 80 }, latency_ms))
    }

    #[test]
    fn fading_is_the_exponential() {
        for since_ms in [0, 1, 100, 2_000, 7_000, 10_000, 35_000, 100_000] {
            let since_ns = since_ms * 1_000_000;
            let (exact, ours) = ((-(since_ns as f64) / DECAY_NS).exp(), fading(since_ns));
            assert!((exact - ours).abs() <= 0.003 * exact, "{since_ms}: {exact} {ours}");
        }
        assert_eq!((fading(0), fading(u64::MAX)), (1.0, 0.0));
    }

    #[test]
    fn latency_follows_what_is_noted_and_fades() {
        let address = address(50.0);
        let begin = Moment(address.latency.noted.load(Ordering::Relaxed));
        let at = |seconds| begin.after(Duration::from_secs(seconds));
        assert_eq!(address.latency_ms(at(0)), 50.0);
        address.note_latency(Duration::from_millis(100), at(10));
        let noted = address.latency_ms(at(10));
        assert!((noted - (50.0 * 0.368 + 100.0 * 0.632)).abs() < 1.0, "{noted}");
        assert!(address.latency_ms(at(20)) < noted * 0.4);
        for _ in 0..1_000 {
            address.note_latency(Duration::from_millis(7), at(10));
        }
        assert!((address.latency_ms(at(10)) - 7.0).abs() < 0.1);
    }

    #[test]
    fn a_lease_counts_until_it_is_dropped() {
        let address = address(0.0);
        let (one, two) = (address.lease(), address.lease());
        assert_eq!(address.connections(), 2);
        drop(one);
        assert_eq!(address.connections(), 1);
        drop(two);
        assert_eq!(address.connections(), 0);
    }
}
