//! `ai-prompt-decorator`: adds messages to chats (reference gateway-4, section F.4).

use super::{PluginKind, llm};
use crate::domain::catalog::PluginSchema;
use crate::domain::schema::{Check, Field};

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("ai-prompt-decorator", 772, schema);

fn schema() -> PluginSchema {
    let roles = ["system", "assistant", "user"];
    let message = || {
        Field::record([
            ("role", Field::string().required().default("system").one_of(roles)),
            ("content", Field::string().required().len_min(1).len_max(500)),
        ])
    };
    let messages = || Field::array(message().optional()).optional().len_max(15);
    let prompts = Field::record([("prepend", messages()), ("append", messages())]);
    KIND.describe(Field::record([
        ("prompts", prompts.optional()),
        ("max_request_body_size", llm::max_request_body_size()),
        ("llm_format", llm::llm_format()),
    ]))
    .check(Check::AtLeastOneOf(&["config.prompts.prepend", "config.prompts.append"]))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, completed, refuses};
    use super::*;
    use serde_json::{Value, json};

    fn prepend(message: Value) -> Value {
        json!({"prompts": {"prepend": [message]}})
    }

    #[test]
    fn messages_are_asked_for() {
        accepts(&KIND, &[prepend(json!({"role": "user", "content": "Be kind."}))]);
        let none = "at least one of these fields must be non-empty: 'config.prompts.prepend', \
            'config.prompts.append'";
        let refused = |message: Value, error: Value| {
            (prepend(message), json!({"config": {"prompts": {"prepend": [error]}}}))
        };
        refuses(
            &KIND,
            &[
                (json!({}), json!({"@entity": [none]})),
                refused(json!({}), json!({"content": "required field missing"})),
                refused(
                    json!({"role": "robot", "content": "x".repeat(501)}),
                    json!({
                        "content": "length must be at most 500",
                        "role": "expected one of: system, assistant, user",
                    }),
                ),
            ],
        );
    }

    #[test]
    fn a_message_is_the_systems_unless_told() {
        let config = completed(&KIND, prepend(json!({"content": "Be kind."})));
        assert_eq!(config["prompts"]["prepend"][0]["role"], "system");
    }
}
