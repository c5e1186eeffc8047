//! Who calls the Admin API, and what they may do (DESIGN: tokens with roles; Kong 3.9 has none).
//!
//! A caller shows a token, or a client certificate whose common name the settings give a role.
//!
//! Invariants:
//! - with authentication on, nothing but OPTIONS is answered to somebody unknown, absent paths included;
//! - what is not listed as an editor's write is an administrator's (`access`);
//! - a token's text is in no log line, no event and no answer but the one that makes it;
//! - failed attempts of a peer are counted, and the memory for it is bounded (`limit`).

mod access;
mod denied;
mod directory;
mod limit;
pub(super) mod tokens;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::Request;
use http::header::{AUTHORIZATION, ORIGIN};
use http::{HeaderMap, HeaderValue, Method};
use tokio::sync::watch;
use uuid::Uuid;

pub(super) use self::access::needed;
pub use self::denied::Denied;
use self::directory::{Directory, Unknown};
use self::limit::FailureLimit;
pub use self::tokens::describe;
use super::serve::{ClientName, Peer};
use crate::clock::Clock;
use crate::domain::role::AdminRole;
use crate::log::StorageError;
use crate::log::tokens::{TokenSecret, TokenStore};

/// The header of Kong's products for a token.
pub(super) const TOKEN_HEADER: &str = "kong-admin-token";

/// Who calls, and what they may do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Caller {
    /// The actor of what they write.
    pub(super) actor: String,
    /// What they may do.
    pub(super) role: AdminRole,
    /// The token that they showed, if it was one.
    token: Option<Uuid>,
}

impl Caller {
    /// The caller when nobody is asked who they are.
    pub(super) fn anonymous(role: AdminRole) -> Self {
        Self { actor: "anonymous".to_owned(), role, token: None }
    }

    /// Refuses what takes more than the caller's role.
    pub(super) fn require(&self, needed: AdminRole) -> Result<(), Denied> {
        if self.role >= needed {
            return Ok(());
        }
        Err(Denied::Role { actor: self.actor.clone(), role: self.role, needed })
    }
}

/// What a request shows of who sends it.
pub(super) struct Shown {
    token: Option<String>,
    certificate: Option<String>,
    peer: IpAddr,
    is_preflight: bool,
}

impl Shown {
    /// Reads a request. A browser sends its user's certificate with whatever any page makes it ask
    /// for, so of a page's requests it counts only for those of the origins that are listed.
    pub(super) fn of(request: &Request, gui_origins: &[String]) -> Self {
        let extensions = request.extensions();
        let listed =
            |origin: &HeaderValue| gui_origins.iter().any(|known| origin == known.as_str());
        let certificate = extensions.get::<ClientName>().map(|name| name.0.to_string());
        let peer = extensions.get::<Peer>().map(|peer| peer.0.ip().to_canonical());
        Self {
            token: token(request.headers()),
            certificate: certificate.filter(|_| request.headers().get(ORIGIN).is_none_or(listed)),
            peer: peer.unwrap_or(Ipv6Addr::UNSPECIFIED.into()),
            is_preflight: request.method() == Method::OPTIONS,
        }
    }
}

/// Returns the token that the headers carry; what is no text is a token that nobody has.
fn token(headers: &HeaderMap) -> Option<String> {
    if let Some(value) = headers.get(TOKEN_HEADER) {
        return Some(value.to_str().unwrap_or_default().trim().to_owned());
    }
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// Tells callers apart.
#[derive(Debug)]
pub struct Auth(Option<Guard>);

/// What authentication needs when it is on.
#[derive(Debug)]
struct Guard {
    /// The tokens; a node without a database has none.
    directory: Option<Directory>,
    /// Roles by the common name of a client certificate.
    certificates: BTreeMap<String, AdminRole>,
    failures: FailureLimit,
}

impl Auth {
    /// Asks nobody: every caller may do everything.
    pub fn off() -> Self {
        Self(None)
    }

    /// Asks everybody for one of the tokens in `store`, if there is one, or for a certificate whose
    /// common name is in `certificates`.
    ///
    /// # Errors
    /// The tokens cannot be read.
    pub async fn on(
        store: Option<Arc<dyn TokenStore>>,
        certificates: BTreeMap<String, AdminRole>,
        clock: Clock,
    ) -> Result<Self, StorageError> {
        let failures = FailureLimit::new(clock.clone());
        let directory = match store {
            Some(store) => Some(Directory::load(store, clock).await?),
            None => None,
        };
        Ok(Self(Some(Guard { directory, certificates, failures })))
    }

    /// Returns whether nobody can do everything: a first token is needed.
    pub fn lacks_admin(&self) -> bool {
        self.0.as_ref().is_some_and(|guard| {
            let certified = guard.certificates.values().any(|role| *role == AdminRole::Admin);
            !certified && !guard.directory.as_ref().is_some_and(Directory::has_admin)
        })
    }

    /// Follows the tokens that others make and revoke in the same database, until `stop`.
    pub async fn follow(self: Arc<Self>, stop: watch::Receiver<bool>) {
        if let Some(Guard { directory: Some(directory), .. }) = &self.0 {
            directory.follow(stop).await;
        }
    }

    /// Finds out who calls.
    pub(super) async fn admit(&self, shown: Shown) -> Result<Caller, Denied> {
        let Some(guard) = &self.0 else { return Ok(Caller::anonymous(AdminRole::Admin)) };
        if shown.is_preflight {
            // Browsers send it without credentials, and it tells nothing but methods.
            return Ok(Caller::anonymous(AdminRole::Viewer));
        }
        match &shown.token {
            Some(token) => guard.admit_token(token, shown.peer).await,
            None => guard.admit_certificate(shown.certificate),
        }
    }

    /// Returns whether a caller who was admitted would be again: for answers that go on and on.
    pub(super) fn still_admits(&self, caller: &Caller) -> bool {
        caller.token.is_none_or(|id| self.directory().is_ok_and(|known| known.is_live(id)))
    }

    fn directory(&self) -> Result<&Directory, Denied> {
        let guard = self.0.as_ref().ok_or(Denied::Off)?;
        guard.directory.as_ref().ok_or(Denied::NoDatabase)
    }
}

impl Guard {
    /// A token that is right is right, whatever its peer did before: else one client could lock
    /// out everybody behind the same address, and guesses at 256 bits lead nowhere anyway.
    async fn admit_token(&self, text: &str, peer: IpAddr) -> Result<Caller, Denied> {
        let secret = TokenSecret::parse(text);
        let unknown = match (&secret, &self.directory) {
            (None, _) => Unknown::Malformed,
            (Some(_), None) => Unknown::Absent,
            (Some(secret), Some(directory)) => {
                // Nor may guesses cost the database anything for long.
                let may_ask = self.failures.left(peer);
                match directory.find(secret, may_ask).await {
                    Ok(token) => {
                        let (actor, role) = (token.actor(), token.role);
                        return Ok(Caller { actor, role, token: Some(token.id) });
                    }
                    Err(unknown) => unknown,
                }
            }
        };
        // Not the secret: which token it claims to be, so that its owner can be found.
        let id = secret.map(|secret| tracing::field::display(secret.id()));
        let failure = self.failures.count(peer);
        if let Some(number) = failure.number {
            tracing::warn!(%peer, id, reason = %unknown, number, "admin authentication failed");
        }
        match failure.retry_after_seconds {
            None => Err(Denied::Invalid),
            Some(seconds) => Err(Denied::TooMany { retry_after_seconds: seconds }),
        }
    }

    fn admit_certificate(&self, name: Option<String>) -> Result<Caller, Denied> {
        let name = name.ok_or(Denied::Missing)?;
        let role = self.certificates.get(&name).ok_or(Denied::Missing)?;
        Ok(Caller { actor: format!("cert:{name}"), role: *role, token: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_from_either_header() {
        let read = |pairs: &[(&'static str, &[u8])]| {
            let pairs = pairs.iter().map(|(name, value)| {
                (http::HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap())
            });
            token(&pairs.collect())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(read(&[("kong-admin-token", b"a")]), some("a"));
        assert_eq!(read(&[("authorization", b"bearer  a ")]), some("a"));
        assert_eq!(read(&[("authorization", b"Bearer b"), ("kong-admin-token", b"a")]), some("a"));
        assert_eq!(read(&[("kong-admin-token", b"\xff")]), some(""));
        for other in [&b"Basic YTpi"[..], b"Bearer", b"a", b"\xff"] {
            assert_eq!(read(&[("authorization", other)]), None);
        }
        assert_eq!(read(&[]), None);
    }
    #[tokio::test]
    async fn without_a_database_certificates_alone_count() {
        let roles = BTreeMap::from([("ops".to_owned(), AdminRole::Admin)]);
        let auth = Auth::on(None, roles, Clock::System).await.unwrap();
        assert!(!auth.lacks_admin());
        let shown = |token: Option<String>| Shown {
            token,
            certificate: Some("ops".to_owned()),
            peer: Ipv6Addr::LOCALHOST.into(),
            is_preflight: false,
        };
        let ops = Caller { actor: "cert:ops".to_owned(), role: AdminRole::Admin, token: None };
        assert_eq!(auth.admit(shown(None)).await, Ok(ops));
        let secret = TokenSecret::generate(Clock::System.id()).unwrap().reveal();
        assert_eq!(auth.admit(shown(Some(secret))).await, Err(Denied::Invalid));
        assert_eq!(auth.directory().err(), Some(Denied::NoDatabase));
    }
}
