//! The certificates of a config by the server names that they are shown for.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::CompileError;
use super::changes::{decode, fault};
use crate::domain::config::Config;
use crate::domain::entity::{Entity, Key};
use crate::domain::kinds::{certificate, sni};
use crate::pki::names::{Names, Offer};
use crate::pki::pair::CertifiedPair;

/// The bytes of a certificate entity, and what they were read as; nothing, if a vault holds it.
type Read = (Arc<[u8]>, Option<Offer>);

/// Certificates by name, and what the next compilation takes over of them.
#[derive(Default)]
pub(super) struct NamedCertificates {
    /// What is shown for which name.
    pub(super) names: Arc<Names>,
    certificates: HashMap<Uuid, Read>,
    snis: Vec<Arc<[u8]>>,
}

impl NamedCertificates {
    /// Reads the certificates of a config; keys that `old` has already read are taken over, and the
    /// names as a whole, if nothing of them changed.
    ///
    /// # Errors
    ///
    /// The first certificate that cannot be shown, or name without one.
    pub(super) fn compile(config: &Config, old: Option<&Self>) -> Result<Self, CompileError> {
        let mut certificates = HashMap::new();
        let mut same = true;
        for entity in config.of_kind(certificate::KIND, None) {
            let known = old.and_then(|old| old.certificates.get(&entity.id()));
            let read = match known {
                Some(known) if known.0 == *entity.bytes() => known.clone(),
                _ => {
                    same = false;
                    (entity.bytes().clone(), read(entity)?)
                }
            };
            certificates.insert(entity.id(), read);
        }
        let snis: Vec<_> =
            config.of_kind(sni::KIND, None).map(|entity| entity.bytes().clone()).collect();
        if let Some(old) = old
            && same
            && old.certificates.len() == certificates.len()
            && old.snis == snis
        {
            return Ok(Self { names: old.names.clone(), certificates, snis });
        }
        let mut names = Names::default();
        for entity in config.of_kind(sni::KIND, None) {
            let sni: sni::Sni = decode(entity)?;
            match certificates.get(&sni.certificate.id) {
                Some((_, Some(offer))) => names.add(&sni.name, offer.clone()),
                Some((_, None)) => {}
                None => return Err(fault(entity.key(), "its certificate is missing")),
            }
        }
        Ok(Self { names: Arc::new(names), certificates, snis })
    }
}

fn read(entity: &Entity) -> Result<Option<Offer>, CompileError> {
    let certificate: certificate::Certificate = decode(entity)?;
    let texts = [Some(&certificate.cert), Some(&certificate.key)];
    let alternative = [certificate.cert_alt.as_ref(), certificate.key_alt.as_ref()];
    if texts.iter().chain(&alternative).flatten().any(|text| text.starts_with("{vault://")) {
        tracing::warn!(
            certificate = %entity.id(),
            "references to vaults are not followed yet: its names get the default certificate"
        );
        return Ok(None);
    }
    let pair = |cert: &str, key: &str| {
        let pair = CertifiedPair::from_pem(cert, key);
        pair.map_err(|error| {
            fault(Key { kind: certificate::KIND, id: entity.id() }, error.to_string())
        })
    };
    let mut pairs = vec![pair(&certificate.cert, &certificate.key)?];
    if let [Some(cert), Some(key)] = alternative {
        pairs.push(pair(cert, key)?);
    }
    Ok(Some(Offer::new(&pairs)))
}
