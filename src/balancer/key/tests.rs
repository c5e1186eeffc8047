//! What is hashed of which request.

use http::Request;
use serde_json::{Value, json};

use super::*;
use crate::plugins::exchange::{RequestBody, fixture};

const ID: Uuid = Uuid::from_u128(7);

fn exchange(uri: &str, headers: &[(&str, &str)]) -> Exchange {
    let mut request = Request::builder().uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    fixture::exchange(request.body(RequestBody::Empty).unwrap())
}

fn hashed(fields: Value, exchange: &Exchange) -> Hashed {
    let hashing = Hashing::of(&super::super::tests::upstream(fields));
    let capture = |group: &str| (group == "id").then_some(Cow::Borrowed("42"));
    hashing.hash(exchange, capture, || ID)
}

#[test]
fn each_source_is_read_from_its_part_of_the_request() {
    let request = exchange(
        "/a%20b/c?x=1&bare&y=2&x=0&e=a%2Bb",
        &[
            ("X-One", "1"),
            ("X-Two", "a"),
            ("X-Two", "b"),
            ("Cookie", "a=b; session=s1"),
            ("Cookie", "c=d"),
        ],
    );
    for (fields, wanted) in [
        (json!({"hash_on": "ip"}), "10.0.0.1"),
        (json!({"hash_on": "path"}), request.path()),
        (json!({"hash_on": "header", "hash_on_header": "x-one"}), "1"),
        (json!({"hash_on": "header", "hash_on_header": "X-Two"}), "a, b"),
        (json!({"hash_on": "query_arg", "hash_on_query_arg": "x"}), "0,1"),
        (json!({"hash_on": "query_arg", "hash_on_query_arg": "bare"}), "true"),
        (json!({"hash_on": "query_arg", "hash_on_query_arg": "e"}), "a+b"),
        (json!({"hash_on": "uri_capture", "hash_on_uri_capture": "id"}), "42"),
        (json!({"hash_on": "cookie", "hash_on_cookie": "session"}), "s1"),
        (json!({"algorithm": "consistent-hashing"}), ""),
        (json!({"hash_on": "consumer"}), ""),
        (json!({"hash_on": "consumer", "hash_fallback": "ip"}), "10.0.0.1"),
        (
            json!({"hash_on": "header", "hash_on_header": "x-none", "hash_fallback": "path"}),
            request.path(),
        ),
        (
            json!({"hash_on": "uri_capture", "hash_on_uri_capture": "no", "hash_fallback": "query_arg",
            "hash_fallback_query_arg": "y"}),
            "2",
        ),
    ] {
        let seen = hashed(fields.clone(), &request);
        assert_eq!(seen.hash, hash::of(wanted.as_bytes()), "{fields}");
        assert_eq!(seen.cookie, None, "{fields}");
    }
}

#[test]
fn a_cookie_that_is_missing_is_made_and_hashed() {
    let fields = json!({"hash_on": "cookie", "hash_on_cookie": "s", "hash_on_cookie_path": "/p"});
    let seen = hashed(fields, &exchange("/", &[("Cookie", "ss=1")]));
    let cookie = format!("s={ID}; Path=/p; SameSite=Lax; HttpOnly");
    assert_eq!(seen.cookie.unwrap(), cookie);
    assert_eq!(seen.hash, hash::of(ID.to_string().as_bytes()));

    let fields = json!({"hash_on": "header", "hash_on_header": "h", "hash_fallback": "cookie",
        "hash_on_cookie": "s"});
    let seen = hashed(fields.clone(), &exchange("/", &[]));
    assert_eq!(seen.cookie.unwrap(), format!("s={ID}; Path=/; SameSite=Lax; HttpOnly"));
    let seen = hashed(fields, &exchange("/", &[("h", "v")]));
    assert_eq!((seen.cookie, seen.hash), (None, hash::of(b"v")));
}
