//! `ai-request-transformer`: a language model rewrites requests
//! (reference gateway-4, section F.4).

use super::{PluginKind, ai_transformer};
use crate::domain::kinds::typedef;

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("ai-request-transformer", 777, || {
    ai_transformer::schema(&KIND, [])
        .field("protocols", typedef::protocols_http())
        .field("consumer", typedef::no_consumer())
});
