//! Entities other than routes and plugins.

use super::LEVEL;
use crate::domain::canonical::Document;
use crate::wire::kong::compat::rule::Plain::{Empty, No};
use crate::wire::kong::compat::rule::Rule;

/// What 2.8 can choose a target by.
const HASHES: &[&str] = &["none", "consumer", "ip", "header", "cookie"];

/// The algorithms of a JWT that 2.8 can verify.
const JWT: &[&str] = &["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384"];

/// Fields by kind.
const FIELDS: &[(&str, &str, Rule)] = &[
    ("upstreams", "hash_on", Rule::OneOf(HASHES)),
    ("upstreams", "hash_fallback", Rule::OneOf(HASHES)),
    ("upstreams", "hash_on_query_arg", Rule::Gone),
    ("upstreams", "hash_fallback_query_arg", Rule::Gone),
    ("upstreams", "hash_on_uri_capture", Rule::Gone),
    ("upstreams", "hash_fallback_uri_capture", Rule::Gone),
    // It decides which host the target is told.
    ("upstreams", "use_srv_name", Rule::Only(No)),
    // Without its headers a probe may say that a good target is bad.
    ("upstreams", "healthchecks.active.headers", Rule::Only(Empty)),
    ("jwt_secrets", "algorithm", Rule::OneOf(JWT)),
    // Without a database it believes a key for ever. Tokens have an end of their own, and what is
    // stored for an authority harms nobody.
    ("keyauth_credentials", "ttl", Rule::Only(No)),
    ("oauth2_tokens", "ttl", Rule::Gone),
    ("acme_storage", "ttl", Rule::Gone),
];

/// Changes one entity.
///
/// # Errors
///
/// 2.8 cannot do the same.
pub(super) fn translate(kind: &str, row: &mut Document) -> Result<(), String> {
    let rules = FIELDS.iter().filter(|(of, ..)| *of == kind);
    rules.into_iter().try_for_each(|(_, field, rule)| rule.run(row, field, LEVEL).map(drop))
}
