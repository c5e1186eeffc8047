//! Each kind through the Admin API: what is accepted and shown, what is refused and how, what a
//! deletion does, by which names and paths it is reached.

mod certificates;
mod core;
mod credentials;
mod generated;
mod keys;

use serde_json::{Value, json};

use super::app::App;
use crate::admin::Options;
use crate::domain::catalog::UnsupportedPlugins;
use crate::plugins;

/// Starts an API with the kinds of all plugins.
async fn start() -> App {
    let catalog = plugins::catalog(|_| true);
    let catalog = catalog.unsupported_plugins(UnsupportedPlugins::Store);
    App::with_catalog(Options::default(), catalog).await
}

/// Creates an entity, and checks that a GET shows what the POST answered and that it has these
/// fields. Returns it.
async fn accept(app: &App, path: &str, body: Value, fields: Value) -> Value {
    let answer = app.send("POST", path, body).await;
    assert_eq!(answer.status, 201, "{path}: {}", answer.text);
    let entity = answer.json();
    let id = entity["id"].as_str().unwrap();
    let read = app.get(&format!("{path}/{id}")).await;
    assert_eq!((read.status.as_u16(), read.json()), (200, entity.clone()), "{path}");
    for (name, value) in fields.as_object().unwrap() {
        assert_eq!(&entity[name], value, "{name} of {entity}");
    }
    entity
}

/// Checks that bodies are refused with these fields in error, and that nothing changes.
async fn refuse(app: &App, path: &str, cases: Vec<(Value, Value)>) {
    let before = app.get("/services").await.header("etag").to_owned();
    for (body, fields) in cases {
        let answer = app.send("POST", path, body.clone()).await;
        assert_eq!(answer.status, 400, "{path} {body}: {}", answer.text);
        let error = answer.json();
        assert_eq!(error["fields"], fields, "{path} {body}");
        assert_eq!((&error["code"], &error["name"]), (&json!(2), &json!("schema violation")));
    }
    assert_eq!(app.get("/services").await.header("etag"), before);
}

/// Checks each request's status and message; an empty message is not looked at.
async fn answers(app: &App, cases: Vec<(&str, String, Value, u16, &str)>) {
    for (method, path, body, status, message) in cases {
        let answer = app.send(method, &path, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
        if !message.is_empty() {
            assert_eq!(answer.json()["message"], message, "{method} {path}");
        }
    }
}

/// Returns the id of an entity, as references have it.
fn reference(entity: &Value) -> Value {
    json!({"id": entity["id"]})
}
