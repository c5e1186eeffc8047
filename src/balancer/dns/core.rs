//! The answers that one proxy core has: no lock, and no waiting while an old answer is renewed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::resolver::Resolver;
use super::{Answer, Record, Records, ResolveError};

/// Resolves names on one core. Clones share what they know.
#[derive(Clone)]
pub struct CoreResolver {
    shared: Resolver,
    answers: Rc<RefCell<HashMap<Box<str>, Entry>>>,
}

struct Entry {
    answer: Answer,
    /// The next answer, once it is asked for.
    renewal: Option<oneshot::Receiver<Answer>>,
    turn: u64,
}

/// The addresses of a name, in the order in which one request tries them.
#[derive(Clone, Debug)]
pub struct Resolved {
    records: Records,
    first: usize,
}

impl Resolved {
    /// Returns what the n-th try goes to; never none of what was resolved.
    pub fn nth(&self, n: usize) -> Option<&Record> {
        self.records.get(self.first.wrapping_add(n).checked_rem(self.records.len())?)
    }
}

impl CoreResolver {
    /// Makes the resolver of a core.
    pub fn new(shared: Resolver) -> Self {
        Self { shared, answers: Rc::default() }
    }

    /// Returns the addresses of a host name, or the address that `host` is; never an empty list.
    ///
    /// # Errors
    ///
    /// The name has no address now, and had none within `dns_stale_ttl`.
    pub async fn resolve(&self, host: &str) -> Result<Resolved, ResolveError> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(Resolved { records: Records::from([Record::of(ip)]), first: 0 });
        }
        if let Some(known) = self.known(host) {
            return known;
        }
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let Ok(answer) = self.shared.ask(name.into()).await else {
            let reason = "nobody resolves names any more".into();
            return Err(ResolveError { host: host.into(), reason, is_certain: false });
        };
        self.remember(host, answer)
    }

    /// Returns whether the addresses of a name are there without asking for them.
    pub fn knows(&self, host: &str) -> bool {
        let (answers, now) = (self.answers.borrow(), Instant::now());
        answers.get(host).is_some_and(|entry| entry.answer.is_usable(now))
    }

    fn known(&self, host: &str) -> Option<Result<Resolved, ResolveError>> {
        let mut answers = self.answers.borrow_mut();
        let entry = answers.get_mut(host)?;
        if let Some(renewal) = &mut entry.renewal {
            match renewal.try_recv() {
                Ok(answer) => {
                    entry.answer = answer;
                    entry.renewal = None;
                }
                Err(oneshot::error::TryRecvError::Empty) => {}
                Err(oneshot::error::TryRecvError::Closed) => entry.renewal = None,
            }
        }
        let now = Instant::now();
        if entry.answer.fresh_until <= now {
            if !entry.answer.is_usable(now) {
                return None;
            }
            let name = || host.trim_end_matches('.').to_ascii_lowercase().into();
            entry.renewal.get_or_insert_with(|| self.shared.ask(name()));
        }
        Some(entry.next())
    }

    fn remember(&self, host: &str, answer: Answer) -> Result<Resolved, ResolveError> {
        let mut answers = self.answers.borrow_mut();
        if answers.len() >= self.shared.names_max() && !answers.contains_key(host) {
            answers.clear();
        }
        let turn = answers.get(host).map_or(0, |old| old.turn);
        let mut entry = Entry { answer, renewal: None, turn };
        let result = entry.next();
        answers.insert(host.into(), entry);
        result
    }
}

impl Entry {
    /// Returns the answer, each time beginning with another address: in turn, or by weight where SRV
    /// records have weights.
    fn next(&mut self) -> Result<Resolved, ResolveError> {
        let records = self.answer.result.clone()?;
        let turn = self.turn;
        self.turn = self.turn.wrapping_add(1);
        let weights = || records.iter().map(|record| f64::from(record.weight.unwrap_or(0)));
        let total: f64 = weights().sum();
        let first = match total > 0.0 {
            false => (turn % records.len().max(1) as u64) as usize,
            true => {
                // Steps of 0.618 of the whole hit each part as often as it is large.
                let mut left = (turn as f64 * 0.618_033_988_75).fract() * total;
                weights()
                    .position(|weight| {
                        left -= weight;
                        left < 0.0
                    })
                    .unwrap_or(0)
            }
        };
        Ok(Resolved { records, first })
    }
}
