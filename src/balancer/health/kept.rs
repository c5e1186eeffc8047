//! The addresses that were down when a node stopped (`health_state = keep`) or let another process
//! take its place, in a file that who starts next reads once.
//!
//! The file is text: a line with the format and the time of the stop, and one line for each address.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::monitor::Why;
use crate::balancer::Balancer;
use crate::balancer::address::Identity;
use crate::balancer::target::Endpoint;
use crate::clock::Clock;
use crate::pki::file::{Access, replace};

/// The first words of the file.
const FORMAT: &str = "hybridctl-health 1";

/// After how long nothing of what was known counts any more.
const AGE_MAX_MS: i64 = 600_000;

/// How long is waited for targets to be resolved to the addresses that were known.
const WAIT: Duration = Duration::from_secs(60);

/// An address that was down, and the upstream that it is of.
type Down = (Uuid, Identity);

/// The file; clones are the same one.
#[derive(Clone, Debug)]
pub struct HealthFile {
    path: PathBuf,
    clock: Clock,
    /// Whether the end of the process is to write it.
    at_end: Arc<AtomicBool>,
}

impl HealthFile {
    /// Names a file; `at_end` says whether the end of the process is to write it.
    pub fn new(path: PathBuf, clock: Clock, at_end: bool) -> Self {
        Self { path, clock, at_end: Arc::new(at_end.into()) }
    }

    /// Writes the addresses of these balancers that are down.
    pub fn write(&self, balancers: impl Iterator<Item = Arc<Balancer>>) {
        let mut down = Vec::new();
        for balancer in balancers.filter(|balancer| balancer.checks.is_on) {
            let members = balancer.addresses().into_iter();
            let unavailable = members.filter(|it| !it.address.health.available());
            down.extend(unavailable.map(|it| (balancer.id, it.address.identity())));
        }
        let text = text(&down, self.clock.now_ms());
        if let Err(error) = replace(&self.path, text, Access::Private) {
            tracing::warn!(%error, "cannot write {}", self.path.display());
        }
    }

    /// Removes it.
    pub fn remove(&self) {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "cannot remove {}", self.path.display());
            }
            _ => {}
        }
    }

    /// Leaves it to another process: the end of this one writes nothing.
    pub fn leave(&self) {
        self.at_end.store(false, Ordering::Relaxed);
    }
}

/// What is kept of the health of addresses from one run to the next.
pub(super) struct Keeper {
    file: HealthFile,
    down: HashSet<Down>,
    until: Instant,
}

impl Keeper {
    /// Takes the file of the run before, which counts once: a crash leaves none behind.
    pub(super) fn open(file: HealthFile) -> Self {
        let down = match std::fs::read_to_string(&file.path) {
            Ok(text) => parse(&text, file.clock.now_ms()).unwrap_or_else(|| {
                let path = file.path.display();
                tracing::warn!("{path} is of no use: every target begins healthy");
                HashSet::new()
            }),
            Err(_) => HashSet::new(),
        };
        file.remove();
        Self { file, down, until: Instant::now() + WAIT }
    }

    /// Tells a balancer which of its addresses were down.
    pub(super) fn tell(&mut self, balancer: &Balancer) {
        if self.down.is_empty() || !balancer.checks.is_on {
            return;
        }
        if self.until < Instant::now() {
            self.down.clear();
        }
        for member in balancer.addresses() {
            if self.down.remove(&(balancer.id, member.address.identity())) {
                balancer.set(&member.address, false, Why::Kept);
            }
        }
    }

    /// Writes what is down at the end of the process, if that is wanted.
    pub(super) fn end(&self, balancers: impl Iterator<Item = Arc<Balancer>>) {
        if self.file.at_end.load(Ordering::Relaxed) {
            self.file.write(balancers);
        }
    }
}

fn text(down: &[Down], now_ms: i64) -> String {
    let mut text = format!("{FORMAT} {now_ms}\n");
    for (upstream, Identity { target, host, ip, port }) in down {
        let address = SocketAddr::new(*ip, *port);
        let _ = writeln!(text, "{upstream} {target} {host} {address}");
    }
    text
}

/// Reads the file; nothing of one that is too old, none of one that makes no sense.
fn parse(text: &str, now_ms: i64) -> Option<HashSet<Down>> {
    let mut lines = text.lines();
    let at_ms: i64 = lines.next()?.strip_prefix(FORMAT)?.trim().parse().ok()?;
    if !(0..=AGE_MAX_MS).contains(&now_ms.checked_sub(at_ms)?) {
        return Some(HashSet::new());
    }
    lines.map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Down> {
    let mut words = line.split(' ');
    let upstream = words.next()?.parse().ok()?;
    let target = Endpoint::parse(words.next()?)?;
    let host = words.next()?.into();
    let address: SocketAddr = words.next()?.parse().ok()?;
    let identity = Identity { target, host, ip: address.ip(), port: address.port() };
    words.next().is_none().then_some((upstream, identity))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down() -> Vec<Down> {
        let identity = |target, host: &str, address: &str| {
            let address: SocketAddr = address.parse().unwrap();
            let target = Endpoint::parse(target).unwrap();
            Identity { target, host: host.into(), ip: address.ip(), port: address.port() }
        };
        vec![
            (Uuid::from_u128(1), identity("a.test:80", "srv.test", "10.0.0.1:81")),
            (Uuid::from_u128(2), identity("[::1]:80", "::1", "[::1]:80")),
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        let written = text(&down(), 5_000);
        let read = parse(&written, 6_000);
        assert_eq!(read, Some(down().into_iter().collect()));
    }

    #[test]
    fn what_is_old_or_of_another_time_says_nothing() {
        let written = text(&down(), 5_000);
        for now_ms in [4_999, 5_001 + AGE_MAX_MS] {
            assert_eq!(parse(&written, now_ms), Some(HashSet::new()));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_as_a_whole() {
        let good = text(&down(), 0);
        let line = good.lines().nth(1).unwrap();
        for wrong in [
            String::new(),
            "hybridctl-health 2 0\n".into(),
            format!("{FORMAT} soon\n"),
            format!("{FORMAT} {}\n", i64::MIN),
            format!("{good}{}", &line[..line.len() - 3]),
            format!("{good}{line} more"),
            format!("{good}x{line}"),
            format!("{good}\n\n"),
        ] {
            assert_eq!(parse(&wrong, 1_000), None, "{wrong}");
        }
        for cut in 0..good.len() {
            parse(&good[..cut], 0);
        }
    }
}
