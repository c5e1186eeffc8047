//! Random routes and requests, of few words, so that they meet.

use proptest::prelude::*;

use super::*;

/// Attributes of a route.
pub(super) fn attributes() -> impl Strategy<Value = Value> {
    let hosts = prop::sample::subsequence(
        vec!["a.test", "*.test", "a.*", "b.c.test", "c:80", "c:9", "*.c.test:9", "a.test:9"],
        0..3,
    );
    let paths = prop::sample::subsequence(
        vec!["/", "/a", "/a/b", "/ab", "~/a/[a-z]+", "~/a", "~/(x|a)/b", "/b/", "~/x|/b", "/é"],
        0..4,
    );
    let methods = prop::sample::subsequence(vec!["GET", "POST"], 0..2);
    let headers = prop::sample::select(vec![
        json!({}),
        json!({"x-a": ["1"]}),
        json!({"x-a": ["~*^[12]$"], "x-b": ["1"]}),
        json!({"X-A": ["~*^[A-C]", "Two"]}),
    ]);
    let snis = prop::sample::select(vec![json!([]), json!(["s"]), json!(["s.", "t"])]);
    let protocols = prop::sample::select(vec![
        json!(["http"]),
        json!(["https"]),
        json!(["http", "https"]),
        json!(["grpcs"]),
    ]);
    let more = (snis, protocols, 0_i64..3, 1..4);
    (hosts, paths, methods, headers, more).prop_map(|(hosts, paths, methods, headers, more)| {
        let (snis, protocols, order, created_at) = more;
        json!({
            "hosts": hosts, "paths": paths, "methods": methods, "headers": headers, "snis": snis,
            "protocols": protocols, "regex_priority": order, "created_at": created_at,
        })
    })
}

/// A request.
pub(super) fn request() -> impl Strategy<Value = Request> {
    let host = prop::sample::select(vec![
        "a.test", "b.c.test", "a.org", "c", ".test", "test", "", "a.", "A.test", "x.c.test",
    ]);
    let path = prop::sample::select(vec![
        "/", "/a", "/a/b", "/a/b/c", "/abc", "/x/b", "/b", "/b/", "/é", "/aé", "/a/1/",
    ]);
    let value = prop::sample::select(vec!["1", "2", "3", "a", "B", "TWO"]);
    let values = prop::collection::vec(value.prop_map(str::to_owned), 1..3);
    let headers = prop::collection::btree_map("x-[ab]", values, 0..3);
    let secure = prop::sample::select(vec![None, Some(None), Some(Some("s")), Some(Some("t"))]);
    let ports = (prop::sample::select(vec![None, Some(9)]), prop::sample::select(vec![80, 9]));
    let query = prop::sample::select(vec![None, Some("q=1"), Some("q&q=a+b"), Some("z=%31&q=1")]);
    let method = prop::sample::select(vec!["GET", "PUT"]);
    (method, host, path, headers, secure, ports, query).prop_map(
        |(method, host, path, headers, secure, (host_port, port), query)| Request {
            method,
            host_port,
            headers,
            query,
            protocol: if secure.is_some() { Protocol::Https } else { Protocol::Http },
            sni: secure.flatten(),
            destination: ([10, 0, 0, 1], port).into(),
            ..get(host, path)
        },
    )
}

/// An expression.
pub(super) fn expression() -> impl Strategy<Value = String> {
    let test = prop::sample::select(vec![
        r#"http.path ^= "/a""#,
        r#"http.path == "/a/b""#,
        r#"http.path ~ "^/a/[a-z]+""#,
        r#"http.path ~ "b$""#,
        r#"http.path =^ "/b""#,
        r#"http.path contains "b/""#,
        r#"http.path != "/a""#,
        r#"lower(http.path) ^= "/a""#,
        r#"http.host == "a.test""#,
        r#"http.host =^ ".test""#,
        r#"http.host ^= "a.""#,
        r#"http.host =^ "est""#,
        r#"lower(http.host) == "a.test""#,
        r#"http.host != "c""#,
        r#"http.method == "GET""#,
        r#"net.protocol == "https""#,
        r#"tls.sni == "s""#,
        r#"tls.sni != "s""#,
        r#"http.headers.x_a == "1""#,
        r#"any(http.headers.x_a) == "1""#,
        r#"any(lower(http.headers.x_b)) ~ "^(b|two)$""#,
        r#"http.headers.x_b != "3""#,
        r#"http.queries.q == "1""#,
        r#"any(http.queries.q) == "a b""#,
        r#"http.queries.q != """#,
        "http.path.segments.len == 2",
        "http.path.segments.len > 2",
        r#"http.path.segments.0 == "a""#,
        r#"http.path.segments.0_1 == "a/b""#,
        "net.dst.port == 9",
        "net.dst.port != 0x50",
        "net.src.ip in 10.0.0.0/8",
        "net.src.ip not in 10.0.0.0/28",
        "net.dst.ip == 10.0.0.1",
    ]);
    test.prop_map(str::to_owned).prop_recursive(4, 12, 3, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            pair.clone().prop_map(|(one, other)| format!("{one} && {other}")),
            pair.clone().prop_map(|(one, other)| format!("{one} || {other}")),
            pair.prop_map(|(one, other)| format!("({one} && {other})")),
            inner.prop_map(|one| format!("!({one})")),
        ]
    })
}
