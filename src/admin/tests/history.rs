//! The log over HTTP: events by page, filter and stream, snapshots and their differences.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::app::App;
use crate::admin::dispatch;

/// Makes seven events; the fifth deletes the route, the sixth is a rollback.
async fn populated() -> App {
    let app = App::start().await;
    app.populate().await;
    let headers = [("content-type", "application/json"), ("x-request-id", "req-4")];
    let patch = r#"{"host":"b","port":81,"tags":["t"]}"#;
    app.send_raw("PATCH", "/services/s", &headers, patch).await;
    app.send("DELETE", "/routes/r", Value::Null).await;
    app.send("POST", "/rollback", json!({"to": 4})).await;
    app.send("PATCH", "/services/s", json!({"name": "renamed"})).await;
    app
}

fn seqs(page: &Value) -> Vec<u64> {
    page["data"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn events_are_filtered() {
    let app = populated().await;
    let all = app.get("/events").await.json();
    assert_eq!(seqs(&all), [7, 6, 5, 4, 3, 2, 1]);
    let at = |seq: usize| all["data"][7 - seq]["at"].as_str().unwrap().to_owned();
    let s = app.get("/services/renamed").await.json()["id"].as_str().unwrap().to_owned();
    for (query, expected) in [
        ("kind=routes", vec![6, 5, 3]),
        ("kind=services", vec![7, 4, 2, 1]),
        (&format!("id={s}"), vec![7, 4, 1]),
        (&format!("id={s}&kind=routes"), vec![]),
        // A deletion is found by the name that the entity had.
        ("name=r", vec![6, 5, 3]),
        ("name=r&order=oldest", vec![3, 5, 6]),
        ("name=s", vec![7, 4, 1]),
        ("name=renamed", vec![7]),
        ("type=rolled_back", vec![6]),
        ("type=written&kind=routes", vec![5, 3]),
        ("request_id=req-4", vec![4]),
        ("actor=anonymous&after=5", vec![6, 7]),
        ("actor=nobody", vec![]),
        ("source=admin-api&before=3", vec![2, 1]),
        ("after=2&before=5", vec![3, 4]),
        ("after=2&before=5&order=newest", vec![4, 3]),
        (&format!("since={}", at(6)), vec![7, 6]),
        (&format!("until={}", at(2)), vec![2, 1]),
        (&format!("since={}&until={}", at(3), at(4)), vec![4, 3]),
        ("since=2000-01-01&until=2000-01-02", vec![]),
        ("after=7", vec![]),
        ("after=99", vec![]),
    ] {
        assert_eq!(seqs(&app.get(&format!("/events?{query}")).await.json()), expected, "{query}");
    }
    for (query, option) in [
        ("kind=nope", "kind"),
        ("id=x", "id"),
        ("type=x", "type"),
        ("order=x", "order"),
        ("since=17", "since"),
        ("until=soon", "until"),
        ("after=x", "after"),
    ] {
        let answer = app.get(&format!("/events?{query}")).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (400, &json!(11)), "{query}");
        assert!(answer.json()["options"][option].is_string(), "{query}");
    }
}

#[tokio::test]
async fn filtered_pages_lead_to_every_event_once() {
    let app = populated().await;
    for (query, expected) in [
        ("kind=services&size=1", vec![7, 4, 2, 1]),
        ("name=r&size=2&order=oldest", vec![3, 5, 6]),
        ("size=3&before=6", vec![5, 4, 3, 2, 1]),
        ("size=3&after=1", vec![2, 3, 4, 5, 6, 7]),
    ] {
        let (mut next, mut seen) = (format!("/events?{query}"), Vec::new());
        while !next.is_empty() {
            let page = app.get(&next).await.json();
            assert!(!seqs(&page).is_empty(), "{query}: no empty page at the end");
            seen.extend(seqs(&page));
            next = page["next"].as_str().unwrap_or_default().to_owned();
        }
        assert_eq!(seen, expected, "{query}");
    }
}

#[tokio::test]
async fn one_event_is_told_field_by_field() {
    let app = populated().await;
    let event = app.get("/events/4").await.json();
    assert_eq!((&event["seq"], &event["changes_total"]), (&json!(4), &json!(1)));
    let change = &event["changes"][0];
    assert_eq!(
        (&change["change"], &change["kind"], &change["name"]),
        (&json!("updated"), &json!("services"), &json!("s"))
    );
    assert_eq!(change["fields"]["host"], json!({"from": "a", "to": "b"}));
    assert_eq!(change["fields"]["tags"], json!({"from": null, "to": ["t"]}));
    assert_eq!(change["fields"].get("name"), None);
    let deleted = app.get("/events/5").await.json()["changes"][0].clone();
    assert_eq!((&deleted["change"], &deleted["name"]), (&json!("deleted"), &json!("r")));
    let created = app.get("/events/1").await.json()["changes"][0].clone();
    assert_eq!(
        (&created["change"], &created["fields"]["port"]),
        (&json!("created"), &json!({"from": null, "to": 80}))
    );
    for path in ["/events/0", "/events/8", "/events/x", "/events/-1"] {
        assert_eq!(app.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn snapshots_are_listed_shown_and_compared() {
    let app = populated().await;
    let all = app.get("/snapshots").await.json();
    let data = all["data"].as_array().unwrap();
    assert_eq!(seqs(&all), [7, 6, 5, 4, 3, 2, 1]);
    let counts: Vec<_> = data.iter().map(|one| one["entities"].as_u64().unwrap()).collect();
    assert_eq!(counts, [3, 3, 2, 3, 3, 2, 1]);
    assert_eq!(data[1]["config_hash"], data[3]["config_hash"], "brought back");
    let mut paged = Vec::new();
    let mut next = "/snapshots?size=3".to_owned();
    while !next.is_empty() {
        let page = app.get(&next).await.json();
        paged.extend(page["data"].as_array().unwrap().clone());
        next = page["next"].as_str().unwrap_or_default().to_owned();
    }
    assert_eq!(&paged, data);

    let hash = data[2]["config_hash"].as_str().unwrap();
    for moment in [hash, &hash[..8], "5", &data[2]["at"].as_str().unwrap().replace('+', "%2B")] {
        let answer = app.get(&format!("/snapshots/{moment}")).await;
        assert_eq!(answer.header("etag").trim_matches('"'), hash, "{moment}: {}", answer.text);
        let shown = answer.json();
        assert_eq!((&shown["entities"], &shown["kinds"]), (&json!(2), &json!({"services": 2})));
    }
    let tree = app.get("/snapshots/5?format=declarative").await.json();
    assert_eq!(
        (&tree["_format_version"], tree["services"].as_array().unwrap().len()),
        (&json!("3.0"), 2)
    );

    let diff = app.get(&format!("/snapshots/3/diff/{hash}")).await;
    assert_eq!(diff.status, 200, "{}", diff.text);
    let (diff, total) = (diff.json(), 2);
    assert_eq!(
        (&diff["total"], &diff["from"]["seq"], &diff["to"]["seq"]),
        (&json!(total), &json!(3), &json!(5))
    );
    assert_eq!(
        (&diff["data"][0]["change"], &diff["data"][0]["kind"]),
        (&json!("deleted"), &json!("routes"))
    );
    assert_eq!(diff["data"][1]["fields"]["host"], json!({"from": "a", "to": "b"}));
    let page = app.get("/snapshots/3/diff/5?size=1").await.json();
    let rest = app.get(page["next"].as_str().unwrap()).await.json();
    assert_eq!((&rest["data"][0], &rest["next"]), (&diff["data"][1], &Value::Null));
    assert_eq!(app.get("/snapshots/4/diff/6").await.json()["data"], json!([]));
    for (path, status) in [
        ("/snapshots/99", 404),
        ("/snapshots/aaaaaaaa", 404),
        ("/snapshots/soon", 400),
        ("/snapshots/1/diff/99", 404),
        ("/snapshots/1?format=yaml", 400),
        ("/snapshots/1/diff", 404),
        ("/snapshots?offset=x", 400),
    ] {
        assert_eq!(app.get(path).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn a_snapshot_is_downloaded_as_the_file_that_starts_a_data_plane() {
    use crate::domain::decide::Fresh;
    let app = populated().await;
    let clock = crate::clock::Clock::System;
    let mut id = || clock.id();
    for (path, accept) in
        [("/snapshots/4?format=file", "*/*"), ("/snapshots/4", "application/gzip")]
    {
        let request = Request::get(path).header("accept", accept).body(Body::empty()).unwrap();
        let response = dispatch::dispatch(State(app.admin.clone()), request).await;
        assert_eq!(response.headers()["content-type"], "application/gzip");
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let mut fresh = Fresh { at: clock.now(), id: &mut id };
        let loaded =
            crate::snapshot::file::decode(&app.admin.0.catalog, &bytes, &mut fresh).unwrap();
        let hash = app.get("/snapshots/4").await.json()["config_hash"].clone();
        assert_eq!(json!(loaded.snapshot.hash()), hash);
    }
}

#[tokio::test]
async fn a_rollback_can_be_tried_out() {
    let app = populated().await;
    let hash = app.get("/snapshots/2").await.json()["config_hash"].clone();
    for (path, body) in [
        ("/rollback?dry_run=1", json!({"to": 2})),
        ("/rollback", json!({"to": hash, "dry_run": true})),
    ] {
        let tried = app.send("POST", path, body).await.json();
        assert_eq!((&tried["config_hash"], &tried["changes_total"]), (&hash, &json!(2)), "{tried}");
        let changes: Vec<_> =
            tried["changes"].as_array().unwrap().iter().map(|c| &c["change"]).collect();
        assert_eq!(changes, [&json!("deleted"), &json!("updated")]);
    }
    assert_eq!(app.get("/").await.json()["seq"], 7);
}

/// Reads pieces of a stream until one holds `end`; fails when it takes too long.
async fn until(body: &mut Body, end: &str) -> String {
    let mut text = String::new();
    let read = async {
        while !text.contains(end) {
            let frame = body.frame().await.expect("the stream goes on").unwrap();
            text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
    };
    let read = tokio::time::timeout(Duration::from_secs(10), read).await;
    assert!(read.is_ok(), "no {end:?} in {text:?}");
    text
}

async fn follow(app: &App, path: &str, last: Option<&str>) -> http::Response<Body> {
    let mut request = Request::get(path);
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    dispatch::dispatch(State(app.admin.clone()), request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn followers_see_events_as_they_happen_and_resume_where_they_were() {
    let app = populated().await;
    let response = follow(&app, "/events?follow", None).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut live = response.into_body();
    until(&mut live, ": events after 7\n\n").await;
    app.create("/consumers", json!({"username": "c"})).await;
    let text = until(&mut live, "\n\n").await;
    let data = text.strip_prefix("id: 8\ndata: ").unwrap().trim_end();
    let event: Value = serde_json::from_str(data).unwrap();
    assert_eq!((&event["seq"], &event["changes"][0]["name"]), (&json!(8), &json!("c")));

    let mut resumed = follow(&app, "/events?follow=1&kind=routes", Some("3")).await.into_body();
    let text = until(&mut resumed, "id: 6\n").await;
    assert!(text.contains("id: 5\n") && !text.contains("id: 3\n") && !text.contains("id: 4\n"));
    let mut since = follow(&app, "/events?follow&after=6", None).await.into_body();
    assert!(until(&mut since, "id: 8\n").await.contains("id: 7\n"));
    for (last, status) in [("99", 404), ("x", 400)] {
        assert_eq!(follow(&app, "/events?follow", Some(last)).await.status(), status);
    }
}

#[tokio::test]
async fn a_follower_that_does_not_read_holds_up_nobody_and_misses_nothing() {
    let app = App::start().await;
    let mut slow = follow(&app, "/events?follow", None).await.into_body();
    for name in 0..120 {
        app.create("/consumers", json!({"username": name.to_string()})).await;
    }
    let text = until(&mut slow, "id: 120\n").await;
    let ids: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    let expected: Vec<_> = (1..=120).map(|seq| seq.to_string()).collect();
    assert_eq!(ids, expected);
    // The stream ends with the node.
    app.stop_writer().await;
    let end = tokio::time::timeout(Duration::from_secs(10), slow.frame()).await.unwrap();
    assert!(end.is_none());
}
