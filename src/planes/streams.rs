//! The cores of streams as the settings ask for them.

use anyhow::Context as _;

use super::access::AccessLogs;
use super::certificates::Certificates;
use super::listen::{self, Face};
use super::tls;
use crate::proxy::listener::ListenSpec;
use crate::proxy::stream::{StreamServer, StreamSettings, StreamSpec};
use crate::runtime::Handle;
use crate::settings::{Listener, Settings};

/// Starts them, if there is anything to listen on.
pub(super) fn start(
    settings: &Settings,
    handle: &Handle,
    logs: &mut AccessLogs<'_>,
    certificates: &mut Certificates,
) -> anyhow::Result<Option<StreamServer>> {
    let streams = &settings.streams;
    if streams.listen.is_empty() {
        return Ok(None);
    }
    let access_log = logs.open("proxy_stream_access_log", &streams.access_log)?;
    let spec = |wanted| spec(settings, handle, wanted, certificates);
    let specs = streams.listen.iter().map(spec).collect::<anyhow::Result<_>>()?;
    let stream_settings = StreamSettings {
        trusted: super::data::trusted(settings),
        port_maps: settings.proxy.port_maps.clone(),
        access_log,
        access_format: streams.access_format,
    };
    let (cores, clock) = (settings.worker_processes, certificates.clock());
    let server = StreamServer::start(cores, specs, handle, &stream_settings, clock);
    server.context("cannot start the proxy of streams").map(Some)
}

fn spec(
    settings: &Settings,
    handle: &Handle,
    wanted: &Listener,
    certificates: &mut Certificates,
) -> anyhow::Result<StreamSpec> {
    let names = Some(tls::names(handle));
    let tls = match wanted.ssl {
        true => Some(listen::tls_with_names(settings, Face::Proxy, false, names, certificates)?),
        false => None,
    };
    let listen = ListenSpec { tls, ..listen::spec(wanted) };
    Ok(StreamSpec { listen, udp: wanted.udp, open: Vec::new() })
}
