//! What a data plane serves: a snapshot compiled into router, chains and services.
//!
//! Invariants:
//! - a [`Runtime`] is immutable; a request keeps the one that it began with;
//! - compiling fails as a whole and names the entity at fault; whatever fails, the last good
//!   runtime stays;
//! - plugin instances, balancers, TLS settings, keys of certificates, routes and directory entries
//!   whose entities did not change are taken over, with what they have counted: compiling costs
//!   what changed, not what is there;
//! - old runtimes are dropped by [`Handle::sweep`], never by a proxy core.

mod certificates;
mod chain;
mod changes;
mod channel;
mod compile;
mod destinations;
mod handle;
mod instances;
mod people;
mod probing;
mod protocols;
mod services;

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::balancer::dns::resolver::Resolver;
use crate::balancer::health::checker::Checker;
use crate::balancer::{Balancer, Peer};
use crate::clock::Clock;
use crate::domain::config::Config;
use crate::domain::entity::Key;
use crate::domain::hash::ConfigHash;
use crate::domain::kinds::route::{Flavour, Route};
use crate::domain::kinds::service::Service;
use crate::pki::names::Names;
use crate::plugins::Plugin;
use crate::plugins::directory::Directory;
use crate::plugins::state::PluginState;
use crate::router::Router;
use channel::Channels;
use destinations::Destinations;
use instances::Instances;
use probing::ProbeTls;
use services::{Services, Upstreams};

pub use chain::{Chain, Slot};
pub use channel::{Channel, LiveTls, NodeTls};
pub use compile::apply;
pub use handle::{Handle, Held, Reader};
pub use protocols::{RouteProtocols, Scheme};

/// A snapshot, compiled; a clone shares its structure.
#[derive(Clone)]
pub struct Runtime {
    /// Which snapshot.
    pub config_hash: ConfigHash,
    /// Which request goes where.
    pub router: Router,
    /// Consumers and credentials.
    pub directory: Directory,
    /// The plugins of requests that no route matches.
    pub global: Chain,
    /// What it was compiled of.
    config: Config,
    /// What of the node it was compiled with.
    node: Arc<NodeTls>,
    instances: Instances,
    upstreams: Upstreams,
    services: Services,
    channels: Channels,
    certificates: Arc<certificates::NamedCertificates>,
    destinations: Destinations,
}

/// Where the requests of a route go.
pub struct Destination {
    /// The route.
    pub route: Arc<Route>,
    /// The protocols of HTTP that it takes.
    pub protocols: RouteProtocols,
    /// Its service.
    pub service: Option<Arc<ServiceTarget>>,
    /// Its plugins.
    pub chain: Chain,
    /// Whether plugins apply to streams of it, which no handler here runs on.
    pub has_stream_plugins: bool,
}

/// A service and what its host stands for.
pub struct ServiceTarget {
    /// The service.
    pub service: Service,
    /// How HTTP is spoken to its upstream; none for streams.
    pub scheme: Option<Scheme>,
    /// What its host stands for.
    pub host: Host,
    /// How its upstream is spoken to.
    pub channel: Channel,
}

/// What the host of a service stands for.
pub enum Host {
    /// An address, or a name to resolve.
    Peer(Peer),
    /// An upstream.
    Upstream(Arc<UpstreamTarget>),
}

impl Host {
    /// Returns the certificate that targets are shown unless the service names one.
    fn client_certificate(&self) -> Option<Uuid> {
        match self {
            Self::Peer(_) => None,
            Self::Upstream(upstream) => upstream.client_certificate,
        }
    }
}

/// An upstream with its targets.
pub struct UpstreamTarget {
    /// Its id.
    pub id: Uuid,
    /// The Host that goes to its targets.
    pub host_header: Option<String>,
    /// The certificate that its targets are shown.
    pub client_certificate: Option<Uuid>,
    /// Who gets the next request.
    pub balancer: Arc<Balancer>,
    probe_tls: Option<ProbeTls>,
}

/// What compiling needs beside the config.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The state of plugins that survives.
    pub plugin_state: PluginState,
    /// What services have that name nothing of their own.
    pub tls: LiveTls,
    /// Time and ids.
    pub clock: Clock,
    /// How routes are read.
    pub flavour: Flavour,
    /// Who tells balancers what names stand for.
    pub resolver: Resolver,
    /// Who probes their addresses and tells of their health.
    pub checker: Checker,
    /// How long an address that comes, or comes back, takes to its whole share.
    pub slow_start: Duration,
}

/// Why a config cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", .entity.map(|key| format!("{key}: ")).unwrap_or_default())]
pub struct CompileError {
    /// The entity at fault.
    pub entity: Option<Key>,
    /// What is wrong.
    pub reason: String,
}

impl Runtime {
    /// Returns where the requests go of the route that the router has in this slot.
    pub fn destination(&self, slot: usize) -> Option<&Destination> {
        self.destinations.find(slot)
    }

    /// Returns the name and id of a plugin that applies to a route and service, by its instance.
    pub fn plugin(
        &self,
        route: Option<Uuid>,
        service: Option<Uuid>,
        instance: &Arc<dyn Plugin>,
    ) -> Option<(&'static str, Uuid)> {
        self.instances.named((route, service), instance)
    }

    /// Returns the certificates that are shown for server names.
    pub fn names(&self) -> &Names {
        &self.certificates.names
    }

    /// Returns the balancer of an upstream.
    pub fn balancer(&self, upstream: Uuid) -> Option<&Arc<Balancer>> {
        self.upstreams.find(upstream).map(|target| &target.balancer)
    }

    /// Returns the balancers of all upstreams, in any order.
    pub fn balancers(&self) -> impl Iterator<Item = &Arc<Balancer>> {
        self.upstreams.all().map(|target| &target.balancer)
    }
}

#[cfg(test)]
mod tests;
