//! `ai-proxy`: sends requests to a language model in its own form
//! (reference gateway-4, section F.4).

use super::{PluginKind, llm};
use crate::domain::catalog::PluginSchema;
use crate::domain::schema::{Check, Field, Match};

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("ai-proxy", 770, schema);

fn schema() -> PluginSchema {
    let streaming = Field::string().optional().default("allow").one_of(["allow", "deny", "always"]);
    let config = Field::record(llm::fields().into_iter().chain([
        ("response_streaming", streaming),
        ("max_request_body_size", llm::max_request_body_size()),
        ("model_name_header", Field::boolean().default(true)),
        ("llm_format", llm::llm_format()),
    ]));
    let format = "config.llm_format";
    let native = Check::conditional(
        format,
        Match::one_of(["bedrock", "gemini"]),
        "config.route_type",
        Match::eq("llm/v1/chat"),
    );
    let own = |provider: &str| {
        let provider = || Match::eq(provider);
        Check::conditional(format, provider(), "config.model.provider", provider())
    };
    KIND.describe(llm::checked(config))
        .check(native.err(
            "native provider options in llm_format can only be used with the 'llm/v1/chat' \
             route_type",
        ))
        .check(
            own("bedrock").err(
                "native llm_format 'bedrock' can only be used with the 'bedrock' model.provider",
            ),
        )
        .check(
            own("gemini").err(
                "native llm_format 'gemini' can only be used with the 'gemini' model.provider",
            ),
        )
}

#[cfg(test)]
mod tests;
