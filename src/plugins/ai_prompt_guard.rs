//! `ai-prompt-guard`: refuses prompts by patterns (reference gateway-4, section F.4).

use super::typedef::flag;
use super::{PluginKind, llm};
use crate::domain::catalog::PluginSchema;
use crate::domain::schema::{Check, Field, Match};

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("ai-prompt-guard", 771, schema);

fn schema() -> PluginSchema {
    let patterns = || Field::array(Field::string().len_min(1).len_max(500)).optional().len_max(10);
    KIND.describe(Field::record([
        ("allow_patterns", patterns()),
        ("deny_patterns", patterns()),
        ("allow_all_conversation_history", flag(false)),
        ("max_request_body_size", llm::max_request_body_size()),
        ("match_all_roles", flag(false)),
        ("llm_format", llm::llm_format()),
    ]))
    .check(Check::AtLeastOneOf(&["config.allow_patterns", "config.deny_patterns"]))
    .check(Check::conditional(
        "config.match_all_roles",
        Match::eq(true),
        "config.allow_all_conversation_history",
        Match::eq(false),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;
    use serde_json::json;

    #[test]
    fn patterns_are_asked_for() {
        accepts(&KIND, &[json!({"deny_patterns": ["secret"], "match_all_roles": true})]);
        refuses(
            &KIND,
            &[
                (
                    json!({}),
                    json!({"@entity": ["at least one of these fields must be non-empty: \
                        'config.allow_patterns', 'config.deny_patterns'"]}),
                ),
                (
                    json!({
                        "allow_patterns": ["a"], "match_all_roles": true,
                        "allow_all_conversation_history": true,
                    }),
                    json!({
                        "@entity": ["failed conditional validation given value of field \
                            'config.match_all_roles'"],
                        "config": {"allow_all_conversation_history": "value must be false"},
                    }),
                ),
                (
                    json!({"allow_patterns": vec!["a"; 11]}),
                    json!({"config": {"allow_patterns": "length must be at most 10"}}),
                ),
            ],
        );
    }
}
