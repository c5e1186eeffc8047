//! What is not sent: disabled services and plugins, and all that belongs to such a service
//! (reference hybrid.md, section 8.3).

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Deserialize;
use uuid::Uuid;

use crate::domain::config::Config;
use crate::domain::entity::{Entity, Key};
use crate::domain::kinds::{Reference, plugin, route, service};

/// The services and routes that are left out. Disabled plugins are told one by one.
#[derive(Debug, Default)]
pub(in crate::wire::kong) struct Left {
    services: HashSet<Uuid>,
    routes: HashSet<Uuid>,
}

/// What decides it, of any kind.
#[derive(Deserialize)]
struct Probe<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    enabled: Option<bool>,
    service: Option<Reference>,
    route: Option<Reference>,
}

/// Stands in the canonical bytes of whatever is disabled.
const DISABLED: &str = r#""enabled":false"#;

impl Left {
    /// Finds what is left out of a config.
    pub(in crate::wire::kong) fn out_of(config: &Config) -> Self {
        let disabled = config
            .of_kind(service::KIND, None)
            .filter(|entity| entity.text().contains(DISABLED) && !is_enabled(entity));
        let services: HashSet<_> = disabled.map(Entity::id).collect();
        let mut left = Self { services, routes: HashSet::new() };
        if !left.services.is_empty() {
            let routes = config.of_kind(route::KIND, None).filter(|route| !left.keeps_of(route));
            left.routes = routes.map(Entity::id).collect();
        }
        left
    }

    /// Returns whether an entity is sent.
    pub(in crate::wire::kong) fn keeps(&self, entity: &Entity) -> bool {
        let Key { kind, id } = entity.key();
        if kind == service::KIND {
            return !self.services.contains(&id);
        }
        if kind == plugin::KIND && entity.text().contains(DISABLED) && !is_enabled(entity) {
            return false;
        }
        self.services.is_empty() || self.keeps_of(entity)
    }

    /// Returns whether what an entity belongs to is sent.
    fn keeps_of(&self, entity: &Entity) -> bool {
        let Some(probe) = probe(entity) else { return true };
        let is_left = |reference: Option<Reference>, ids: &HashSet<Uuid>| {
            reference.is_some_and(|reference| ids.contains(&reference.id))
        };
        !is_left(probe.service, &self.services) && !is_left(probe.route, &self.routes)
    }

    /// Returns the names of the plugins that are sent, each as often as it is configured.
    pub(in crate::wire::kong) fn plugins<'c>(
        &'c self,
        config: &'c Config,
    ) -> impl Iterator<Item = String> + 'c {
        let sent = config.of_kind(plugin::KIND, None).filter(|plugin| self.keeps(plugin));
        sent.filter_map(|plugin| Some(probe(plugin)?.name?.into_owned()))
    }
}

fn is_enabled(entity: &Entity) -> bool {
    probe(entity).is_none_or(|probe| probe.enabled != Some(false))
}

/// None for a kind whose fields of these names hold something else.
fn probe(entity: &Entity) -> Option<Probe<'_>> {
    serde_json::from_str(entity.text()).ok()
}
