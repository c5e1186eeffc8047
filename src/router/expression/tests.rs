//! Expressions that are refused, and what the index reads off others.

use super::*;
use crate::router::candidate::{HostKey, PathKey};

#[test]
fn what_is_wrong_with_an_expression_is_said() {
    let nested = format!("{}http.path == \"\"{}", "(".repeat(65), ")".repeat(65));
    let many = vec!["net.dst.port == 1"; 600].join(" || ");
    let long = format!("http.path == \"{}\"", "a".repeat(70_000));
    for (text, stream, wrong) in [
        ("http.path == 1", false, "Type mismatch between the LHS and RHS values of predicate"),
        ("http.pat == \"a\"", false, "Unknown LHS field"),
        ("http.path == \"a\"", true, "Unknown LHS field"),
        ("http.path.segments.x == \"a\"", false, "illformed http.path.segments.* field"),
        ("http.path.segments.01 == \"a\"", false, "illformed http.path.segments.* field"),
        ("http.path.segments.2_1 == \"a\"", false, "illformed http.path.segments.* field"),
        ("http.path.segments.1_ == \"a\"", false, "illformed http.path.segments.* field"),
        ("net.src.ip in 10.0.0.1/8", false, "host part of address was not zero"),
        ("http.path ~ \"(?=a)\"", false, "look-around"),
        ("http.path ~ \"(\"", false, "unclosed group"),
        ("http.path = \"a\"", false, "expected binary_operator"),
        ("", false, "expected term"),
        (&nested, false, "parentheses may nest 64 deep"),
        (&many, false, "an expression may have 512 comparisons"),
        (&long, false, "an expression may have 65536 bytes"),
    ] {
        let error = Expression::parse(text, stream).unwrap_err();
        assert!(error.contains(wrong), "{wrong}: {error}");
    }
    let quoted = format!(
        "http.path == \"{}\\\"{}\" && tls.sni == r#\"(((\"#",
        "(".repeat(65),
        "&".repeat(2_000)
    );
    for (text, stream) in [
        (quoted.as_str(), false),
        ("net.port == 1", false),
        ("net.src.ip in ::/0 && tls.sni == \"a\" && net.protocol != \"udp\"", true),
        ("!(http.path.segments.0_2 =^ \"a\") || any(lower(http.queries.a)) contains \"b\"", false),
    ] {
        Expression::parse(text, stream).unwrap();
    }
}

#[test]
fn the_index_reads_hosts_and_prefixes_off_an_expression() {
    for (text, places) in [
        (r#"http.host == "h" && http.path ^= "/a""#, "=h /a"),
        (r#"http.path == "/a" && http.path ^= "/a/b""#, "* /a/b"),
        (r#"(http.host == "h" || http.host =^ ".t") && http.path ^= "/a""#, "=h /a, .t /a"),
        (r#"http.host ^= "a." && (http.path ^= "/a" || http.path ^= "/b")"#, "a. /a, a. /b"),
        (r#"http.path ~ "^/a/[0-9]+" && http.method == "GET""#, "* /a/"),
        (r#"http.path ~ "/a/[0-9]+""#, "* -"),
        (r#"http.host == "h" || http.method == "GET""#, "* -"),
        (r#"!(http.host == "h") && http.path ^= "/a""#, "* /a"),
        (r#"lower(http.host) == "h""#, "* -"),
        (r#"http.host =^ "est" && http.host != "a""#, "* -"),
        (r#"http.host == "h" && http.method == "GET""#, "=h -"),
    ] {
        let found = Expression::parse(text, false).unwrap().places();
        let shown = found.iter().map(|place| {
            let host = match &place.host {
                HostKey::Any => "*".to_owned(),
                HostKey::Exact(host) => format!("={host}"),
                HostKey::Suffix(part) | HostKey::Prefix(part) => part.to_string(),
            };
            let path = match &place.path {
                PathKey::Prefix(path) => path,
                _ => "-",
            };
            format!("{host} {path}")
        });
        assert_eq!(shown.collect::<Vec<_>>().join(", "), places, "{text}");
    }
    let hosts: Vec<_> = (0..65).map(|number| format!("http.host == \"{number}\"")).collect();
    let many = Expression::parse(&hosts.join(" || "), false).unwrap().places();
    assert_eq!(many.len(), 1, "too many places are none");
}
