//! What a node knew of addresses when it stopped (`health_state = keep`) or let another process take
//! its place, in a file that who starts next reads once.
//!
//! Of each upstream whose turn it is, and of each address whether it is down, what was counted, its
//! latency and its slow start. All of it goes on as if time had passed and nothing been asked. Requests
//! under way end with their process.

mod text;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::state::Counts;
use crate::balancer::Balancer;
use crate::balancer::address::{Address, Moment};
use crate::clock::Clock;
use crate::pki::file::{Access, replace};
use text::{Known, Memory};

/// How much of a file is read: more than the longest lines make.
const BYTES_MAX: u64 = 96 << 20;

/// How long is waited for targets to be resolved to the addresses that were known.
const WAIT: Duration = Duration::from_secs(60);

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

    /// Writes what is known of the addresses of these balancers.
    pub fn write(&self, balancers: impl Iterator<Item = Arc<Balancer>>) {
        let now = Moment::now();
        let (text, left_out) = memory_of(balancers, now).text(self.clock.now_ms(), now);
        if left_out > 0 {
            tracing::warn!(left_out, "not all that is known of addresses is kept: it is too much");
        }
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

    /// Reads it; what makes no sense is told of and left out.
    fn read(&self) -> Memory {
        let path = self.path.display();
        let text = match read(&self.path) {
            Ok(text) => text,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(%error, "cannot read {path}: every target begins healthy");
                }
                return Memory::default();
            }
        };
        let Some((memory, damaged)) = Memory::parse(&text, self.clock.now_ms(), Moment::now())
        else {
            tracing::warn!("{path} is of no use: every target begins healthy");
            return Memory::default();
        };
        if damaged > 0 {
            tracing::warn!(damaged, "lines of {path} make no sense and are left out");
        }
        memory
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn memory_of(balancers: impl Iterator<Item = Arc<Balancer>>, now: Moment) -> Memory {
    let mut memory = Memory::default();
    for balancer in balancers {
        let position = balancer.position.load(Ordering::Relaxed);
        if position > 0 {
            memory.positions.insert(balancer.id, position);
        }
        for member in balancer.addresses() {
            let known = Known::of(&balancer, &member.address, now);
            if known != Known::NOTHING {
                memory.addresses.insert((balancer.id, member.address.identity()), known);
            }
        }
    }
    memory
}

/// What is kept of addresses from one run to the next.
#[derive(Debug)]
pub(super) struct Keeper {
    file: HealthFile,
    memory: Memory,
    until: Instant,
}

impl Keeper {
    /// Takes the file of the run before, which counts once: a crash leaves none behind.
    pub(super) fn open(file: HealthFile) -> Self {
        let memory = file.read();
        file.remove();
        Self { file, memory, until: Instant::now() + WAIT }
    }

    /// Tells a balancer what was known of its addresses.
    pub(super) fn tell(&mut self, balancer: &Balancer) {
        self.forget();
        let members = if self.memory.is_empty() { Vec::new() } else { balancer.addresses() };
        if members.is_empty() {
            return;
        }
        let (mut told, mut others) = (Vec::new(), Vec::new());
        for member in members {
            let address = member.address;
            match self.memory.addresses.remove(&(balancer.id, address.identity())) {
                Some(known) => {
                    known.tell(balancer, &address);
                    told.push(address);
                }
                None => others.push(address),
            }
        }
        // What follows is for the first addresses that the upstream has.
        if let Some(position) = self.memory.positions.remove(&balancer.id) {
            balancer.position.fetch_add(position, Ordering::Relaxed);
            believe_mean(&told, &others);
        }
    }

    /// Forgets what nobody asked for in time.
    pub(super) fn forget(&mut self) {
        if self.until < Instant::now() && !self.memory.is_empty() {
            self.memory = Memory::default();
        }
    }

    /// Writes what is known at the end of the process, if that is wanted.
    pub(super) fn end(&self, balancers: impl Iterator<Item = Arc<Balancer>>) {
        if self.file.at_end.load(Ordering::Relaxed) {
            self.file.write(balancers);
        }
    }
}

/// Lets who came while nobody ran be believed to be as fast as the others: at no latency at all they
/// would get every request.
fn believe_mean(told: &[Arc<Address>], others: &[Arc<Address>]) {
    let now = Moment::now();
    let latencies = told.iter().map(|it| it.latency_ms(now)).filter(|latency| *latency > 0.0);
    let (sum, count) = latencies.fold((0.0, 0_u32), |(sum, count), it| (sum + it, count + 1));
    if count > 0 {
        others.iter().for_each(|it| it.set_latency(sum / f64::from(count), now));
    }
}

impl Known {
    fn of(balancer: &Balancer, address: &Address, now: Moment) -> Self {
        let is_on = balancer.checks.is_on;
        let is_fresh = address.latency_ms(now) > 0.0;
        let is_slow = balancer.slow_start.share(address, now) < 1.0;
        Self {
            counts: if is_on { address.health.counts() } else { Counts::of(true) },
            latency: is_fresh.then(|| address.latency()),
            begun: address.begun().filter(|_| is_slow),
        }
    }

    fn tell(&self, balancer: &Balancer, address: &Address) {
        if let Some((average_ms, noted)) = self.latency {
            address.set_latency(average_ms, noted);
        }
        if let Some(begun) = self.begun {
            address.begin(begun);
        }
        if balancer.checks.is_on {
            balancer.take_over(address, self.counts);
        }
    }
}

#[cfg(test)]
mod tests;
