//! `bot-detection`: refuses requests of known robots (reference gateway-4, section F.3).

use serde_json::json;

use super::PluginKind;
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::Field;

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("bot-detection", 2500, schema);

fn schema() -> PluginSchema {
    let patterns = || Field::array(Field::string().is_regex()).default(json!([]));
    KIND.describe(Field::record([("allow", patterns()), ("deny", patterns())]))
        .field("consumer", typedef::no_consumer())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;

    #[test]
    fn patterns_compile() {
        accepts(&KIND, &[json!({}), json!({"allow": ["^curl"], "deny": ["[a-z]+bot"]})]);
        refuses(
            &KIND,
            &[(
                json!({"deny": ["ok", "("]}),
                json!({"config": {"deny": [null, "not a valid regex: ("]}}),
            )],
        );
    }
}
