//! Where the requests of each route go, in the slots that the router tells.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::{HashMap, Vector};
use uuid::Uuid;

use super::changes::{Changes, Ids, decode, fault};
use super::instances::{Instances, Scope};
use super::protocols::RouteProtocols;
use super::services::Services;
use super::{CompileError, Destination};
use crate::domain::entity::Key;
use crate::domain::kinds::{route, service};
use crate::router::Router;

/// All destinations; a clone shares its structure. A route keeps its slot as long as it is served.
#[derive(Clone, Default)]
pub(super) struct Destinations {
    slots: Vector<Option<Arc<Destination>>>,
    by_route: HashMap<Uuid, usize>,
    free: Vector<usize>,
}

impl Destinations {
    /// Returns the destination in a slot.
    pub(super) fn find(&self, slot: usize) -> Option<&Destination> {
        self.slots.get(slot)?.as_deref()
    }

    /// Follows what changed: routes, `services`, and the chains of `scopes`; the router with them.
    ///
    /// # Errors
    ///
    /// The first route that cannot be served.
    pub(super) fn follow(
        &mut self,
        changes: &Changes<'_>,
        (services, renewed): (&Services, &Ids),
        (instances, scopes): (&mut Instances, &BTreeSet<Scope>),
        router: &mut Router,
    ) -> Result<(), CompileError> {
        let written: Ids = changes.of(route::KIND).iter().map(|changed| changed.id).collect();
        let ids = self.affected(changes, &written, renewed, scopes);
        let (mut removed, mut put) = (Vec::new(), Vec::new());
        for id in ids {
            let known = self.by_route.get(&id).copied();
            let same = known.filter(|_| !written.contains(&id)).and_then(|slot| self.find(slot));
            let route = match same.map(|destination| destination.route.clone()) {
                Some(route) => Some((route, false)),
                None => match changes.config.find(Key { kind: route::KIND, id }) {
                    Some(entity) => Some((Arc::new(decode::<route::Route>(entity)?), true)),
                    None => None,
                },
            };
            let destination = match route {
                Some((route, fresh)) => {
                    destination(route, services, instances)?.map(|it| (Arc::new(it), fresh))
                }
                None => None,
            };
            match destination {
                Some((destination, fresh)) => {
                    let slot = self.place(id);
                    if fresh {
                        put.push((slot, destination.route.clone()));
                    }
                    self.slots.set(slot, Some(destination));
                }
                None => {
                    if let Some(slot) = self.by_route.remove(&id) {
                        self.slots.set(slot, None);
                        self.free.push_back(slot);
                        removed.push(id);
                    }
                }
            }
        }
        router
            .apply(removed, put)
            .map_err(|error| fault(Key { kind: route::KIND, id: error.route }, error.reason))
    }

    /// Returns the routes whose destination is another now.
    fn affected(
        &self,
        changes: &Changes<'_>,
        written: &Ids,
        services: &Ids,
        scopes: &BTreeSet<Scope>,
    ) -> Ids {
        let mut ids = written.clone();
        let of_service = |id: Uuid| {
            let key = Key { kind: service::KIND, id };
            changes.referring(key, route::KIND, "service").map(|entity| entity.id())
        };
        ids.extend(services.iter().flat_map(|id| of_service(*id)));
        for scope in scopes {
            match *scope {
                (Some(route), _) => ids.extend(self.by_route.contains_key(&route).then_some(route)),
                (None, Some(service)) => ids.extend(of_service(service)),
                (None, None) => ids.extend(self.by_route.keys()),
            }
        }
        ids
    }

    /// Returns the slot of a route, a free one if it has none.
    fn place(&mut self, id: Uuid) -> usize {
        if let Some(slot) = self.by_route.get(&id) {
            return *slot;
        }
        let slot = self.free.pop_back().unwrap_or_else(|| {
            self.slots.push_back(None);
            self.slots.len() - 1
        });
        self.by_route.insert(id, slot);
        slot
    }
}

/// Builds where a route's requests go; routes of a disabled service are not served.
fn destination(
    route: Arc<route::Route>,
    services: &Services,
    instances: &mut Instances,
) -> Result<Option<Destination>, CompileError> {
    let service_id = route.service.map(|reference| reference.id);
    let service = match service_id.map(|id| services.find(id)) {
        None => None,
        Some(Some(Some(service))) => Some(service.clone()),
        Some(Some(None)) => return Ok(None),
        Some(None) => {
            let key = Key { kind: route::KIND, id: route.id };
            return Err(fault(key, "its service is missing"));
        }
    };
    let chain = instances.chain(Some(route.id), service_id);
    let has_stream_plugins = instances.any_on_streams(route.id, service_id);
    let protocols = RouteProtocols::of(&route.protocols);
    Ok(Some(Destination { route, protocols, service, chain, has_stream_plugins }))
}
