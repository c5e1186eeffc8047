//! The check of one certificate: what is known of it, else what its responder says.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::answer::Status;
use super::error::{RevocationError, Unchecked};
use super::fetch::fetch;
use super::known::{Key, Known};
use super::statement::Statement;
use super::target::Target;
use crate::clock::Clock;

/// How long a check may take, from its start to what the responder says.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// How many responders are asked at once.
const FETCHES_MAX: usize = 64;

/// What happens when a certificate could not be checked (`cluster_ocsp`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The data plane is turned away (`on`).
    Required,
    /// It is let in (`optional`).
    Optional,
}

/// Checks whether certificates were revoked, and remembers what their authorities said.
#[derive(Debug)]
pub struct Revocation {
    rule: Rule,
    deadline: Duration,
    clock: Clock,
    known: Mutex<Known>,
    fetches: Semaphore,
}

impl Revocation {
    /// Returns a check that knows nothing yet; each takes `deadline` at most, which is [`DEADLINE`]
    /// in a control plane.
    pub fn new(rule: Rule, deadline: Duration, clock: Clock) -> Self {
        let (known, fetches) = (Mutex::default(), Semaphore::new(FETCHES_MAX));
        Self { rule, deadline, clock, known, fetches }
    }

    /// Checks the first certificate of a verified chain; its issuer is the second. A certificate
    /// that stands alone is trusted for itself, by nobody who could revoke it.
    ///
    /// Returns why it could not be checked, where that lets the data plane in.
    ///
    /// # Errors
    /// The certificate is not good; or it could not be checked, and has to be.
    pub async fn check(
        &self,
        chain: &[CertificateDer<'_>],
    ) -> Result<Option<Unchecked>, RevocationError> {
        let [leaf, issuer, ..] = chain else { return Ok(None) };
        match (self.status(leaf, issuer).await, self.rule) {
            (Ok(Status::Good), _) => Ok(None),
            (Ok(Status::Revoked), _) => Err(RevocationError::NotGood("revoked")),
            (Ok(Status::Unknown), _) => Err(RevocationError::NotGood("unknown")),
            (Err(reason), Rule::Optional) => Ok(Some(reason)),
            (Err(reason), Rule::Required) => Err(RevocationError::Unchecked(reason)),
        }
    }

    async fn status(&self, leaf: &[u8], issuer: &[u8]) -> Result<Status, Unchecked> {
        let key = [leaf, issuer].map(sha256);
        if let Some(status) = self.find(&key) {
            return Ok(status);
        }
        let target = Target::read(leaf, issuer)?;
        let url = target.responder.as_deref().ok_or(Unchecked::NoResponder)?;
        let asked = async {
            let _permit = self.fetches.acquire().await;
            // Somebody may have asked while this one waited.
            if let Some(status) = self.find(&key) {
                return Ok(status);
            }
            let answer = fetch(url, &target.request()).await?;
            let now = self.clock.now();
            let statement = Statement::verify(&answer, &target, now)?;
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.remember(key, statement, now);
            Ok(statement.status)
        };
        let late = || Unchecked::Send("timeout".to_owned());
        timeout(self.deadline, asked).await.unwrap_or_else(|_| Err(late()))
    }

    fn find(&self, key: &Key) -> Option<Status> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.find(key, self.clock.now())
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}
