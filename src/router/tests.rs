//! The router against a scan in order of priority, and the table of path handling.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::entity::Entity;
use crate::domain::kinds::route;

fn route(id: u128, attributes: Value) -> Arc<Route> {
    let mut document = json!({
        "id": Uuid::from_u128(id), "created_at": 1, "updated_at": 1, "protocols": ["http", "https"],
        "https_redirect_status_code": 426, "strip_path": true, "preserve_host": false,
        "request_buffering": true, "response_buffering": true,
    });
    document.as_object_mut().unwrap().extend(attributes.as_object().unwrap().clone());
    let entity = Entity::new(route::KIND, document.as_object().unwrap()).unwrap();
    Arc::new(entity.decode().unwrap())
}

#[derive(Clone, Debug)]
struct Request {
    method: &'static str,
    host: String,
    path: String,
    headers: BTreeMap<String, String>,
}

fn found(router: &Router, request: &Request) -> Option<(u128, usize)> {
    with_view(request, |view| router.matched(view).map(|m| (m.route.id.as_u128(), m.prefix_len)))
}

fn with_view<T>(request: &Request, see: impl FnOnce(&RequestView<'_>) -> T) -> T {
    let headers = |name: &str, visit: &mut dyn FnMut(&str)| {
        if let Some(value) = request.headers.get(name) {
            visit(value);
        }
    };
    see(&RequestView {
        method: request.method,
        host: &request.host,
        port: 80,
        path: &request.path,
        sni: None,
        scheme_https: false,
        headers: &headers,
    })
}

fn get(host: &str, path: &str) -> Request {
    Request { method: "GET", host: host.into(), path: path.into(), headers: BTreeMap::new() }
}

#[test]
fn more_attributes_win_then_plain_hosts_then_longer_paths() {
    let router = Router::build([
        route(1, json!({"paths": ["/"]})),
        route(2, json!({"paths": ["/a/b"]})),
        route(3, json!({"paths": ["/a"], "hosts": ["*.test"]})),
        route(4, json!({"paths": ["/a"], "hosts": ["x.test"]})),
        route(5, json!({"paths": ["/a"], "hosts": ["x.test"], "methods": ["POST"]})),
        route(6, json!({"paths": ["~/a/[0-9]+"]})),
    ])
    .unwrap();
    let at = |host: &str, path: &str| found(&router, &get(host, path));
    assert_eq!(at("h", "/z"), Some((1, 1)));
    assert_eq!(at("h", "/a/bc"), Some((2, 4)));
    assert_eq!(at("h", "/a/12/x"), Some((6, 5)));
    assert_eq!(at("y.test", "/a/b"), Some((3, 2)));
    assert_eq!(at("x.test", "/a/b"), Some((4, 2)));
    assert_eq!(at(".test", "/a/b"), Some((2, 4)), "a wildcard needs something to stand for");
    let post = Request { method: "POST", ..get("x.test", "/a") };
    assert_eq!(found(&router, &post), Some((5, 2)));
}

#[test]
fn equal_priorities_go_to_the_largest_id() {
    let router =
        Router::build([route(2, json!({"paths": ["/a"]})), route(1, json!({"paths": ["/a"]}))]);
    assert_eq!(found(&router.unwrap(), &get("h", "/a")), Some((2, 2)));
}

#[test]
fn a_pattern_whose_other_attributes_fail_leaves_the_way_to_the_next() {
    let router = Router::build([
        route(
            1,
            json!({"paths": ["~/a/.*"], "regex_priority": 9, "headers": {"X-Kind": ["Blue"]}}),
        ),
        route(2, json!({"paths": ["~/a/b"], "regex_priority": 1, "methods": ["GET"]})),
        route(3, json!({"paths": ["~/a/b$"], "regex_priority": 0, "methods": ["GET"]})),
    ])
    .unwrap();
    assert_eq!(found(&router, &get("h", "/a/b")), Some((2, 4)));
    let mut blue = get("h", "/a/b");
    blue.headers.insert("x-kind".into(), "BLUE".into());
    assert_eq!(found(&router, &blue), Some((1, 4)));
}

#[test]
fn a_host_with_a_port_asks_for_that_port() {
    let router =
        Router::build([route(1, json!({"hosts": ["a:80"]})), route(2, json!({"hosts": ["b:81"]}))]);
    let router = router.unwrap();
    assert_eq!(found(&router, &get("a", "/")), Some((1, 0)));
    assert_eq!(found(&router, &get("b", "/")), None);
}

fn any_route() -> impl Strategy<Value = Value> {
    let hosts =
        prop::sample::subsequence(vec!["a.test", "*.test", "a.*", "b.c.test", "c:80", "c:9"], 0..3);
    let paths = prop::sample::subsequence(
        vec!["/", "/a", "/a/b", "/ab", "~/a/[a-z]+", "~/a", "~/(x|a)/b", "/b/"],
        0..4,
    );
    let methods = prop::sample::subsequence(vec!["GET", "POST"], 0..2);
    let headers = prop::sample::select(vec![
        json!({}),
        json!({"x-a": ["1"]}),
        json!({"x-a": ["~*^[12]$"], "x-b": ["1"]}),
    ]);
    (hosts, paths, methods, headers, 0..3).prop_map(|(hosts, paths, methods, headers, order)| {
        json!({"hosts": hosts, "paths": paths, "methods": methods, "headers": headers, "regex_priority": order})
    })
}

fn any_request() -> impl Strategy<Value = Request> {
    let host = prop::sample::select(vec!["a.test", "b.c.test", "a.org", "c", ".test", "test", ""]);
    let path =
        prop::sample::select(vec!["/", "/a", "/a/b", "/a/b/c", "/abc", "/x/b", "/b", "/b/", "/é"]);
    let headers = prop::collection::btree_map("x-[ab]", "[123]", 0..3);
    (prop::sample::select(vec!["GET", "PUT"]), host, path, headers).prop_map(
        |(method, host, path, headers)| Request {
            method,
            host: host.into(),
            path: path.into(),
            headers,
        },
    )
}

/// What the index replaces: every candidate, the best first.
fn scan(router: &Router, request: &Request) -> Option<u128> {
    let host_fits = |route: &Route| {
        route.hosts.is_empty()
            || route.hosts.iter().any(|host| {
                let (host, port) = split_port(host);
                let name = &request.host;
                port.is_none_or(|port| port == 80)
                    && match (host.strip_prefix('*'), host.strip_suffix('*')) {
                        (Some(tail), _) => name.len() > tail.len() && name.ends_with(tail),
                        (_, Some(head)) => name.len() > head.len() && name.starts_with(head),
                        _ => name == host,
                    }
            })
    };
    let mut candidates: Vec<_> = router.candidates.iter().collect();
    candidates.sort_by_key(|c| std::cmp::Reverse((c.priority, c.tie)));
    with_view(request, |view| {
        let winner = candidates.into_iter().find(|c| {
            host_fits(&c.route) && c.admits(view) && c.matches_path(&request.path).is_some()
        });
        winner.map(|c| c.route.id.as_u128())
    })
}

proptest! {
    #[test]
    fn the_index_finds_what_a_scan_finds(
        routes in prop::collection::vec(any_route(), 0..12),
        requests in prop::collection::vec(any_request(), 1..20),
    ) {
        let routes = routes.into_iter().enumerate().map(|(i, r)| route(i as u128 + 1, r));
        let router = Router::build(routes).unwrap();
        for request in &requests {
            let seen = found(&router, request).map(|(id, _)| id);
            prop_assert_eq!(seen, scan(&router, request), "{:?}", request);
        }
    }
}

/// Service path, route path, request, strip off, strip on (reference gateway-3, section C.4).
const PATHS: &[(&str, &str, &str, &str, &str)] = &[
    ("/", "", "/", "/", "/"),
    ("/", "", "/route/", "/route/", "/route/"),
    ("/", "/", "/route", "/route", "/route"),
    ("/", "/route", "/route", "/route", "/"),
    ("/", "/route", "/route/", "/route/", "/"),
    ("/", "/route", "/routereq", "/routereq", "/req"),
    ("/", "/route", "/route/req", "/route/req", "/req"),
    ("/", "/route/", "/route/req", "/route/req", "/req"),
    ("/service", "", "/", "/service", "/service"),
    ("/service", "", "/route/req", "/service/route/req", "/service/route/req"),
    ("/service", "/", "/", "/service", "/service"),
    ("/service", "/", "/route/", "/service/route/", "/service/route/"),
    ("/service", "/route", "/route", "/service/route", "/service"),
    ("/service", "/route", "/route/", "/service/route/", "/service/"),
    ("/service", "/route", "/routereq", "/service/routereq", "/service/req"),
    ("/service", "/route", "/route/req", "/service/route/req", "/service/req"),
    ("/service", "/route/", "/route/", "/service/route/", "/service/"),
    ("/service", "/route/", "/route/req", "/service/route/req", "/service/req"),
    ("/service/", "", "/", "/service/", "/service/"),
    ("/service/", "", "/routereq", "/service/routereq", "/service/routereq"),
    ("/service/", "/", "/route/", "/service/route/", "/service/route/"),
    ("/service/", "/route", "/route", "/service/route", "/service"),
    ("/service/", "/route", "/route/", "/service/route/", "/service/"),
    ("/service/", "/route", "/routereq", "/service/routereq", "/service/req"),
    ("/service/", "/route/", "/route/", "/service/route/", "/service/"),
    ("/srv/", "/rou", "/rou", "/srv/rou", "/srv"),
    ("/service", "/route", "/route./req", "/service/route./req", "/service/req"),
    ("/service/", "/route", "/route../req", "/service/route../req", "/service/req"),
];

#[test]
fn paths_are_joined_as_kong_joins_them() {
    for (service, route, request, kept, stripped) in PATHS {
        assert_eq!(
            upstream_path(Some(service), request, route.len(), false, 0),
            *kept,
            "{service} {route} {request}"
        );
        assert_eq!(
            upstream_path(Some(service), request, route.len(), true, 0),
            *stripped,
            "{service} {route} {request}"
        );
    }
    assert_eq!(upstream_path(None, "/a b/é%2F", 0, false, 0), "/a%20b/%C3%A9%2F");
}
