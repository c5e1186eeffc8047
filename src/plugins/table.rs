//! The table of plugins: what each is called, when it runs, what its entities may hold, and what
//! runs it, where this version has that.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::{BuildError, BuildInput, CredentialKind, Plugin, VERSION};
use super::{correlation_id, key_auth, rate_limiting};
use crate::domain::catalog::{Catalog, PluginSchema};
use crate::domain::schema::Field;

/// All plugins, higher priority first, then by name backwards, as Kong sorts them.
pub const ALL: &[PluginKind] = &[correlation_id::KIND, key_auth::KIND, rate_limiting::KIND];

/// A plugin that this version knows.
pub struct PluginKind {
    /// Its name.
    pub name: &'static str,
    /// When it runs: higher first.
    pub priority: i32,
    schema: fn() -> PluginSchema,
    /// What runs it; a plugin without is described only (see [`super::unhandled`]).
    pub handler: Option<Handler>,
}

/// What runs a plugin.
pub struct Handler {
    /// Checks that a config reads into the plugin's struct.
    pub check: fn(&str) -> Result<(), serde_json::Error>,
    /// Configures one instance.
    pub build: fn(BuildInput<'_>) -> Result<Arc<dyn Plugin>, BuildError>,
    /// The credentials that it looks up.
    pub credentials: &'static [CredentialKind],
}

impl PluginKind {
    /// Names a plugin that is described only.
    pub(super) const fn new(
        name: &'static str,
        priority: i32,
        schema: fn() -> PluginSchema,
    ) -> Self {
        Self { name, priority, schema, handler: None }
    }

    /// Says what runs it.
    pub(super) const fn handled(mut self, handler: Handler) -> Self {
        self.handler = Some(handler);
        self
    }

    /// Starts its schema with what `config` may hold.
    pub(super) fn describe(&self, config: Field) -> PluginSchema {
        PluginSchema::new(self.name, VERSION, self.priority, config)
    }

    /// Returns what its entities may hold.
    pub fn schema(&self) -> PluginSchema {
        PluginSchema { handled: self.handler.is_some(), ..(self.schema)() }
    }
}

/// Checks that a config reads into `T`.
pub fn reads<T: DeserializeOwned>(config: &str) -> Result<(), serde_json::Error> {
    serde_json::from_str::<T>(config).map(drop)
}

/// Returns the plugin called `name`.
pub fn find(name: &str) -> Option<&'static PluginKind> {
    ALL.iter().find(|kind| kind.name == name)
}

/// Returns the handlers that this version has.
pub fn handlers() -> impl Iterator<Item = &'static Handler> {
    ALL.iter().filter_map(|kind| kind.handler.as_ref())
}

/// Builds the catalog of the core kinds and the plugins that `enabled` names.
pub fn catalog(enabled: impl Fn(&str) -> bool) -> Catalog {
    Catalog::new(ALL.iter().filter(|kind| enabled(kind.name)).map(PluginKind::schema).collect())
}
