//! Why a caller is turned away, as HTTP.

use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::domain::role::AdminRole;

/// Why a caller is turned away. Why a token is not valid (revoked, expired, never made) is for the
/// log alone.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nothing says who calls.
    #[error(
        "no admin token found in request: send one as Kong-Admin-Token, or as Authorization: Bearer"
    )]
    Missing,
    /// The token is not one of ours, or no longer.
    #[error("invalid admin token")]
    Invalid,
    /// Too many invalid tokens came from there.
    #[error("too many requests with an invalid admin token; try again in {retry_after_seconds}s")]
    TooMany {
        /// When the next one is looked at as usual.
        retry_after_seconds: u64,
    },
    /// The caller may not do this.
    #[error("'{actor}' has the role {role}; this request needs the role {needed}")]
    Role {
        /// Who calls.
        actor: String,
        /// The caller's role.
        role: AdminRole,
        /// The least role that may.
        needed: AdminRole,
    },
    /// A caller that nobody asked for a token must not make one that outlives this.
    #[error("tokens are managed here with admin_auth = on only; use `hybridctl token` until then")]
    Off,
    /// There is nowhere to keep a token.
    #[error("a node without a database has no tokens")]
    NoDatabase,
}

impl Denied {
    /// Returns the status.
    pub(in crate::admin) fn status(&self) -> StatusCode {
        match self {
            Self::Missing | Self::Invalid => StatusCode::UNAUTHORIZED,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Role { .. } | Self::Off | Self::NoDatabase => StatusCode::FORBIDDEN,
        }
    }

    /// Adds the headers that go with the status.
    pub(in crate::admin) fn mark(&self, headers: &mut HeaderMap) {
        let challenge = match self {
            Self::Missing => "Bearer realm=\"kong-admin\"",
            Self::Invalid => "Bearer realm=\"kong-admin\", error=\"invalid_token\"",
            Self::TooMany { retry_after_seconds } => {
                headers.insert(RETRY_AFTER, (*retry_after_seconds).into());
                return;
            }
            Self::Role { .. } | Self::Off | Self::NoDatabase => return,
        };
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
}
