//! The authorities that others are verified by (`lua_ssl_trusted_certificate`).

use super::listen;
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
            None => {
                // A machine without a bundle trusts nobody; verification then fails, as it should.
                let bundle = SYSTEM.iter().find_map(|path| std::fs::read_to_string(path).ok());
                pems.extend(bundle);
            }
        }
    }
    Ok(pems)
}
