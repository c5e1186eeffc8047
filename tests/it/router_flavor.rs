//! Routes in the flavours other than the default, from their write to the request that they get.

use serde_json::{Value, json};

use crate::harness::Cluster;
use crate::http::{self, Upstream};

async fn cluster(flavor: &str) -> Cluster {
    let setting = ("KONG_ROUTER_FLAVOR".to_owned(), flavor.to_owned());
    let mut cluster = Cluster::without_data_with(vec![setting]).await;
    cluster.start_data_in("dp", &[("KONG_ROUTER_FLAVOR", flavor)]).await;
    cluster
}

async fn service(cluster: &Cluster, upstream: &Upstream, path: &str) -> Value {
    let url = format!("http://{}{path}", upstream.address);
    let answer = cluster.call("POST", "/services", &json!({"url": url})).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    json!({"id": answer.json()["id"]})
}

#[tokio::test(flavor = "multi_thread")]
async fn expressions_are_checked_when_written_and_route_what_fulfils_them() {
    let upstream = Upstream::start("blue").await;
    let cluster = cluster("expressions").await;
    let service = service(&cluster, &upstream, "/").await;
    let post = async |body: Value| cluster.call("POST", "/routes", &body).await;

    let wrong = post(json!({"expression": "http.pat == \"/\"", "service": service})).await;
    assert_eq!(wrong.status, 400, "{}", wrong.body);
    let text = "Router Expression failed validation: Unknown LHS field";
    assert_eq!(wrong.json()["fields"]["@entity"], json!([text]));

    let by_query = "http.path ^= \"/a\" && http.queries.v == \"2\" && http.method == \"GET\"";
    for body in [
        json!({"expression": by_query, "priority": 7, "service": service}),
        json!({"paths": ["/b"], "service": service}),
        json!({"expression": "http.path == \"/s\"", "protocols": ["https"], "service": service}),
    ] {
        let written = post(body).await;
        assert_eq!(written.status, 201, "{}", written.body);
    }
    cluster.converge().await;
    let status = async |path: &str| http::get(cluster.proxy(), path).await.unwrap().status;
    assert_eq!(status("/a/x?v=2").await, 200);
    assert_eq!(status("/a/x?v=1").await, 404);
    assert_eq!(status("/b").await, 200);
    assert_eq!(status("/s").await, 426);

    let schema = cluster.call("GET", "/schemas/routes", &Value::Null).await.json();
    let fields = schema["fields"].as_array().unwrap();
    for name in ["expression", "priority"] {
        assert!(fields.iter().any(|field| field.get(name).is_some()), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn traditional_joins_paths_as_they_are_where_a_route_asks_for_it() {
    let upstream = Upstream::start("blue").await;
    let cluster = cluster("traditional").await;
    let service = service(&cluster, &upstream, "/a").await;
    let body = json!({
        "hosts": ["127.0.0.1"], "path_handling": "v1", "strip_path": false, "service": service,
    });
    let written = cluster.call("POST", "/routes", &body).await;
    assert_eq!(written.status, 201, "{}", written.body);
    let wildcard = json!({"protocols": ["https"], "snis": ["*.a.test"], "service": service});
    assert_eq!(cluster.call("POST", "/routes", &wildcard).await.status, 400);
    cluster.converge().await;
    let answer = http::get(cluster.proxy(), "/bar/b").await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["request"], "GET /abar/b HTTP/1.1");
}
