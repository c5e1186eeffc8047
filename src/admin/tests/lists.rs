//! Pages, tags and the events of the log (reference gateway-2, section B.5).

use serde_json::{Value, json};

use super::app::App;

/// Follows `next` to the end and returns the size of each page.
async fn walk(app: &App, path: &str) -> (Vec<usize>, Vec<Value>) {
    let (mut sizes, mut items) = (Vec::new(), Vec::new());
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        let page = app.get(&path).await.json();
        let data = page["data"].as_array().unwrap().clone();
        sizes.push(data.len());
        items.extend(data);
        next = page["next"].as_str().map(str::to_owned);
        assert_eq!(next.is_some(), page.get("offset").is_some(), "{path}");
    }
    (sizes, items)
}

#[tokio::test]
async fn pages_cover_a_list_once_in_id_order() {
    let app = App::start().await;
    for i in 0..5 {
        let body = json!({"username": format!("c{i}"), "tags": ["t", format!("t{i}")]});
        app.create("/consumers", body).await;
    }
    let (sizes, items) = walk(&app, "/consumers?size=2").await;
    assert_eq!(sizes, [2, 2, 1]);
    let ids: Vec<_> = items.iter().map(|item| item["id"].as_str().unwrap()).collect();
    assert!(ids.is_sorted_by(|a, b| a < b));
    assert_eq!(walk(&app, "/consumers?tags=t&size=3").await.0, [3, 2], "tags are carried on");
    assert_eq!(walk(&app, "/consumers?tags=t,t1").await.0, [1]);
    assert_eq!(walk(&app, "/consumers?tags=t,t").await.0, [5]);
    assert_eq!(walk(&app, "/consumers?tags=t1/t2/x").await.0, [2]);
    assert_eq!(walk(&app, "/consumers?custom_id=x").await.0, [0]);
}

#[tokio::test]
async fn nested_pages_lead_back_under_their_parent() {
    let app = App::start().await;
    app.populate().await;
    for i in 0..2 {
        app.create("/services/s/routes", json!({"name": format!("r{i}"), "paths": ["/x"]})).await;
    }
    let page = app.get("/services/s/routes?size=2&tags=nope").await.json();
    let next = page["next"].as_str().unwrap();
    assert!(next.starts_with("/services/s/routes?offset="), "{next}");
    assert_eq!(app.get(next).await.json()["data"].as_array().unwrap().len(), 1);

    app.create("/upstreams", json!({"name": "u"})).await;
    for host in ["a", "b", "c"] {
        app.create("/upstreams/u/targets", json!({"target": host, "created_at": 1})).await;
    }
    assert_eq!(walk(&app, "/upstreams/u/targets?size=2").await.0.first(), Some(&2));
}

#[tokio::test]
async fn the_way_to_the_next_page_keeps_what_was_asked() {
    let app = App::start().await;
    for i in 0..3 {
        let (name, tags) = (format!("c{i}"), json!(["a b", "c&d"]));
        app.create("/consumers", json!({"username": name, "tags": tags})).await;
    }
    let last = app.get("/consumers?size=2").await.json()["data"][1]["id"].clone();
    let offset = "Wy";
    for (query, carried) in [
        ("size=2", "&size=2"),
        ("size=2&tags=a%20b", "&tags=a%20b&size=2"),
        ("tags=a+b,c%26d&size=2", "&tags=a%20b%2Cc%26d&size=2"),
        ("tags=a%20b%2Fx&sort_desc=1&size=0x2", "&tags=a%20b%2Fx&size=0x2"),
    ] {
        let page = app.get(&format!("/consumers?{query}")).await.json();
        let next = page["next"].as_str().unwrap();
        assert!(next.starts_with(&format!("/consumers?offset={offset}")), "{next}");
        assert!(next.ends_with(carried), "{next}");
        let rest = app.get(next).await.json();
        assert_eq!(rest["data"].as_array().unwrap().len(), 1, "{next}");
        assert!(rest["data"][0]["id"].as_str() > last.as_str());
    }
    // An offset outlives the entity that it names.
    let page = app.get("/consumers?size=1").await.json();
    let first = page["data"][0]["id"].as_str().unwrap();
    app.send("DELETE", &format!("/consumers/{first}"), Value::Null).await;
    let rest = app.get(page["next"].as_str().unwrap()).await.json();
    assert!(rest["data"][0]["id"].as_str().unwrap() > first);
}

#[tokio::test]
async fn tag_filters_answer_page_by_page() {
    let app = App::start().await;
    for (name, tags) in [
        ("a", json!(["x"])),
        ("b", json!(["x", "y"])),
        ("c", json!(["y", "z"])),
        ("d", json!(["x", "y", "z"])),
        ("e", json!([])),
        ("f", Value::Null),
    ] {
        app.create("/consumers", json!({"username": name, "tags": tags})).await;
    }
    app.create("/services", json!({"host": "a", "tags": ["x"]})).await;
    for (tags, names) in [
        ("x", "abd"),
        ("x,y", "bd"),
        ("y,x", "bd"),
        ("x,y,z", "d"),
        ("x,x", "abd"),
        ("x/y", "abcd"),
        ("z/y/x", "abcd"),
        ("x/x", "abd"),
        ("w", ""),
        ("x,w", ""),
        ("x/w", "abd"),
        ("X", ""),
        ("x,", ""),
        ("x/", "abd"),
        ("x&tags=y", "abd"),
        ("x&tags[]=y", "abd"),
    ] {
        for size in [1, 2, 100] {
            let (_, items) = walk(&app, &format!("/consumers?size={size}&tags={tags}")).await;
            let mut found: Vec<_> =
                items.iter().map(|item| item["username"].as_str().unwrap()).collect();
            let ids: Vec<_> = items.iter().map(|item| item["id"].as_str().unwrap()).collect();
            assert!(ids.is_sorted_by(|a, b| a < b), "{tags}");
            found.sort_unstable();
            assert_eq!(found.concat(), names, "{tags}");
        }
    }
}

#[tokio::test]
async fn bad_arguments_are_named() {
    let app = App::start().await;
    app.populate().await;
    for (query, code, message) in [
        ("size=x", 9, "size must be a number"),
        ("size=0", 9, "size must be an integer between 1 and 1000"),
        ("size=1001", 9, "size must be an integer between 1 and 1000"),
        ("size=1.5", 9, "size must be an integer between 1 and 1000"),
        ("offset=%21", 7, "'!' is not a valid offset: bad base64 encoding"),
        ("offset=eA", 7, "'eA' is not a valid offset: bad json encoding"),
        ("offset=WyJ4Il0", 7, "'WyJ4Il0' is not a valid offset: expected the id of an entity"),
        ("tags=", 11, "invalid option (tags: cannot be null)"),
        ("tags=a,b/c", 11, "invalid option (tags: invalid filter syntax)"),
        ("tags=a,,b", 11, "invalid option (tags: invalid filter syntax)"),
        ("tags=,a", 11, "invalid option (tags: invalid filter syntax)"),
        ("tags=a%01b", 11, "invalid option (tags: invalid filter syntax)"),
        ("tags=a,b,c,d,e,f", 11, "invalid option (tags: cannot query more than 5 tags)"),
        ("tags=a/b/c/d/e/f", 11, "invalid option (tags: cannot query more than 5 tags)"),
        ("tags", 11, "invalid option (tags: cannot be null)"),
        ("tags=&size=x", 11, "invalid option (tags: cannot be null)"),
        ("size=", 9, "size must be a number"),
        ("size", 9, "size must be a number"),
        ("size=1&size=2", 9, "size must be a number"),
        ("size=-1", 9, "size must be an integer between 1 and 1000"),
        ("size=1e9", 9, "size must be an integer between 1 and 1000"),
        ("size=inf", 9, "size must be an integer between 1 and 1000"),
        ("size=0&offset=!", 9, "size must be an integer between 1 and 1000"),
        ("offset=", 7, "'' is not a valid offset: bad json encoding"),
        ("offset=a", 7, "'a' is not a valid offset: bad base64 encoding"),
    ] {
        let answer = app.get(&format!("/services?{query}")).await;
        let body = answer.json();
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!((&body["code"], &body["message"]), (&json!(code), &json!(message)), "{query}");
        assert_eq!(body.get("options").is_some(), code == 11, "{query}");
        let name = ["invalid offset", "", "invalid size", "", "invalid options"];
        assert_eq!(Some(&body["name"]), name.get(code - 7).map(|name| json!(name)).as_ref());
        assert!(body.get("fields").is_none(), "{query}");
        let nested = app.get(&format!("/services/s/routes?{query}")).await;
        assert_eq!((nested.status, nested.json()), (answer.status, body), "{query}");
    }
    let many = vec!["a=1"; 1001].join("&");
    let answer = app.get(&format!("/services?{many}")).await;
    assert_eq!(answer.json(), json!({"message": "Too many arguments"}));
    assert_eq!(app.get("/services?sort_desc=1&size=30").await.status, 200, "others are ignored");
}

#[tokio::test]
async fn events_tell_what_changed_but_no_documents() {
    let app = App::start().await;
    let headers = [
        ("content-type", "application/json"),
        ("x-request-id", "req-1"),
        ("x-change-reason", "why"),
    ];
    app.send_raw("PUT", "/services/s", &headers, r#"{"host":"secret-host"}"#).await;
    app.send("PATCH", "/services/s", json!({"port": 81})).await;
    app.send("PATCH", "/services/s", json!({"port": 81})).await;
    app.send("DELETE", "/services/s", Value::Null).await;

    let page = app.get("/events?size=2").await;
    assert!(!page.text.contains("secret-host"), "{}", page.text);
    let (sizes, events) = walk(&app, "/events?size=2").await;
    assert_eq!(sizes, [2, 1], "what changes nothing is no event");
    let seqs: Vec<_> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, [3, 2, 1]);
    assert_eq!(events[0]["changes"][0]["type"], "deleted");
    assert_eq!(events[2]["request_id"], "req-1");
    assert_eq!(events[2]["reason"], "why");
    assert_eq!(events[2]["changes"][0]["kind"], "services");
    let (_, after) = walk(&app, "/events?after=1&size=1").await;
    assert_eq!(after.iter().map(|event| &event["seq"]).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(app.get("/events?offset=x").await.json()["code"], 7);
}

#[tokio::test]
async fn a_rollback_brings_the_old_tag_back() {
    let app = App::start().await;
    app.send("PUT", "/services/s", json!({"host": "blue"})).await;
    let blue = app.get("/services/s").await.header("etag").to_owned();
    app.send("PUT", "/services/s", json!({"host": "green"})).await;
    assert_ne!(app.get("/services/s").await.header("etag"), blue);

    let answer = app.send("POST", "/rollback", json!({"to": 1, "reason": "bad"})).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["seq"]),
        (200, &json!(3)),
        "{}",
        answer.text
    );
    let read = app.get("/services/s").await;
    assert_eq!((read.header("etag"), &read.json()["host"]), (blue.as_str(), &json!("blue")));
    let unchanged = app.send_raw("GET", "/services/s", &[("if-none-match", &blue)], "").await;
    assert_eq!((unchanged.status.as_u16(), unchanged.text.as_str()), (304, ""));
    let event = app.get("/events?size=1").await.json()["data"][0].clone();
    assert_eq!((&event["kind"], &event["reason"]), (&json!("rolled_back"), &json!("bad")));

    let again = app.send("POST", "/rollback", json!({"to": &blue[1..13]})).await.json();
    assert_eq!((&again["seq"], &again["changed"]), (&json!(3), &json!(false)));
    for (body, status) in [
        (json!({}), 400),
        (json!({"to": "x"}), 400),
        (json!({"to": true}), 400),
        (json!({"to": 1, "reason": 1}), 400),
        (json!({"to": 99}), 404),
        (json!({"to": "00000000ff"}), 404),
    ] {
        assert_eq!(app.send("POST", "/rollback", body.clone()).await.status, status, "{body}");
    }
}
