//! What a body says, in each of its forms (reference gateway-2, section B.4).

use serde_json::{Value, json};

use super::app::{Answer, App};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const UNREAD: &str = "Cannot parse JSON body";

#[tokio::test]
async fn the_type_of_a_body_decides_whether_it_is_read() {
    let app = App::start().await;
    let body = r#"{"host":"a"}"#;
    for (types, body, status, message) in [
        (vec![JSON], body, 201, None),
        (vec!["application/json; charset=utf-8"], body, 201, None),
        (vec!["application/json;charset=UTF-8"], body, 201, None),
        (vec!["application/jsonx"], body, 201, None),
        (vec![FORM], "host=a", 201, None),
        (vec!["application/x-www-form-urlencoded; charset=utf-8"], "host=a", 201, None),
        (vec![], "", 400, Some("schema violation (host: required field missing)")),
        (vec![FORM], "", 400, Some("schema violation (host: required field missing)")),
        (vec![JSON], "", 400, Some(UNREAD)),
        (vec![JSON], "{", 400, Some(UNREAD)),
        (vec![JSON], "[]", 400, Some(UNREAD)),
        (vec![JSON], "\"a\"", 400, Some(UNREAD)),
        (vec![JSON], "1", 400, Some(UNREAD)),
        (vec![JSON], "null", 400, Some(UNREAD)),
        (vec![JSON], "{\"host\":\"a\"} x", 400, Some(UNREAD)),
        (vec![JSON, JSON], body, 400, Some("Multiple Content-Type headers not allowed")),
        (vec![], body, 415, None),
        (vec![""], body, 415, None),
        (vec!["Application/JSON"], body, 415, None),
        (vec!["text/plain"], body, 415, None),
        (vec!["application/yaml"], "host: a", 415, None),
        (vec![" application/xml"], body, 415, None),
    ] {
        let headers: Vec<_> = types.iter().map(|ty| ("content-type", *ty)).collect();
        for (method, path) in [("POST", "/services"), ("PUT", "/services/s")] {
            let answer = app.send_raw(method, path, &headers, body).await;
            let wanted = if status == 201 && method == "PUT" { 200 } else { status };
            let shown = format!("{method} {types:?} {body}: {}", answer.text);
            assert_eq!(answer.status.as_u16(), wanted, "{shown}");
            if let Some(message) = message {
                assert_eq!(answer.json()["message"], message, "{shown}");
            }
        }
    }
}

#[tokio::test]
async fn every_answer_is_json_whatever_is_accepted() {
    let app = App::start().await;
    for accept in ["text/html", "application/xml", "*/*", "nonsense", "application/json;q=0"] {
        for path in ["/services", "/nope"] {
            let answer = app.send_raw("GET", path, &[("accept", accept)], "").await;
            assert_eq!(answer.header("content-type"), "application/json; charset=utf-8");
            assert_eq!(answer.header("content-encoding"), "");
        }
    }
    let zipped = [("accept-encoding", "gzip, br")];
    let answer = app.send_raw("GET", "/services", &zipped, "").await;
    assert_eq!(answer.header("content-encoding"), "", "Kong does not compress");
}

/// Posts a form and returns what its fields became.
async fn shown(app: &App, method: &str, path: &str, form: &str) -> Value {
    let answer = app.form(method, path, form).await;
    assert!(answer.status.is_success(), "{form}: {}", answer.text);
    answer.json()
}

#[tokio::test]
async fn form_fields_become_what_the_schema_says() {
    let app = App::start().await;
    app.create("/services", json!({"name": "s", "host": "a"})).await;
    app.create("/upstreams", json!({"name": "u"})).await;
    for (path, form, pointer, value) in [
        ("/services/s", "retries=3", "/retries", json!(3)),
        ("/services/s", "retries=0x10", "/retries", json!(16)),
        ("/services/s", "retries=1e2", "/retries", json!(100)),
        ("/services/s", "retries=+7", "/retries", json!(7)),
        ("/services/s", "enabled=false", "/enabled", json!(false)),
        ("/services/s", "path=", "/path", Value::Null),
        ("/services/s", "tags=", "/tags", Value::Null),
        ("/services/s", "tags=a", "/tags", json!(["a"])),
        ("/services/s", "tags[]=a&tags[]=b", "/tags", json!(["a", "b"])),
        ("/services/s", "tags%5B%5D=c", "/tags", json!(["c"])),
        ("/services/s", "tags[1]=a&tags[2]=b", "/tags", json!(["a", "b"])),
        ("/services/s", "tags[2]=b&tags[1]=a", "/tags", json!(["a", "b"])),
        ("/services/s", "tags=a&tags=b", "/tags", json!(["a", "b"])),
        ("/services/s", "tags=a+b%20c", "/tags", json!(["a b c"])),
        ("/services/s", "tags=%C3%A9", "/tags", json!(["é"])),
        ("/services/s", "url=http%3A%2F%2Fb%3A81%2Fp", "/host", json!("b")),
        ("/routes/r", "paths[]=/a&paths[]=/b", "/paths", json!(["/a", "/b"])),
        ("/routes/r", "headers[x-a]=1", "/headers", json!({"x-a": ["1"]})),
        ("/routes/r", "headers.x-a=1&headers.x-a=2", "/headers", json!({"x-a": ["1", "2"]})),
        ("/routes/r", "headers[x-a][]=1&headers[x-a][]=2", "/headers/x-a", json!(["1", "2"])),
        ("/routes/r", "headers[a]=1&headers[b]=2", "/headers", json!({"a": ["1"], "b": ["2"]})),
        ("/routes/r", "service.name=s", "/service/id", Value::Null),
        ("/routes/r", "service=", "/service", Value::Null),
        ("/upstreams/u", "healthchecks.threshold=5", "/healthchecks/threshold", json!(5)),
        (
            "/upstreams/u",
            "healthchecks.active.headers[x]=1",
            "/healthchecks/active/headers",
            json!({"x": ["1"]}),
        ),
        (
            "/upstreams/u",
            "healthchecks.active.healthy.http_statuses[]=201&\
             healthchecks.active.healthy.http_statuses[]=202",
            "/healthchecks/active/healthy/http_statuses",
            json!([201, 202]),
        ),
        (
            "/upstreams/u",
            "healthchecks[passive][type]=tcp",
            "/healthchecks/passive/type",
            json!("tcp"),
        ),
    ] {
        if path == "/routes/r" && app.get("/routes/r").await.status == 404 {
            app.create("/routes", json!({"name": "r", "paths": ["/r"]})).await;
        }
        let entity = shown(&app, "PATCH", path, form).await;
        let found = entity.pointer(pointer).cloned().unwrap_or_default();
        match (pointer, form) {
            ("/service/id", _) => assert!(found.is_string(), "{form}"),
            _ => assert_eq!(found, value, "{form}"),
        }
    }
}

#[tokio::test]
async fn form_fields_that_do_not_fit_are_refused_by_the_schema() {
    let app = App::start().await;
    for (form, fields) in [
        ("host=a&port=many", json!({"port": "expected an integer"})),
        ("host=a&port=8.5", json!({"port": "expected an integer"})),
        ("host=a&enabled=yes", json!({"enabled": "expected a boolean"})),
        ("host=a&tags[0]=x", json!({"tags": "expected a set"})),
        ("host=a&foo=1", json!({"foo": "unknown field"})),
        ("host=a&a.b=1", json!({"a": "unknown field"})),
        ("host=a&port=", json!({"port": "required field missing"})),
        ("host.=a", json!({"host": "required field missing", "host.": "unknown field"})),
    ] {
        let answer = app.form("POST", "/services", form).await;
        assert_eq!(answer.json()["fields"], fields, "{form}");
    }
    // Commas are no list: this is one tag, and a bad one.
    let answer = app.form("POST", "/services", "host=a&tags=a,b").await.json();
    let text = "invalid tag 'a,b': expected printable ascii (except `,` and `/`) or valid utf-8 \
                sequences";
    assert_eq!(answer["fields"], json!({"tags": [text]}));
    // Neither the query nor dots in JSON names say anything.
    let answer = app.form("POST", "/services?host=a", "name=q").await;
    assert_eq!(answer.json()["fields"], json!({"host": "required field missing"}));
    let answer = app.send("POST", "/services", json!({"host": "a", "a.b": 1})).await;
    assert_eq!(answer.json()["fields"], json!({"a.b": "unknown field"}));
}

#[tokio::test]
async fn a_plugins_config_is_read_by_its_own_schema() {
    let app = App::with_plugins().await;
    app.create("/services", json!({"name": "s", "host": "a"})).await;
    let form = "name=rate-limiting&config.minute=5&config.policy=local&config.fault_tolerant=false";
    let plugin = shown(&app, "POST", "/services/s/plugins", form).await;
    assert_eq!(plugin["config"]["minute"], 5);
    assert_eq!(plugin["config"]["fault_tolerant"], false);
    let path = format!("/plugins/{}", plugin["id"].as_str().unwrap());
    let plugin = shown(&app, "PATCH", &path, "config.hour=7").await;
    assert_eq!((&plugin["config"]["minute"], &plugin["config"]["hour"]), (&json!(5), &json!(7)));
    let plugin = shown(&app, "PATCH", &path, "config[minute]=").await;
    assert_eq!((&plugin["config"]["minute"], &plugin["config"]["hour"]), (&Value::Null, &json!(7)));
    let nested = format!("/services/s{path}");
    let plugin = shown(&app, "PATCH", &nested, "config.hour=8").await;
    assert_eq!(plugin["config"]["hour"], 8);
    let wrong = app.form("PATCH", &path, "config.hour=x").await.json();
    assert_eq!(wrong["message"], "schema violation (config.hour: expected a number)");
    let other = app.form("POST", "/plugins", "name=key-auth&config.key_names=k").await.json();
    assert_eq!(other["config"]["key_names"], json!(["k"]));
}

async fn multipart(app: &App, ty: &str, body: &str) -> Answer {
    app.send_raw("POST", "/services", &[("content-type", ty)], body).await
}

#[tokio::test]
async fn multipart_parts_are_form_fields() {
    let app = App::start().await;
    let part = |head: &str, body: &str| {
        format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{body}\r\n")
    };
    let ty = "multipart/form-data; boundary=b";
    let body = [
        part("name=\"host\"", "a"),
        part("name=\"port\"", "81"),
        part("name=\"tags[]\"", "x"),
        part("name=\"tags[]\"; filename=\"t.txt\"\r\nContent-Type: text/plain", "y"),
        part("name=path", "/p"),
        part("name=\"protocol\"", ""),
        "--b--\r\n".to_owned(),
    ];
    let answer = multipart(&app, ty, &body.concat()).await;
    let expected = json!({"protocol": "required field missing"});
    assert_eq!(answer.json()["fields"], expected, "an empty part is null");
    let body = [&body[..5], &body[6..]].concat().concat();
    for ty in [
        ty,
        "multipart/form-data; boundary=\"b\"",
        "multipart/form-data; boundary='b'",
        "multipart/form-data; charset=utf-8; boundary=b; x=y",
    ] {
        let service = multipart(&app, ty, &body).await;
        assert_eq!(service.status, 201, "{ty}: {}", service.text);
        let service = service.json();
        assert_eq!((&service["port"], &service["path"]), (&json!(81), &json!("/p")));
        assert_eq!(service["tags"], json!(["x", "y"]));
    }
    for (ty, body) in [
        ("multipart/form-data", body.as_str()),
        ("multipart/form-data; boundary=", body.as_str()),
        (ty, "--b\r\nContent-Disposition: form-data; name=\"host\"\r\n\r\na"),
    ] {
        assert_eq!(multipart(&app, ty, body).await.status, 400, "{ty} {body}");
    }
}

#[tokio::test]
async fn empty_lists_and_empty_objects_stand_for_each_other() {
    // Lua has one empty table; clients in PHP rely on it.
    let app = App::with_plugins().await;
    let body = json!({"name": "s", "host": "a", "tags": {}});
    assert_eq!(app.send("POST", "/services", body).await.json()["tags"], json!([]));
    let body = json!({"name": "u", "healthchecks": []});
    let upstream = app.send("POST", "/upstreams", body).await.json();
    assert_eq!(upstream["healthchecks"]["active"]["type"], "http");
    let plugin = json!({"name": "correlation-id", "config": []});
    let plugin = app.send("POST", "/plugins", plugin).await.json();
    assert_eq!(plugin["config"]["header_name"], "Kong-Request-ID");
    let route = json!({"name": "r", "paths": ["/a"], "headers": []});
    assert_eq!(app.send("POST", "/routes", route).await.json()["headers"], json!({}));
    let filled = app.send("POST", "/services", json!({"host": "a", "tags": {"a": 1}})).await;
    assert_eq!(filled.json()["fields"], json!({"tags": "expected a set"}));
}

#[tokio::test]
async fn too_many_fields_are_refused() {
    let app = App::start().await;
    let form = vec!["tags[]=a"; 1001].join("&");
    let answer = app.form("POST", "/services", &form).await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()),
        (400, json!({"message": "Too many arguments"}))
    );
}
