//! Batches: later operations see earlier ones, one event, all or nothing.

use serde_json::{Value, json};

use super::app::App;

fn operation(method: &str, path: &str, body: Value) -> Value {
    json!({"method": method, "path": path, "body": body})
}

#[tokio::test]
async fn a_batch_is_one_event_and_later_operations_see_earlier_ones() {
    let app = App::start().await;
    app.populate().await;
    let operations = json!([
        operation("POST", "/services", json!({"name": "new", "host": "h", "url": "http://h:81/p"})),
        operation("POST", "/services/new/routes", json!({"name": "n", "paths": ["/n"]})),
        operation("PATCH", "/routes/n", json!({"strip_path": false})),
        operation("PUT", "/services/other/routes/n2", json!({"paths": ["/n2"]})),
        operation("PUT", "/routes/n/service", json!({"name": "new", "host": "moved"})),
        operation("DELETE", "/routes/r", Value::Null),
        operation("DELETE", "/services/s", Value::Null),
        operation("POST", "/consumers", json!({"username": "gone"})),
        operation("DELETE", "/consumers/gone", Value::Null),
    ]);
    let answer =
        app.send("POST", "/batch", json!({"operations": operations, "reason": "why"})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let done = answer.json();
    assert_eq!((&done["seq"], &done["changed"]), (&json!(4), &json!(true)));
    assert_eq!(answer.header("etag").trim_matches('"'), done["config_hash"]);
    let statuses: Vec<_> =
        done["results"].as_array().unwrap().iter().map(|r| r["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 201, 200, 200, 200, 204, 204, 201, 204]);
    assert_eq!(done["results"][2]["body"]["strip_path"], false);
    assert_eq!(app.get("/services/new").await.json()["host"], "moved");
    assert_eq!(app.get("/services/s").await.status, 404);
    let event = app.get("/events?size=1").await.json()["data"][0].clone();
    assert_eq!((&event["seq"], &event["reason"]), (&json!(4), &json!("why")));
    let mut changed: Vec<_> =
        event["changes"].as_array().unwrap().iter().map(|c| c["kind"].as_str().unwrap()).collect();
    changed.sort_unstable();
    assert_eq!(
        changed,
        ["routes", "routes", "routes", "services", "services"],
        "no trace of the consumer"
    );
}

#[tokio::test]
async fn a_refused_operation_is_named_and_nothing_of_the_batch_happens() {
    let app = App::start().await;
    app.populate().await;
    let good = operation("POST", "/services", json!({"host": "h"}));
    let code = |code: u8| json!(code);
    for (bad, status, member, value) in [
        (operation("POST", "/services", json!({"name": "s", "host": "h"})), 409, "/code", code(5)),
        (
            operation("POST", "/services", json!({})),
            400,
            "/fields/host",
            json!("required field missing"),
        ),
        (operation("PATCH", "/services/nobody", json!({})), 404, "/code", code(6)),
        (operation("DELETE", "/services/s", Value::Null), 400, "/code", code(4)),
        (
            operation("POST", "/services/nobody/routes", json!({"paths": ["/"]})),
            404,
            "/message",
            json!("Not found"),
        ),
        (operation("GET", "/services", Value::Null), 405, "/message", json!("Method not allowed")),
        (operation("PUT", "/services", json!({})), 405, "/message", json!("Method not allowed")),
        (operation("POST", "/nope", json!({})), 404, "/message", json!("Not found")),
        (
            operation("POST", "/rollback", json!({})),
            400,
            "/fields/path",
            json!("only entities can be written in a batch"),
        ),
        (
            operation("PUT", "/services/a?at=1", json!({})),
            400,
            "/fields/path",
            json!("expected a path without a query"),
        ),
        (json!({"path": "/services"}), 400, "/fields/method", json!("required field missing")),
        (
            json!({"method": 1, "path": "/services"}),
            400,
            "/fields/method",
            json!("expected a string"),
        ),
        (
            json!({"method": "POST", "path": "/services", "body": []}),
            400,
            "/fields/body",
            json!("expected a record"),
        ),
        (
            json!({"method": "POST", "path": "/services", "id": 1}),
            400,
            "/fields/id",
            json!("unknown field"),
        ),
        (json!("POST"), 400, "/message", json!("expected an object")),
    ] {
        let answer = app.send("POST", "/batch", json!([good, bad, good])).await;
        assert_eq!(answer.status, status, "{bad}: {}", answer.text);
        let body = answer.json();
        assert_eq!(body.pointer(member), Some(&value), "{bad}: {body}");
        let named = (&body["operation"]["index"], &body["operation"]["path"]);
        assert_eq!(named, (&json!(1), &bad["path"]), "{bad}");
    }
    assert_eq!(app.get("/").await.json()["seq"], 3, "nothing was written");
}

#[tokio::test]
async fn bodies_that_are_no_batch_are_refused() {
    let app = App::start().await;
    let many: Vec<_> = (0..1001).map(|_| operation("DELETE", "/services/x", Value::Null)).collect();
    for (body, field, text) in [
        (json!({}), "operations", "required field missing"),
        (json!({"operations": {}}), "operations", "expected an array"),
        (json!(many), "operations", "length must be at most 1000"),
        (json!({"operations": [], "reason": 1}), "reason", "expected a string"),
        (json!({"operations": [], "dry_run": 1}), "dry_run", "expected a boolean"),
        (json!({"ops": [], "operations": []}), "ops", "unknown field"),
    ] {
        let answer = app.send("POST", "/batch", body).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["fields"][field]), (400, &json!(text)));
    }
    assert_eq!(app.form("POST", "/batch", "operations=x").await.status, 415);
    let json = [("content-type", "application/json")];
    assert_eq!(app.send_raw("POST", "/batch", &json, "[").await.status, 400);
    let nothing = app.send("POST", "/batch", json!([])).await;
    assert_eq!((nothing.status.as_u16(), &nothing.json()["changed"]), (200, &json!(false)));
    assert_eq!(app.send("GET", "/batch", Value::Null).await.status, 405);
}

#[tokio::test]
async fn names_can_be_swapped_in_a_batch() {
    let app = App::start().await;
    app.populate().await;
    let id = async |name: &str| app.get(&format!("/services/{name}")).await.json()["id"].clone();
    let (s, other) = (id("s").await, id("other").await);
    let batch = json!([
        operation("PATCH", "/services/s", json!({"name": "between"})),
        operation("PATCH", "/services/other", json!({"name": "s"})),
        operation("PATCH", "/services/between", json!({"name": "other"})),
    ]);
    assert_eq!(app.send("POST", "/batch", batch).await.status, 200);
    assert_eq!((id("s").await, id("other").await), (other, s));
}

#[tokio::test]
async fn a_dry_run_answers_the_difference_and_the_hash_and_writes_nothing() {
    let app = App::start().await;
    app.populate().await;
    let before = app.get("/services").await.header("etag").to_owned();
    let batch = json!([
        operation("DELETE", "/routes/r", Value::Null),
        operation("DELETE", "/services/s", Value::Null),
    ]);
    let tried = app.send("POST", "/batch?dry_run=1", batch.clone()).await;
    assert_eq!((tried.status.as_u16(), tried.header("etag")), (200, &*before));
    let tried = tried.json();
    assert_eq!(
        (&tried["dry_run"], &tried["changes_total"], &tried["seq"]),
        (&json!(true), &json!(2), &json!(3))
    );
    assert_eq!(tried["changes"][0]["change"], "deleted");
    assert_eq!(tried["changes"][0]["fields"]["paths"], json!({"from": ["/a"], "to": null}));
    assert_eq!(tried["results"][1]["status"], 204);
    assert_eq!(app.get("/").await.json()["seq"], 3);
    // Nothing is drawn anew here, so that the write has the hash that was promised.
    let done = app.send("POST", "/batch", batch).await.json();
    assert_eq!((&done["config_hash"], &done["seq"]), (&tried["config_hash"], &json!(4)));
    for (query, status) in [("dry_run=0", 200), ("dry_run=maybe", 400)] {
        assert_eq!(app.send("POST", &format!("/batch?{query}"), json!([])).await.status, status);
    }
    let headers = [("content-type", "application/json"), ("if-match", &*before)];
    assert_eq!(app.send_raw("POST", "/batch?dry_run=1", &headers, "[]").await.status, 412);
    assert_eq!(app.send_raw("POST", "/batch", &headers, "[]").await.status, 412);
}
