//! The calls that decK and Kong Manager make, in their order and their form
//! (reference gateway-2, section B.7; client-kong-manager.md).

use serde_json::{Value, json};

use super::app::App;

const UI: [(&str, &str); 3] = [
    ("origin", "http://ui:8002"),
    ("accept", "application/json, text/plain, */*"),
    ("content-type", "application/json"),
];

/// Reads a list as decK does: pages of 1000, until there is no `next`, by `offset`.
async fn deck_list(app: &App, path: &str, tags: &str) -> Vec<Value> {
    let (mut all, mut offset) = (Vec::new(), None::<String>);
    loop {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("size", "1000");
        if !tags.is_empty() {
            query.append_pair("tags", tags);
        }
        if let Some(offset) = &offset {
            query.append_pair("offset", offset);
        }
        let answer = app.get(&format!("{path}?{}", query.finish())).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        let page = answer.json();
        all.extend(page["data"].as_array().unwrap().clone());
        offset = page["offset"].as_str().map(str::to_owned);
        assert_eq!(page["next"].is_null(), offset.is_none());
        if offset.is_none() {
            return all;
        }
    }
}

#[tokio::test]
async fn deck_dumps_syncs_and_resets() {
    let app = App::with_plugins().await;
    let root = app.get("/").await.json();
    let version: Vec<_> = root["version"].as_str().unwrap().split('.').collect();
    assert_eq!((version.len(), version[0]), (3, "3"));
    for absent in ["/workspaces", "/consumer_groups", "/licenses", "/rbac/roles", "/partials"] {
        assert_eq!(app.get(&format!("{absent}?size=1000")).await.status, 404, "{absent}");
    }

    // Sync: ids are made by the client, parents before children, all by PUT.
    let id = |n: u8| format!("00000000-0000-4000-8000-0000000000{n:02}");
    let tags = json!(["managed", "team a"]);
    let bodies = [
        (
            format!("/services/{}", id(1)),
            json!({"name": "s", "host": "a", "protocol": "http",
            "port": 80, "retries": 5, "connect_timeout": 60000, "read_timeout": 60000,
            "write_timeout": 60000, "enabled": true}),
        ),
        (
            format!("/routes/{}", id(2)),
            json!({"name": "r", "paths": ["/r"],
            "service": {"id": id(1)}, "strip_path": true, "https_redirect_status_code": 426}),
        ),
        (format!("/consumers/{}", id(3)), json!({"username": "c"})),
        (format!("/consumers/{}/key-auth/{}", id(3), id(4)), json!({"key": "k"})),
        (format!("/upstreams/{}", id(5)), json!({"name": "u"})),
        (
            format!("/plugins/{}", id(7)),
            json!({"name": "rate-limiting", "enabled": true,
            "service": {"id": id(1)}, "protocols": ["http"],
            "config": {"minute": 5, "policy": "local"}}),
        ),
    ];
    for (path, body) in &bodies {
        let mut body = body.clone();
        body["id"] = path.rsplit('/').next().unwrap().into();
        body["tags"] = tags.clone();
        for _ in 0..2 {
            let answer = app.send("PUT", path, body.clone()).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
            assert_eq!(answer.json()["id"], body["id"], "{path}");
        }
    }
    // A target is put first, and posted when that is a 404.
    let target = json!({"id": id(6), "target": "a:80", "weight": 100, "tags": tags});
    let put = format!("/upstreams/{}/targets/{}", id(5), id(6));
    assert_eq!(app.send("PUT", &put, target.clone()).await.status, 404);
    let post = format!("/upstreams/{}/targets", id(5));
    assert_eq!(app.send("POST", &post, target.clone()).await.json()["id"], id(6));
    assert_eq!(app.send("PUT", &put, target).await.status, 200);

    // Dump: everything with the tags.
    for path in ["/services", "/routes", "/consumers", "/key-auths", "/upstreams", "/plugins"] {
        let listed = deck_list(&app, path, "managed,team a").await;
        assert_eq!(listed.len(), 1, "{path}");
        assert_eq!(listed[0]["tags"], tags, "{path}");
        assert!(deck_list(&app, path, "managed,others").await.is_empty(), "{path}");
        assert_eq!(deck_list(&app, path, "").await.len(), 1, "{path}");
    }
    assert_eq!(deck_list(&app, &post, "").await.len(), 1);

    // Reset: children first, each by its id.
    for (path, _) in bodies.iter().rev() {
        assert_eq!(app.send("DELETE", path, Value::Null).await.status, 204, "{path}");
    }
    for path in ["/services", "/routes", "/consumers", "/key-auths", "/upstreams", "/plugins"] {
        assert!(deck_list(&app, path, "").await.is_empty(), "{path}");
    }
}

#[tokio::test]
async fn deck_reads_long_lists_to_their_end() {
    let app = App::start().await;
    for n in 0..7 {
        let tags = json!(["all", if n % 2 == 0 { "even" } else { "odd" }]);
        app.create("/consumers", json!({"username": format!("c{n}"), "tags": tags})).await;
    }
    for (tags, found) in [("", 7), ("all", 7), ("all,even", 4), ("even/odd", 7), ("odd/none", 3)] {
        let all = deck_list(&app, "/consumers", tags).await;
        let ids: std::collections::BTreeSet<_> =
            all.iter().map(|item| item["id"].as_str().unwrap()).collect();
        assert_eq!((all.len(), ids.len()), (found, found), "{tags}");
    }
}

async fn ui(app: &App, method: &str, path: &str, body: Value) -> (u16, Value) {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let preflight = [
        ("origin", "http://ui:8002"),
        ("access-control-request-method", method),
        ("access-control-request-headers", "content-type"),
    ];
    if method != "GET" {
        let answer = app.send_raw("OPTIONS", path, &preflight, "").await;
        assert_eq!(answer.status, 204, "{path}");
        let methods = answer.header("access-control-allow-methods");
        assert!(methods.split(", ").any(|known| known == method), "{method} {path}");
    }
    let answer = app.send_raw(method, path, &UI, &text).await;
    assert_eq!(answer.header("access-control-allow-origin"), "http://ui:8002");
    let body = serde_json::from_str(&answer.text).unwrap_or(Value::Null);
    (answer.status.as_u16(), body)
}

#[tokio::test]
async fn kong_manager_lists_finds_edits_and_deletes() {
    let app = App::with_plugins().await;
    let root = ui(&app, "GET", "/", Value::Null).await.1;
    for pointer in ["/version", "/edition", "/hostname", "/tagline", "/configuration/role"] {
        assert!(root.pointer(pointer).is_some_and(Value::is_string), "{pointer}");
    }
    assert!(root["plugins"]["available_on_server"].is_object());
    assert!(root["plugins"]["enabled_in_cluster"].is_array());

    let (status, service) =
        ui(&app, "POST", "/services", json!({"name": "s", "url": "http://a", "port": 80})).await;
    assert_eq!(status, 201, "{service}");
    let sid = service["id"].as_str().unwrap().to_owned();
    let route = json!({"name": "r", "service": {"id": sid}, "tags": [], "protocols": ["http"],
        "path_handling": "v0", "paths": ["/r"], "methods": null, "hosts": null, "headers": null,
        "snis": null, "sources": null, "destinations": null});
    let (status, route) = ui(&app, "POST", &format!("/services/{sid}/routes"), route).await;
    assert_eq!(status, 201, "{route}");

    for path in ["/services", "/routes", "/consumers", "/plugins", "/upstreams"] {
        for query in ["sort_desc=1&size=30", "size=1000", "size=50", "sort_desc=1&size=100"] {
            let (status, page) = ui(&app, "GET", &format!("{path}?{query}"), Value::Null).await;
            assert_eq!((status, page["data"].is_array(), &page["next"]), (200, true, &Value::Null));
        }
        assert_eq!(ui(&app, "GET", &format!("{path}?size=2000"), Value::Null).await.0, 400);
        assert_eq!(ui(&app, "GET", &format!("{path}/nobody"), Value::Null).await.0, 404);
    }
    assert_eq!(ui(&app, "GET", "/services/s", Value::Null).await.1["id"], json!(sid));

    // A switch sends the whole entity back, with what it cannot change.
    let plugin = json!({"name": "key-auth", "instance_name": "mine", "enabled": true,
        "protocols": ["http"], "config": {"key_names": ["k"]}, "service": {"id": sid}});
    let (status, mut plugin) = ui(&app, "POST", "/plugins", plugin).await;
    assert_eq!(status, 201, "{plugin}");
    plugin["enabled"] = false.into();
    let path = format!("/plugins/{}", plugin["id"].as_str().unwrap());
    let (status, patched) = ui(&app, "PATCH", &path, plugin.clone()).await;
    assert_eq!((status, &patched["enabled"]), (200, &json!(false)), "{patched}");
    let found = ui(&app, "GET", "/plugins/mine", Value::Null).await;
    assert_eq!((found.0, &found.1["id"]), (200, &plugin["id"]), "searched by instance_name");
    let expanded = ui(&app, "GET", &format!("{path}?expand_partials=true"), Value::Null).await;
    assert_eq!(expanded.0, 200);

    let mut service = ui(&app, "GET", &format!("/services/{sid}"), Value::Null).await.1;
    service["enabled"] = false.into();
    let (status, service) = ui(&app, "PATCH", &format!("/services/{sid}"), service).await;
    assert_eq!((status, &service["enabled"]), (200, &json!(false)), "{service}");

    ui(&app, "POST", "/consumers", json!({"username": "c", "custom_id": null, "tags": []})).await;
    let key = json!({"key": "k", "ttl": 0, "tags": null});
    assert_eq!(ui(&app, "POST", "/consumers/c/key-auth", key).await.0, 201);
    let upstream = json!({"name": "u", "healthchecks": {"threshold": 0}});
    assert_eq!(ui(&app, "POST", "/upstreams", upstream).await.0, 201);

    let (status, refused) = ui(&app, "DELETE", &format!("/services/{sid}"), Value::Null).await;
    let text = "an existing 'routes' entity references this 'services' entity";
    assert_eq!((status, &refused["message"]), (400, &json!(text)));
    let path = format!("/services/{sid}/routes/{}", route["id"].as_str().unwrap());
    assert_eq!(ui(&app, "DELETE", &path, Value::Null).await.0, 204);
    assert_eq!(ui(&app, "DELETE", &format!("/services/{sid}"), Value::Null).await.0, 204);
}

#[tokio::test]
async fn kong_manager_compares_texts() {
    let app = App::start().await;
    app.create("/services", json!({"name": "testService", "host": "a"})).await;
    app.create("/upstreams", json!({"name": "u"})).await;
    for (path, body, status, message) in [
        (
            "/services",
            json!({"name": "testService", "host": "a"}),
            409,
            "UNIQUE violation detected on '{name=\"testService\"}'",
        ),
        (
            "/services",
            json!({"name": "t", "host": "a", "connect_timeout": 0}),
            400,
            "schema violation (connect_timeout: value should be between 1 and 2147483646)",
        ),
        (
            "/routes",
            json!({"paths": ["a"]}),
            400,
            "schema violation (paths.1: should start with: / (fixed path) or ~/ (regex path))",
        ),
        (
            "/upstreams/u/targets",
            json!({"target": "a b"}),
            400,
            "schema violation (target: Invalid target ('a b'); not a valid hostname or ip address)",
        ),
    ] {
        let (code, answer) = ui(&app, "POST", path, body).await;
        assert_eq!((code, answer["message"].as_str()), (status, Some(message)));
    }
}
