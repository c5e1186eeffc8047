//! Keys found, hidden, refused, and who they make the caller.

use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use super::super::body::RequestBody;
use super::super::directory::Directory;
use super::super::exchange::fixture::exchange;
use super::super::reply::ReplyBody;
use super::super::tests::{build_plugin, run_access, scope};
use super::*;

fn directory() -> Directory {
    let mut directory = Directory::default();
    for (id, username) in [(1, "alice"), (2, "nobody")] {
        directory.put_consumer(
            serde_json::from_value(json!({
                "id": Uuid::from_u128(id), "created_at": 1, "updated_at": 1,
                "username": username, "custom_id": format!("c{id}"),
            }))
            .unwrap(),
        );
    }
    for (id, key, ttl) in [(10, "secret", 0), (11, "old", 5)] {
        let document = json!({
            "id": Uuid::from_u128(id), "created_at": 1_699_999_995, "key": key, "ttl": ttl,
            "consumer": {"id": Uuid::from_u128(1)},
        });
        let entity = Entity::new(CREDENTIALS, document.as_object().unwrap()).unwrap();
        directory.put_credential(CREDENTIALS, read(&entity).unwrap());
    }
    directory
}

fn config(changes: Value) -> Value {
    let mut config = json!({
        "key_names": ["apikey"], "hide_credentials": false, "key_in_header": true,
        "key_in_query": true, "key_in_body": false, "run_on_preflight": true,
    });
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    config
}

/// Runs the plugin; returns the exchange and the refusal: status, text, challenge.
fn run(config: &Value, request: Request<RequestBody>) -> (Exchange, Option<(u16, String, String)>) {
    let directory = directory();
    let plugin = build_plugin(&KIND, config);
    let mut exchange = exchange(request);
    let reply = run_access(&*plugin, &mut exchange, scope(&directory)).map(|reply| {
        let ReplyBody::Error(text) = &reply.body else { panic!("not an error body") };
        let challenge = reply.headers.first().map(|(_, value)| value.to_str().unwrap().to_owned());
        (reply.status.as_u16(), text.to_string(), challenge.unwrap_or_default())
    });
    (exchange, reply)
}

fn get(uri: &str, headers: &[(&str, &str)]) -> Request<RequestBody> {
    let mut request = Request::builder().uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(RequestBody::Empty).unwrap()
}

#[test]
fn refusals_are_kongs() {
    let refused = |request, text: &str| {
        let (exchange, reply) = run(&config(json!({})), request);
        assert_eq!(reply, Some((401, text.to_owned(), "Key".to_owned())));
        assert!(exchange.caller.is_none());
    };
    refused(get("/", &[]), "No API key found in request");
    refused(get("/", &[("apikey", "")]), "No API key found in request");
    refused(get("/?apikey=", &[]), "No API key found in request");
    refused(get("/", &[("apikey", "secret"), ("apikey", "secret")]), "Duplicate API key found");
    refused(get("/?apikey=a&apikey=b", &[]), "Duplicate API key found");
    refused(get("/", &[("apikey", "wrong")]), "Unauthorized");
    refused(get("/", &[("apikey", "old")]), "Unauthorized");
    let (_, reply) = run(&config(json!({"realm": "r"})), get("/", &[]));
    assert_eq!(reply.unwrap().2, "Key realm=\"r\"");
}

#[test]
fn the_upstream_is_told_who_calls() {
    let request = get("/", &[("apikey", "secret"), ("x-anonymous-consumer", "true")]);
    let (exchange, reply) = run(&config(json!({})), request);
    assert_eq!(reply, None);
    let id = Uuid::from_u128(1).to_string();
    let credential = Uuid::from_u128(10).to_string();
    for (name, value) in [
        ("x-consumer-id", Some(id.as_str())),
        ("x-consumer-username", Some("alice")),
        ("x-consumer-custom-id", Some("c1")),
        ("x-credential-identifier", Some(credential.as_str())),
        ("x-anonymous-consumer", None),
        ("apikey", Some("secret")),
    ] {
        assert_eq!(exchange.header(name), value, "{name}");
    }
}

#[test]
fn an_anonymous_consumer_takes_those_without_a_key() {
    let anonymous = |name: &str| config(json!({"anonymous": name}));
    for name in ["nobody", &Uuid::from_u128(2).to_string()] {
        let request = get("/", &[("x-credential-identifier", "forged")]);
        let (exchange, reply) = run(&anonymous(name), request);
        assert_eq!(reply, None);
        assert_eq!(exchange.header("x-anonymous-consumer"), Some("true"));
        assert_eq!(exchange.header("x-consumer-username"), Some("nobody"));
        assert_eq!(exchange.header("x-credential-identifier"), None);
        assert!(exchange.credential.is_none());
    }
    let (_, reply) = run(&anonymous("ghost"), get("/", &[]));
    let (status, text, _) = reply.unwrap();
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR.as_u16());
    assert_eq!(text, "the anonymous consumer 'ghost' does not exist");
}

#[test]
fn preflight_may_pass() {
    let request = || Request::options("/").body(RequestBody::Empty).unwrap();
    assert!(run(&config(json!({})), request()).1.is_some());
    assert_eq!(run(&config(json!({"run_on_preflight": false})), request()).1, None);
}

#[test]
fn hidden_keys_do_not_go_upstream() {
    let hiding = config(json!({"hide_credentials": true}));
    let (exchange, reply) = run(&hiding, get("/?a=%20b&apikey=secret&c", &[]));
    assert_eq!((reply, exchange.query()), (None, Some("a=%20b&c")));
    let (exchange, reply) = run(&hiding, get("/?apikey=secret", &[("apikey", "secret")]));
    assert_eq!((reply, exchange.query(), exchange.header("apikey")), (None, None, None));
}

#[tokio::test]
async fn keys_in_bodies_are_found_and_hidden() {
    let multipart = "--x\r\nContent-Disposition: form-data; name=\"apikey\"\r\n\r\nsecret\r\n--x\r\n\
                     Content-Disposition: form-data; name=\"b\"\r\n\r\n1\r\n--x--\r\n";
    let rest = "--x\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\n1\r\n--x--\r\n";
    for (mime, body, left) in [
        ("application/x-www-form-urlencoded", "apikey=secret&b=1", "b=1"),
        ("application/json; charset=utf-8", r#"{"apikey":"secret","b":1}"#, r#"{"b":1}"#),
        ("multipart/form-data; boundary=x", multipart, rest),
    ] {
        let request = Request::post("/").header("content-type", mime);
        let stream = RequestBody::stream(http_body_util::Full::new(Bytes::from(body)));
        let config = config(json!({"key_in_body": true, "hide_credentials": true}));
        let (mut exchange, reply) = run(&config, request.body(stream).unwrap());
        assert_eq!(reply, None, "{mime}");
        assert_eq!(exchange.body.buffer(1000).await.unwrap().unwrap(), left);
    }
    let request = Request::post("/").header("content-type", "text/plain");
    let body = RequestBody::Bytes(Bytes::from("apikey=secret"));
    let (_, reply) = run(&config(json!({"key_in_body": true})), request.body(body).unwrap());
    assert_eq!(reply.unwrap().1, "No API key found in request");
}
