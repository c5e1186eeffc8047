//! The proxy of a data plane: made from the settings, and made anew when they change. A proxy that
//! another has taken the place of serves its connections to their end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;

use super::access::AccessLogs;
use super::certificates::Listeners;
use super::debug_token::OwnToken;
use super::listen::{self, Face};
use super::node::Counts;
use super::sockets::{Kind, OpenSocket, Sockets};
use super::{status, streams, tls};
use crate::balancer::dns::core::CoreResolver;
use crate::balancer::dns::resolver::Resolver;
use crate::proxy::access;
use crate::proxy::charset::Charset;
use crate::proxy::debug::Token;
use crate::proxy::forward::Transport;
use crate::proxy::handler::Core;
use crate::proxy::listener::{Ending, ListenSpec, ProxyServer, Refusals, ServeLimits};
use crate::proxy::settings::{Network, OwnHeaders, ProxySettings};
use crate::proxy::stream::StreamServer;
use crate::proxy::template::{Template, Templates};
use crate::proxy::upstream::{Pool, PoolLimits};
use crate::runtime::Handle;
use crate::settings::{Listener, Settings, TrustedAddress};
use crate::telemetry::access::AccessLog;

/// What is served here.
const KINDS: [Kind; 3] = [Kind::Proxy, Kind::Stream, Kind::Datagrams];

/// What becomes of a proxy that another takes the place of: its connections end when they end.
const REPLACED: Ending = Ending { idle: Duration::MAX, within: Duration::MAX };

/// The proxy in force, and those before it that still have connections.
pub(super) struct Traffic {
    now: Serving,
    former: Vec<Serving>,
    by: By,
    debug_token: OwnToken,
    counts: Counts,
    sockets: Sockets,
    /// What the one in force was made from.
    made_from: Made,
}

/// What a proxy serves by: the runtime, names of upstreams, certificates that are followed.
pub(super) type By = (Handle, Resolver, Listeners);

struct Serving {
    server: ProxyServer,
    streams: Option<StreamServer>,
    /// Dropped last, so that the last lines are written.
    logs: AccessLogs,
}

impl Serving {
    fn retire(&mut self, ending: Ending) {
        self.server.retire(ending);
        self.streams.iter_mut().for_each(|it| it.retire(ending));
    }

    async fn ended(&mut self) {
        self.server.ended().await;
        if let Some(streams) = &mut self.streams {
            streams.ended().await;
        }
    }

    fn has_ended(&mut self) -> bool {
        self.server.has_ended() && self.streams.as_mut().is_none_or(StreamServer::has_ended)
    }
}

/// What makes a proxy another one.
#[derive(PartialEq)]
struct Made {
    settings: Vec<(&'static str, String)>,
    /// The files that are read for it, and when each was written.
    files: Vec<(PathBuf, Option<SystemTime>)>,
}

impl Traffic {
    /// Starts the proxy on the sockets that it finds open and on new ones.
    pub(super) fn start(
        settings: &Settings,
        by: By,
        (counts, sockets): (&Counts, &Sockets),
    ) -> anyhow::Result<Self> {
        let made_from = Made::of(settings);
        let debug_token = OwnToken::new(by.2.clock());
        let now = serve(settings, &by, &debug_token, sockets)?;
        debug_token.tell(settings);
        counts.add(status::traffic(&now.server, now.streams.as_ref()));
        Ok(Self {
            now,
            former: Vec::new(),
            by,
            debug_token,
            counts: counts.clone(),
            sockets: sockets.clone(),
            made_from,
        })
    }

    /// Returns where requests and where streams come to.
    pub(super) fn addresses(&self) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        let streams = self.now.streams.as_ref().map(|it| it.addresses().to_vec());
        (self.now.server.addresses().to_vec(), streams.unwrap_or_default())
    }

    /// Puts a proxy by other settings in the place of this one, if they make another. Addresses that
    /// stay are served without a gap. The log files are opened again in any case.
    pub(super) fn reload(&mut self, settings: &Settings) -> anyhow::Result<()> {
        self.former.retain_mut(|it| !it.has_ended());
        for serving in std::iter::once(&self.now).chain(&self.former) {
            serving.logs.reopen();
        }
        let made_from = Made::of(settings);
        if made_from == self.made_from {
            // Another process may have told its own, and come to nothing.
            self.debug_token.tell(settings);
            return Ok(());
        }
        let sockets = self.sockets.for_next(&KINDS)?;
        let next = serve(settings, &self.by, &self.debug_token, &sockets)?;
        self.debug_token.tell(settings);
        self.counts.add(status::traffic(&next.server, next.streams.as_ref()));
        self.sockets.replace(&KINDS, &sockets);
        drop(sockets);
        let mut before = std::mem::replace(&mut self.now, next);
        before.retire(REPLACED);
        self.former.push(before);
        self.made_from = made_from;
        tracing::info!("the proxy serves by its new settings");
        Ok(())
    }

    /// Ends all of it; connections are given what `ending` says.
    pub(super) async fn end(&mut self, ending: Ending) {
        self.sockets.close();
        let mut all: Vec<_> = std::iter::once(&mut self.now).chain(&mut self.former).collect();
        all.iter_mut().for_each(|it| it.retire(ending));
        for serving in all {
            serving.ended().await;
        }
    }
}

impl Made {
    fn of(settings: &Settings) -> Self {
        let templates = settings.proxy.error_templates.iter().map(|(_, path)| path.clone());
        let written = |path: &PathBuf| std::fs::metadata(path).and_then(|it| it.modified()).ok();
        Self {
            settings: settings.of_proxy(),
            files: templates.map(|path| (path.clone(), written(&path))).collect(),
        }
    }
}

fn serve(
    settings: &Settings,
    (handle, names, followed): &By,
    debug_token: &OwnToken,
    sockets: &Sockets,
) -> anyhow::Result<Serving> {
    tls::warn_of_what_is_left_out(settings);
    let mut listeners = Vec::new();
    for wanted in &settings.proxy.listen {
        let spec = spec(settings, wanted, handle, followed)?;
        listeners.push((spec, sockets.claim(Kind::Proxy, wanted.addr)));
    }
    let mut logs = AccessLogs::new(&settings.prefix);
    let access_log = logs.open("proxy_access_log", &settings.proxy.access_log)?;
    let keepalive = &settings.proxy.upstream_keepalive;
    let limits = PoolLimits {
        idle_max: keepalive.pool_size as usize,
        requests_max: keepalive.max_requests,
        idle_timeout: keepalive.idle_timeout,
    };
    let request_debug = debug_token.or_set(settings);
    let proxy_settings = proxy_settings(settings, request_debug, access_log)?;
    let refusals = match proxy_settings.access_log.clone() {
        Some(log) => {
            let (handle, clock) = (handle.clone(), followed.clock().clone());
            access::refusals(log, proxy_settings.access_format, handle, clock)
        }
        None => Refusals::default(),
    };
    let (of_cores, own_names, clock) = (handle.clone(), names.clone(), followed.clock().clone());
    let make = move |_core: usize| {
        let pool = Pool::new(limits);
        tokio::task::spawn_local(pool.clone().sweep_until_dropped());
        let resolver = CoreResolver::new(own_names.clone());
        let transport = Transport::new(pool, resolver, clock.clone());
        let core = Rc::new(Core::new(&of_cores, proxy_settings.clone(), transport, clock.clone()));
        move |request, info| core.clone().handle(request, info)
    };
    let cores = settings.worker_processes;
    let limits = ServeLimits::default();
    let server = ProxyServer::start_on(cores, listeners, limits, refusals, make);
    let mut server = server.context("cannot start the proxy")?;
    for (asked, socket) in server.take_sockets() {
        sockets.put([OpenSocket { kind: Kind::Proxy, asked, fd: socket.into() }]);
    }
    let streams = streams::start(settings, (handle, names), &mut logs, followed, sockets)?;
    Ok(Serving { server, streams, logs })
}

fn spec(
    settings: &Settings,
    wanted: &Listener,
    handle: &Handle,
    followed: &Listeners,
) -> anyhow::Result<ListenSpec> {
    let names = Some(tls::names(handle));
    let (face, http2) = (Face::Proxy, wanted.http2);
    let offered = match wanted.ssl {
        true => Some(listen::tls_with_names(settings, face, http2, names, followed)?),
        false => None,
    };
    Ok(ListenSpec { tls: offered, ..listen::spec(wanted) })
}

/// The peers whose word about clients is believed.
pub(super) fn trusted(settings: &Settings) -> Vec<Network> {
    let network = |address: &TrustedAddress| match address {
        TrustedAddress::Network { ip, bits } => Some(Network { ip: *ip, bits: *bits }),
        TrustedAddress::Unix => None,
    };
    settings.proxy.trusted_ips.iter().filter_map(network).collect()
}

fn proxy_settings(
    settings: &Settings,
    request_debug: Option<Token>,
    access_log: Option<AccessLog>,
) -> anyhow::Result<ProxySettings> {
    let proxy = &settings.proxy;
    let upstream = |name: &str| proxy.headers_upstream.iter().any(|n| n.eq_ignore_ascii_case(name));
    Ok(ProxySettings {
        headers: OwnHeaders::of(&proxy.headers),
        upstream_request_id: upstream("x-kong-request-id"),
        trusted: trusted(settings),
        real_ip_header: proxy.real_ip_header.to_ascii_lowercase(),
        real_ip_recursive: proxy.real_ip_recursive,
        port_maps: proxy.port_maps.clone(),
        body_bytes_max: proxy.client_max_body_size,
        body_buffer_bytes: usize::try_from(proxy.client_body_buffer_size).unwrap_or(usize::MAX),
        error_default_type: proxy.error_default_type.clone(),
        error_templates: Arc::new(error_templates(settings)?),
        charset: proxy.charset.as_deref().and_then(Charset::new),
        debug_header: proxy.allow_debug_header,
        request_debug,
        access_log,
        access_format: proxy.access_format,
    })
}

fn error_templates(settings: &Settings) -> anyhow::Result<Templates> {
    let read = |form: &str| {
        let path = settings.proxy.error_templates.iter().find(|(known, _)| *known == form);
        let Some((_, path)) = path else { return Ok(None) };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read error_template_{form}"))?;
        let template = Template::parse(&text).with_context(|| format!("error_template_{form}"));
        template.map(Some)
    };
    let (json, plain) = (read("json")?, read("plain")?);
    Ok(Templates { json, plain, html: read("html")?, xml: read("xml")? })
}
