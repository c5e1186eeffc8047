//! What `ai-request-transformer` and `ai-response-transformer` have in common: a model rewrites
//! what passes (reference gateway-4, section F.4).

use super::{PluginKind, llm};
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::{Check, Field, Match};

/// Describes one of the two; `own` are its own fields.
pub(super) fn schema(
    kind: &PluginKind,
    own: impl IntoIterator<Item = (&'static str, Field)>,
) -> PluginSchema {
    let prompt = [
        ("prompt", Field::string().required()),
        ("transformation_extract_pattern", Field::string().optional()),
    ];
    let rest = [
        ("http_timeout", Field::integer().required().default(60_000)),
        ("https_verify", Field::boolean().required().default(true)),
        ("max_request_body_size", llm::max_request_body_size()),
        ("http_proxy_host", typedef::host()),
        ("http_proxy_port", typedef::port()),
        ("https_proxy_host", typedef::host()),
        ("https_proxy_port", typedef::port()),
        ("llm", llm::checked(Field::record(llm::fields()))),
    ];
    let route_type = "config.llm.route_type";
    let chat = "llm/v1/chat";
    let only_chat =
        Check::conditional(route_type, Match::not_one_of([chat]), route_type, Match::eq(chat));
    kind.describe(Field::record(prompt.into_iter().chain(own).chain(rest)))
        .check(
            only_chat
                .err("'config.llm.route_type' must be 'llm/v1/chat' for AI transformer plugins"),
        )
        .check(Check::MutuallyRequired(&["config.http_proxy_host", "config.http_proxy_port"]))
        .check(Check::MutuallyRequired(&["config.https_proxy_host", "config.https_proxy_port"]))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::super::{ai_request_transformer, ai_response_transformer};
    use serde_json::{Value, json};

    fn config(more: Value) -> Value {
        let llm = json!({"route_type": "llm/v1/chat", "model": {"provider": "openai"}});
        let mut config = json!({"prompt": "Translate.", "llm": llm});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    }

    #[test]
    fn a_model_to_chat_with_is_named() {
        let completions =
            json!({"route_type": "llm/v1/completions", "model": {"provider": "openai"}});
        for kind in [&ai_request_transformer::KIND, &ai_response_transformer::KIND] {
            accepts(kind, &[config(json!({}))]);
            refuses(
                kind,
                &[
                    (
                        config(json!({"llm": completions})),
                        json!({
                            "@entity": ["'config.llm.route_type' must be 'llm/v1/chat' for AI \
                                transformer plugins"],
                            "config": {"llm": {"route_type": "value must be llm/v1/chat"}},
                        }),
                    ),
                    (
                        config(json!({"https_proxy_port": 3128})),
                        json!({"@entity": ["all or none of these fields must be set: \
                            'config.https_proxy_host', 'config.https_proxy_port'"]}),
                    ),
                ],
            );
        }
        let instructed = config(json!({"parse_llm_response_json_instructions": true}));
        accepts(&ai_response_transformer::KIND, &[instructed]);
    }
}
