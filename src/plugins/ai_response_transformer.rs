//! `ai-response-transformer`: a language model rewrites answers
//! (reference gateway-4, section F.4).

use super::typedef::flag;
use super::{PluginKind, ai_transformer};

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("ai-response-transformer", 768, || {
    ai_transformer::schema(&KIND, [("parse_llm_response_json_instructions", flag(false))])
});
