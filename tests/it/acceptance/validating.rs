//! "When new configs are sent from control planes to data planes, the data planes run their own
//! schema validator against a control plane supplied DB-less config": a data plane that runs as a
//! process, at a control plane of Kong by hand.

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::node::{Node, Site};
use crate::harness::own_address;
use crate::http::Upstream;
use crate::kong_wire::{BINARY, ControlWire, PING, PONG, accept};

/// Takes the data plane in.
async fn welcome(listener: &TcpListener, site: &Site) -> ControlWire {
    let mut wire = accept(listener, site.path()).await;
    let head = wire.head().await;
    assert!(head.starts_with("GET /v1/outlet?"), "{head}");
    wire.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    )
    .await;
    assert_eq!(wire.receive().await.unwrap().0, BINARY, "it says who it is");
    served(&mut wire).await;
    wire
}

/// Waits until the data plane says what it serves.
async fn served(wire: &mut ControlWire) -> String {
    let (opcode, name) = wire.receive().await.unwrap();
    assert_eq!(opcode, PING);
    wire.send(PONG, &[]).await;
    String::from_utf8(name).unwrap()
}

fn reconfigure(digit: u8, route: &Value, upstream: &Upstream) -> Value {
    let mut route = route.clone();
    route["id"] = json!("00000000-0000-4000-8000-000000000002");
    route["service"] = json!("00000000-0000-4000-8000-000000000001");
    let service = json!({"id": route["service"], "name": "s", "host": "127.0.0.1",
        "port": upstream.address.port(), "protocol": "http", "a_newer_field": null});
    let table = json!({"_format_version": "3.0", "_transform": false,
        "services": [service], "routes": [route], "a_newer_kind": null});
    json!({"type": "reconfigure", "config_hash": digit.to_string().repeat(32), "config_table": table})
}

/// "Data planes reject any config that does not pass the schema validation. One exception to the
/// validation on data planes is that if the value of a control plane supplied field is null and the
/// data plane's schema does not have information about this null valued field, then the field is
/// simply ignored."
#[tokio::test(flavor = "multi_thread")]
async fn data_planes_reject_any_config_that_does_not_pass_the_schema_validation() {
    let (blue, green) = (Upstream::start("blue").await, Upstream::start("green").await);
    let site = Site::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (control, proxy) = (listener.local_addr().unwrap().to_string(), own_address().to_string());
    let data = Node::start(
        &site,
        "dp",
        &[
            ("KONG_ROLE", "data_plane"),
            ("KONG_DATABASE", "off"),
            ("KONG_CLUSTER_CONTROL_PLANE", &control),
            ("KONG_CLUSTER_PROTOCOL", "kong"),
            ("KONG_PROXY_LISTEN", &proxy),
        ],
    );
    let mut wire = welcome(&listener, &site).await;
    let newer = json!({"paths": ["/a"], "name": "r", "a_newer_field": null});
    wire.send_packed(&reconfigure(1, &newer, &blue)).await;
    assert_eq!(served(&mut wire).await, "1".repeat(32));
    assert_eq!(data.get("/a").await, (200, "blue".to_owned()));

    for (bad, parts) in [
        (
            json!({"paths": ["/a"], "name": "r", "a_newer_field": 1}),
            ["'routes'", "in 'a_newer_field': unknown field"],
        ),
        (json!({"paths": ["a"], "name": "r"}), ["'routes'", "should start with: /"]),
    ] {
        wire.send_packed(&reconfigure(2, &bad, &green)).await;
        data.says(&["unable to update running config: bad config received from control plane"])
            .await;
        for part in parts {
            data.says(&[part]).await;
        }
        assert_eq!(data.get("/a").await, (200, "blue".to_owned()), "the last good one stays");
    }
    // The session goes on, and a config that is good again comes into force.
    wire.send_packed(&reconfigure(3, &newer, &green)).await;
    assert_eq!(served(&mut wire).await, "3".repeat(32));
    assert_eq!(data.get("/a").await, (200, "green".to_owned()));
}
