//! What the listeners offer by TLS, as the settings ask for it (`ssl_*`).

use anyhow::Context as _;

use crate::pki::ciphers::Ciphers;
use crate::pki::listener::{ListenerOptions, Protocols};
use crate::pki::names::NameLookup;
use crate::runtime::Handle;
use crate::settings::{Settings, Tls};

/// Returns the options of a listener.
///
/// Kong overrides `ssl_protocols` by the suite; here the versions are those that both name, so that
/// a version that was taken out stays out.
///
/// # Errors
///
/// When nothing is left to be offered.
pub(super) fn options(settings: &Settings, http2: bool) -> anyhow::Result<ListenerOptions> {
    let tls = &settings.tls;
    let (of_suite, ciphers, prefer_server_ciphers) = match tls.cipher_suite.as_str() {
        "modern" => (Protocols::tls13(), Ciphers::default(), false),
        "old" => (Protocols::default(), Ciphers::default(), true),
        "fips" => (Protocols::tls12(), Ciphers::parse("FIPS").0, true),
        "custom" => (Protocols::default(), custom(tls), tls.prefer_server_ciphers),
        _ => (Protocols::default(), Ciphers::default(), false),
    };
    let protocols = Protocols::parse(&tls.protocols.join(" ")).and_then(|it| it.and(of_suite));
    Ok(ListenerOptions {
        http2,
        protocols: protocols.with_context(|| {
            format!("ssl_protocols with ssl_cipher_suite = {}", tls.cipher_suite)
        })?,
        session_tickets: tls.session_tickets,
        session_timeout: tls.session_timeout,
        ciphers,
        prefer_server_ciphers,
        names: None,
    })
}

fn custom(tls: &Tls) -> Ciphers {
    tls.ciphers.as_deref().map_or_else(Ciphers::default, |list| Ciphers::parse(list).0)
}

/// Returns what finds the certificate for a name in the configuration in force.
pub(super) fn names(handle: &Handle) -> NameLookup {
    let handle = handle.clone();
    NameLookup::new(move |name| handle.load().names().find(name).cloned())
}

/// Says once what of the settings cannot be offered.
pub(super) fn warn_of_what_is_left_out(settings: &Settings) {
    let tls = &settings.tls;
    let is_old = |it: &&String| !["tlsv1.2", "tlsv1.3"].contains(&it.to_lowercase().as_str());
    let old: Vec<_> = tls.protocols.iter().filter(is_old).map(String::as_str).collect();
    if !old.is_empty() {
        tracing::warn!("ssl_protocols: {} is not offered by this release", old.join(" "));
    }
    match tls.cipher_suite.as_str() {
        "old" => tracing::warn!(
            "ssl_cipher_suite = old: TLS before 1.2 and suites without forward secrecy are not \
             offered by this release"
        ),
        "fips" => tracing::warn!(
            "ssl_cipher_suite = fips: its versions and suites are offered, but by a library that is \
             no validated module"
        ),
        "custom" => {
            let list = tls.ciphers.as_deref().unwrap_or_default();
            let (ciphers, unknown) = Ciphers::parse(list);
            if !unknown.is_empty() {
                tracing::warn!("ssl_ciphers: {} is not offered by this release", unknown.join(":"));
            }
            if ciphers.is_empty() && !list.is_empty() {
                tracing::warn!("ssl_ciphers: nothing is left for TLS 1.2, only 1.3 is offered");
            }
        }
        _ if tls.ciphers.is_some() => {
            tracing::warn!("ssl_ciphers only counts with ssl_cipher_suite = custom");
        }
        _ => {}
    }
}
