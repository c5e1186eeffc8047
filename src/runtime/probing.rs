//! TLS of the probes of an upstream: whom they trust, and what they show (reference gateway-3,
//! sections E.2 and E.3).

use std::sync::Arc;

use rustls::ClientConfig;

use super::changes::{Changes, fault};
use super::channel::client;
use super::{CompileError, Tools};
use crate::balancer::health::checks::Probe;
use crate::domain::entity::Key;
use crate::domain::kinds::certificate;
use crate::domain::kinds::upstream::{self, Upstream};
use crate::pki::upstream::{ServiceOptions, service_client_config};

/// The settings of TLS that probes go by, with what they were made of.
#[derive(Clone)]
pub(super) struct ProbeTls {
    wish: Wish,
    config: Option<Arc<ClientConfig>>,
}

#[derive(Clone, PartialEq, Eq)]
struct Wish {
    verify: bool,
    http2: bool,
    /// The canonical bytes of the certificate that is shown.
    client: Option<Arc<[u8]>>,
}

impl ProbeTls {
    /// Makes the settings by which an upstream is probed, or takes over those of `old`; none if it
    /// is not probed over TLS.
    ///
    /// # Errors
    ///
    /// A certificate that is missing or cannot be read.
    pub(super) fn make(
        upstream: &Upstream,
        probe: Option<&Probe>,
        changes: &Changes<'_>,
        old: Option<&Self>,
        tools: &Tools,
    ) -> Result<Option<Self>, CompileError> {
        let Some(probe) = probe.filter(|probe| probe.kind.is_secure()) else { return Ok(None) };
        let own = Key { kind: upstream::KIND, id: upstream.id };
        let shown = upstream.client_certificate.map(|reference| {
            let key = Key { kind: certificate::KIND, id: reference.id };
            changes.config.find(key).ok_or_else(|| fault(own, format!("its {key} is missing")))
        });
        let shown = shown.transpose()?;
        let bytes = shown.map(|entity| entity.bytes().clone());
        let wish = Wish { verify: probe.verify, http2: probe.kind.is_http2(), client: bytes };
        if let Some(old) = old.filter(|old| old.wish == wish && !changes.has_other_node) {
            return Ok(Some(old.clone()));
        }
        let client = match shown {
            None => changes.node.client.clone(),
            Some(entity) => match client(entity)? {
                Some(pair) => Some(pair),
                None => {
                    tracing::warn!(
                        upstream = upstream.name,
                        "its client certificate is in a vault, where nobody looks yet: it is not \
                         probed"
                    );
                    return Ok(Some(Self { wish, config: None }));
                }
            },
        };
        let vouchers = (changes.node.vouchers.clone(), changes.node.intermediates_max);
        let verify = probe.verify.then_some(vouchers);
        let options = ServiceOptions { verify, client, http2: wish.http2 };
        let made = service_client_config(&options, &tools.clock);
        let config = made.map_err(|error| fault(own, error.to_string()))?;
        Ok(Some(Self { wish, config: Some(config) }))
    }

    /// Returns the settings; none if what they need is not there.
    pub(super) fn config(&self) -> Option<Arc<ClientConfig>> {
        self.config.clone()
    }
}
