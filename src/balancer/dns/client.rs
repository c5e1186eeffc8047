//! Questions to name servers, with what their records mean to a balancer.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;

use super::hosts::Hosts;
use super::{Kind, Options, Record, ResolveError};

/// How long the addresses of the hosts file are used.
const HOSTS_TTL: Duration = Duration::from_secs(3600);

/// The port of name servers that name none.
const PORT: u16 = 53;

/// Asks name servers; keeps nothing.
pub(super) struct Client {
    options: Options,
    hosts: Hosts,
    /// None where nothing says who to ask.
    servers: Option<TokioResolver>,
}

/// What a name stands for.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) records: Vec<Record>,
    pub(super) ttl: Duration,
    /// By which type it was found; none of the hosts file.
    pub(super) kind: Option<Kind>,
}

impl Client {
    /// Takes name servers from the settings, or else from the system.
    pub(super) fn new(options: Options) -> Self {
        let hosts = Hosts::read(&options.settings.hosts_file);
        let servers = servers(&options);
        Self { options, hosts, servers }
    }

    /// Asks for a name by each type in turn until one has an answer.
    pub(super) async fn resolve(
        &self,
        host: &Arc<str>,
        last: Option<Kind>,
    ) -> Result<Found, ResolveError> {
        if let Some(all) = self.hosts.find(host) {
            let records = all.into_iter().map(Record::of).collect();
            return Ok(Found { records, ttl: HOSTS_TTL, kind: None });
        }
        let last = last.filter(|_| self.options.last_first);
        let others = self.options.order.iter().copied().filter(|kind| Some(*kind) != last);
        let mut failure = None;
        let kinds = last.into_iter().chain(others);
        for kind in kinds.filter(|kind| self.options.asks(host, *kind)) {
            match self.ask(host, kind).await {
                Ok(found) => return Ok(found),
                // That nobody could say outweighs that one type has nothing.
                Err(error) => {
                    if failure.as_ref().is_none_or(|old: &ResolveError| old.is_certain) {
                        failure = Some(error);
                    }
                }
            }
        }
        Err(failure.unwrap_or_else(|| failed(host, "no record type to ask for", false)))
    }

    async fn ask(&self, host: &Arc<str>, kind: Kind) -> Result<Found, ResolveError> {
        let Found { records, ttl, .. } = match kind {
            Kind::A => self.query(host, RecordType::A).await?,
            Kind::Aaaa => self.query(host, RecordType::AAAA).await?,
            Kind::Srv => self.services(host).await?,
        };
        match records.is_empty() {
            true => Err(failed(host, "no address", true)),
            false => Ok(Found { records, ttl, kind: Some(kind) }),
        }
    }

    /// Asks for the addresses of a name.
    async fn query(&self, host: &Arc<str>, kind: RecordType) -> Result<Found, ResolveError> {
        let mut records = Vec::new();
        let ttl = self.each(host, kind, |data| {
            match data {
                RData::A(address) => records.push(Record::of(address.0.into())),
                RData::AAAA(address) => records.push(Record::of(address.0.into())),
                _ => {}
            };
        });
        let ttl = ttl.await?;
        Ok(Found { records, ttl, kind: None })
    }

    /// Asks for SRV records, and for the addresses of the lowest priority among them.
    async fn services(&self, host: &Arc<str>) -> Result<Found, ResolveError> {
        let mut services = Vec::new();
        let mut ttl = self
            .each(host, RecordType::SRV, |data| {
                if let RData::SRV(srv) = data {
                    let name = srv.target.to_ascii();
                    let name = name.trim_end_matches('.').to_ascii_lowercase();
                    services.push((srv.priority, Arc::<str>::from(name), srv.port, srv.weight));
                }
            })
            .await?;
        let priority = services.iter().map(|(priority, ..)| *priority).min();
        services.retain(|(its, name, ..)| Some(*its) == priority && !name.is_empty());
        let (mut records, mut failure) = (Vec::new(), None);
        for (_, name, port, weight) in services {
            let found = match self.addresses(&name).await {
                Ok(found) => found,
                Err(error) => {
                    failure = Some(error);
                    continue;
                }
            };
            ttl = ttl.min(found.ttl);
            records.extend(found.records.into_iter().map(|record| Record {
                srv_name: Some(name.clone()),
                port: Some(port).filter(|port| *port > 0),
                weight: Some(u32::from(weight.max(1))),
                ..record
            }));
        }
        match failure {
            // A part of the records would take the traffic of all.
            Some(error) if !error.is_certain || records.is_empty() => Err(error),
            _ => Ok(Found { records, ttl, kind: None }),
        }
    }

    /// Asks for the addresses of a name that an SRV record gives.
    async fn addresses(&self, name: &Arc<str>) -> Result<Found, ResolveError> {
        if let Some(all) = self.hosts.find(name) {
            let records = all.into_iter().map(Record::of).collect();
            return Ok(Found { records, ttl: HOSTS_TTL, kind: None });
        }
        let wants_v6 = self.options.order.contains(&Kind::Aaaa);
        match self.query(name, RecordType::A).await {
            Ok(found) if !found.records.is_empty() || !wants_v6 => Ok(found),
            Err(error) if !wants_v6 => Err(error),
            _ => self.query(name, RecordType::AAAA).await,
        }
    }

    /// Visits the records of an answer, and returns the shortest time to live of those.
    async fn each(
        &self,
        host: &Arc<str>,
        kind: RecordType,
        mut visit: impl FnMut(&RData),
    ) -> Result<Duration, ResolveError> {
        let Some(servers) = &self.servers else {
            return Err(failed(host, "there is no name server to ask", false));
        };
        let answer = match servers.lookup(&**host, kind).await {
            Ok(answer) => answer,
            Err(error) => {
                let is_certain = error.is_no_records_found();
                return Err(failed(host, &reason(&error), is_certain));
            }
        };
        let mut ttl = None;
        for record in answer.answers() {
            ttl = Some(ttl.map_or(record.ttl, |ttl: u32| ttl.min(record.ttl)));
            visit(&record.data);
        }
        Ok(Duration::from_secs(u64::from(ttl.unwrap_or(0))))
    }
}

fn reason(error: &NetError) -> String {
    match error.is_no_records_found() {
        true if error.is_nx_domain() => "there is no such name".to_owned(),
        true => "no address".to_owned(),
        false => error.to_string(),
    }
}

fn failed(host: &Arc<str>, reason: &str, is_certain: bool) -> ResolveError {
    ResolveError { host: host.clone(), reason: reason.into(), is_certain }
}

/// Whoever is asked: those of the settings, in their order, with the system's search list.
fn servers(options: &Options) -> Option<TokioResolver> {
    let system = read_system_conf();
    let named: Vec<_> = options.settings.resolver.iter().filter_map(|text| server(text)).collect();
    let (config, mut opts) = match (system, named.is_empty()) {
        (Ok(system), true) => system,
        (Ok((system, opts)), false) => {
            let (domain, search, _) = system.into_parts();
            (ResolverConfig::from_parts(domain, search, named), opts)
        }
        (Err(_), false) => (ResolverConfig::from_name_servers(named), ResolverOpts::default()),
        (Err(error), true) => {
            tracing::warn!(%error, "the system names no name server: host names are not resolved");
            return None;
        }
    };
    // What is kept, and for how long, is for the caller to say.
    opts.cache_size = 0;
    opts.use_hosts_file = ResolveHosts::Never;
    let provider = TokioRuntimeProvider::default();
    let builder = TokioResolver::builder_with_config(config, provider).with_options(opts);
    match builder.build() {
        Ok(resolver) => Some(resolver),
        Err(error) => {
            tracing::error!(%error, "cannot set up name resolution: host names are not resolved");
            None
        }
    }
}

/// Reads `ip` or `ip:port`; the settings were checked to be of that form.
fn server(text: &str) -> Option<NameServerConfig> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let address = match (text.parse::<SocketAddr>(), bare.parse::<IpAddr>()) {
        (Ok(address), _) => address,
        (_, Ok(ip)) => SocketAddr::new(ip, PORT),
        _ => return None,
    };
    let mut config = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut config.connections {
        connection.port = address.port();
    }
    Some(config)
}
