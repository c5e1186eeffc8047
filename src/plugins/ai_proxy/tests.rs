//! What `ai-proxy` is told about models.

use serde_json::{Value, json};

use super::super::tests::{accepts, refuses};
use super::*;

/// A config for a provider, with options of the model and more.
fn config(provider: &str, options: Value, more: Value) -> Value {
    let mut config = json!({
        "route_type": "llm/v1/chat", "model": {"provider": provider, "options": options},
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

#[test]
fn each_provider_has_what_it_needs() {
    accepts(
        &KIND,
        &[
            config("openai", Value::Null, json!({})),
            config(
                "azure",
                json!({"azure_instance": "i", "azure_deployment_id": "d"}),
                json!({"auth": {"header_name": "api-key", "header_value": "{vault://env/k}"}}),
            ),
            config(
                "llama2",
                json!({"llama2_format": "raw", "upstream_url": "http://l"}),
                json!({}),
            ),
            config(
                "gemini",
                Value::Null,
                json!({"llm_format": "gemini", "auth": {"allow_override": false}}),
            ),
        ],
    );
    let entity = |provider: &str, errors: Value| {
        (config(provider, json!({}), json!({})), json!({"config": {"@entity": errors}}))
    };
    refuses(
        &KIND,
        &[
            entity(
                "llama2",
                json!([
                    "must set 'model.options.llama2_format' for llama2 provider",
                    "must set 'model.options.upstream_url' for self-hosted providers/models",
                ]),
            ),
            entity(
                "azure",
                json!([
                    "must set 'model.options.azure_instance' for azure provider",
                    "must set 'model.options.azure_deployment_id' for azure provider",
                ]),
            ),
            entity(
                "mistral",
                json!(["must set 'model.options.mistral_format' for mistral provider"]),
            ),
        ],
    );
}

#[test]
fn logins_are_whole() {
    let auth = |auth: Value| config("openai", Value::Null, json!({"auth": auth}));
    let all = "all or none of these fields must be set: ";
    refuses(
        &KIND,
        &[
            (
                auth(json!({"header_name": "h"})),
                json!({"config": {"@entity":
                    [format!("{all}'auth.header_name', 'auth.header_value'")]}}),
            ),
            (
                auth(json!({"param_name": "p", "param_value": "v"})),
                json!({"config": {"@entity":
                    [format!("{all}'auth.param_name', 'auth.param_value', 'auth.param_location'")]}}),
            ),
            (
                config("openai", json!({"gemini": {"project_id": "p"}}), json!({})),
                json!({"config": {"model": {"options": {"gemini": {"@entity":
                    [format!("{all}'api_endpoint', 'project_id', 'location_id'")]}}}}}),
            ),
            (
                config("bedrock", Value::Null, json!({"auth": {"allow_override": true}})),
                json!({"config": {
                    "@entity": ["bedrock and gemini only support auth.allow_override = false"],
                    "auth": {"allow_override": "value must be false"},
                }}),
            ),
        ],
    );
}

#[test]
fn a_native_form_is_its_providers() {
    refuses(
        &KIND,
        &[
            (
                config("openai", Value::Null, json!({"llm_format": "bedrock"})),
                json!({
                    "@entity": ["native llm_format 'bedrock' can only be used with the 'bedrock' \
                        model.provider"],
                    "config": {"model": {"provider": "value must be bedrock"}},
                }),
            ),
            (
                config(
                    "anthropic",
                    json!({"anthropic_version": "1"}),
                    json!({"route_type": "llm/v1/completions", "logging": {"log_statistics": true}}),
                ),
                json!({"config": {"@entity": ["anthropic does not support statistics when \
                    route_type is llm/v1/completions"]}}),
            ),
        ],
    );
}
