//! The proxy of a data plane: made from the settings, and made anew when they change. A proxy that
//! another has taken the place of serves its connections to their end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;

use super::certificates::Listeners;
use super::listen::{self, Face};
use super::node::Counts;
use super::sockets::{Kind, OpenSocket, Sockets};
use super::{status, tls};
use crate::balancer::dns::core::CoreResolver;
use crate::balancer::dns::resolver::Resolver;
use crate::proxy::charset::Charset;
use crate::proxy::forward::Transport;
use crate::proxy::handler::Core;
use crate::proxy::listener::{Ending, ListenSpec, ProxyServer, ServeLimits};
use crate::proxy::settings::{Network, OwnHeaders, ProxySettings};
use crate::proxy::template::{Template, Templates};
use crate::proxy::upstream::{Pool, PoolLimits};
use crate::runtime::Handle;
use crate::settings::{Listener, Settings, TrustedAddress};
use crate::telemetry::access::{AccessGuard, AccessLog, AccessTarget};
use crate::telemetry::trouble::is_of_disk;

/// How many bytes of access log wait in memory.
const ACCESS_LOG_BYTES: usize = 4 << 20;

/// What becomes of a proxy that another takes the place of: its connections end when they end.
const REPLACED: Ending = Ending { idle: Duration::MAX, within: Duration::MAX };

/// The proxy in force, and those before it that still have connections.
pub(super) struct Traffic {
    now: Serving,
    former: Vec<Serving>,
    by: By,
    counts: Counts,
    sockets: Sockets,
    /// What the one in force was made from.
    made_from: Made,
}

/// What a proxy serves by: the runtime, names of upstreams, certificates that are followed.
pub(super) type By = (Handle, Resolver, Listeners);

struct Serving {
    server: ProxyServer,
    access: Option<AccessLog>,
    /// Dropped last, so that the last lines are written.
    _writer: Option<AccessGuard>,
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
        let now = serve(settings, &by, sockets)?;
        counts.add(status::traffic(&now.server));
        Ok(Self {
            now,
            former: Vec::new(),
            by,
            counts: counts.clone(),
            sockets: sockets.clone(),
            made_from,
        })
    }

    /// Returns where it listens.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.now.server.addresses().to_vec()
    }

    /// Puts a proxy by other settings in the place of this one, if they make another. Addresses that
    /// stay are served without a gap. The log files are opened again in any case.
    pub(super) fn reload(&mut self, settings: &Settings) -> anyhow::Result<()> {
        self.former.retain_mut(|it| !it.server.has_ended());
        for serving in std::iter::once(&self.now).chain(&self.former) {
            serving.access.iter().for_each(AccessLog::reopen);
        }
        let made_from = Made::of(settings);
        if made_from == self.made_from {
            return Ok(());
        }
        let sockets = self.sockets.for_next(Kind::Proxy)?;
        let next = serve(settings, &self.by, &sockets)?;
        self.counts.add(status::traffic(&next.server));
        self.sockets.replace(Kind::Proxy, &sockets);
        drop(sockets);
        let mut before = std::mem::replace(&mut self.now, next);
        before.server.retire(REPLACED);
        self.former.push(before);
        self.made_from = made_from;
        tracing::info!("the proxy serves by its new settings");
        Ok(())
    }

    /// Ends all of it; connections are given what `ending` says.
    pub(super) async fn end(&mut self, ending: Ending) {
        self.sockets.close();
        let mut all: Vec<_> = std::iter::once(&mut self.now).chain(&mut self.former).collect();
        all.iter_mut().for_each(|it| it.server.retire(ending));
        for serving in all {
            serving.server.ended().await;
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
    sockets: &Sockets,
) -> anyhow::Result<Serving> {
    tls::warn_of_what_is_left_out(settings);
    let mut listeners = Vec::new();
    for wanted in &settings.proxy.listen {
        let spec = spec(settings, wanted, handle, followed)?;
        listeners.push((spec, sockets.claim(Kind::Proxy, wanted.addr)));
    }
    let (access_log, writer) = open_access_log(&settings.proxy.access_log, settings)?;
    let keepalive = &settings.proxy.upstream_keepalive;
    let limits = PoolLimits {
        idle_max: keepalive.pool_size as usize,
        requests_max: keepalive.max_requests,
        idle_timeout: keepalive.idle_timeout,
    };
    let proxy_settings = proxy_settings(settings, access_log.clone())?;
    let (handle, names, clock) = (handle.clone(), names.clone(), followed.clock().clone());
    let make = move |_core: usize| {
        let pool = Pool::new(limits);
        tokio::task::spawn_local(pool.clone().sweep_until_dropped());
        let resolver = CoreResolver::new(names.clone());
        let transport = Transport { pool, resolver, clock: clock.clone() };
        let core = Rc::new(Core::new(&handle, proxy_settings.clone(), transport, clock.clone()));
        move |request, info| core.clone().handle(request, info)
    };
    let cores = settings.worker_processes;
    let server = ProxyServer::start_on(cores, listeners, ServeLimits::default(), make);
    let mut server = server.context("cannot start the proxy")?;
    for (asked, socket) in server.take_sockets() {
        sockets.put([OpenSocket { kind: Kind::Proxy, asked, fd: socket.into() }]);
    }
    Ok(Serving { server, access: access_log, _writer: writer })
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
    let backlog = wanted.backlog.and_then(|backlog| i32::try_from(backlog).ok());
    Ok(ListenSpec {
        addr: wanted.addr,
        tls: offered,
        http2,
        proxy_protocol: wanted.proxy_protocol,
        ipv6only: wanted.ipv6only.unwrap_or(true),
        keepalive: wanted.keepalive(),
        backlog: backlog.unwrap_or(16384),
    })
}

fn open_access_log(
    target: &str,
    settings: &Settings,
) -> anyhow::Result<(Option<AccessLog>, Option<AccessGuard>)> {
    let target = match target {
        "off" => return Ok((None, None)),
        "/dev/stdout" => AccessTarget::Stdout,
        "/dev/stderr" => AccessTarget::Stderr,
        path => AccessTarget::File(settings.prefix.join(path)),
    };
    match AccessLog::open(target, ACCESS_LOG_BYTES) {
        Ok((log, guard)) => Ok((Some(log), Some(guard))),
        Err(error) if is_of_disk(&error) => {
            tracing::error!(%error, "cannot open proxy_access_log: requests are not logged");
            Ok((None, None))
        }
        Err(error) => Err(error).context("cannot open proxy_access_log"),
    }
}

fn proxy_settings(
    settings: &Settings,
    access_log: Option<AccessLog>,
) -> anyhow::Result<ProxySettings> {
    let proxy = &settings.proxy;
    let trusted = proxy.trusted_ips.iter().filter_map(|address| match address {
        TrustedAddress::Network { ip, bits } => Some(Network { ip: *ip, bits: *bits }),
        TrustedAddress::Unix => None,
    });
    let upstream = |name: &str| proxy.headers_upstream.iter().any(|n| n.eq_ignore_ascii_case(name));
    Ok(ProxySettings {
        headers: OwnHeaders::of(&proxy.headers),
        upstream_request_id: upstream("x-kong-request-id"),
        trusted: trusted.collect(),
        real_ip_header: proxy.real_ip_header.to_ascii_lowercase(),
        real_ip_recursive: proxy.real_ip_recursive,
        port_maps: proxy.port_maps.clone(),
        body_bytes_max: proxy.client_max_body_size,
        body_buffer_bytes: usize::try_from(proxy.client_body_buffer_size).unwrap_or(usize::MAX),
        error_default_type: proxy.error_default_type.clone(),
        error_templates: Arc::new(error_templates(settings)?),
        charset: proxy.charset.as_deref().and_then(Charset::new),
        debug_header: proxy.allow_debug_header,
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
