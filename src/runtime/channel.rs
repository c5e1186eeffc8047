//! TLS towards the upstreams of services: whom each one trusts, and what it shows
//! (reference gateway-3, section D.4).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use uuid::Uuid;

use super::CompileError;
use super::changes::{decode, fault};
use crate::clock::Clock;
use crate::domain::config::Config;
use crate::domain::entity::{Entity, Key};
use crate::domain::kinds::ca_certificate::{self, CaCertificate};
use crate::domain::kinds::certificate::{self, Certificate};
use crate::domain::kinds::service::{self, Service};
use crate::domain::pem::is_reference;
use crate::pki::pair::CertifiedPair;
use crate::pki::upstream::{ServiceOptions, Vouchers, service_client_config};

/// How many certificates may stand between an upstream's and an authority when a service does not
/// say (nginx `proxy_ssl_verify_depth`).
const INTERMEDIATES_MAX: u32 = 1;

/// What services have that name nothing of their own.
#[derive(Clone, Debug, Default)]
pub struct NodeTls {
    /// Who vouches for upstreams (`lua_ssl_trusted_certificate`).
    pub vouchers: Vouchers,
    /// How many certificates may stand between a probed upstream's and an authority
    /// (`lua_ssl_verify_depth`).
    pub intermediates_max: usize,
    /// What upstreams are shown that ask (`client_ssl`).
    pub client: Option<CertifiedPair>,
}

/// The same, replaced while the node runs; clones share it. A runtime that is compiled later goes by it.
#[derive(Clone, Debug, Default)]
pub struct LiveTls(Arc<ArcSwap<NodeTls>>);

impl LiveTls {
    /// Begins with this.
    pub fn new(tls: NodeTls) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(tls)))
    }

    /// Puts another in its place.
    pub fn replace(&self, tls: NodeTls) {
        self.0.store(Arc::new(tls));
    }

    pub(super) fn current(&self) -> Arc<NodeTls> {
        self.0.load_full()
    }
}

/// How a service speaks to its upstream.
#[derive(Clone, Debug)]
pub enum Channel {
    /// Openly.
    Plain,
    /// Over TLS. Connections made with one of these are never used for another.
    Tls(Arc<ClientConfig>),
    /// Not at all: what its TLS needs is not there.
    Unusable,
}

/// What settings of TLS are made of; equal ones are made once, over swaps too, so that connections
/// last.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Wish {
    verify: Option<Verify>,
    client: Option<Bytes>,
    http2: bool,
}

impl Wish {
    /// Returns whether what the node has is part of it.
    fn is_of_node(&self) -> bool {
        let trusts = self.verify.as_ref().is_some_and(|verify| verify.authorities.is_none());
        self.client.is_none() || trusts
    }
}

/// Whom a service trusts.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Verify {
    intermediates_max: u32,
    /// Authorities of its own; the node's without.
    authorities: Option<Vec<Bytes>>,
}

/// The canonical bytes of an entity.
type Bytes = Arc<[u8]>;

/// The settings of TLS of a runtime.
#[derive(Clone, Default)]
pub(super) struct Channels {
    made: HashMap<Wish, Channel>,
}

impl Channels {
    /// Forgets what was made of what the node has.
    pub(super) fn forget_node(&mut self) {
        self.made.retain(|wish, _| !wish.is_of_node());
    }

    /// Forgets what none of these services wants any more.
    pub(super) fn retain<'s>(&mut self, wanted: impl Iterator<Item = &'s Channel>) {
        let address = |channel: &Channel| match channel {
            Channel::Tls(config) => Some(Arc::as_ptr(config)),
            Channel::Plain | Channel::Unusable => None,
        };
        let wanted: HashSet<_> = wanted.map(address).collect();
        self.made.retain(|_, channel| wanted.contains(&address(channel)));
    }
}

/// The entities that a wish stands for.
struct Named<'a> {
    authorities: Vec<&'a Entity>,
    client: Option<&'a Entity>,
}

/// Makes the channels of one config.
pub(super) struct ChannelMaker<'a> {
    pub(super) config: &'a Config,
    pub(super) node: &'a NodeTls,
    pub(super) clock: &'a Clock,
    /// What was made before, and what is made.
    pub(super) channels: &'a mut Channels,
}

impl<'a> ChannelMaker<'a> {
    /// Returns how a service speaks to its upstream; `of_upstream` is the certificate that its
    /// upstream names.
    pub(super) fn channel(
        &mut self,
        service: &Service,
        of_upstream: Option<Uuid>,
    ) -> Result<Channel, CompileError> {
        if !matches!(service.protocol.as_str(), "https" | "tls" | "grpcs") {
            return Ok(Channel::Plain);
        }
        let named = self.named(service, of_upstream)?;
        let wish = wish(service, &named);
        let channel = match self.channels.made.get(&wish).cloned() {
            Some(known) => known,
            None => self.make(&wish, &named, service)?,
        };
        self.channels.made.insert(wish, channel.clone());
        Ok(channel)
    }

    fn named(
        &self,
        service: &Service,
        of_upstream: Option<Uuid>,
    ) -> Result<Named<'a>, CompileError> {
        let client = service.client_certificate.map(|reference| reference.id).or(of_upstream);
        let client = client.map(|id| {
            let key = Key { kind: certificate::KIND, id };
            let missing = || fault(service_key(service), format!("its {key} is missing"));
            self.config.find(key).ok_or_else(missing)
        });
        let ids = service.ca_certificates.iter().flatten();
        let find = |id: &Uuid| self.config.find(Key { kind: ca_certificate::KIND, id: *id });
        let authorities = ids.filter_map(find);
        Ok(Named { authorities: authorities.collect(), client: client.transpose()? })
    }

    fn make(
        &self,
        wish: &Wish,
        named: &Named<'_>,
        service: &Service,
    ) -> Result<Channel, CompileError> {
        let client = match named.client {
            None => self.node.client.clone(),
            Some(entity) => match client(entity)? {
                Some(pair) => Some(pair),
                None => {
                    tracing::warn!(
                        service = %service.id,
                        "its client certificate is in a vault, where nobody looks yet: requests get 502"
                    );
                    return Ok(Channel::Unusable);
                }
            },
        };
        let verify = match &wish.verify {
            None => None,
            Some(verify) => {
                let vouchers = match verify.authorities {
                    None => self.node.vouchers.clone(),
                    Some(_) => vouchers(service, &named.authorities)?,
                };
                Some((vouchers, usize::try_from(verify.intermediates_max).unwrap_or(usize::MAX)))
            }
        };
        let options = ServiceOptions { verify, client, http2: wish.http2 };
        let made = service_client_config(&options, self.clock);
        made.map(Channel::Tls).map_err(|error| fault(service_key(service), error.to_string()))
    }
}

fn service_key(service: &Service) -> Key {
    Key { kind: service::KIND, id: service.id }
}

fn wish(service: &Service, named: &Named<'_>) -> Wish {
    let bytes = |entity: &&Entity| entity.bytes().clone();
    let verify = (service.tls_verify == Some(true)).then(|| {
        let names_some = service.ca_certificates.as_ref().is_some_and(|ids| !ids.is_empty());
        let authorities = names_some.then(|| named.authorities.iter().map(bytes).collect());
        let intermediates_max = service.tls_verify_depth.unwrap_or(INTERMEDIATES_MAX);
        Verify { intermediates_max, authorities }
    });
    let client = named.client.as_ref().map(bytes);
    Wish { verify, client, http2: service.protocol == "grpcs" }
}

/// Reads a pair; none when it is in a vault.
pub(super) fn client(entity: &Entity) -> Result<Option<CertifiedPair>, CompileError> {
    let certificate: Certificate = decode(entity)?;
    if is_reference(&certificate.cert) || is_reference(&certificate.key) {
        return Ok(None);
    }
    let pair = CertifiedPair::from_pem(&certificate.cert, &certificate.key);
    pair.map(Some).map_err(|error| fault(entity.key(), error.to_string()))
}

/// Reads the authorities of a service. One that is not there vouches for nobody, as it should.
fn vouchers(service: &Service, authorities: &[&Entity]) -> Result<Vouchers, CompileError> {
    if service.ca_certificates.as_ref().is_some_and(|ids| ids.len() > authorities.len()) {
        tracing::warn!(service = %service.id, "some of its ca_certificates are missing");
    }
    let mut pems = Vec::with_capacity(authorities.len());
    for entity in authorities {
        let pem = decode::<CaCertificate>(entity)?.cert;
        // One at a time first, so that the one at fault is named.
        Vouchers::from_pems(std::slice::from_ref(&pem), &[])
            .map_err(|error| fault(entity.key(), error.to_string()))?;
        pems.push(pem);
    }
    Ok(Vouchers::from_pems(&pems, &[]).unwrap_or_default())
}
