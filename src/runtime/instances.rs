//! Plugin instances by where they apply, and the chains that routes share.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use imbl::HashMap as Persistent;
use uuid::Uuid;

use super::chain::{self, Chain, On, Scoped};
use super::changes::{Changes, decode, fault};
use super::{CompileError, Tools};
use crate::domain::entity::Entity;
use crate::domain::kinds::plugin;
use crate::plugins::{self, BuildInput, Plugin, PluginKind, unhandled};

/// Which requests an instance is for: those of a route, of a service, of both, or all.
pub(super) type Scope = (Option<Uuid>, Option<Uuid>);

/// All instances; a clone shares its structure.
#[derive(Clone, Default)]
pub(super) struct Instances {
    by_id: Persistent<Uuid, Arc<Scoped>>,
    by_scope: Persistent<Scope, Arc<Vec<Arc<Scoped>>>>,
    /// The chains of routes that have no instance of their own, by the service; none stands for
    /// services that have none either.
    shared: Persistent<Option<Uuid>, Chain>,
}

impl Instances {
    /// Follows the changes and returns the scopes whose chains changed.
    ///
    /// # Errors
    ///
    /// The first plugin that cannot be built.
    pub(super) fn follow(
        &mut self,
        changes: &Changes<'_>,
        tools: &Tools,
    ) -> Result<BTreeSet<Scope>, CompileError> {
        let mut gone: HashMap<Scope, HashSet<Uuid>> = HashMap::new();
        let mut touched = BTreeSet::new();
        for changed in changes.of(plugin::KIND) {
            if let Some(old) = self.by_id.remove(&changed.id) {
                gone.entry((old.route, old.service)).or_default().insert(changed.id);
                touched.insert((old.route, old.service));
            }
        }
        for (scope, ids) in gone {
            let Some(list) = self.by_scope.get_mut(&scope) else { continue };
            Arc::make_mut(list).retain(|known| !ids.contains(&known.id));
            if list.is_empty() {
                self.by_scope.remove(&scope);
            }
        }
        for entity in changes.of(plugin::KIND).iter().filter_map(|changed| changed.new) {
            let Some(scoped) = scoped(entity, tools)?.map(Arc::new) else { continue };
            let scope = (scoped.route, scoped.service);
            touched.insert(scope);
            Arc::make_mut(self.by_scope.entry(scope).or_default()).push(scoped.clone());
            self.by_id.insert(scoped.id, scoped);
        }
        for scope in &touched {
            match scope {
                (Some(_), _) => {}
                (None, Some(service)) => drop(self.shared.remove(&Some(*service))),
                (None, None) => self.shared.clear(),
            }
        }
        Ok(touched)
    }

    /// Returns the chain of a route and service, or of requests without either.
    pub(super) fn chain(&mut self, route: Option<Uuid>, service: Option<Uuid>) -> Chain {
        let own = route.is_some()
            && [(route, service), (route, None)].iter().any(|it| self.by_scope.contains_key(it));
        if own {
            return self.build(route, service);
        }
        let service = service.filter(|_| self.by_scope.contains_key(&(None, service)));
        if let Some(chain) = self.shared.get(&service) {
            return chain.clone();
        }
        let chain = self.build(None, service);
        self.shared.insert(service, chain.clone());
        chain
    }

    /// Returns whether a plugin applies to the streams of a route and service. Nobody knows the
    /// consumer of a stream, so those for one do not.
    pub(super) fn any_on_streams(&self, route: Uuid, service: Option<Uuid>) -> bool {
        let route = Some(route);
        let scopes = [(route, service), (route, None), (None, service), (None, None)];
        let mut lists = scopes.iter().filter_map(|scope| self.by_scope.get(scope));
        lists.any(|list| list.iter().any(|it| it.on.streams && it.consumer.is_none()))
    }

    /// Returns the name and id of a plugin that applies to a route and service, by its instance.
    pub(super) fn named(
        &self,
        (route, service): Scope,
        instance: &Arc<dyn Plugin>,
    ) -> Option<(&'static str, Uuid)> {
        let scopes = [(route, service), (route, None), (None, service), (None, None)];
        let lists = scopes.iter().filter_map(|scope| self.by_scope.get(scope));
        let mut all = lists.flat_map(|list| list.iter());
        let is =
            |it: &&Arc<Scoped>| std::ptr::addr_eq(&raw const *it.instance, &raw const **instance);
        all.find(is).map(|found| (found.name, found.id))
    }

    fn build(&self, route: Option<Uuid>, service: Option<Uuid>) -> Chain {
        let scopes: BTreeSet<Scope> =
            [(route, service), (route, None), (None, service), (None, None)].into();
        let lists = scopes.iter().filter_map(|scope| self.by_scope.get(scope));
        let mut scoped: Vec<&Scoped> =
            lists.flat_map(|list| list.iter().map(|scoped| &**scoped)).collect();
        scoped.retain(|scoped| scoped.on.requests);
        scoped.sort_by_key(|scoped| (std::cmp::Reverse(scoped.priority), scoped.name, scoped.id));
        chain::build(&scoped)
    }

    #[cfg(test)]
    pub(super) fn instance(&self, id: Uuid) -> Option<Arc<dyn Plugin>> {
        self.by_id.get(&id).map(|scoped| scoped.instance.clone())
    }
}

/// Builds the instance of a plugin, unless it is off.
fn scoped(entity: &Entity, tools: &Tools) -> Result<Option<Scoped>, CompileError> {
    let plugin: plugin::Plugin = decode(entity)?;
    if !plugin.enabled {
        return Ok(None);
    }
    let on = takes_part(&plugin);
    let kind = plugins::find(&plugin.name)
        .ok_or_else(|| fault(entity.key(), format!("plugin '{}' is not installed", plugin.name)))?;
    if on.streams {
        tracing::warn!(
            plugin = kind.name,
            id = %plugin.id,
            "no plugin runs on streams in this version: those that it applies to are closed"
        );
    }
    let instance =
        if on.requests { build(&plugin, kind, tools) } else { Ok(unhandled::instance()) };
    let instance = instance.map_err(|error| fault(entity.key(), error))?;
    let priority = match kind.handler {
        Some(_) => kind.priority,
        None => unhandled::priority(kind.priority, plugin.consumer.is_some()),
    };
    Ok(Some(Scoped {
        id: plugin.id,
        priority,
        name: kind.name,
        route: plugin.route.map(|route| route.id),
        service: plugin.service.map(|service| service.id),
        consumer: plugin.consumer.map(|consumer| consumer.id),
        instance,
        on,
    }))
}

/// A plugin takes no part in what none of its protocols is for (reference gateway-4, section F.1).
fn takes_part(plugin: &plugin::Plugin) -> On {
    let any = |of: [&str; 4]| plugin.protocols.iter().any(|it| of.contains(&it.as_str()));
    On {
        requests: any(["http", "https", "grpc", "grpcs"]),
        streams: any(["tcp", "tls", "tls_passthrough", "udp"]),
    }
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
