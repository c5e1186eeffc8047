//! Old names of fields: who sets one is told by the control plane's log.

use serde_json::json;

use super::node::Site;
use crate::http::Upstream;

/// A single write and a batch say it, each once; the data plane that gets the result says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_control_plane_says_what_is_deprecated_and_the_data_planes_do_not() {
    let blue = Upstream::start("blue").await;
    let site = Site::new();
    let control = site.control(&[]);
    let data = site.data("dp", &control, &[]);
    let limit = |old: &str| {
        let config = json!({"hour": 9, "policy": "local", old: 6380});
        json!({"name": "rate-limiting", "config": config})
    };
    control.route("/a", &blue).await;
    let made = control.admin("POST", "/services/s/plugins", &limit("redis_port")).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let once = json!([
        {"method": "POST", "path": "/plugins", "body": limit("redis_timeout")},
        {"method": "PATCH", "path": "/services/s", "body": {"retries": 1}},
    ]);
    let made = control.admin("POST", "/batch", &once).await;
    assert_eq!(made.status, 200, "{}", made.body);
    let said = |name: &str, new: &str| {
        format!(
            "rate-limiting: config.{name} is deprecated, please use config.{new} instead \
             (deprecated after 4.0)"
        )
    };
    for text in [said("redis_port", "redis.port"), said("redis_timeout", "redis.timeout")] {
        control.says(&["WARN", &text]).await;
        assert_eq!(control.log().matches(&text).count(), 1, "{}", control.log());
    }
    control.route("/b", &blue).await;
    data.serves("/b", "blue").await;
    assert!(!data.log().contains("deprecated"), "{}", data.log());
}
