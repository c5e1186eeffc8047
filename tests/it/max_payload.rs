//! "cluster_max_payload": no message between the planes is larger, and what would have to be is
//! refused when it is written.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hybridctl::snapshot::pack;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::harness::Cluster;

/// The least that may be set.
const LEAST: usize = 4 << 20;

/// Returns text of about so many bytes that gzip makes little of.
fn text(seed: u64, bytes: usize) -> String {
    let mut random = vec![0; bytes * 3 / 4];
    rand::rngs::StdRng::seed_from_u64(seed).fill_bytes(&mut random);
    STANDARD.encode(random)
}

/// Writes so many entities of ten kilobytes, as few events. Their ids are the same each time, and
/// with them the nodes that they are in.
async fn fill(cluster: &Cluster, count: u64) {
    for from in (0..count).step_by(400) {
        let put = |n: u64| {
            let path = format!("/consumers/{}", uuid::Uuid::from_u128(u128::from(n)));
            let body = json!({"custom_id": text(n, 10_000)});
            json!({"method": "PUT", "path": path, "body": body})
        };
        let operations: Vec<_> = (from..count.min(from + 400)).map(put).collect();
        let answer = cluster.call("POST", "/batch", &operations.into()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn content_larger_than_the_limit_of_either_side_comes_in_parts() {
    let least = LEAST.to_string();
    let of_control = vec![("KONG_CLUSTER_MAX_PAYLOAD".to_owned(), least.clone())];
    let mut cluster = Cluster::without_data_with(of_control).await;
    fill(&cluster, 600).await;
    let head = cluster.control.as_ref().unwrap().writer.head();
    let packed = pack::encode(&head.snapshot).len();
    assert!(packed > LEAST, "the whole does not fit: {packed} bytes");
    cluster.start_data_in("control", &[]).await;
    cluster.converge().await;
    cluster.stop_data().await;

    cluster.stop_control().await;
    cluster.start_control_with(&[("KONG_CLUSTER_MAX_PAYLOAD", "16777216")]).await;
    cluster.start_data_in("data", &[("KONG_CLUSTER_MAX_PAYLOAD", &least)]).await;
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entity_that_fits_into_no_message_is_refused_when_it_is_written() {
    let of_control = vec![("KONG_CLUSTER_MAX_PAYLOAD".to_owned(), LEAST.to_string())];
    let cluster = Cluster::start_with(of_control).await;
    let large = json!({"custom_id": text(1, LEAST + 1000)});
    let refused = cluster.call("PUT", "/consumers/large", &large).await;
    assert_eq!(refused.status, 413, "{}", refused.body);
    let message = refused.json()["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("consumers "), "{message}");
    assert!(message.ends_with(", but cluster_max_payload allows 4194304"), "{message}");
    let absent = cluster.call("GET", "/consumers/large", &Value::Null).await;
    assert_eq!(absent.status, 404);

    // What just fits gets through, as a frame never could.
    cluster.put("/consumers/fits", json!({"custom_id": text(2, LEAST - 10_000)})).await;
    cluster.converge().await;
}
