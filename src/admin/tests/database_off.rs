//! A node without a database: `/config`, and entities that cannot be written.

use serde_json::{Value, json};

use super::app::{ABSENT, Answer, App};

/// Two entities, as a file has them.
fn tree() -> Value {
    json!({
        "_format_version": "3.0",
        "services": [{"name": "s", "host": "a", "routes": [{"name": "r", "paths": ["/a"]}]}],
        "upstreams": [{"name": "u.test", "targets": [{"target": "10.0.0.1:80"}]}],
    })
}

async fn load(app: &App, query: &str, body: Value) -> Answer {
    app.send("POST", &format!("/config{query}"), body).await
}

#[tokio::test]
async fn a_configuration_replaces_the_one_before() {
    let app = App::without_database().await;
    let loaded = load(&app, "", tree()).await;
    assert_eq!(loaded.status, 201, "{}", loaded.text);
    let services = loaded.json()["services"].clone();
    let (id, service) = services.as_object().unwrap().iter().next().unwrap();
    assert_eq!((&service["id"], &service["retries"]), (&json!(id), &json!(5)));
    assert_eq!(service["client_certificate"], Value::Null);
    assert_eq!(app.get("/services/s").await.json()["host"], "a");

    let again = load(&app, "?check_hash=1", tree()).await;
    assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""));
    let seq = app.get("/").await.json()["seq"].clone();
    assert_eq!(load(&app, "", tree()).await.status, 201);
    assert_eq!(app.get("/").await.json()["seq"], seq, "the same again changes nothing");

    let other = json!({"_format_version": "3.0", "consumers": [{"username": "ann"}]});
    assert_eq!(load(&app, "?check_hash=1", other).await.status, 201);
    assert_eq!(app.get("/services/s").await.status, 404);
    let exported = app.get("/config").await.json();
    let exported = exported["config"].as_str().unwrap();
    assert!(exported.contains("username: ann"), "{exported}");
    let reloaded = load(&app, "?check_hash=1", json!({"config": exported})).await;
    assert_eq!(reloaded.status, 304, "{}", reloaded.text);
}

#[tokio::test]
async fn a_configuration_comes_in_many_forms() {
    let yaml = "_format_version: '3.0'\nservices: [{name: s, host: a}]\n";
    let multipart = format!(
        "--x\r\nContent-Disposition: form-data; name=\"config\"; filename=\"kong.yml\"\r\n\r\n\
         {yaml}\r\n--x--\r\n"
    );
    let form: String =
        form_urlencoded::Serializer::new(String::new()).append_pair("config", yaml).finish();
    for (ty, body) in [
        ("application/yaml", yaml.to_owned()),
        ("text/yaml; charset=utf-8", yaml.to_owned()),
        ("application/x-www-form-urlencoded", form),
        ("multipart/form-data; boundary=x", multipart),
        ("application/json", json!({"config": yaml}).to_string()),
        ("application/json", json!({"config": {"_format_version": "3.0"}}).to_string()),
    ] {
        let app = App::without_database().await;
        let answer = app.send_raw("POST", "/config", &[("content-type", ty)], &body).await;
        assert_eq!(answer.status, 201, "{ty}: {}", answer.text);
    }
    let app = App::without_database().await;
    for body in [json!({}), json!({"config": ""}), json!({"config": 1}), json!({"services": []})] {
        let answer = load(&app, "", body.clone()).await;
        let text = json!({"message": "expected a declarative configuration"});
        assert_eq!((answer.status.as_u16(), answer.json()), (400, text), "{body}");
    }
    let answer = app.send_raw("POST", "/config", &[("content-type", "text/plain")], "x").await;
    assert_eq!(answer.status, 415);
}

#[tokio::test]
async fn a_broken_configuration_is_refused_whole() {
    let app = App::without_database().await;
    let broken = json!({
        "_format_version": "3.0",
        "services": [{"name": "s", "host": "a", "retries": -1}, {"name": "good", "host": "a"}],
        "robots": [],
    });
    let answer = load(&app, "", broken.clone()).await;
    let fields = json!({
        "robots": "unknown field",
        "services": [{"retries": "value should be between 0 and 32767"}],
    });
    let body = answer.json();
    assert_eq!(
        (answer.status.as_u16(), &body["code"], &body["fields"]),
        (400, &json!(14), &fields)
    );
    assert_eq!(body["name"], "invalid declarative configuration");
    assert!(body["message"].as_str().unwrap().starts_with("declarative config is invalid: {"));
    assert_eq!(body.get("flattened_errors"), None);
    assert_eq!(app.get("/services/good").await.status, 404);

    let body = load(&app, "?flatten_errors=1", broken).await.json();
    assert_eq!(body["message"], r#"declarative config is invalid: {robots="unknown field"}"#);
    assert_eq!(body["fields"], json!({"robots": "unknown field"}));
    let error = json!({
        "type": "field", "field": "retries", "message": "value should be between 0 and 32767",
    });
    assert_eq!(body["flattened_errors"][0]["entity_type"], "service");
    assert_eq!(body["flattened_errors"][0]["entity_name"], "s");
    assert_eq!(body["flattened_errors"][0]["errors"], json!([error]));

    let body = load(&app, "?flatten_errors=yes", json!({"config": "]["})).await.json();
    assert_eq!((&body["code"], &body["flattened_errors"]), (&json!(14), &json!([])));
    let text = body["fields"]["error"].as_str().unwrap();
    assert!(text.starts_with("failed parsing declarative configuration: "), "{text}");
}

#[tokio::test]
async fn entities_cannot_be_written() {
    let app = App::without_database().await;
    assert_eq!(load(&app, "", tree()).await.status, 201);
    let route = json!({"paths": ["/b"]});
    let host = json!({"host": "b"});
    for (method, path, body, text) in [
        ("POST", "/routes", &route, "create 'routes' entities"),
        ("POST", "/services/s/routes", &route, "create 'routes' entities"),
        ("PUT", "/services/s", &host, "create or update 'services' entities by 'name'"),
        ("PATCH", "/services/s", &host, "update 'services' entities by 'name'"),
        ("DELETE", "/services/s", &Value::Null, "remove 'services' entities by 'name'"),
        ("DELETE", "/routes/r", &Value::Null, "remove 'routes' entities by 'name'"),
        // What only the database would notice.
        ("POST", "/services", &json!({"name": "s", "host": "b"}), "create 'services' entities"),
    ] {
        let answer = app.send(method, path, body.clone()).await;
        let message = format!("cannot {text} when not using a database");
        let refused = json!({"code": 12, "name": "operation unsupported", "message": message});
        assert_eq!((answer.status.as_u16(), answer.json()), (405, refused), "{method} {path}");
    }
    let absent = format!("/services/{ABSENT}");
    for (method, path, body, status) in [
        ("POST", "/services", json!({}), 400),
        ("PATCH", absent.as_str(), json!({"host": "b"}), 404),
        ("DELETE", absent.as_str(), Value::Null, 204),
        ("GET", "/services/s", Value::Null, 200),
        ("POST", "/status", json!({}), 405),
    ] {
        assert_eq!(app.send(method, path, body).await.status, status, "{method} {path}");
    }
    let answer =
        app.send("PUT", "/upstreams/u.test/targets/10.0.0.1:80/healthy", Value::Null).await;
    // It carries no traffic here.
    let text = json!({"message": "Upstream u.test has no balancer"});
    assert_eq!((answer.status.as_u16(), answer.json()), (400, text));
    let by_address = "/upstreams/u.test/targets/10.0.0.1:80/10.0.0.1:80/unhealthy";
    assert_eq!(app.send("PUT", by_address, Value::Null).await.status, 400);
    let absent = "/upstreams/u.test/targets/10.0.0.9:80/healthy";
    assert_eq!(app.send("PUT", absent, Value::Null).await.status, 404);
}

#[tokio::test]
async fn a_node_with_a_database_has_no_config_endpoint() {
    let app = App::start().await;
    let text = "this endpoint is only available when Kong is configured to not use a database";
    for answer in [app.get("/config").await, load(&app, "", tree()).await] {
        assert_eq!((answer.status.as_u16(), answer.json()), (400, json!({"message": text})));
    }
}
