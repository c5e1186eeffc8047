//! `cors`: tells browsers which origins may call (reference gateway-4, section F.3).

use serde_json::json;

use super::PluginKind;
use super::typedef::{flag, texts};
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::{Field, UnknownNull, check_value};

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("cors", 2000, schema);

fn schema() -> PluginSchema {
    let methods = ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS", "TRACE", "CONNECT"];
    KIND.describe(Field::record([
        ("origins", Field::array(origin())),
        ("headers", texts()),
        ("exposed_headers", texts()),
        ("methods", Field::array(Field::string().one_of(methods)).default(json!(methods))),
        ("max_age", Field::number()),
        ("credentials", flag(false)),
        ("private_network", flag(false)),
        ("preflight_continue", flag(false)),
    ]))
    .field("consumer", typedef::no_consumer())
}

/// An origin, or a pattern of origins.
fn origin() -> Field {
    let pattern = Field::string().is_regex();
    Field::string().custom(move |value| {
        let valid = value == "*" || check_value(&pattern, value, UnknownNull::Refuse).is_none();
        let text = value.as_str().unwrap_or_default();
        valid.then_some(()).ok_or_else(|| format!("'{text}' is not a valid regex"))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;

    #[test]
    fn origins_are_patterns_and_methods_are_known() {
        accepts(&KIND, &[json!({}), json!({"origins": ["*", "https://a.test", r".*\.b\.test"]})]);
        let known = "expected one of: GET, HEAD, PUT, PATCH, POST, DELETE, OPTIONS, TRACE, CONNECT";
        refuses(
            &KIND,
            &[
                (
                    json!({"origins": ["["]}),
                    json!({"config": {"origins": ["'[' is not a valid regex"]}}),
                ),
                (json!({"methods": ["LINK"]}), json!({"config": {"methods": [known]}})),
            ],
        );
    }
}
