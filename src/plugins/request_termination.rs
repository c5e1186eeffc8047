//! `request-termination`: answers requests itself (reference gateway-4, section F.3).

use serde_json::Value;

use super::PluginKind;
use super::typedef::flag;
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::Field;

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("request-termination", 2, schema);

fn schema() -> PluginSchema {
    let config = Field::record([
        ("status_code", Field::integer().required().default(503).between(100, 599)),
        ("message", Field::string()),
        ("content_type", Field::string()),
        ("body", Field::string()),
        ("echo", flag(false)),
        ("trigger", typedef::header_name()),
    ]);
    KIND.describe(config.custom(one_answer))
}

/// A message, a body and an echo exclude each other.
fn one_answer(config: &Value) -> Result<(), String> {
    let has = |name: &str| config.get(name).is_some_and(Value::is_string);
    let raw = has("content_type") || has("body");
    if has("message") && raw {
        return Err("message cannot be used with content_type or body".into());
    }
    if has("content_type") && !has("body") {
        return Err("content_type requires a body".into());
    }
    if config.get("echo") == Some(&Value::Bool(true)) && raw {
        return Err("echo cannot be used with content_type and body".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;
    use serde_json::json;

    #[test]
    fn there_is_one_answer() {
        accepts(
            &KIND,
            &[
                json!({}),
                json!({"message": "later", "echo": true, "trigger": "x-stop"}),
                json!({"body": "<p>", "content_type": "text/html", "status_code": 200}),
            ],
        );
        let refused = |config: Value, text: &str| (config, json!({"config": text}));
        refuses(
            &KIND,
            &[
                refused(
                    json!({"message": "m", "body": "b"}),
                    "message cannot be used with content_type or body",
                ),
                refused(json!({"content_type": "text/html"}), "content_type requires a body"),
                refused(
                    json!({"echo": true, "body": "b"}),
                    "echo cannot be used with content_type and body",
                ),
                (
                    json!({"status_code": 600}),
                    json!({"config": {"status_code": "value should be between 100 and 599"}}),
                ),
            ],
        );
    }
}
