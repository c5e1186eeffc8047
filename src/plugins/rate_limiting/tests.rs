//! What clients are told, and who is counted.

use http::Request;
use serde_json::{Value, json};

use super::super::body::RequestBody;
use super::super::directory::{Caller, Directory};
use super::super::exchange::fixture::exchange_at;
use super::super::reply::ReplyBody;
use super::super::tests::{build_plugin, build_scoped, run_access, scope};
use super::*;

/// A Tuesday, 30 seconds into a minute.
const NOW: i64 = 1_700_000_010_000 + 20_000;

fn config(changes: Value) -> Value {
    let mut config = json!({
        "limit_by": "consumer", "policy": "local", "fault_tolerant": true, "redis": {},
        "hide_client_headers": false, "error_code": 429, "sync_rate": -1,
        "error_message": "API rate limit exceeded",
    });
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    config
}

fn request(plugin: &dyn Plugin, uri: &str, header: Option<&str>) -> (Exchange, Option<Reply>) {
    let mut request = Request::builder().uri(uri);
    if let Some(value) = header {
        request = request.header("x-who", value);
    }
    let mut exchange = exchange_at(request.body(RequestBody::Empty).unwrap(), NOW);
    let directory = Directory::default();
    let reply = run_access(plugin, &mut exchange, scope(&directory));
    (exchange, reply)
}

fn told(exchange: &Exchange, name: &str) -> Option<String> {
    let found = exchange.added.iter().find(|(known, _)| known == name)?;
    Some(found.1.to_str().unwrap().to_owned())
}

#[test]
fn clients_are_told_and_stopped() {
    let plugin = build_plugin(&KIND, &config(json!({"minute": 2, "hour": 5})));
    let (first, reply) = request(&*plugin, "/", None);
    assert!(reply.is_none());
    let seconds = (60 - NOW / 1000 % 60).to_string();
    for (name, value) in [
        ("x-ratelimit-limit-minute", "2"),
        ("x-ratelimit-remaining-minute", "1"),
        ("x-ratelimit-limit-hour", "5"),
        ("x-ratelimit-remaining-hour", "4"),
        ("ratelimit-limit", "2"),
        ("ratelimit-remaining", "1"),
        ("ratelimit-reset", seconds.as_str()),
    ] {
        assert_eq!(told(&first, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(told(&first, "retry-after"), None);
    assert!(request(&*plugin, "/", None).1.is_none());
    let (third, reply) = request(&*plugin, "/", None);
    let reply = reply.unwrap();
    assert_eq!(reply.status, 429);
    assert!(matches!(reply.body, ReplyBody::Error(text) if text == "API rate limit exceeded"));
    assert_eq!(told(&third, "retry-after"), Some(seconds));
    assert_eq!(told(&third, "x-ratelimit-remaining-hour").as_deref(), Some("3"));
}

#[test]
fn nothing_is_told_when_hidden_and_answers_are_configurable() {
    let changes = json!({
        "minute": 1, "hide_client_headers": true, "error_code": 503, "error_message": "later",
    });
    let plugin = build_plugin(&KIND, &config(changes));
    request(&*plugin, "/", None);
    let (exchange, reply) = request(&*plugin, "/", None);
    assert!(exchange.added.is_empty());
    let reply = reply.unwrap();
    assert_eq!(reply.status, 503);
    assert!(matches!(reply.body, ReplyBody::Error(text) if text == "later"));
}

#[test]
fn each_of_what_is_counted_has_its_own_limit() {
    let by = |changes: Value| build_plugin(&KIND, &config(changes));
    let plugin = by(json!({"minute": 1, "limit_by": "header", "header_name": "x-who"}));
    let passes = |plugin: &dyn Plugin, uri: &str, who| request(plugin, uri, who).1.is_none();
    assert!(passes(&*plugin, "/", Some("a")) && passes(&*plugin, "/", Some("b")));
    assert!(!passes(&*plugin, "/", Some("a")));
    // Who sends no such header is counted by address.
    assert!(passes(&*plugin, "/", None) && !passes(&*plugin, "/", None));
    let plugin = by(json!({"minute": 1, "limit_by": "path", "path": "/p"}));
    assert!(passes(&*plugin, "/p", None) && passes(&*plugin, "/q", None));
    assert!(!passes(&*plugin, "/r", None) && !passes(&*plugin, "/p", None));
}

#[test]
fn a_consumer_is_counted_wherever_it_calls_from() {
    let plugin = build_plugin(&KIND, &config(json!({"minute": 1})));
    let directory = Directory::default();
    let replies = [1_u128, 2, 1].map(|id| {
        let consumer = json!({"id": Uuid::from_u128(id), "created_at": 1, "updated_at": 1});
        let request = Request::new(RequestBody::Empty);
        let mut exchange = exchange_at(request, NOW);
        let caller = Caller::new(serde_json::from_value(consumer).unwrap());
        exchange.caller = Some(Arc::new(caller));
        run_access(&*plugin, &mut exchange, scope(&directory)).is_none()
    });
    assert_eq!(replies, [true, true, false]);
}

#[test]
fn stores_that_are_not_there_are_refused() {
    for policy in ["redis", "cluster"] {
        let config = config(json!({"minute": 1, "policy": policy}));
        let Err(error) = build_scoped(&KIND, &config, &json!({})) else { panic!("built") };
        assert!(error.to_string().starts_with("config.policy: expected 'local'"), "{error}");
    }
}
