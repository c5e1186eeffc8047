//! Compiling a config: every entity decoded, joined and built, or the one at fault named.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::chain::{self, Scoped};
use super::channel::{ChannelMaker, Channels};
use super::{
    CompileError, Destination, Handle, Host, Runtime, ServiceTarget, Tools, UpstreamTarget,
};
use crate::balancer::{Balancer, Peer};
use crate::domain::config::Config;
use crate::domain::entity::{Entity, Key, Kind};
use crate::domain::hash::ConfigHash;
use crate::domain::kinds::{consumer, plugin, route, service, target, upstream};
use crate::failpoint;
use crate::plugins::directory::Directory;
use crate::plugins::{self, BuildInput, Plugin, PluginKind, unhandled};
use crate::router::Router;

/// A plugin instance and the bytes that it was built of.
pub(super) type Built = (Arc<[u8]>, Arc<dyn Plugin>);

/// The canonical bytes of the entities of a kind.
type Bytes = HashMap<Uuid, Arc<[u8]>>;

/// What the next compilation takes over where nothing changed.
#[derive(Default)]
pub(super) struct Reuse {
    /// By plugin id: the bytes that it was built of.
    plugins: HashMap<Uuid, Built>,
    upstreams: HashMap<Uuid, Arc<UpstreamTarget>>,
    channels: Channels,
    /// What the directory was built of.
    directory: Vec<(Kind, Bytes)>,
}

impl Reuse {
    pub(super) fn upstream(&self, id: Uuid) -> Option<&Arc<UpstreamTarget>> {
        self.upstreams.get(&id)
    }
}

#[cfg(test)]
impl Reuse {
    pub(super) fn plugin(&self, id: Uuid) -> Option<Built> {
        self.plugins.get(&id).cloned()
    }
}

/// Compiles a config and puts it in force. A panic on the way is a bug here, yet it ends as a
/// refusal: the last good runtime stays.
///
/// # Errors
///
/// The first entity that cannot be served.
pub fn apply(
    handle: &Handle,
    config: &Config,
    config_hash: ConfigHash,
    tools: &Tools,
) -> Result<(), CompileError> {
    let old = handle.load();
    let compiled =
        catch_unwind(AssertUnwindSafe(|| Runtime::compile(config, config_hash, Some(&old), tools)));
    drop(old);
    let runtime = compiled.unwrap_or_else(|_| {
        Err(CompileError { entity: None, reason: "compiling it panicked".to_owned() })
    })?;
    failpoint::hit("runtime.compiled");
    handle.swap(Arc::new(runtime));
    failpoint::hit("runtime.swapped");
    Ok(())
}

impl Runtime {
    /// Returns the runtime of an empty config.
    pub fn empty(config_hash: ConfigHash) -> Self {
        Self {
            config_hash,
            router: Router::build([]).expect("no route has no pattern"),
            directory: Directory::default(),
            global: chain::build(&[], None, None),
            routes: Vec::new(),
            reuse: Reuse::default(),
        }
    }

    /// Compiles a config, taking over from `old` what did not change.
    ///
    /// # Errors
    ///
    /// The first entity that cannot be served.
    pub fn compile(
        config: &Config,
        config_hash: ConfigHash,
        old: Option<&Self>,
        tools: &Tools,
    ) -> Result<Self, CompileError> {
        let mut reuse = Reuse::default();
        let old_reuse = old.map(|old| &old.reuse);
        let plugins = plugins(config, old_reuse, &mut reuse, tools)?;
        let upstreams = upstreams(config, old_reuse, &mut reuse, tools)?;
        let mut maker = ChannelMaker {
            config,
            old: old_reuse.map(|reuse| &reuse.channels),
            node: &tools.tls,
            clock: &tools.clock,
            channels: Channels::default(),
        };
        let services = services(config, &upstreams, &mut maker)?;
        reuse.channels = maker.channels;
        let mut routes = Vec::new();
        for entity in config.of_kind(route::KIND, None) {
            let route: Arc<route::Route> = Arc::new(decode(entity)?);
            let service = match route.service {
                None => None,
                Some(reference) => match services.get(&reference.id) {
                    Some(Some(service)) => Some(service.clone()),
                    // Routes of a disabled service are not served.
                    Some(None) => continue,
                    None => return Err(fault(entity.key(), "its service is missing")),
                },
            };
            let service_id = route.service.map(|reference| reference.id);
            let chain = chain::build(&plugins, Some(route.id), service_id);
            routes.push(Destination { route, service, chain });
        }
        let router =
            Router::build(routes.iter().map(|destination: &Destination| destination.route.clone()));
        let router = router
            .map_err(|error| fault(Key { kind: route::KIND, id: error.route }, error.reason))?;
        let directory = directory(config, old, &mut reuse)?;
        let global = chain::build(&plugins, None, None);
        Ok(Self { config_hash, router, directory, global, routes, reuse })
    }
}

pub(super) fn fault(key: Key, reason: impl Into<String>) -> CompileError {
    CompileError { entity: Some(key), reason: reason.into() }
}

pub(super) fn decode<T: DeserializeOwned>(entity: &Entity) -> Result<T, CompileError> {
    entity.decode().map_err(|error| {
        // The decoder says where, and never quotes a value.
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        fault(entity.key(), cause.unwrap_or_else(|| error.to_string()))
    })
}

/// Builds all plugin instances, by priority, then name.
fn plugins(
    config: &Config,
    old: Option<&Reuse>,
    reuse: &mut Reuse,
    tools: &Tools,
) -> Result<Vec<Scoped>, CompileError> {
    let mut scoped = Vec::new();
    for entity in config.of_kind(plugin::KIND, None) {
        let plugin: plugin::Plugin = decode(entity)?;
        if !plugin.enabled || !runs_on_http(&plugin) {
            continue;
        }
        let kind = plugins::find(&plugin.name).ok_or_else(|| {
            fault(entity.key(), format!("plugin '{}' is not installed", plugin.name))
        })?;
        let known = old.and_then(|old| old.plugins.get(&plugin.id));
        let instance = match known {
            Some((bytes, instance)) if bytes == entity.bytes() => instance.clone(),
            _ => build(&plugin, kind, tools).map_err(|error| fault(entity.key(), error))?,
        };
        let priority = match kind.handler {
            Some(_) => kind.priority,
            None => unhandled::priority(kind.priority, plugin.consumer.is_some()),
        };
        reuse.plugins.insert(plugin.id, (entity.bytes().clone(), instance.clone()));
        scoped.push(Scoped {
            priority,
            name: kind.name,
            route: plugin.route.map(|route| route.id),
            service: plugin.service.map(|service| service.id),
            consumer: plugin.consumer.map(|consumer| consumer.id),
            instance,
        });
    }
    scoped.sort_by_key(|plugin| (std::cmp::Reverse(plugin.priority), plugin.name));
    Ok(scoped)
}

/// A plugin takes no part in what none of its protocols is for (reference gateway-4, section F.1).
fn runs_on_http(plugin: &plugin::Plugin) -> bool {
    let http = ["http", "https", "grpc", "grpcs"];
    plugin.protocols.iter().any(|protocol| http.contains(&protocol.as_str()))
}

fn build(
    plugin: &plugin::Plugin,
    kind: &PluginKind,
    tools: &Tools,
) -> Result<Arc<dyn Plugin>, String> {
    let Some(handler) = &kind.handler else {
        tracing::warn!(
            plugin = kind.name,
            id = %plugin.id,
            "this version has no handler for the plugin: requests that it applies to get 503"
        );
        return Ok(unhandled::instance());
    };
    let input = BuildInput { entity: plugin, state: &tools.plugin_state, clock: &tools.clock };
    (handler.build)(input).map_err(|error| error.to_string())
}

/// Builds the balancers, by name of their upstream.
fn upstreams(
    config: &Config,
    old: Option<&Reuse>,
    reuse: &mut Reuse,
    tools: &Tools,
) -> Result<HashMap<String, Arc<UpstreamTarget>>, CompileError> {
    let mut targets: HashMap<Uuid, Vec<target::Target>> = HashMap::new();
    for entity in config.of_kind(target::KIND, None) {
        let target: target::Target = decode(entity)?;
        targets.entry(target.upstream.id).or_default().push(target);
    }
    let mut upstreams = HashMap::new();
    for entity in config.of_kind(upstream::KIND, None) {
        let upstream: upstream::Upstream = decode(entity)?;
        let known = old.and_then(|old| old.upstreams.get(&upstream.id));
        let targets = targets.remove(&upstream.id).unwrap_or_default();
        let old = known.map(|known| &*known.balancer);
        let balancer = Arc::new(Balancer::build(&upstream, &targets, old));
        tools.resolver.follow(&balancer);
        if known.is_none() && balancer.is_checked() {
            tracing::warn!(upstream = upstream.name, "health checks do not run yet");
        }
        let (id, host_header) = (upstream.id, upstream.host_header);
        let client_certificate = upstream.client_certificate.map(|reference| reference.id);
        let target = Arc::new(UpstreamTarget { id, host_header, client_certificate, balancer });
        reuse.upstreams.insert(id, target.clone());
        upstreams.insert(upstream.name, target);
    }
    Ok(upstreams)
}

/// A disabled service is known, but has no target.
type Services = HashMap<Uuid, Option<Arc<ServiceTarget>>>;

fn services(
    config: &Config,
    upstreams: &HashMap<String, Arc<UpstreamTarget>>,
    maker: &mut ChannelMaker<'_>,
) -> Result<Services, CompileError> {
    let mut services = HashMap::new();
    for entity in config.of_kind(service::KIND, None) {
        let service: service::Service = decode(entity)?;
        let peer = Peer::new(&service.host, service.port);
        let host = match upstreams.get(&service.host) {
            Some(upstream) if peer.ip.is_none() => Host::Upstream(upstream.clone()),
            _ => Host::Peer(peer),
        };
        let id = service.id;
        let target = if service.enabled {
            let channel = maker.channel(&service, host.client_certificate())?;
            Some(Arc::new(ServiceTarget { service, host, channel }))
        } else {
            None
        };
        services.insert(id, target);
    }
    Ok(services)
}

/// Brings the old directory up to date; consumers and credentials are most of a large config.
fn directory(
    config: &Config,
    old: Option<&Runtime>,
    reuse: &mut Reuse,
) -> Result<Directory, CompileError> {
    let mut directory = old.map(|old| old.directory.clone()).unwrap_or_default();
    let known = |kind| {
        let tables = old.into_iter().flat_map(|old| &old.reuse.directory);
        tables.filter(move |(known, _)| *known == kind).map(|(_, table)| table).next()
    };
    let mut renew = |kind: Kind,
                     put: &mut dyn FnMut(&mut Directory, &Entity) -> Result<(), CompileError>,
                     remove: &mut dyn FnMut(&mut Directory, Uuid)| {
        let old = known(kind);
        let mut table = HashMap::new();
        let mut changed = Vec::new();
        for entity in config.of_kind(kind, None) {
            let same = old.and_then(|old| old.get(&entity.id()));
            if same.is_none_or(|bytes| bytes != entity.bytes()) {
                changed.push(entity);
            }
            table.insert(entity.id(), entity.bytes().clone());
        }
        for id in old.into_iter().flat_map(HashMap::keys).filter(|id| !table.contains_key(*id)) {
            remove(&mut directory, *id);
        }
        for entity in changed {
            put(&mut directory, entity)?;
        }
        reuse.directory.push((kind, table));
        Ok(())
    };
    renew(
        consumer::KIND,
        &mut |directory, entity| {
            directory.put_consumer(decode(entity)?);
            Ok(())
        },
        &mut |directory, id| directory.remove_consumer(id),
    )?;
    for credential in plugins::handlers().flat_map(|handler| handler.credentials) {
        let kind = credential.kind;
        renew(
            kind,
            &mut |directory, entity| {
                let read = (credential.read)(entity);
                let read = read.map_err(|error| fault(entity.key(), error.to_string()))?;
                directory.put_credential(kind, read);
                Ok(())
            },
            &mut |directory, id| directory.remove_credential(kind, id),
        )?;
    }
    Ok(directory)
}
