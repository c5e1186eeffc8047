//! How service path, route path and request path become the path that goes upstream.

use proptest::prelude::*;

use super::*;

/// Service path, route path (empty: it matched by something else), request path; then the outcome for
/// `v0` with the prefix kept and stripped, and for `v1` likewise (reference gateway-3, section C.4).
#[rustfmt::skip]
const PATHS: &[[&str; 7]] = &[
    ["/", "", "/", "/", "/", "/", "/"],
    ["/", "", "/route", "/route", "/route", "/route", "/route"],
    ["/", "", "/route/", "/route/", "/route/", "/route/", "/route/"],
    ["/", "", "/routereq", "/routereq", "/routereq", "/routereq", "/routereq"],
    ["/", "", "/route/req", "/route/req", "/route/req", "/route/req", "/route/req"],
    ["/", "/", "/", "/", "/", "/", "/"],
    ["/", "/", "/route", "/route", "/route", "/route", "/route"],
    ["/", "/", "/route/", "/route/", "/route/", "/route/", "/route/"],
    ["/", "/", "/routereq", "/routereq", "/routereq", "/routereq", "/routereq"],
    ["/", "/", "/route/req", "/route/req", "/route/req", "/route/req", "/route/req"],
    ["/", "/route", "/route", "/route", "/", "/route", "/"],
    ["/", "/route", "/route/", "/route/", "/", "/route/", "/"],
    ["/", "/route", "/routereq", "/routereq", "/req", "/routereq", "/req"],
    ["/", "/route", "/route/req", "/route/req", "/req", "/route/req", "/req"],
    ["/", "/route/", "/route/", "/route/", "/", "/route/", "/"],
    ["/", "/route/", "/route/req", "/route/req", "/req", "/route/req", "/req"],
    ["/service", "", "/", "/service", "/service", "/service", "/service"],
    ["/service", "", "/route", "/service/route", "/service/route", "/serviceroute", "/serviceroute"],
    ["/service", "", "/route/", "/service/route/", "/service/route/", "/serviceroute/", "/serviceroute/"],
    ["/service", "", "/routereq", "/service/routereq", "/service/routereq", "/serviceroutereq", "/serviceroutereq"],
    ["/service", "", "/route/req", "/service/route/req", "/service/route/req", "/serviceroute/req", "/serviceroute/req"],
    ["/service", "/", "/", "/service", "/service", "/service", "/service"],
    ["/service", "/", "/route", "/service/route", "/service/route", "/serviceroute", "/serviceroute"],
    ["/service", "/", "/route/", "/service/route/", "/service/route/", "/serviceroute/", "/serviceroute/"],
    ["/service", "/", "/routereq", "/service/routereq", "/service/routereq", "/serviceroutereq", "/serviceroutereq"],
    ["/service", "/", "/route/req", "/service/route/req", "/service/route/req", "/serviceroute/req", "/serviceroute/req"],
    ["/service", "/route", "/route", "/service/route", "/service", "/serviceroute", "/service"],
    ["/service", "/route", "/route/", "/service/route/", "/service/", "/serviceroute/", "/service/"],
    ["/service", "/route", "/routereq", "/service/routereq", "/service/req", "/serviceroutereq", "/servicereq"],
    ["/service", "/route", "/route/req", "/service/route/req", "/service/req", "/serviceroute/req", "/service/req"],
    ["/service", "/route/", "/route/", "/service/route/", "/service/", "/serviceroute/", "/service"],
    ["/service", "/route/", "/route/req", "/service/route/req", "/service/req", "/serviceroute/req", "/servicereq"],
    ["/service/", "", "/", "/service/", "/service/", "/service/", "/service/"],
    ["/service/", "", "/route", "/service/route", "/service/route", "/service/route", "/service/route"],
    ["/service/", "", "/route/", "/service/route/", "/service/route/", "/service/route/", "/service/route/"],
    ["/service/", "", "/routereq", "/service/routereq", "/service/routereq", "/service/routereq", "/service/routereq"],
    ["/service/", "", "/route/req", "/service/route/req", "/service/route/req", "/service/route/req", "/service/route/req"],
    ["/service/", "/", "/", "/service/", "/service/", "/service/", "/service/"],
    ["/service/", "/", "/route", "/service/route", "/service/route", "/service/route", "/service/route"],
    ["/service/", "/", "/route/", "/service/route/", "/service/route/", "/service/route/", "/service/route/"],
    ["/service/", "/", "/routereq", "/service/routereq", "/service/routereq", "/service/routereq", "/service/routereq"],
    ["/service/", "/", "/route/req", "/service/route/req", "/service/route/req", "/service/route/req", "/service/route/req"],
    ["/service/", "/route", "/route", "/service/route", "/service", "/service/route", "/service/"],
    ["/service/", "/route", "/route/", "/service/route/", "/service/", "/service/route/", "/service/"],
    ["/service/", "/route", "/routereq", "/service/routereq", "/service/req", "/service/routereq", "/service/req"],
    ["/service/", "/route", "/route/req", "/service/route/req", "/service/req", "/service/route/req", "/service/req"],
    ["/service/", "/route/", "/route/", "/service/route/", "/service/", "/service/route/", "/service/"],
    ["/service/", "/route/", "/route/req", "/service/route/req", "/service/req", "/service/route/req", "/service/req"],
    ["/srv", "/rou", "/roureq", "/srv/roureq", "/srv/req", "/srvroureq", "/srvreq"],
    ["/srv/", "/rou", "/rou", "/srv/rou", "/srv", "/srv/rou", "/srv/"],
    ["/service", "/route", "/route./req", "/service/route./req", "/service/req", "/serviceroute./req", "/servicereq"],
    ["/service/", "/route", "/route../req", "/service/route../req", "/service/req", "/service/route../req", "/service/req"],
];

#[test]
fn paths_are_joined_as_kong_joins_them() {
    for [service, route, request, kept, stripped, kept_v1, stripped_v1] in PATHS {
        for (how, wanted) in [
            ((false, PathHandling::V0), kept),
            ((true, PathHandling::V0), stripped),
            ((false, PathHandling::V1), kept_v1),
            ((true, PathHandling::V1), stripped_v1),
        ] {
            let joined = upstream_path(Some(service), request, route.len(), how, 0);
            assert_eq!(joined, **wanted, "{service} {route} {request} {how:?}");
        }
    }
    let kept = (false, PathHandling::V0);
    assert_eq!(upstream_path(None, "/a b/é%2F", 0, kept, 0), "/a%20b/%C3%A9%2F");
}

#[test]
fn only_traditional_joins_paths_as_they_are() {
    let old = route(1, json!({"path_handling": "v1"}));
    for (flavour, wanted) in [
        (Flavour::Traditional, PathHandling::V1),
        (Flavour::TraditionalCompatible, PathHandling::V0),
        (Flavour::Expressions, PathHandling::V0),
    ] {
        assert_eq!(Router::new(flavour).path_handling(&old), wanted);
    }
    let new = route(1, json!({"path_handling": "v0"}));
    assert_eq!(Router::new(Flavour::Traditional).path_handling(&new), PathHandling::V0);
}

proptest! {
    #[test]
    fn a_path_that_is_kept_is_what_joining_gives(
        base in proptest::sample::select(vec!["/", "/s", "/s/"]),
        rest in "[a./%]{0,5}",
        matched in 0_usize..4,
        strip: bool,
        is_v1: bool,
    ) {
        let path = format!("/{rest}");
        let handling = if is_v1 { PathHandling::V1 } else { PathHandling::V0 };
        // What is matched is a part of the path.
        let (matched, how) = (matched.min(path.len()), (strip, handling));
        let joined = super::super::path::join(base, &path, matched, how, 0);
        prop_assert_eq!(upstream_path(Some(base), &path, matched, how, 0), joined);
    }
}
