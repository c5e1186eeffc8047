//! The configuration that the scenes ask for, written through the Admin API as scripts write it, and
//! the changes that go on meanwhile.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::client::Admin;
use crate::upstream::Upstreams;

/// The host that is asked for where nothing else is said.
pub(crate) const HOST: &str = "train.example";

/// What a consumer shows.
pub(crate) const KEY: &str = "0123456789abcdef";

/// How many routes there are that scenes find theirs among.
const MANY: usize = 1000;

/// How many consumers there are beside the one who calls.
const CONSUMERS: usize = 200;

/// The pause between two changes while scenes are played.
const CHANGE_EVERY: Duration = Duration::from_millis(50);

/// Writes everything that scenes ask for; the route `/last` comes last.
pub(crate) async fn write(admin: SocketAddr, upstreams: &Upstreams) -> anyhow::Result<()> {
    let mut admin = Admin::connect(admin).await?;
    let Upstreams([one, other]) = upstreams;
    let post = async |admin: &mut Admin, path: &str, body: Value| {
        admin.write("POST", path, &body).await.with_context(|| format!("POST {path}: {body}"))
    };
    post(&mut admin, "/services", json!({"name": "site", "url": format!("http://{one}")})).await?;
    post(&mut admin, "/services", json!({"name": "api", "url": format!("http://{one}/base")}))
        .await?;
    post(&mut admin, "/services", json!({"name": "grpc", "url": format!("grpc://{one}")})).await?;
    // Port 1 is nobody's.
    post(
        &mut admin,
        "/services",
        json!({"name": "dead", "url": "http://127.0.0.1:1", "retries": 1}),
    )
    .await?;
    for (name, algorithm) in [
        ("in-turn", json!({"algorithm": "round-robin"})),
        ("least", json!({"algorithm": "least-connections"})),
        ("fastest", json!({"algorithm": "latency"})),
        (
            "hashed",
            json!({
                "algorithm": "consistent-hashing", "hash_on": "header", "hash_on_header": "x-hashed"
            }),
        ),
    ] {
        let mut body = algorithm;
        body["name"] = format!("{name}.upstream").into();
        post(&mut admin, "/upstreams", body).await?;
        for target in [one, other] {
            let body = json!({"target": target.to_string(), "weight": 100});
            post(&mut admin, &format!("/upstreams/{name}.upstream/targets"), body).await?;
        }
        let url = format!("http://{name}.upstream");
        post(&mut admin, "/services", json!({"name": name, "url": url})).await?;
        let route = json!({"name": name, "paths": [format!("/{name}")], "hosts": [HOST]});
        post(&mut admin, &format!("/services/{name}/routes"), route).await?;
    }
    for (service, route) in routes() {
        post(&mut admin, &format!("/services/{service}/routes"), route).await?;
    }
    for (route, plugin) in plugins() {
        post(&mut admin, &format!("/routes/{route}/plugins"), plugin).await?;
    }
    post(&mut admin, "/consumers", json!({"username": "caller"})).await?;
    post(&mut admin, "/consumers/caller/key-auth", json!({"key": KEY})).await?;
    for number in 0..CONSUMERS {
        admin.form("/consumers", &format!("username=user-{number}&tags[]=trained")).await?;
        let path = format!("/consumers/user-{number}/key-auth");
        admin.form(&path, &format!("key=key-{number:0>20}")).await?;
    }
    for number in 0..MANY {
        let route = json!({
            "name": format!("many-{number}"), "hosts": [format!("h{number}.many.example")],
            "paths": [format!("/p/{}", number % 7), "/p"], "strip_path": number % 2 == 0,
        });
        post(&mut admin, "/services/site/routes", route).await?;
    }
    let last = json!({"name": "last", "paths": ["/last"], "hosts": [HOST]});
    post(&mut admin, "/services/site/routes", last).await
}

/// Returns each route with its service.
fn routes() -> Vec<(&'static str, Value)> {
    vec![
        ("site", json!({"name": "site", "paths": ["/"], "hosts": [HOST], "strip_path": false})),
        ("api", json!({"name": "api", "hosts": ["api.train.example"], "paths": ["/api/v1"]})),
        ("site", json!({"name": "guarded", "paths": ["/guarded"], "hosts": [HOST]})),
        ("site", json!({"name": "wild", "hosts": ["*.wild.example"], "preserve_host": true})),
        (
            "site",
            json!({"name": "pattern", "paths": ["~/items/(?<id>\\d+)/parts$"], "hosts": [HOST]}),
        ),
        (
            "site",
            json!({"name": "header", "paths": ["/by-header"], "hosts": [HOST], "headers": {"x-tenant": ["blue"]}}),
        ),
        (
            "site",
            json!({"name": "method", "paths": ["/by-method"], "hosts": [HOST], "methods": ["PUT", "PATCH"]}),
        ),
        (
            "site",
            json!({"name": "encrypted", "paths": ["/encrypted"], "hosts": [HOST], "protocols": ["https"]}),
        ),
        (
            "grpc",
            json!({"name": "grpc", "paths": ["/train.Service/"], "protocols": ["grpc", "grpcs"]}),
        ),
        ("dead", json!({"name": "dead", "paths": ["/dead"], "hosts": [HOST]})),
    ]
}

/// Returns each plugin with its route.
fn plugins() -> Vec<(&'static str, Value)> {
    let limit = json!({"minute": 100_000_000, "policy": "local"});
    vec![
        ("guarded", json!({"name": "key-auth"})),
        ("guarded", json!({"name": "rate-limiting", "config": limit})),
        ("guarded", json!({"name": "correlation-id", "config": {"echo_downstream": true}})),
    ]
}

/// Changes the configuration and reads it, again and again, as operators and tools do.
pub(crate) async fn change(admin: SocketAddr) -> anyhow::Result<()> {
    let mut admin = Admin::connect(admin).await?;
    for number in 0_u64.. {
        let name = format!("many-{}", number % MANY as u64);
        let patch = json!({"tags": [format!("change-{number}")]});
        admin.write("PATCH", &format!("/routes/{name}"), &patch).await?;
        match number % 8 {
            0 => {
                let route = json!({"paths": [format!("/passing/{number}")], "hosts": [HOST]});
                admin.write("PUT", "/services/site/routes/passing", &route).await?;
            }
            1 => admin.write("DELETE", "/routes/passing", &Value::Null).await?,
            2 => admin.read("/services?size=100").await?,
            3 => admin.read("/routes?size=1000").await?,
            4 => admin.read("/consumers?tags=trained").await?,
            5 => admin.read("/clustering/data-planes").await?,
            _ => admin.read(&format!("/routes/{name}")).await?,
        }
        tokio::time::sleep(CHANGE_EVERY).await;
    }
    Ok(())
}
