//! `prometheus`: counts requests for Prometheus to read (reference gateway-4, section F.5).

use super::PluginKind;
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::Field;

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("prometheus", 13, schema);

fn schema() -> PluginSchema {
    let switch = || Field::boolean().default(false);
    KIND.describe(Field::record([
        ("per_consumer", switch()),
        ("status_code_metrics", switch()),
        ("ai_metrics", switch()),
        ("latency_metrics", switch()),
        ("bandwidth_metrics", switch()),
        ("upstream_health_metrics", switch()),
    ]))
    .field("protocols", typedef::protocols())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;
    use serde_json::json;

    #[test]
    fn metrics_are_switched_on() {
        accepts(&KIND, &[json!({}), json!({"latency_metrics": true, "ai_metrics": null})]);
        let error = json!({"config": {"per_consumer": "expected a boolean"}});
        refuses(&KIND, &[(json!({"per_consumer": 1}), error)]);
    }
}
