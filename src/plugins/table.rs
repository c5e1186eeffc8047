//! The table of plugins: what each is called, when it runs, what its entities may hold, and what
//! runs it, where this version has that.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::{BuildError, BuildInput, CredentialKind, Plugin, VERSION};
use super::{
    acl, acme, ai_prompt_decorator, ai_prompt_guard, ai_prompt_template, ai_proxy,
    ai_request_transformer, ai_response_transformer, aws_lambda, azure_functions, basic_auth,
    bot_detection, correlation_id, cors, datadog, file_log, grpc_gateway, grpc_web, hmac_auth,
    http_log, ip_restriction, jwt, key_auth, ldap_auth, loggly, oauth2, opentelemetry,
    post_function, pre_function, prometheus, proxy_cache, rate_limiting, redirect,
    request_size_limiting, request_termination, request_transformer, response_ratelimiting,
    response_transformer, session, standard_webhooks, statsd, syslog, tcp_log, udp_log, zipkin,
};
use crate::domain::catalog::{Catalog, PluginSchema};
use crate::domain::kinds::route::Flavour;
use crate::domain::kinds::typedef;
use crate::domain::schema::Field;

/// All plugins, higher priority first, then by name backwards, as Kong sorts them.
pub const ALL: &[PluginKind] = &[
    pre_function::KIND,
    correlation_id::KIND,
    zipkin::KIND,
    bot_detection::KIND,
    cors::KIND,
    session::KIND,
    acme::KIND,
    jwt::KIND,
    oauth2::KIND,
    key_auth::KIND,
    ldap_auth::KIND,
    basic_auth::KIND,
    hmac_auth::KIND,
    grpc_gateway::KIND,
    ip_restriction::KIND,
    request_size_limiting::KIND,
    acl::KIND,
    rate_limiting::KIND,
    response_ratelimiting::KIND,
    request_transformer::KIND,
    response_transformer::KIND,
    redirect::KIND,
    ai_request_transformer::KIND,
    ai_prompt_template::KIND,
    ai_prompt_decorator::KIND,
    ai_prompt_guard::KIND,
    ai_proxy::KIND,
    ai_response_transformer::KIND,
    standard_webhooks::KIND,
    aws_lambda::KIND,
    azure_functions::KIND,
    proxy_cache::KIND,
    opentelemetry::KIND,
    prometheus::KIND,
    http_log::KIND,
    statsd::KIND,
    datadog::KIND,
    file_log::KIND,
    udp_log::KIND,
    tcp_log::KIND,
    loggly::KIND,
    syslog::KIND,
    grpc_web::KIND,
    request_termination::KIND,
    post_function::KIND,
];

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
        PluginSchema::new(self.name, VERSION, self.priority).config(config)
    }

    /// Returns what its entities may hold; of the protocols those of HTTP, unless it says
    /// otherwise.
    pub fn schema(&self) -> PluginSchema {
        let mut schema = (self.schema)();
        schema.handled = self.handler.is_some();
        match schema.fields.find("protocols") {
            Some(_) => schema,
            None => schema.field("protocols", typedef::protocols_http()),
        }
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
    catalog_of(Flavour::default(), enabled)
}

/// Builds the same for routes of a flavour.
pub fn catalog_of(flavour: Flavour, enabled: impl Fn(&str) -> bool) -> Catalog {
    let plugins = ALL.iter().filter(|kind| enabled(kind.name)).map(PluginKind::schema);
    Catalog::with_flavour(flavour, plugins.collect())
}
