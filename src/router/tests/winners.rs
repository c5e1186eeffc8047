//! Tables of routes and of who wins, in each flavour (reference gateway-3, sections C.1 and C.2).

use Flavour::{Expressions, Traditional, TraditionalCompatible};

use super::*;

#[test]
fn more_attributes_win_then_plain_hosts_then_longer_paths() {
    let routes = [
        json!({"paths": ["/"]}),
        json!({"paths": ["/a/b"]}),
        json!({"paths": ["/a"], "hosts": ["*.test"]}),
        json!({"paths": ["/a"], "hosts": ["x.test"]}),
        json!({"paths": ["/a"], "hosts": ["x.test"], "methods": ["POST"]}),
        json!({"paths": ["~/a/[0-9]+"]}),
    ];
    for flavour in FLAVOURS {
        let router = router(flavour, &routes);
        let at = |host: &str, path: &str| found(&router, &get(host, path));
        assert_eq!(at("h", "/z"), Some((1, 1)));
        assert_eq!(at("h", "/a/bc"), Some((2, 4)));
        assert_eq!(at("h", "/a/12/x"), Some((6, 5)));
        assert_eq!(at("y.test", "/a/b"), Some((3, 2)));
        assert_eq!(at("x.test", "/a/b"), Some((4, 2)));
        assert_eq!(at("x.TEST", "/a/b"), Some((2, 4)), "hosts are compared as they are");
        let post = Request { method: "POST", ..get("x.test", "/a") };
        assert_eq!(found(&router, &post), Some((5, 2)));
    }
}

/// For each pair of routes that both match: who wins in `traditional`, and who in the others.
#[test]
fn pairs_of_routes_are_ordered_as_each_flavour_orders_them() {
    let request = get("a.b.test", "/a/b").with("x-a", &["1"]).with("x-b", &["1"]);
    for (one, other, traditional, compatible) in [
        // More attributes.
        (json!({"paths": ["/a/b"]}), json!({"methods": ["GET"], "hosts": ["*.test"]}), 2, 2),
        // The categories: hosts, headers, paths, methods; the others compare ids.
        (json!({"hosts": ["a.b.test"]}), json!({"headers": {"x-a": ["1"]}}), 1, 1),
        (json!({"hosts": ["*.b.test"]}), json!({"headers": {"x-a": ["1"]}}), 1, 2),
        (json!({"paths": ["/a"]}), json!({"methods": ["GET"]}), 1, 1),
        (json!({"paths": ["/a/b"]}), json!({"headers": {"x-a": ["1"]}}), 2, 2),
        // A plain host beats a wildcard; a wildcard with a port beats both in `traditional`.
        (json!({"hosts": ["*.b.test"]}), json!({"hosts": ["a.b.test"]}), 2, 2),
        (json!({"hosts": ["*.b.test:80"]}), json!({"hosts": ["a.b.test"]}), 1, 2),
        // A pattern beats a prefix, however short.
        (json!({"paths": ["~/a"]}), json!({"paths": ["/a/b"]}), 1, 1),
        // More headers beat a pattern in the compatible flavours only.
        (
            json!({"headers": {"x-a": ["1"], "x-b": ["1"]}, "paths": ["/a"]}),
            json!({"headers": {"x-a": ["1"]}, "paths": ["~/a/b"]}),
            2,
            1,
        ),
        (
            json!({"headers": {"x-a": ["1"], "x-b": ["1"]}}),
            json!({"headers": {"x-a": ["1"]}}),
            1,
            1,
        ),
        (
            json!({"paths": ["~/a/.*"], "regex_priority": 3}),
            json!({"paths": ["~/a"], "regex_priority": 1}),
            1,
            1,
        ),
        (
            json!({"paths": ["~/a/.*"], "regex_priority": -3}),
            json!({"paths": ["~/a"], "regex_priority": -1}),
            2,
            2,
        ),
        // Without a pattern its priority is nothing.
        (json!({"paths": ["/a"], "regex_priority": 9}), json!({"paths": ["/a/"]}), 2, 2),
        // Equals: the older one, or the larger id.
        (
            json!({"paths": ["/a"], "created_at": 5}),
            json!({"paths": ["/a"], "created_at": 6}),
            1,
            2,
        ),
        (
            json!({"paths": ["/a"], "created_at": 6}),
            json!({"paths": ["/a"], "created_at": 5}),
            2,
            2,
        ),
    ] {
        let routes = [one, other];
        for (flavour, wanted) in [
            (Traditional, traditional),
            (TraditionalCompatible, compatible),
            (Expressions, compatible),
        ] {
            let won = winner(&router(flavour, &routes), &request);
            assert_eq!(won, Some(wanted), "{flavour:?} {routes:?}");
        }
    }
}

/// Whether one route matches one request, in `traditional` and in the others.
#[test]
fn attributes_match_as_each_flavour_reads_them() {
    let header = |value: &str| get("h", "/").with("x-a", &[value]);
    let port = |host: &str, named: Option<u16>, own: u16| Request {
        host_port: named,
        destination: ([10, 0, 0, 1], own).into(),
        ..get(host, "/")
    };
    let headers = |values: &[&str]| json!({"headers": {"X-A": values}});
    for (attributes, request, traditional, compatible) in [
        (json!({"hosts": ["*.a.test"]}), get("b.a.test", "/"), true, true),
        (json!({"hosts": ["*.a.test"]}), get("c.b.a.test", "/"), true, true),
        (json!({"hosts": ["*.a.test"]}), get(".a.test", "/"), false, true),
        (json!({"hosts": ["a.*"]}), get("a.test", "/"), true, true),
        (json!({"hosts": ["a.*"]}), get("a.", "/"), false, true),
        (json!({"hosts": ["a.test"]}), get("a.test.", "/"), false, false),
        // `traditional` takes the port that the client names, the others the one that it came to.
        (json!({"hosts": ["a:81"]}), port("a", Some(81), 80), true, false),
        (json!({"hosts": ["a:81"]}), port("a", None, 81), false, true),
        (json!({"hosts": ["a:80"]}), port("a", None, 8000), true, false),
        (json!({"hosts": ["a"]}), port("a", Some(81), 8000), true, true),
        (json!({"hosts": ["*.b:81"]}), port("a.b", Some(81), 80), true, false),
        (json!({"methods": ["POST"]}), get("h", "/"), false, false),
        (json!({"paths": ["/A"]}), get("h", "/a"), false, false),
        (json!({"paths": ["~/a$"]}), get("h", "/a/b"), false, false),
        // What stands before `|` is anchored alone, but for `traditional`.
        (json!({"paths": ["~/x|/b"]}), get("h", "/a/b"), false, true),
        (headers(&["One", "Two"]), header("ONE"), true, true),
        (headers(&["One"]), get("h", "/").with("x-a", &["no", "one"]), true, true),
        (headers(&["~*^on"]), header("ONE"), true, true),
        (headers(&["~*^[A-Z]$"]), header("b"), false, true),
        (headers(&["~*^on", "two"]), header("one"), false, true),
        (headers(&["~*^on", "two"]), header("~*^on"), true, false),
        (json!({"snis": ["s"]}), get("h", "/").https(Some("s")), true, true),
        (json!({"snis": ["s."]}), get("h", "/").https(Some("s")), true, true),
        (json!({"snis": ["s"]}), get("h", "/").https(Some("t")), false, false),
        (json!({"snis": ["s"]}), get("h", "/").https(None), false, false),
        (json!({"snis": ["*.t"]}), get("h", "/").https(Some("s.t")), false, true),
        (json!({"snis": ["s.*"]}), get("h", "/").https(Some("s.t")), false, true),
        // Without TLS there is no server name to look at.
        (json!({"snis": ["s"], "protocols": ["https"]}), get("h", "/"), false, true),
        (json!({"snis": ["s"], "paths": ["/"], "protocols": ["https"]}), get("h", "/"), true, true),
    ] {
        for flavour in FLAVOURS {
            let wanted = if flavour == Traditional { traditional } else { compatible };
            let router = router(flavour, std::slice::from_ref(&attributes));
            let matched = winner(&router, &request).is_some();
            assert_eq!(matched, wanted, "{flavour:?} {attributes} {request:?}");
        }
    }
}

#[test]
fn without_tls_traditional_gets_to_server_names_last() {
    let routes =
        [json!({"paths": ["/a"], "snis": ["s"], "protocols": ["https"]}), json!({"paths": ["/"]})];
    assert_eq!(winner(&router(Traditional, &routes), &get("h", "/a")), Some(2));
    assert_eq!(winner(&router(TraditionalCompatible, &routes), &get("h", "/a")), Some(1));
}

#[test]
fn only_expressions_match_by_protocol_and_address() {
    let plain = json!({"paths": ["/"], "protocols": ["http"]});
    let secure = json!({"paths": ["/"], "protocols": ["https"]});
    let https = get("h", "/").https(None);
    for (flavour, matches) in [(TraditionalCompatible, true), (Expressions, false)] {
        let router = router(flavour, std::slice::from_ref(&plain));
        assert_eq!(winner(&router, &https).is_some(), matches);
    }
    // So that it can be redirected.
    assert_eq!(winner(&router(Expressions, &[secure]), &get("h", "/")), Some(1));
    let near = json!({"paths": ["/"], "sources": [{"ip": "10.0.0.0/8"}, {"port": 1}]});
    let router = router(Expressions, &[near]);
    assert_eq!(winner(&router, &get("h", "/")), Some(1));
    let far = Request { source: ([11, 0, 0, 1], 2).into(), ..get("h", "/") };
    assert_eq!(winner(&router, &far), None);
}

#[test]
fn an_expression_goes_before_all_attributes_and_by_its_priority() {
    let router = router(
        Expressions,
        &[
            json!({"paths": ["/a"], "hosts": ["h"], "methods": ["GET"]}),
            json!({"expression": "http.path ^= \"/a\"", "priority": 3}),
            json!({"expression": "http.path == \"/a/b\" && http.host == \"h\"", "priority": 4}),
            json!({"expression": "http.method == \"GET\"", "priority": 1}),
            json!({"expression": "http.path ^= \"/a\"", "priority": 3}),
        ],
    );
    let at = |path: &str| found(&router, &get("h", path));
    assert_eq!(at("/a/b"), Some((3, 4)));
    assert_eq!(at("/a/c"), Some((5, 2)), "the larger id");
    assert_eq!(at("/b"), Some((4, 0)));
}

#[test]
fn a_pattern_whose_other_attributes_fail_leaves_the_way_to_the_next() {
    let routes = [
        json!({"paths": ["~/a/.*"], "regex_priority": 9, "methods": ["POST"]}),
        json!({"paths": ["~/a/b"], "regex_priority": 1, "methods": ["GET"]}),
        json!({"paths": ["~/a/b$"], "regex_priority": 0, "methods": ["GET"]}),
    ];
    for flavour in FLAVOURS {
        let router = router(flavour, &routes);
        assert_eq!(found(&router, &get("h", "/a/b")), Some((2, 4)));
        let post = Request { method: "POST", ..get("h", "/a/b") };
        assert_eq!(found(&router, &post), Some((1, 4)));
    }
}

#[test]
fn many_patterns_that_begin_alike_are_found_and_taken_out_again() {
    let pattern = |number: usize| json!({"paths": [format!("~/v[0-9]/{number}$")], "regex_priority": number % 7});
    let all: Vec<Value> = (1..=400).map(pattern).collect();
    let mut router = router(TraditionalCompatible, &all);
    let at = |router: &Router, number: usize| winner(router, &get("h", &format!("/v3/{number}")));
    assert!((1..=400).all(|number| at(&router, number) == Some(number)));
    let gone = (1..=400).step_by(3).map(|number| Uuid::from_u128(number as u128));
    let old = router.clone();
    router.apply(gone, []).unwrap();
    router.apply([], [(7, route(2, json!({"paths": ["~/v[0-9]/x"]})))]).unwrap();
    for number in 3..=400 {
        assert_eq!(at(&router, number), (number % 3 != 1).then_some(number));
        assert_eq!(at(&old, number), Some(number), "a clone keeps what it had");
    }
    assert_eq!((at(&router, 2), winner(&router, &get("h", "/v1/x"))), (None, Some(7)));
}

#[test]
fn what_does_not_compile_is_refused_with_its_route() {
    for (flavour, attributes, reason) in [
        (Traditional, json!({"paths": ["~/(a"]}), "unclosed group"),
        (TraditionalCompatible, json!({"paths": ["~/(?=a)"]}), "look-around"),
        (TraditionalCompatible, json!({"paths": ["~/(a{500}){500}"]}), "size"),
        (TraditionalCompatible, json!({"headers": {"x": ["~*("]}}), "unclosed group"),
        (TraditionalCompatible, json!({"expression": "http.path == \"\""}), "no expressions"),
        (Expressions, json!({"expression": "http.pat == \"/\""}), "Unknown LHS field"),
    ] {
        let error = Router::build(flavour, [(0, route(5, attributes))]).err().unwrap();
        assert_eq!(error.route.as_u128(), 5);
        assert!(error.reason.contains(reason), "{reason}: {error}");
    }
}
