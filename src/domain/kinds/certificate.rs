//! Certificates: what TLS clients are shown, and what upstreams are (reference gateway-1, section
//! A.6). Their names are entities of their own: see [`sni`].

use serde::Deserialize;
use serde_json::Value;
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
        .field("cert", typedef::certificate().required())
        .field("key", typedef::private_key().required())
        .field("cert_alt", typedef::certificate())
        .field("key_alt", typedef::private_key())
        .field("tags", typedef::tags())
        .field("snis", Field::array(typedef::wildcard_host()).transient())
        .check(Check::MutuallyRequired(&["cert_alt", "key_alt"]))
        .custom(keys_match)
}

/// Each certificate has its own key, and the second one a key of another type.
fn keys_match(document: &Document) -> FieldErrors {
    let mut errors = FieldErrors::default();
    // What cannot be read is in error already, and a reference says nothing yet.
    let read = |field: &str, of: fn(&str) -> Option<PublicKey>| {
        document.get(field).and_then(Value::as_str).and_then(of)
    };
    let certified = |text: &str| pem::certificate(text).ok().map(|certificate| certificate.key);
    let private = |text: &str| pem::private_key(text).ok();
    let (cert, key) = (read("cert", certified), read("key", private));
    let (cert_alt, key_alt) = (read("cert_alt", certified), read("key_alt", private));
    let differ = |a: &Option<PublicKey>, b: &Option<PublicKey>| {
        a.as_ref().zip(b.as_ref()).is_some_and(|(a, b)| a != b)
    };
    if differ(&cert, &key) {
        errors.entity("certificate does not match key");
    }
    if differ(&cert_alt, &key_alt) {
        errors.entity("alternative certificate does not match key");
    }
    if let (Some(cert), Some(alt)) = (cert, cert_alt)
        && cert.same_type(&alt)
    {
        errors.entity(
            "certificate and alternative certificate need to have different type (e.g. RSA and \
             ECDSA), the provided certificates were both of the same type",
        );
    }
    errors
}
