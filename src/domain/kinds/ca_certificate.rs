//! CA certificates: who may vouch for upstreams and clients (reference gateway-1, section A.6).

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::typedef;
use crate::domain::canonical::Document;
use crate::domain::entity::Kind;
use crate::domain::fresh::Fresh;
use crate::domain::pem;
use crate::domain::rejection::FieldErrors;
use crate::domain::schema::{Auto, Check, Field, Schema};

/// The kind.
pub const KIND: Kind = Kind::new("ca_certificates");

/// A CA certificate as the data plane reads it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaCertificate {
    /// Its id.
    pub id: Uuid,
    /// Seconds since 1970.
    pub created_at: i64,
    /// Seconds since 1970.
    pub updated_at: i64,
    /// The certificate, in PEM.
    pub cert: String,
    /// The SHA-256 of its DER, in hex.
    pub cert_digest: Option<String>,
    /// Labels.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// Returns the schema. Whether a certificate has expired is asked when it is written, and not of
/// configurations of the past.
pub fn schema() -> Schema {
    Schema::new(KIND)
        .field("id", typedef::id())
        .field("created_at", Field::integer().auto(Auto::CreatedAt))
        .field("updated_at", Field::integer().auto(Auto::UpdatedAt))
        .field("cert", typedef::certificate().required())
        .field("cert_digest", Field::string().unique())
        .field("tags", typedef::tags())
        .check(Check::custom(&["cert"], is_one_ca))
        .transform(&["cert"], refuse_expired)
        .derive(&["cert"], digest)
}

fn cert(document: &Document) -> &str {
    document.get("cert").and_then(Value::as_str).unwrap_or_default()
}

fn is_one_ca(document: &Document) -> FieldErrors {
    let mut errors = FieldErrors::default();
    let text = cert(document);
    // What cannot be read is in error already.
    let Ok(certificate) = pem::certificate(text) else { return errors };
    if pem::certificates(text) > 1 {
        errors.entity("please submit only one certificate at a time");
    } else if !certificate.is_ca {
        errors.entity(
            "certificate does not appear to be a CA because it is missing the \"CA\" basic \
             constraint",
        );
    }
    errors
}

fn refuse_expired(document: &mut Document, fresh: &mut Fresh<'_>) -> Result<(), FieldErrors> {
    let mut errors = FieldErrors::default();
    if pem::certificate(cert(document)).is_ok_and(|cert| cert.not_after < fresh.at.timestamp()) {
        errors.entity("certificate expired, \"Not After\" time is in the past");
    }
    errors.into_result()
}

fn digest(document: &mut Document, _: &mut Fresh<'_>) -> Result<(), FieldErrors> {
    if let Ok(certificate) = pem::certificate(cert(document)) {
        document.insert("cert_digest".into(), certificate.digest.into());
    }
    Ok(())
}
