//! The authorities that others are verified by (`lua_ssl_trusted_certificate`).

use anyhow::Context as _;

use super::listen;
use crate::pki::upstream::Vouchers;
use crate::runtime::NodeTls;
use crate::settings::Settings;

/// Where systems keep their bundle of authorities.
const SYSTEM: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Returns them as PEM texts: those of the settings, or the system's.
pub(super) fn pems(settings: &Settings) -> anyhow::Result<Vec<String>> {
    let mut pems = Vec::new();
    for trusted in &settings.tls.trusted {
        match trusted {
            Some(pem) => pems.push(listen::text(pem)?),
            None => pems.extend(system()),
        }
    }
    Ok(pems)
}

/// A machine without a bundle trusts nobody; verification then fails, as it should.
fn system() -> Option<String> {
    SYSTEM.iter().find_map(|path| std::fs::read_to_string(path).ok())
}

/// Returns what the TLS of services falls back to.
pub(super) fn node_tls(settings: &Settings) -> anyhow::Result<NodeTls> {
    let trusted = &settings.tls.trusted;
    let named = trusted.iter().flatten().map(listen::text).collect::<anyhow::Result<Vec<_>>>()?;
    let bundle = if trusted.contains(&None) { system() } else { None };
    let vouchers = Vouchers::from_pems(&named, bundle.as_slice());
    let vouchers = vouchers.context("lua_ssl_trusted_certificate")?;
    let client = settings.tls.client.as_ref();
    let client = client.map(|pair| listen::read_pair(&pair.cert, &pair.key)).transpose();
    let intermediates_max = usize::try_from(settings.tls.verify_depth).unwrap_or(usize::MAX);
    Ok(NodeTls { vouchers, intermediates_max, client: client.context("client_ssl_cert")? })
}
