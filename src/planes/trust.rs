//! The authorities that others are verified by (`lua_ssl_trusted_certificate`).

use anyhow::Context as _;

use super::listen;
use super::served::Served;
use crate::pki::pair::CertifiedPair;
use crate::pki::upstream::Vouchers;
use crate::runtime::{NodeTls, Tools};
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

/// What the TLS of services falls back to, and the texts that it was made of.
pub(super) struct NodeTrust {
    pub(super) texts: Vec<String>,
    pub(super) tls: NodeTls,
}

impl NodeTrust {
    /// Reads what the settings name.
    pub(super) fn read(settings: &Settings) -> anyhow::Result<Self> {
        let trusted = &settings.tls.trusted;
        let named = trusted.iter().flatten().map(listen::text);
        let named = named.collect::<anyhow::Result<Vec<_>>>()?;
        let bundle = if trusted.contains(&None) { system() } else { None };
        let vouchers = Vouchers::from_pems(&named, bundle.as_slice());
        let vouchers = vouchers.context("lua_ssl_trusted_certificate")?;
        let mut texts = named;
        texts.extend(bundle);
        let mut client = None;
        if let Some(pair) = &settings.tls.client {
            let (certificate, key) = (listen::text(&pair.cert)?, listen::text(&pair.key)?);
            let read = CertifiedPair::from_pem(&certificate, &key).context("client_ssl_cert")?;
            client = Some(read);
            texts.extend([certificate, key]);
        }
        let depth = settings.tls.verify_depth;
        texts.push(depth.to_string());
        let intermediates_max = usize::try_from(depth).unwrap_or(usize::MAX);
        Ok(Self { texts, tls: NodeTls { vouchers, intermediates_max, client } })
    }
}

/// What services fall back to while the node runs: read again as the certificates of listeners are.
pub(super) struct UpstreamTrust {
    texts: Vec<String>,
    served: Served,
    tools: Tools,
}

impl UpstreamTrust {
    /// Goes on from what the tools were made with.
    pub(super) fn new(texts: Vec<String>, served: Served, tools: Tools) -> Self {
        Self { texts, served, tools }
    }

    /// Puts what was read in force, if it is something else: connections that are open go on, and
    /// those that are made from now on go by it.
    pub(super) fn take(&mut self, fresh: NodeTrust) {
        if fresh.texts == self.texts {
            return;
        }
        self.texts = fresh.texts;
        self.tools.tls.replace(fresh.tls);
        let (served, tools) = (self.served.clone(), self.tools.clone());
        // Its end is not waited for: what is compiled meanwhile goes by the new ones, too.
        drop(tokio::task::spawn_blocking(move || match served.renew(&tools) {
            Ok(()) => tracing::info!("certificates towards upstreams read again"),
            Err(error) => {
                tracing::error!(%error, "certificates towards upstreams stay the old ones")
            }
        }));
    }
}
