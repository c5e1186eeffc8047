//! Services and what their hosts stand for: upstreams with balancers, or peers.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::HashMap;
use uuid::Uuid;

use super::changes::{Changes, Ids, decode};
use super::channel::{Channel, ChannelMaker};
use super::probing::ProbeTls;
use super::protocols::Scheme;
use super::{CompileError, Host, ServiceTarget, Tools, UpstreamTarget};
use crate::balancer::{Balancer, Peer};
use crate::domain::entity::{Entity, Key};
use crate::domain::kinds::{ca_certificate, certificate, service, target, upstream};

/// All upstreams; a clone shares its structure.
#[derive(Clone, Default)]
pub(super) struct Upstreams {
    by_id: HashMap<Uuid, (Arc<str>, Arc<UpstreamTarget>)>,
    by_name: HashMap<Arc<str>, Arc<UpstreamTarget>>,
}

impl Upstreams {
    /// Returns an upstream.
    pub(super) fn find(&self, id: Uuid) -> Option<&Arc<UpstreamTarget>> {
        self.by_id.get(&id).map(|(_, target)| target)
    }

    /// Returns all of them, in any order.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<UpstreamTarget>> {
        self.by_id.values().map(|(_, target)| target)
    }

    /// Follows the changes and returns the names of the upstreams that are others now.
    ///
    /// # Errors
    ///
    /// The first entity that cannot be read.
    pub(super) fn follow(
        &mut self,
        changes: &Changes<'_>,
        tools: &Tools,
    ) -> Result<BTreeSet<Arc<str>>, CompileError> {
        let mut ids: Ids = changes.of(upstream::KIND).iter().map(|changed| changed.id).collect();
        for changed in changes.of(target::KIND) {
            for entity in changed.old.iter().chain(&changed.new) {
                ids.insert(decode::<target::Target>(entity)?.upstream.id);
            }
        }
        for changed in changes.of(certificate::KIND) {
            let key = Key { kind: certificate::KIND, id: changed.id };
            let showing = changes.referring(key, upstream::KIND, "client_certificate");
            ids.extend(showing.map(Entity::id));
        }
        if changes.has_other_node {
            let probed = self.by_id.values().filter(|(_, target)| target.probe_tls.is_some());
            ids.extend(probed.map(|(_, target)| target.id));
        }
        let mut names = BTreeSet::new();
        let mut renewed = Vec::new();
        for id in ids {
            let old = self.by_id.remove(&id);
            if let Some((name, _)) = &old {
                self.by_name.remove(name);
                names.insert(name.clone());
            }
            let key = Key { kind: upstream::KIND, id };
            if let Some(entity) = changes.config.find(key) {
                renewed.push(build_upstream(entity, old.map(|(_, old)| old), changes, tools)?);
            }
        }
        for (name, target) in renewed {
            names.insert(name.clone());
            self.by_name.insert(name.clone(), target.clone());
            self.by_id.insert(target.id, (name, target));
        }
        Ok(names)
    }
}

fn build_upstream(
    entity: &Entity,
    old: Option<Arc<UpstreamTarget>>,
    changes: &Changes<'_>,
    tools: &Tools,
) -> Result<(Arc<str>, Arc<UpstreamTarget>), CompileError> {
    let upstream: upstream::Upstream = decode(entity)?;
    let targets = changes.referring(entity.key(), target::KIND, "upstream");
    let targets = targets.map(decode).collect::<Result<Vec<target::Target>, _>>()?;
    let balancer = Balancer::build(&upstream, &targets, old.as_ref().map(|old| &*old.balancer));
    let balancer = Arc::new(balancer.with_slow_start(tools.slow_start));
    let old_tls = old.as_ref().and_then(|old| old.probe_tls.as_ref());
    let probe = balancer.checks.probe.as_ref();
    let probe_tls = ProbeTls::make(&upstream, probe, changes, old_tls, tools)?;
    tools.resolver.follow(&balancer);
    tools.checker.follow(&balancer, probe_tls.as_ref().and_then(ProbeTls::config));
    let (id, host_header) = (upstream.id, upstream.host_header);
    let client_certificate = upstream.client_certificate.map(|reference| reference.id);
    let target = UpstreamTarget { id, host_header, client_certificate, balancer, probe_tls };
    Ok((upstream.name.into(), Arc::new(target)))
}

/// All services; a clone shares its structure. A disabled one is known, but has no target.
#[derive(Clone, Default)]
pub(super) struct Services(HashMap<Uuid, Option<Arc<ServiceTarget>>>);

impl Services {
    /// Returns a service: none if there is none, none within if it is disabled.
    pub(super) fn find(&self, id: Uuid) -> Option<Option<&Arc<ServiceTarget>>> {
        self.0.get(&id).map(Option::as_ref)
    }

    /// Follows the changes and returns which services are others now; `names` are those of
    /// upstreams that are.
    ///
    /// # Errors
    ///
    /// The first service that cannot be read or spoken to.
    pub(super) fn follow(
        &mut self,
        changes: &Changes<'_>,
        upstreams: &Upstreams,
        names: &BTreeSet<Arc<str>>,
        maker: &mut ChannelMaker<'_>,
    ) -> Result<Ids, CompileError> {
        let ids_of = |kind| changes.of(kind).iter().map(|changed| changed.id).collect::<Ids>();
        let mut ids = ids_of(service::KIND);
        let shown = ids_of(certificate::KIND);
        let trusted = ids_of(ca_certificate::KIND);
        let other = changes.has_other_node;
        if other || !(names.is_empty() && shown.is_empty() && trusted.is_empty()) {
            let uses = |target: &ServiceTarget| {
                let service = &target.service;
                let own = service.client_certificate.map(|reference| reference.id);
                let own = own.or(target.host.client_certificate());
                (other && matches!(target.channel, Channel::Tls(_)))
                    || names.contains(service.host.as_str())
                    || own.is_some_and(|id| shown.contains(&id))
                    || service.ca_certificates.iter().flatten().any(|id| trusted.contains(id))
            };
            let enabled = self.0.values().flatten().filter(|target| uses(target));
            ids.extend(enabled.map(|target| target.service.id));
        }
        for id in &ids {
            match changes.config.find(Key { kind: service::KIND, id: *id }) {
                Some(entity) => {
                    let target = build(decode(entity)?, upstreams, maker)?;
                    self.0.insert(*id, target.map(Arc::new));
                }
                None => drop(self.0.remove(id)),
            }
        }
        if !ids.is_empty() {
            maker.channels.retain(self.0.values().flatten().map(|target| &target.channel));
        }
        Ok(ids)
    }
}

/// Builds a service, unless it is disabled.
fn build(
    service: service::Service,
    upstreams: &Upstreams,
    maker: &mut ChannelMaker<'_>,
) -> Result<Option<ServiceTarget>, CompileError> {
    if !service.enabled {
        return Ok(None);
    }
    let peer = Peer::new(&service.host, service.port);
    let host = match upstreams.by_name.get(service.host.as_str()) {
        Some(upstream) if peer.ip.is_none() => Host::Upstream(upstream.clone()),
        _ => Host::Peer(peer),
    };
    let channel = maker.channel(&service, host.client_certificate())?;
    let scheme = Scheme::of(&service.protocol);
    Ok(Some(ServiceTarget { service, scheme, host, channel }))
}
