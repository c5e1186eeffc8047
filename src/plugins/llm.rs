//! What the plugins that talk to language models have in common: which model, and how to log in
//! there (reference gateway-4, section F.4).

use serde_json::Value;

use super::typedef::{flag, url};
use crate::domain::canonical::Document;
use crate::domain::rejection::FieldErrors;
use crate::domain::schema::{Check, Field, Match};

/// Returns the fields that say how a model is called.
pub(super) fn fields() -> [(&'static str, Field); 4] {
    let logging = [("log_statistics", flag(false)), ("log_payloads", flag(false))];
    let types = ["llm/v1/chat", "llm/v1/completions", "preserve"];
    [
        ("route_type", Field::string().required().one_of(types)),
        ("auth", auth().optional()),
        ("model", model()),
        ("logging", Field::record(logging).required()),
    ]
}

/// Adds what these fields must have in common.
pub(super) fn checked(record: Field) -> Field {
    let provider = "model.provider";
    let no_override = Check::conditional(
        provider,
        Match::one_of(["bedrock", "gemini"]),
        "auth.allow_override",
        Match::eq(false),
    )
    .err("bedrock and gemini only support auth.allow_override = false");
    let needs = |name: &'static str, fields, err| {
        Check::conditional_at_least_one_of(provider, Match::one_of([name]), fields).err(err)
    };
    let azure = "must set %s for azure provider";
    [
        no_override,
        Check::MutuallyRequired(&["auth.header_name", "auth.header_value"]),
        Check::MutuallyRequired(&["auth.param_name", "auth.param_value", "auth.param_location"]),
        needs("llama2", &["model.options.llama2_format"], "must set %s for llama2 provider"),
        needs("mistral", &["model.options.mistral_format"], "must set %s for mistral provider"),
        needs(
            "anthropic",
            &["model.options.anthropic_version"],
            "must set %s for anthropic provider",
        ),
        needs("azure", &["model.options.azure_instance"], azure),
        needs("azure", &["model.options.azure_api_version"], azure),
        needs("azure", &["model.options.azure_deployment_id"], azure),
        needs(
            "llama2",
            &["model.options.upstream_url"],
            "must set %s for self-hosted providers/models",
        ),
        Check::custom(&["route_type", "model", "logging"], countable),
    ]
    .into_iter()
    .fold(record, Field::check)
}

/// Returns how large a request's body may be.
pub(super) fn max_request_body_size() -> Field {
    Field::integer().default(8 * 1024).gt(0.0)
}

/// Returns in whose form clients speak.
pub(super) fn llm_format() -> Field {
    Field::string().optional().default("openai").one_of(["openai", "bedrock", "gemini"])
}

fn auth() -> Field {
    let text = || Field::string().optional();
    let secret = || text().encrypted().referenceable();
    let switch = || Field::boolean().optional().default(false);
    Field::record([
        ("header_name", text().referenceable()),
        ("header_value", secret()),
        ("param_name", text().referenceable()),
        ("param_value", secret()),
        ("param_location", text().one_of(["query", "body"])),
        ("gcp_use_service_account", switch()),
        ("gcp_service_account_json", text().referenceable()),
        ("aws_access_key_id", secret()),
        ("aws_secret_access_key", secret()),
        ("allow_override", switch()),
    ])
}

fn model() -> Field {
    let providers = [
        "openai",
        "azure",
        "anthropic",
        "cohere",
        "mistral",
        "llama2",
        "gemini",
        "bedrock",
        "huggingface",
    ];
    Field::record([
        ("provider", Field::string().required().one_of(providers)),
        ("name", Field::string().optional()),
        ("options", options().optional()),
    ])
    .required()
}

fn options() -> Field {
    let text = || Field::string().optional();
    let number = || Field::number().optional();
    let integer = || Field::integer().optional();
    let switch = || Field::boolean().optional();
    let gemini = ["api_endpoint", "project_id", "location_id"];
    let gemini = Field::record(gemini.map(|name| (name, text())))
        .check(Check::MutuallyRequired(&["api_endpoint", "project_id", "location_id"]));
    let huggingface = [("use_cache", switch()), ("wait_for_model", switch())];
    Field::record([
        ("max_tokens", integer()),
        ("input_cost", number().gt(0.0)),
        ("output_cost", number().gt(0.0)),
        ("temperature", number().between(0, 5)),
        ("top_p", number().between(0, 1)),
        ("top_k", integer().between(0, 500)),
        ("anthropic_version", text()),
        ("azure_instance", text()),
        ("azure_api_version", text().default("2023-05-15")),
        ("azure_deployment_id", text()),
        ("llama2_format", text().one_of(["raw", "openai", "ollama"])),
        ("mistral_format", text().one_of(["openai", "ollama"])),
        ("upstream_url", url().optional()),
        ("upstream_path", text()),
        ("gemini", gemini.optional()),
        ("bedrock", Field::record([("aws_region", text())]).optional()),
        ("huggingface", Field::record(huggingface).optional()),
    ])
}

/// Anthropic does not count the tokens of completions.
fn countable(record: &Document) -> FieldErrors {
    let mut errors = FieldErrors::default();
    let at = |outer: &str, inner: &str| record.get(outer).and_then(|value| value.get(inner));
    let route_type = record.get("route_type").and_then(Value::as_str).unwrap_or_default();
    let provider = at("model", "provider").and_then(Value::as_str).unwrap_or_default();
    let counted = at("logging", "log_statistics") == Some(&Value::Bool(true));
    if counted && (provider, route_type) == ("anthropic", "llm/v1/completions") {
        errors.entity(format!(
            "{provider} does not support statistics when route_type is {route_type}"
        ));
    }
    errors
}
