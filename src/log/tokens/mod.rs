//! Tokens of the Admin API: who may do what, kept beside the log and shared by all control planes
//! of its database.
//!
//! A token's text is `hctl_` and 64 characters of base64url: the 16 bytes of its id, then 32
//! random ones. Stored is a single BLAKE3 hash of both. A slow password hash would protect nothing:
//! it makes guesses dear, and nobody guesses 256 random bits; it would only let each request cost
//! the control plane milliseconds.

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::StorageError;
use crate::domain::role::AdminRole;
use crate::pki::secret::{self, NoRandomness};

/// What every token begins with, so that scanners for leaked secrets can know one.
pub const TOKEN_PREFIX: &str = "hctl_";

/// Separates this use of the hash from every other.
const HASH_CONTEXT: &str = "hybridctl 2026-11-25 admin token";

const NAME_LEN_MAX: usize = 64;

/// Why a text is not a name or an end of validity; says what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Expected(pub &'static str);

/// What a token is called: the actor of what is done with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenName(String);

impl TokenName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TokenName {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
        // A name that is an id could not be told from one where either is accepted.
        let good = (1..=NAME_LEN_MAX).contains(&text.len())
            && text.bytes().all(known)
            && Uuid::parse_str(text).is_err();
        let expected = "expected 1 to 64 letters, digits, '.', '_', '-' or '@', and no UUID";
        if good { Ok(Self(text.to_owned())) } else { Err(Expected(expected)) }
    }
}

/// When a token ends: after a while (`90d`; `w`, `d`, `h`, `m` or `s`), or at a time
/// (`2027-01-31T08:00:00Z`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expiry {
    /// This long after it is made.
    After(TimeDelta),
    /// Then.
    At(DateTime<Utc>),
}

impl Expiry {
    /// Returns the moment for a token that is made `now`; none if it is not in the future.
    pub fn from(self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let at = match self {
            Self::After(length) => now.checked_add_signed(length)?,
            Self::At(at) => at,
        };
        (at > now).then_some(at)
    }
}

impl FromStr for Expiry {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let expected =
            Expected("expected a length such as 90d, or a time such as 2027-01-31T08:00:00Z");
        if let Ok(at) = text.parse() {
            return Ok(Self::At(at));
        }
        let Some(unit) = text.chars().last() else { return Err(expected) };
        let Ok(count) = text[..text.len() - unit.len_utf8()].parse::<u32>() else {
            return Err(expected);
        };
        let count = i64::from(count);
        let length = match unit {
            'w' => TimeDelta::try_weeks(count),
            'd' => TimeDelta::try_days(count),
            'h' => TimeDelta::try_hours(count),
            'm' => TimeDelta::try_minutes(count),
            's' => TimeDelta::try_seconds(count),
            _ => None,
        };
        length.map(Self::After).ok_or(expected)
    }
}

/// The text of a token as its holder has it.
#[derive(Clone)]
pub struct TokenSecret([u8; 48]);

impl TokenSecret {
    /// Makes the secret of a new token.
    ///
    /// # Errors
    /// Fails only when the system has no randomness to give.
    pub fn generate(id: Uuid) -> Result<Self, NoRandomness> {
        let mut bytes = [0; 48];
        bytes[..16].copy_from_slice(id.as_bytes());
        bytes[16..].copy_from_slice(&secret::fresh()?);
        Ok(Self(bytes))
    }

    /// Reads what a client sent; none if it is no token of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let packed = text.strip_prefix(TOKEN_PREFIX)?;
        let bytes = URL_SAFE_NO_PAD.decode(packed).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// Returns the id of the token that this claims to be.
    pub fn id(&self) -> Uuid {
        let mut id = [0; 16];
        id.copy_from_slice(&self.0[..16]);
        Uuid::from_bytes(id)
    }

    /// Returns the hash to store.
    pub fn hash(&self) -> TokenHash {
        TokenHash(blake3::derive_key(HASH_CONTEXT, &self.0).into())
    }

    /// Returns the text to hand to the token's holder, once.
    pub fn reveal(&self) -> String {
        format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for TokenSecret {
    /// Leaves the secret out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenSecret").field(&self.id()).finish()
    }
}

/// The stored hash of a token; two are compared in constant time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash(blake3::Hash);

impl TokenHash {
    /// Returns the bytes to store.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Reads stored bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(******)")
    }
}

/// A token as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// Its id.
    pub id: Uuid,
    /// What it is called.
    pub name: TokenName,
    /// What its holder may do.
    pub role: AdminRole,
    /// Tells its secret from others.
    pub hash: TokenHash,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Who made it.
    pub created_by: String,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked, and by whom.
    pub revoked: Option<(DateTime<Utc>, String)>,
}

impl Token {
    /// Returns whether it can be used at `now`.
    pub fn is_live(&self, now: DateTime<Utc>) -> bool {
        self.revoked.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    /// Returns the actor of what is done with it.
    pub fn actor(&self) -> String {
        format!("token:{}", self.name)
    }
}

/// Finds a token as people name it: by its id, or the one in use by its name.
pub fn find(tokens: Vec<Token>, named: &str) -> Option<Token> {
    let id = Uuid::parse_str(named).ok();
    tokens.into_iter().find(|token| match id {
        Some(id) => token.id == id,
        None => token.name.as_str() == named && token.revoked.is_none(),
    })
}

/// What a token is to be.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What it is called.
    pub name: TokenName,
    /// What its holder may do.
    pub role: AdminRole,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Wanted {
    /// Makes the token and its secret; nothing is stored yet.
    ///
    /// # Errors
    /// Fails only when the system has no randomness to give.
    pub fn make(
        self,
        id: Uuid,
        now: DateTime<Utc>,
        by: String,
    ) -> Result<(Token, TokenSecret), NoRandomness> {
        let secret = TokenSecret::generate(id)?;
        let Self { name, role, expires_at } = self;
        let hash = secret.hash();
        let (created_at, created_by) = (now, by);
        Ok((
            Token { id, name, role, hash, created_at, created_by, expires_at, revoked: None },
            secret,
        ))
    }
}

/// Why a token was not stored.
#[derive(Debug, thiserror::Error)]
pub enum CreateTokenError {
    /// Another one that was not revoked has its name.
    #[error("a token of this name is there already: revoke it first, or take another name")]
    NameTaken,
    /// The database failed.
    #[error("tokens cannot be stored")]
    Storage(#[source] StorageError),
}

/// A database that holds tokens.
#[async_trait]
pub trait TokenStore: Send + Sync + fmt::Debug {
    /// Stores a new token: durable before it answers `Ok`.
    async fn create_token(&self, token: &Token) -> Result<(), CreateTokenError>;

    /// Returns all tokens, revoked ones too, oldest first.
    async fn tokens(&self) -> Result<Vec<Token>, StorageError>;

    /// Marks a token as revoked, unless it is already; returns whether there is such a token.
    async fn revoke_token(
        &self,
        id: Uuid,
        at: DateTime<Utc>,
        by: &str,
    ) -> Result<bool, StorageError>;

    /// Returns a number that grows with every creation and revocation.
    async fn tokens_revision(&self) -> Result<u64, StorageError>;
}
