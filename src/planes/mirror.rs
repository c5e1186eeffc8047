//! Mirrors of snapshots as the settings secure them: `https` by `lua_ssl_trusted_certificate`; buckets
//! as `AWS_*` in the environment say.

use anyhow::Context as _;

use crate::clock::Clock;
use crate::pki::upstream::{UpstreamOptions, upstream_client_config};
use crate::settings::{Settings, Sources};
use crate::wire::mirror::Mirror;

/// Opens the mirror at a URL. Nothing is asked of it yet.
///
/// # Errors
///
/// It is no URL of a mirror, the environment is wrong, or TLS is asked for and nobody is trusted.
pub fn open(settings: &Settings, url: &str, clock: &Clock) -> anyhow::Result<Mirror> {
    let tls = || {
        let verify =
            super::data::trust_store(settings).context("cannot verify the snapshot mirror")?;
        let options = UpstreamOptions { verify: Some(verify), client: None, http2: false };
        Ok(upstream_client_config(&options, clock)?)
    };
    Mirror::open(url, tls, || Sources::of_process(None, None).env)
}
