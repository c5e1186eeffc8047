//! The endpoints that tell of the node or steer it: tags, log level, cache, health.

use serde_json::{Value, json};

use super::app::{ABSENT, App};

fn message(text: &str) -> Value {
    json!({"message": text})
}

#[tokio::test]
async fn tags_are_listed_with_who_carries_them() {
    let app = App::start().await;
    let s = app.create("/services", json!({"host": "a", "tags": ["x", "y z"]})).await;
    let c = app.create("/consumers", json!({"username": "c", "tags": ["x"]})).await;
    let entry = |tag, name, id: &String| json!({"tag": tag, "entity_name": name, "entity_id": id});
    let all =
        [entry("x", "consumers", &c), entry("x", "services", &s), entry("y z", "services", &s)];
    assert_eq!(app.get("/tags").await.json(), json!({"data": all, "next": null}));
    let of_one = |tag: &'static str| app.get(tag);
    assert_eq!(of_one("/tags/x").await.json(), json!({"data": all[..2], "next": null}));
    assert_eq!(of_one("/tags/y%20z").await.json(), json!({"data": all[2..], "next": null}));
    assert_eq!(of_one("/tags/nobody").await.json(), json!({"data": [], "next": null}));

    for list in ["/tags", "/tags/x"] {
        let mut found = Vec::new();
        let mut next = Some(format!("{list}?size=1"));
        while let Some(path) = next {
            let page = app.get(&path).await.json();
            found.extend(page["data"].as_array().unwrap().clone());
            next = page["next"].as_str().map(str::to_owned);
        }
        assert_eq!(found, all[..found.len()], "{list}");
        assert_eq!(found.len(), if list == "/tags" { 3 } else { 2 });
    }

    let answer = app.get("/tags/a,b").await;
    let text = "invalid tag 'a,b': expected printable ascii (except `,` and `/`) or valid utf-8 \
                sequences";
    let body = json!({"code": 10, "name": "invalid unique tag", "message": text});
    assert_eq!((answer.status.as_u16(), answer.json()), (400, body));
    assert_eq!(app.get("/tags?offset=x").await.json()["code"], 7);
    assert_eq!(app.get("/tags?offset=WyJ4Il0").await.json()["code"], 7);
    assert_eq!(app.get("/tags?size=0").await.json()["code"], 9);
    assert_eq!(app.send("POST", "/tags", json!({})).await.status, 405);
}

#[tokio::test]
async fn the_log_level_is_read_and_changed() {
    let app = App::start().await;
    let put = |path: &'static str| app.send("PUT", path, Value::Null);
    let level = || async { app.get("/debug/node/log-level").await.json() };
    assert_eq!(level().await, message("log level: notice"));
    for (path, status, text) in [
        ("/debug/node/log-level/debug", 200, "log level changed"),
        ("/debug/node/log-level/debug", 200, "log level is already debug"),
        ("/debug/node/log-level/warn?timeout=0", 200, "log level changed"),
        ("/debug/node/log-level/loud", 400, "unknown log level: loud"),
        (
            "/debug/node/log-level/info?timeout=-1",
            400,
            "timeout must be greater than or equal to 0",
        ),
        ("/debug/node/log-level/err?timeout=1e99", 400, "unknown log level: err"),
        (
            "/debug/cluster/control-planes-nodes/log-level/error?timeout=1e99",
            200,
            "log level changed",
        ),
        ("/debug/cluster/log-level/info", 404, "Not found"),
    ] {
        let answer = put(path).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (status, message(text)), "{path}");
    }
    assert_eq!(level().await, message("log level: error"));
    let app = App::without_database().await;
    let answer = app.send("PUT", "/debug/cluster/log-level/info", Value::Null).await;
    let text = "cannot change log level when not using a database";
    assert_eq!((answer.status.as_u16(), answer.json()), (405, message(text)));
}

#[tokio::test]
async fn the_cache_is_empty() {
    let app = App::start().await;
    for path in ["/cache", "/cache/services:x"] {
        assert_eq!(app.send("DELETE", path, Value::Null).await.status, 204);
    }
    assert_eq!(app.get("/cache/services:x").await.json(), message("Not found"));
    assert_eq!(app.get("/cache").await.json(), message("Method not allowed"));
    assert_eq!(app.get("/timers").await.status, 404);
}

#[tokio::test]
async fn a_control_plane_does_not_know_how_targets_do() {
    let app = App::start().await;
    let id = app.create("/upstreams", json!({"name": "u.test"})).await;
    let empty = app.get("/upstreams/u.test/health?balancer_health=1").await.json();
    assert_eq!(empty["data"]["balancer_health"], "UNHEALTHY");
    for target in ["10.0.0.1:80", "10.0.0.2:80"] {
        app.create("/upstreams/u.test/targets", json!({"target": target, "weight": 10})).await;
    }
    let health = app.get("/upstreams/u.test/health?size=1").await.json();
    assert_eq!(health["data"][0]["health"], "HEALTHCHECKS_OFF");
    assert_eq!(health["data"][0]["weight"], 10);
    assert_eq!(health["next"], format!("/upstreams/{id}/health?offset=1"));
    assert_eq!(health["node_id"], app.get("/").await.json()["node_id"]);
    let whole = app.get(&format!("/upstreams/{id}/health?balancer_health=1")).await.json();
    assert_eq!(whole["data"]["id"], id);
    assert_eq!(whole["data"]["health"], "HEALTHCHECKS_OFF");
    assert_eq!(whole["data"]["balancer_health"], "HEALTHY");
    let weight = json!({"total": 20, "available": 20, "unavailable": 0});
    assert_eq!(whole["data"]["details"]["weight"], weight);
    let absent = app.get(&format!("/upstreams/{ABSENT}/health")).await;
    assert_eq!((absent.status.as_u16(), absent.json()), (404, message("Not found")));
    let set = "/upstreams/u.test/targets/10.0.0.1:80/unhealthy";
    assert_eq!(app.send("PUT", set, Value::Null).await.status, 404);
}

#[tokio::test]
async fn the_endpoints_are_those_of_the_role() {
    let app = App::start().await;
    let listed = app.get("/endpoints").await.json();
    let has =
        |listed: &Value, path: &str| listed["data"].as_array().unwrap().contains(&path.into());
    let unhealthy = "/upstreams/{upstreams}/targets/{targets}/unhealthy";
    assert!(has(&listed, "/tags/{tags}") && has(&listed, "/openapi.json"));
    assert!(!has(&listed, unhealthy));
    let listed = App::without_database().await.get("/endpoints").await.json();
    assert!(has(&listed, unhealthy) && has(&listed, "/debug/cluster/log-level/{log_level}"));
    let options = app.send("OPTIONS", "/config", Value::Null).await;
    assert_eq!(options.header("allow"), "GET, HEAD, OPTIONS, POST");
    let document = app.get("/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let dns = app.get("/status/dns").await;
    assert_eq!(dns.status, 501);
}
