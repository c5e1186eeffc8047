//! What Kong does not have: reads of the past, conditions on writes, reasons, batches.

use serde_json::{Value, json};

use super::app::App;

#[tokio::test]
async fn reads_go_back_to_a_position_a_hash_or_a_time() {
    let app = App::start().await;
    app.populate().await;
    app.send("PATCH", "/services/s", json!({"host": "b", "tags": ["t"]})).await;
    let old = app.get("/services?at=3").await;
    let hash = old.header("etag").trim_matches('"').to_owned();
    assert_ne!(app.get("/services").await.header("etag"), old.header("etag"));
    for at in ["3", &hash, &hash[..8]] {
        for (path, field, value) in [
            ("/services/s", "/host", json!("a")),
            ("/routes/r/service", "/host", json!("a")),
            ("/services/s/routes", "/data/0/name", json!("r")),
            ("/services/s/routes/r", "/name", json!("r")),
        ] {
            let answer = app.get(&format!("{path}?at={at}")).await;
            assert_eq!(answer.json().pointer(field), Some(&value), "{path} {at}: {}", answer.text);
            assert_eq!(answer.header("etag"), old.header("etag"), "{path} {at}");
        }
        let tagged = app.get(&format!("/services?tags=t&at={at}")).await.json();
        assert_eq!(tagged["data"], json!([]), "{at}");
        for path in ["/tags", "/tags/t"] {
            let tags = app.get(&format!("{path}?at={at}")).await;
            assert_eq!(
                (&tags.json()["data"], tags.header("etag")),
                (&json!([]), old.header("etag"))
            );
            assert_eq!(app.get(path).await.json()["data"][0]["tag"], "t", "{path}");
        }
    }
    let event = app.get("/events?size=1").await.json()["data"][0].clone();
    let now = event["at"].as_str().unwrap();
    assert_eq!(app.get(&format!("/services/s?at={now}")).await.json()["host"], "b");
    assert_eq!(app.get("/services?at=1970-01-01").await.json()["data"], json!([]));
    assert_eq!(app.get("/services/s?at=0").await.status, 404);
}

#[tokio::test]
async fn moments_that_are_none_are_refused_in_kongs_shape() {
    let app = App::start().await;
    app.populate().await;
    for (method, path, status, message) in [
        ("GET", "/services?at=4", 404, "log ends at 3, there is no 4 yet"),
        (
            "GET",
            "/services?at=aaaaaaaa",
            404,
            "no config of this log has a hash that begins with aaaaaaaa",
        ),
        ("GET", "/services?at=soon", 400, "invalid option (at: expected a position, 8 to 64"),
        ("GET", "/services?at=", 400, "invalid option (at: expected a position, 8 to 64"),
        (
            "PUT",
            "/services/s?dry_run=1",
            400,
            "invalid option (dry_run: only POST /batch and POST /rollback know it)",
        ),
        (
            "DELETE",
            "/routes/r?at=1",
            400,
            "invalid option (at: only reads can go back; see POST /rollback)",
        ),
    ] {
        let answer = app.send(method, path, Value::Null).await;
        assert_eq!(answer.status, status, "{path}");
        let said = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(said.starts_with(message), "{path}: {said}");
    }
}

#[tokio::test]
async fn the_pages_of_a_list_in_the_past_are_of_one_config() {
    let app = App::start().await;
    for name in ["a", "b", "c"] {
        app.create("/services", json!({"name": name, "host": "h"})).await;
        app.create(&format!("/services/{name}/routes"), json!({"paths": ["/a"]})).await;
        app.create(&format!("/services/{name}/routes"), json!({"paths": ["/b"]})).await;
    }
    let time = app.get("/events?size=1").await.json()["data"][0]["at"].as_str().unwrap().to_owned();
    let mut next = format!("/services?size=1&at={time}");
    let mut names = Vec::new();
    while !next.is_empty() {
        let page = app.get(&next).await;
        names.push(page.json()["data"][0]["name"].as_str().unwrap().to_owned());
        next = page.json()["next"].as_str().unwrap_or_default().to_owned();
        assert!(next.is_empty() || next.contains("at=9"), "{next}");
        let id = app.create("/services", json!({"host": "new"})).await;
        assert!(!names.contains(&id));
    }
    names.sort();
    assert_eq!(names, ["a", "b", "c"]);
    let page = app.get("/services/a/routes?size=1&at=9").await.json();
    assert!(page["next"].as_str().unwrap().contains("at=9"), "{page}");
}

#[tokio::test]
async fn every_answer_names_the_config_and_a_known_one_is_not_sent_again() {
    let app = App::start().await;
    app.populate().await;
    let tag = app.get("/services").await.header("etag").to_owned();
    assert_eq!(tag.len(), 66);
    for (path, status) in
        [("/", 200), ("/status", 200), ("/nope", 404), ("/events", 200), ("/services/x", 404)]
    {
        let answer = app.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.header("etag")), (status, &*tag), "{path}");
        assert!(answer.header("access-control-expose-headers").contains("ETag"), "{path}");
    }
    let weak = format!("\"x\", W/{tag}");
    for (path, known, status) in [
        ("/services", &*tag, 304),
        ("/services", &*weak, 304),
        ("/services/s/routes", "*", 304),
        ("/services", "\"x\"", 200),
        ("/services?at=1", &*tag, 200),
        ("/services/x", &*tag, 404),
        // What depends on more than the config is always sent.
        ("/status", &*tag, 200),
    ] {
        let answer = app.send_raw("GET", path, &[("if-none-match", known)], "").await;
        assert_eq!(
            (answer.status.as_u16(), answer.text.is_empty()),
            (status, status == 304),
            "{path} {known}"
        );
    }
}

#[tokio::test]
async fn a_write_on_another_config_is_refused_with_the_current_hash() {
    let app = App::start().await;
    app.populate().await;
    let old = app.get("/services?at=1").await.header("etag").to_owned();
    let now = app.get("/services").await.header("etag").to_owned();
    let either = format!("{old}, {now}");
    let weak = format!("W/{now}");
    let json = ("content-type", "application/json");
    for (method, path, body) in [
        ("POST", "/services", r#"{"host":"h"}"#),
        ("PUT", "/services/s", r#"{"host":"h"}"#),
        ("PATCH", "/services/s", r#"{"host":"h"}"#),
        ("DELETE", "/routes/r", ""),
        ("POST", "/rollback", r#"{"to":1}"#),
    ] {
        for tags in [&*old, &*weak] {
            let answer = app.send_raw(method, path, &[json, ("if-match", tags)], body).await;
            assert_eq!(
                (answer.status.as_u16(), answer.header("etag")),
                (412, &*now),
                "{method} {path}"
            );
            let hash = now.trim_matches('"');
            let message = format!("the configuration has changed: it is {hash} now");
            let expected =
                json!({"name": "precondition failed", "message": message, "config_hash": hash});
            assert_eq!(answer.json(), expected);
        }
    }
    for (tags, status) in [("abc", 400), (&*either, 200), (&*either, 412), ("*", 200)] {
        let headers = [json, ("if-match", tags)];
        let body = format!(r#"{{"host":"{status}"}}"#);
        let answer = app.send_raw("PATCH", "/services/s", &headers, &body).await;
        assert_eq!(answer.status, status, "{tags}: {}", answer.text);
    }
    assert_eq!(app.send_raw("GET", "/services", &[("if-match", &*old)], "").await.status, 412);
}

#[tokio::test]
async fn a_write_can_be_held_to_what_is_absent() {
    let app = App::start().await;
    app.populate().await;
    let put = async |path: &str, tags: &str| {
        let headers = [("content-type", "application/json"), ("if-none-match", tags)];
        app.send_raw("PUT", path, &headers, r#"{"host":"h"}"#).await
    };
    let refused = put("/services/s", "*").await;
    let message = "what the path names exists already";
    let expected = json!({"name": "precondition failed", "message": message});
    assert_eq!((refused.status.as_u16(), refused.json()), (412, expected));
    assert_eq!(put("/services/fresh", "*").await.status, 200);
    assert_eq!(put("/services/fresh", "*").await.status, 412);
    assert_eq!(put("/services/fresh", "\"x\"").await.status, 400);
}

#[tokio::test]
async fn a_reason_is_recorded_as_it_was_meant() {
    let app = App::start().await;
    let headers = [
        ("content-type", "application/json"),
        ("x-request-id", "req-1"),
        ("x-change-reason", "f%C3%BCr INC-7"),
    ];
    let answer = app.send_raw("POST", "/services", &headers, r#"{"host":"h"}"#).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-request-id")), (201, "req-1"));
    let event = app.get("/events").await.json()["data"][0].clone();
    assert_eq!((&event["reason"], &event["request_id"]), (&json!("für INC-7"), &json!("req-1")));
    let headers = [("content-type", "application/json"), ("x-change-reason", "a%00")];
    let refused = app.send_raw("POST", "/services", &headers, r#"{"host":"h"}"#).await;
    assert_eq!(refused.status, 400);
    let reason = json!({"to": 0, "reason": "a".repeat(1025)});
    assert_eq!(
        app.send("POST", "/rollback", reason).await.json()["fields"]["reason"],
        "at most 1024 bytes are kept"
    );
}
