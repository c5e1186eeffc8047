//! `drain`: takes a node out of service without ending it (reference hybrid.md, section 1.6).

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context as _;
use rustls::{ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;

use super::output::Output;
use super::{PrefixArgs, process};
use crate::clock::Clock;
use crate::pki::upstream::{UpstreamOptions, upstream_client_config};
use crate::settings::{Listener, Settings};

/// How long the node may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Have the node say that it is not ready, so that load balancers leave it
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    prefix: PrefixArgs,
}

pub(super) fn run(args: &Args, out: &Output) -> anyhow::Result<()> {
    let sources = args.prefix.sources();
    let prefix = Settings::find_prefix(&sources)?;
    process::require_running(&prefix)?;
    let settings = Settings::of_node(&prefix, &sources.env)?;
    let Some(listener) = settings.status.listen.first() else {
        out.say("No status listeners found in configuration.");
        return Ok(());
    };
    let at = nearby(listener.addr);
    let status = ask(listener, at).with_context(|| format!("cannot ask the status API at {at}"))?;
    anyhow::ensure!(status == 204, "the status API at {at} answered {status}");
    out.say("Kong's status successfully changed to 'draining'");
    Ok(())
}

/// Returns where a listener of every address is reached on this machine.
fn nearby(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn ask(listener: &Listener, at: SocketAddr) -> anyhow::Result<u16> {
    let stream = TcpStream::connect_timeout(&at, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    if !listener.ssl {
        return exchange(stream, at);
    }
    // The node's own certificate, which nobody has to vouch for on this machine.
    let tls = upstream_client_config(&UpstreamOptions::default(), &Clock::System)?;
    let connection = ClientConnection::new(tls, ServerName::from(at.ip()))?;
    exchange(StreamOwned::new(connection, stream), at)
}

fn exchange(mut stream: impl Read + Write, at: SocketAddr) -> anyhow::Result<u16> {
    let body = r#"{"status":"draining"}"#;
    let request = format!(
        "POST /status/ready HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    let mut line = [0; "HTTP/1.1 204".len()];
    stream.read_exact(&mut line)?;
    let status = String::from_utf8_lossy(&line);
    status.split(' ').nth(1).and_then(|code| code.parse().ok()).context("it does not speak HTTP")
}
