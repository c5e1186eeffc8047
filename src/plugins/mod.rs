//! Plugins: what happens to a request between its arrival and its upstream, and to the answer.
//!
//! Invariants:
//! - a plugin is built once for each entity and shared by all cores; what belongs to one request
//!   is kept in its [`Exchange`], what outlives a change of configuration in [`PluginState`];
//! - a phase that need not wait returns [`Step::Done`], which allocates nothing;
//! - [`ALL`] is sorted by priority, higher first, which is the order of every phase
//!   (reference gateway-4, section F.1).
//!
//! Non-goals: Lua; a plugin that is loaded at run time.
//!
//! To add a plugin: a file with its schema and `KIND`, a line in [`ALL`], and its config struct and
//! handler. Without a handler a plugin is described only (see [`unhandled`]).

pub mod acl;
pub mod acme;
mod ai_prompt_decorator;
mod ai_prompt_guard;
mod ai_prompt_template;
mod ai_proxy;
mod ai_request_transformer;
mod ai_response_transformer;
mod ai_transformer;
pub mod authentication;
mod aws_lambda;
mod azure_functions;
pub mod basic_auth;
pub mod body;
mod bot_detection;
pub mod correlation_id;
mod cors;
mod datadog;
pub mod directory;
pub mod exchange;
mod file_log;
mod functions;
mod grpc_gateway;
mod grpc_web;
pub mod hmac_auth;
mod http_log;
mod ip_restriction;
pub mod jwt;
pub mod key_auth;
mod ldap_auth;
mod limits;
mod llm;
mod loggly;
pub mod oauth2;
mod opentelemetry;
mod post_function;
mod pre_function;
mod prometheus;
mod proxy_cache;
pub mod rate_limiting;
mod redirect;
pub mod reply;
mod request_size_limiting;
mod request_termination;
mod request_transformer;
mod response_ratelimiting;
mod response_transformer;
pub mod session;
mod standard_webhooks;
pub mod state;
mod statsd;
mod syslog;
mod table;
mod tcp_log;
pub mod timing;
mod typedef;
mod udp_log;
pub mod unhandled;
mod zipkin;

use std::pin::Pin;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::clock::Clock;
use crate::domain::entity::{Entity, EntityError, Kind};
use crate::domain::kinds::plugin::Plugin as PluginEntity;
use crate::domain::kinds::route::Route;
use crate::domain::kinds::service::Service;
use directory::{Credential, Directory};
use exchange::Exchange;
use reply::Reply;
use state::PluginState;
pub use table::{ALL, Handler, PluginKind, catalog, catalog_of, find, handlers, reads};

/// The version that plugins report: the level of Kong that they implement.
pub const VERSION: &str = "3.9.1";

/// What a phase decided.
pub enum Flow {
    /// The next plugin runs.
    Continue,
    /// The client gets this answer; no later plugin runs in this phase.
    Respond(Box<Reply>),
}

/// What became of a phase that may wait.
pub enum Step<'a> {
    /// It is over.
    Done(Flow),
    /// It has to wait.
    Later(Pin<Box<dyn Future<Output = Flow> + 'a>>),
}

impl Step<'_> {
    /// Goes on.
    pub const NEXT: Self = Self::Done(Flow::Continue);

    /// Answers the client.
    pub fn respond(reply: Reply) -> Self {
        Self::Done(Flow::Respond(Box::new(reply)))
    }
}

/// A set of phases.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Phases(u8);

impl Phases {
    /// No phase.
    pub const NONE: Self = Self(0);
    /// Before the route is known; global plugins only.
    pub const REWRITE: Self = Self(1);
    /// Before the request goes upstream.
    pub const ACCESS: Self = Self(2);
    /// When the whole answer of the upstream is in memory.
    pub const RESPONSE: Self = Self(4);
    /// When the head of the answer is known.
    pub const HEADER_FILTER: Self = Self(8);
    /// For every piece of the answer's body.
    pub const BODY_FILTER: Self = Self(16);
    /// When the last byte has gone to the client.
    pub const LOG: Self = Self(32);

    /// Returns the phases of both sets.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns whether the sets have a phase in common.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What surrounds a request: what the runtime that it started with knows about it.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// Consumers and credentials.
    pub directory: &'a Directory,
    /// The route that matched.
    pub route: Option<&'a Route>,
    /// The service of that route.
    pub service: Option<&'a Service>,
}

/// A configured plugin.
pub trait Plugin: Send + Sync {
    /// Returns the phases that it takes part in; others are never called.
    fn phases(&self) -> Phases;

    /// Runs before the route is known.
    fn rewrite<'a>(&'a self, _exchange: &'a mut Exchange, _scope: Scope<'a>) -> Step<'a> {
        Step::NEXT
    }

    /// Runs before the request goes upstream.
    fn access<'a>(&'a self, _exchange: &'a mut Exchange, _scope: Scope<'a>) -> Step<'a> {
        Step::NEXT
    }

    /// Runs when the upstream's answer is in memory; `body` may be replaced.
    fn response<'a>(
        &'a self,
        _exchange: &'a mut Exchange,
        _scope: Scope<'a>,
        _body: &'a mut Bytes,
    ) -> Step<'a> {
        Step::NEXT
    }

    /// Runs when the head of the answer is known, whoever made it.
    fn header_filter(&self, _exchange: &mut Exchange, _scope: Scope<'_>) {}

    /// Runs for every piece of the answer's body, which may be replaced; the last is empty.
    fn body_filter(
        &self,
        _exchange: &mut Exchange,
        _scope: Scope<'_>,
        _piece: &mut Bytes,
        _last: bool,
    ) {
    }

    /// Runs when the exchange is over.
    fn log(&self, _exchange: &Exchange, _scope: Scope<'_>) {}
}

/// What a plugin is built of.
pub struct BuildInput<'a> {
    /// Its entity.
    pub entity: &'a PluginEntity,
    /// The state that survives changes of configuration.
    pub state: &'a PluginState,
    /// Time and ids.
    pub clock: &'a Clock,
}

impl BuildInput<'_> {
    /// Reads the plugin's `config`.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T, BuildError> {
        serde_json::from_str(self.entity.config.get()).map_err(BuildError::Config)
    }
}

/// Why a plugin cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Its config is not what its schema promises.
    #[error("config is not what the plugin expects: {0}")]
    Config(serde_json::Error),
    /// It asks for what this version does not have.
    #[error("config.{field}: {reason}")]
    Field {
        /// The field of `config`.
        field: &'static str,
        /// What was expected.
        reason: String,
    },
}

/// A kind of credentials that a plugin brings.
pub struct CredentialKind {
    /// The kind.
    pub kind: Kind,
    /// Reads an entity of the kind.
    pub read: fn(&Entity) -> Result<Credential, EntityError>,
}

#[cfg(test)]
pub(crate) mod tests;
