//! Certificates: what TLS clients are shown, and what upstreams are (reference gateway-1, section
//! A.6). Their names are entities of their own: see [`sni`].

use serde::Deserialize;
use uuid::Uuid;

use super::{sni, typedef};
use crate::domain::canonical::Document;
use crate::domain::entity::Kind;
use crate::domain::pem::{self, PublicKey};
use crate::domain::rejection::FieldErrors;
use crate::domain::schema::{Auto, Check, Field, NamedBy, Schema};

/// The kind.
pub const KIND: Kind = Kind::new("certificates");

/// A certificate as the data plane reads it. Each text is PEM or a reference to a vault.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Its id.
    pub id: Uuid,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Seconds since 1970.
    pub updated_at: i64,
    /// The certificate and its chain.
    pub cert: String,
    /// Its private key.
    pub key: String,
    /// A second certificate, with a key of another type.
    pub cert_alt: Option<String>,
    /// The private key of that one.
    pub key_alt: Option<String>,
    /// Labels.
    #[serde(default)]
    pub tags: Vec<String>,
}

impl std::fmt::Debug for Certificate {
    /// Leaves the keys out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").field("id", &self.id).finish_non_exhaustive()
    }
}

/// How certificates are named.
const NAMES: NamedBy = NamedBy {
    kind: sni::KIND,
    field: "name",
    through: "certificate",
    list: "snis",
    absent: "SNI not found",
};

/// Returns the schema.
pub fn schema() -> Schema {
    Schema::new(KIND)
        .named_by(NAMES)
        .field("id", typedef::id())
        .field("created_at", Field::integer().auto(Auto::CreatedAt))
        .field("updated_at", Field::integer().auto(Auto::UpdatedAt))
        .field("cert", typedef::certificate().required().referenceable())
        .field("key", typedef::private_key().required().referenceable().encrypted())
        .field("cert_alt", typedef::certificate().optional().referenceable())
        .field("key_alt", typedef::private_key().optional().referenceable().encrypted())
        .field("tags", typedef::tags())
        .field("snis", Field::array(typedef::wildcard_host()).optional().transient())
        .check(Check::MutuallyRequired(&["cert_alt", "key_alt"]))
        .check(Check::custom(&["cert", "key"], key_matches))
        .check(Check::custom(&["cert_alt", "key_alt"], alternative_key_matches))
        .check(Check::custom(&["cert", "cert_alt"], types_differ))
}

fn certified(document: &Document, field: &str) -> Option<PublicKey> {
    let certificate = pem::certificate(document.get(field)?.as_str()?);
    certificate.ok().map(|certificate| certificate.key)
}

fn private(document: &Document, field: &str) -> Option<PublicKey> {
    pem::private_key(document.get(field)?.as_str()?).ok()
}

/// Refuses with `text` when both keys are there and are not one.
fn same(cert: Option<PublicKey>, key: Option<PublicKey>, text: &str) -> FieldErrors {
    let mut errors = FieldErrors::default();
    if cert.zip(key).is_some_and(|(cert, key)| cert != key) {
        errors.entity(text);
    }
    errors
}

fn key_matches(document: &Document) -> FieldErrors {
    let (cert, key) = (certified(document, "cert"), private(document, "key"));
    same(cert, key, "certificate does not match key")
}

fn alternative_key_matches(document: &Document) -> FieldErrors {
    let (cert, key) = (certified(document, "cert_alt"), private(document, "key_alt"));
    same(cert, key, "alternative certificate does not match key")
}

fn types_differ(document: &Document) -> FieldErrors {
    let mut errors = FieldErrors::default();
    let both = certified(document, "cert").zip(certified(document, "cert_alt"));
    if both.is_some_and(|(cert, alternative)| cert.same_type(&alternative)) {
        errors.entity(
            "certificate and alternative certificate need to have different type (e.g. RSA and \
             ECDSA), the provided certificates were both of the same type",
        );
    }
    errors
}
