//! What listeners offer: versions, ciphers, tickets, and certificates by name and type of key.

use std::time::Duration;

use rustls::server::ProducesTickets as _;

use super::*;
use crate::pki::ciphers::Ciphers;
use crate::pki::listener::Protocols;
use crate::pki::names::{NameLookup, Offer};
use crate::pki::tickets;
use crate::pki::upstream::any_server;

fn listener(options: ListenerOptions) -> ListenerTls {
    let made = listener_pair(&clock()).unwrap();
    let default = pair((&made.certificate, &made.key));
    ListenerTls::new(&[default, pair(RSA)], options, &clock()).unwrap()
}

#[test]
fn a_listener_negotiates_http_2_only_where_it_is_on() {
    let options = UpstreamOptions { http2: true, ..UpstreamOptions::default() };
    let client = upstream_client_config(&options, &clock()).unwrap();
    let on = listener(ListenerOptions { http2: true, ..ListenerOptions::default() });
    let name = ServerName::try_from("localhost").unwrap();
    let link = handshake(client.clone(), on.config(), name.clone()).unwrap();
    assert_eq!(link.server.alpn_protocol(), Some(b"h2".as_slice()));
    let off = listener(ListenerOptions::default());
    assert!(handshake(client, off.config(), name).is_err());
}

#[test]
fn a_listener_resumes_sessions_if_tickets_are_on() {
    let name = ServerName::try_from("localhost").unwrap();
    for (session_tickets, kind) in
        [(true, rustls::HandshakeKind::Resumed), (false, rustls::HandshakeKind::Full)]
    {
        let tls = listener(ListenerOptions { session_tickets, ..ListenerOptions::default() });
        let client = insecure_client(None, &clock());
        handshake(client.clone(), tls.config(), name.clone()).unwrap().exchange();
        let again = handshake(client, tls.config(), name.clone()).unwrap();
        assert_eq!(again.client.handshake_kind(), Some(kind));
    }
}

#[test]
fn a_listener_changes_its_certificate_while_it_runs() {
    let tls = listener(ListenerOptions::default());
    let shown = || {
        let name = ServerName::try_from("localhost").unwrap();
        let link = handshake(insecure_client(None, &clock()), tls.config(), name).unwrap();
        link.client.peer_certificates().unwrap()[0].clone()
    };
    assert_ne!(&shown(), pair(V1).leaf());
    assert!(tls.certificates().replace_default(&[pair(V1)]).unwrap());
    assert!(!tls.certificates().replace_default(&[pair(V1)]).unwrap());
    assert_eq!(&shown(), pair(V1).leaf());
    assert!(tls.certificates().replace_default(&[]).is_err());
    assert_eq!(&shown(), pair(V1).leaf());
}

/// Returns the leaf that a client gets who takes only these suites of TLS 1.2.
fn leaf_for(tls: &ListenerTls, name: &'static str, ciphers: &str) -> Option<Vec<u8>> {
    let mut provider = Arc::unwrap_or_clone(crate::pki::provider());
    provider.cipher_suites = Ciphers::parse(ciphers).0.tls12().to_vec();
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(any_server())
        .with_no_client_auth();
    let name = ServerName::try_from(name).unwrap();
    let link = handshake(Arc::new(config), tls.config(), name).ok()?;
    Some(link.client.peer_certificates()?[0].to_vec())
}

#[test]
fn a_name_has_a_certificate_for_each_type_of_key() {
    let both = Offer::new(&[pair(RSA), pair(V1)]);
    let names = NameLookup::new(move |name| (name == "both.test").then(|| both.clone()));
    let options = ListenerOptions { names: Some(names), ..ListenerOptions::default() };
    let made = listener_pair(&clock()).unwrap();
    let default = pair((&made.certificate, &made.key));
    let tls = ListenerTls::new(std::slice::from_ref(&default), options, &clock()).unwrap();
    let shown = |name, ciphers| leaf_for(&tls, name, ciphers);
    assert_eq!(shown("both.test", "ALL").as_deref(), Some(pair(V1).leaf().as_ref()));
    assert_eq!(shown("both.test", "ECDSA").as_deref(), Some(pair(V1).leaf().as_ref()));
    assert_eq!(shown("both.test", "aRSA").as_deref(), Some(pair(RSA).leaf().as_ref()));
    assert_eq!(shown("other.test", "ECDSA").as_deref(), Some(default.leaf().as_ref()));
    assert_eq!(shown("other.test", "aRSA"), None, "its default key is none of RSA");
}

#[test]
fn a_listener_offers_the_ciphers_that_it_is_told() {
    let ciphers = |list| ListenerOptions { ciphers: Ciphers::parse(list).0, ..Default::default() };
    let tls = listener(ciphers("CHACHA20"));
    assert!(leaf_for(&tls, "localhost", "CHACHA20").is_some());
    assert!(leaf_for(&tls, "localhost", "AES").is_none());
    let only13 = listener(ciphers("DHE-RSA-AES128-SHA"));
    assert!(leaf_for(&only13, "localhost", "ALL").is_none());
    let name = ServerName::try_from("localhost").unwrap();
    assert!(handshake(insecure_client(None, &clock()), only13.config(), name).is_ok());
    let none = ListenerOptions { protocols: Protocols::tls12(), ..ciphers("RC4") };
    assert!(ListenerTls::new(&[pair(RSA)], none, &clock()).is_err());
}

#[test]
fn a_session_is_not_resumed_after_its_time() {
    let clock = clock();
    let name = ServerName::try_from("localhost").unwrap();
    let options =
        ListenerOptions { session_timeout: Duration::from_secs(60), ..Default::default() };
    let tls = ListenerTls::new(&[pair(RSA)], options, &clock).unwrap();
    let client = insecure_client(None, &clock);
    let kind = || {
        let link = handshake(client.clone(), tls.config(), name.clone()).unwrap().exchange();
        link.server.handshake_kind().unwrap()
    };
    assert_eq!(kind(), rustls::HandshakeKind::Full);
    clock.advance(59_000);
    assert_eq!(kind(), rustls::HandshakeKind::Resumed);
    let ticket = tickets::Tickets::new(&clock, Duration::from_secs(60)).unwrap();
    let made = ticket.encrypt(b"session").unwrap();
    clock.advance(60_000);
    assert_eq!(ticket.decrypt(&made).as_deref(), Some(b"session".as_slice()));
    clock.advance(1_000);
    assert_eq!(ticket.decrypt(&made), None);
}

#[test]
fn protocol_lists_are_read_as_nginx_writes_them() {
    assert_eq!(Protocols::parse("TLSv1.2 TLSv1.3").unwrap(), Protocols::default());
    assert_ne!(Protocols::parse("TLSv1 TLSv1.3").unwrap(), Protocols::default());
    assert!(Protocols::parse("TLSv1 TLSv1.1").is_err());
}
