//! Host names to addresses, remembered per proxy core.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long an answer is used. The system's resolver does not tell the record's own time to live.
const FRESH: Duration = Duration::from_secs(30);

/// How long an old answer is used while asking again fails (`dns_stale_ttl`).
const STALE: Duration = Duration::from_secs(3600);

/// How long a failure is remembered (`dns_error_ttl`).
const FAILED: Duration = Duration::from_secs(1);

/// Why a name has no address.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot resolve {host}: {reason}")]
pub struct ResolveError {
    /// The name.
    pub host: String,
    /// What the system's resolver said.
    pub reason: String,
}

/// Resolves through the system and remembers answers. One for each core: it takes no lock.
#[derive(Clone, Default)]
pub struct Resolver {
    answers: Rc<RefCell<HashMap<Box<str>, Answer>>>,
}

struct Answer {
    addresses: Rc<[IpAddr]>,
    error: Option<ResolveError>,
    asked: Instant,
    /// When `addresses` were true.
    answered: Instant,
}

impl Resolver {
    /// Returns the addresses of a host name, or the address that `host` is; never an empty list.
    ///
    /// # Errors
    ///
    /// The name has no address now, and had none within the last hour.
    pub async fn resolve(&self, host: &str) -> Result<Rc<[IpAddr]>, ResolveError> {
        if let Ok(address) = host.parse() {
            return Ok(Rc::new([address]));
        }
        if let Some(known) = self.fresh(host) {
            return known;
        }
        let found = tokio::net::lookup_host((host, 0)).await;
        let found: Result<Vec<IpAddr>, _> =
            found.map(|all| all.map(|a: SocketAddr| a.ip()).collect());
        self.remember(host, found)
    }

    fn fresh(&self, host: &str) -> Option<Result<Rc<[IpAddr]>, ResolveError>> {
        let answers = self.answers.borrow();
        let answer = answers.get(host)?;
        let limit = if answer.error.is_some() { FAILED } else { FRESH };
        if answer.asked.elapsed() > limit {
            return None;
        }
        Some(answer.result())
    }

    fn remember(
        &self,
        host: &str,
        found: std::io::Result<Vec<IpAddr>>,
    ) -> Result<Rc<[IpAddr]>, ResolveError> {
        let now = Instant::now();
        let error = |reason: String| ResolveError { host: host.to_owned(), reason };
        let found = match found {
            Ok(list) if list.is_empty() => Err(error("no address".to_owned())),
            Ok(list) => Ok(list),
            Err(cause) => Err(error(cause.to_string())),
        };
        let mut answers = self.answers.borrow_mut();
        let answer = answers.entry(host.into()).or_insert_with(|| Answer {
            addresses: Rc::new([]),
            error: None,
            asked: now,
            answered: now,
        });
        answer.asked = now;
        match found {
            Ok(list) => {
                answer.addresses = list.into();
                answer.error = None;
                answer.answered = now;
            }
            Err(error) => answer.error = Some(error),
        }
        answer.result()
    }
}

impl Answer {
    fn result(&self) -> Result<Rc<[IpAddr]>, ResolveError> {
        match &self.error {
            Some(error) if self.addresses.is_empty() || self.answered.elapsed() > STALE => {
                Err(error.clone())
            }
            _ => Ok(self.addresses.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_is_its_own_answer() {
        let found = Resolver::default().resolve("127.0.0.1").await.unwrap();
        assert_eq!(&*found, ["127.0.0.1".parse::<IpAddr>().unwrap()]);
    }

    #[tokio::test]
    async fn localhost_resolves() {
        assert!(!Resolver::default().resolve("localhost").await.unwrap().is_empty());
    }

    #[test]
    fn a_failure_leaves_the_old_answer_standing() {
        let resolver = Resolver::default();
        let refused = || Err(std::io::Error::other("refused"));
        assert!(resolver.remember("a", refused()).is_err());
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        resolver.remember("a", Ok(vec![address])).unwrap();
        assert_eq!(&*resolver.remember("a", refused()).unwrap(), [address]);
        assert!(resolver.fresh("a").unwrap().is_ok());
    }
}
