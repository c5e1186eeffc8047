//! Stream routes: what they match and who wins.

use super::*;

#[test]
fn streams_go_by_names_addresses_and_ports() {
    let routes = [
        json!({"protocols": ["tcp"], "destinations": [{"port": 9000}]}),
        json!({"protocols": ["tcp"], "sources": [{"ip": "10.0.0.0/8"}]}),
        json!({"protocols": ["tcp"], "sources": [{"ip": "10.0.0.7"}]}),
        json!({"protocols": ["tcp"], "sources": [{"ip": "10.0.0.0/8"}],
            "destinations": [{"port": 9001}]}),
        json!({"protocols": ["tls"], "snis": ["a.test", "b.test"]}),
        json!({"protocols": ["tls_passthrough"], "snis": ["*.wild.test"]}),
        json!({"protocols": ["tls"], "snis": ["a.test"], "sources": [{"ip": "10.0.0.0/8"}]}),
        json!({"protocols": ["udp"], "destinations": [{"ip": "fd00::/8", "port": 53}]}),
        json!({"paths": ["/"]}),
    ];
    let router = router(Flavour::TraditionalCompatible, &routes);
    for (protocol, sni, source, destination, wanted) in [
        // Without TLS no server name is looked at: such routes match, and go first.
        (Protocol::Tcp, None, "11.0.0.1:1", "12.0.0.1:9000", Some(6)),
        (Protocol::Tcp, None, "10.0.0.1:1", "12.0.0.1:9002", Some(7)),
        (Protocol::Tls, Some("x.test"), "10.0.0.1:1", "12.0.0.1:9002", Some(2)),
        (Protocol::Tls, Some("x.test"), "10.0.0.7:1", "12.0.0.1:9002", Some(3)),
        (Protocol::Tls, Some("x.test"), "10.0.0.7:1", "12.0.0.1:9001", Some(4)),
        (Protocol::Tls, Some("b.test"), "10.0.0.7:1", "12.0.0.1:9002", Some(5)),
        (Protocol::Tls, Some("a.test"), "11.0.0.7:1", "12.0.0.1:9002", Some(5)),
        (Protocol::Tls, Some("a.test"), "10.0.0.7:1", "12.0.0.1:9002", Some(7)),
        (Protocol::Tls, Some("x.wild.test"), "11.0.0.7:1", "12.0.0.1:1", Some(6)),
        (Protocol::Tls, Some("x.test"), "11.0.0.7:1", "12.0.0.1:1", None),
        (Protocol::Tls, None, "[::1]:1", "[fd00::1]:53", Some(8)),
        (Protocol::Tls, None, "[::1]:1", "12.0.0.1:9000", Some(1)),
        (Protocol::Tls, None, "[::1]:1", "[fe00::1]:53", None),
    ] {
        let view = NetView {
            protocol,
            sni,
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        };
        let found = router.matched_stream(&view).map(|found| found.slot);
        assert_eq!(found, wanted, "{protocol:?} {sni:?} {source} {destination}");
    }
}

#[test]
fn stream_expressions_and_changes_are_followed() {
    let expression = json!({
        "protocols": ["tcp"], "expression": "net.dst.port == 9000 && net.src.ip in 10.0.0.0/8",
    });
    let mut router = router(
        Flavour::Expressions,
        &[json!({"protocols": ["tcp"], "destinations": [{"port": 9000}]}), expression],
    );
    let at = |router: &Router, protocol, source: [u8; 4]| {
        let destination = ([12, 0, 0, 1], 9000).into();
        let view = NetView { protocol, sni: None, source: (source, 1).into(), destination };
        router.matched_stream(&view).map(|found| found.slot)
    };
    assert_eq!(at(&router, Protocol::Tcp, [10, 0, 0, 1]), Some(2));
    assert_eq!(at(&router, Protocol::Tcp, [11, 0, 0, 1]), Some(1));
    assert_eq!(at(&router, Protocol::Udp, [11, 0, 0, 1]), None);
    router.apply([Uuid::from_u128(2)], []).unwrap();
    assert_eq!(at(&router, Protocol::Tcp, [10, 0, 0, 1]), Some(1));
}
