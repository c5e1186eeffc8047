//! The Admin API of a control plane, as a command on this machine or another one reaches it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context as _;

use crate::admin::client::AdminClient;
use crate::clock::Clock;
use crate::pki::upstream::{UpstreamOptions, upstream_client_config};
use crate::settings::{Listener, Settings};

/// Makes a client of the Admin API at a URL, or of the one that the settings say. `https` is
/// verified by `lua_ssl_trusted_certificate`. Nothing is asked yet.
///
/// # Errors
///
/// There is no such API, or what is needed to reach it cannot be used.
pub fn open(
    settings: &Settings,
    url: Option<&str>,
    token: Option<&str>,
    clock: &Clock,
) -> anyhow::Result<AdminClient> {
    let url = match url {
        Some(url) => url.to_owned(),
        None => local_url(&settings.admin.listen)?,
    };
    AdminClient::open(&url, token, || {
        let verify = super::data::trust_store(settings).context("cannot verify the Admin API")?;
        let options = UpstreamOptions { verify: Some(verify), client: None, http2: false };
        Ok(upstream_client_config(&options, clock)?)
    })
}

/// Returns how to reach one of a node's listeners from its own machine.
fn local_url(listeners: &[Listener]) -> anyhow::Result<String> {
    let usable = listeners.iter().filter(|it| !it.proxy_protocol && it.addr.port() != 0);
    let listener = usable.min_by_key(|it| it.ssl);
    let listener = listener.context("the node has no Admin API: name one by --admin-url")?;
    let ip = match listener.addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let scheme = if listener.ssl { "https" } else { "http" };
    Ok(format!("{scheme}://{}", SocketAddr::new(ip, listener.addr.port())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Sources;

    #[test]
    fn the_plain_listener_is_asked_on_this_machine() {
        for (listen, url) in [
            ("127.0.0.1:8001, 127.0.0.1:8444 ssl", Some("http://127.0.0.1:8001")),
            ("0.0.0.0:8444 ssl, 10.0.0.1:8001", Some("http://10.0.0.1:8001")),
            ("[::]:8444 ssl", Some("https://[::1]:8444")),
            ("127.0.0.1:8001 proxy_protocol", None),
            ("off", None),
        ] {
            let env = [("KONG_ADMIN_LISTEN", listen), ("KONG_ADMIN_INSECURE", "on")];
            let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            let settings = Settings::load(&Sources { conf: None, env, prefix: None }).unwrap();
            assert_eq!(local_url(&settings.admin.listen).ok().as_deref(), url, "{listen}");
        }
    }
}
