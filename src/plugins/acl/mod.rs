//! `acl`: which groups of consumers may pass (reference gateway-4, section F.2).

pub mod kind;

use super::PluginKind;
use super::typedef::{flag, texts};
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::{Check, Field};

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("acl", 950, schema);

fn schema() -> PluginSchema {
    let lists = &["config.allow", "config.deny"];
    KIND.describe(Field::record([
        ("allow", texts()),
        ("deny", texts()),
        ("hide_groups_header", flag(false)),
        ("always_use_authenticated_groups", flag(false)),
    ]))
    .field("consumer", typedef::no_consumer())
    .kind(kind::schema())
    .check(Check::OnlyOneOf(lists))
    .check(Check::AtLeastOneOf(lists))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;
    use serde_json::json;

    #[test]
    fn one_list_is_asked_for() {
        accepts(&KIND, &[json!({"allow": ["a"]}), json!({"deny": ["a", "b"]})]);
        let none = "at least one of these fields must be non-empty: 'config.allow', 'config.deny'";
        let one = "exactly one of these fields must be non-empty: 'config.allow', 'config.deny'";
        refuses(
            &KIND,
            &[
                (json!({}), json!({"@entity": [one, none]})),
                (json!({"allow": ["a"], "deny": ["b"]}), json!({"@entity": [one]})),
                (json!({"allow": "a"}), json!({"config": {"allow": "expected an array"}})),
            ],
        );
    }
}
