//! Mirrors of snapshots as the settings secure them: `https` by `lua_ssl_trusted_certificate`.

use anyhow::Context as _;

use crate::clock::Clock;
use crate::pki::upstream::{UpstreamOptions, upstream_client_config};
use crate::settings::Settings;
use crate::wire::mirror::Mirror;

/// Opens the mirror at a URL. Nothing is asked of it yet.
///
/// # Errors
///
/// It is no URL of a mirror, or TLS is asked for and nobody is trusted.
pub fn open(settings: &Settings, url: &str, clock: &Clock) -> anyhow::Result<Mirror> {
    Mirror::open(url, || {
        let verify =
            super::data::trust_store(settings).context("cannot verify the snapshot mirror")?;
        let options = UpstreamOptions { verify: Some(verify), client: None, http2: false };
        Ok(upstream_client_config(&options, clock)?)
    })
}
