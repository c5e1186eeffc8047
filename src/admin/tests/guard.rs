//! The shrink guard over HTTP: no way to write goes around it, and every way can be forced.

use serde_json::{Value, json};

use super::app::App;
use crate::admin::Options;

const DELETES: usize = 12;

fn put(n: usize) -> Value {
    json!({"method": "PUT", "path": format!("/services/s{n}"), "body": {"host": "a"}})
}

fn delete(n: usize) -> Value {
    json!({"method": "DELETE", "path": format!("/services/s{n}")})
}

/// Makes an API with 12 services, written as one event.
async fn populated() -> App {
    let app = App::start().await;
    let batch: Value = (0..DELETES).map(put).collect();
    app.expect(("POST", "/batch"), batch, 200, Value::Null).await;
    app
}

fn emptying() -> Value {
    (0..DELETES).map(delete).collect()
}

#[tokio::test]
async fn a_batch_that_takes_away_too_much_is_refused_and_says_how_to_force_it() {
    let app = populated().await;
    let refused = json!({
        "name": "shrink refused",
        "message": "this would remove 12 of 12 services: say force=1 in the query, or \
                    X-Change-Force: 1, if it is meant",
        "shrinks": {"services": {"from": 12, "to": 0}},
    });
    app.expect(("POST", "/batch"), emptying(), 409, refused.clone()).await;
    app.expect(("POST", "/batch?force=0"), emptying(), 409, refused).await;
    app.expect(("POST", "/batch?force=maybe"), emptying(), 400, Value::Null).await;
    let tried = app.send("POST", "/batch?dry_run=1", emptying()).await.json();
    assert_eq!(tried["shrinks"], json!({"services": {"from": 12, "to": 0}}));
    assert_eq!(app.get("/").await.json()["seq"], 1);
    let half: Value = (0..DELETES / 2).map(delete).collect();
    app.expect(("POST", "/batch"), half, 200, Value::Null).await;
}

#[tokio::test]
async fn every_way_to_say_force_is_heard() {
    let body = json!({"operations": emptying(), "force": true});
    let header = [("content-type", "application/json"), ("x-change-force", "1")];
    for (path, headers, body) in [
        ("/batch?force=1", &header[..1], emptying()),
        ("/batch", &header[..1], body),
        ("/batch", &header[..], emptying()),
    ] {
        let app = populated().await;
        let answer = app.send_raw("POST", path, headers, &body.to_string()).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        assert_eq!(app.get("/services").await.json()["data"], json!([]));
    }
    let app = populated().await;
    let header = [("content-type", "application/json"), ("x-change-force", "yes")];
    let answer = app.send_raw("POST", "/batch", &header, &emptying().to_string()).await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn a_rollback_is_guarded() {
    let app = populated().await;
    app.expect(("POST", "/rollback"), json!({"to": 0}), 409, Value::Null).await;
    app.expect(("POST", "/rollback"), json!({"to": 0, "force": true}), 200, Value::Null).await;
    // What grows needs no force.
    app.expect(("POST", "/rollback"), json!({"to": 1}), 200, Value::Null).await;
}

#[tokio::test]
async fn clients_that_delete_one_by_one_are_never_refused() {
    let app = populated().await;
    for n in 0..DELETES {
        app.expect(("DELETE", &format!("/services/s{n}")), Value::Null, 204, Value::Null).await;
    }
}

#[tokio::test]
async fn a_declarative_load_is_guarded() {
    let app = App::with(Options { database_off: true, ..Options::default() }).await;
    let services: Vec<_> =
        (0..DELETES).map(|n| json!({"name": format!("s{n}"), "host": "a"})).collect();
    let full = json!({"_format_version": "3.0", "services": services});
    let empty = json!({"_format_version": "3.0"});
    app.expect(("POST", "/config"), full, 201, Value::Null).await;
    app.expect(("POST", "/config"), empty.clone(), 409, Value::Null).await;
    app.expect(("POST", "/config?force=1"), empty, 201, json!({})).await;
}
