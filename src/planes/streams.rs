//! The cores of streams as the settings ask for them.

use anyhow::Context as _;

use super::access::AccessLogs;
use super::certificates::Listeners;
use super::listen::{self, Face};
use super::sockets::{Kind, OpenSocket, Sockets};
use super::tls;
use super::traffic::trusted;
use crate::balancer::dns::resolver::Resolver;
use crate::proxy::listener::ListenSpec;
use crate::proxy::stream::{StreamServer, StreamSettings, StreamSpec};
use crate::runtime::Handle;
use crate::settings::{Listener, Settings};

/// Starts them on the sockets that they find open and on new ones, if there is anything to listen on.
pub(super) fn start(
    settings: &Settings,
    (handle, names): (&Handle, &Resolver),
    logs: &mut AccessLogs,
    followed: &Listeners,
    sockets: &Sockets,
) -> anyhow::Result<Option<StreamServer>> {
    let streams = &settings.streams;
    if streams.listen.is_empty() {
        return Ok(None);
    }
    let access_log = logs.open("proxy_stream_access_log", &streams.access_log)?;
    let spec = |wanted| spec(settings, handle, wanted, followed, sockets);
    let specs = streams.listen.iter().map(spec).collect::<anyhow::Result<_>>()?;
    let stream_settings = StreamSettings {
        trusted: trusted(settings),
        port_maps: settings.proxy.port_maps.clone(),
        access_log,
        access_format: streams.access_format,
    };
    let (cores, clock) = (settings.worker_processes, followed.clock());
    let server = StreamServer::start(cores, specs, (handle, names), &stream_settings, clock);
    let mut server = server.context("cannot start the proxy of streams")?;
    for socket in server.take_sockets() {
        let kind = kind(socket.udp);
        sockets.put([OpenSocket { kind, asked: socket.asked, fd: socket.fd }]);
    }
    Ok(Some(server))
}

fn kind(udp: bool) -> Kind {
    if udp { Kind::Datagrams } else { Kind::Stream }
}

fn spec(
    settings: &Settings,
    handle: &Handle,
    wanted: &Listener,
    followed: &Listeners,
    sockets: &Sockets,
) -> anyhow::Result<StreamSpec> {
    let names = Some(tls::names(handle));
    let tls = match wanted.ssl {
        true => Some(listen::tls_with_names(settings, Face::Proxy, false, names, followed)?),
        false => None,
    };
    let listen = ListenSpec { tls, ..listen::spec(wanted) };
    let open = sockets.claim_open(kind(wanted.udp), wanted.addr);
    Ok(StreamSpec { listen, udp: wanted.udp, open })
}
