//! `ai-prompt-template`: lets clients fill in prompts that are given
//! (reference gateway-4, section F.4).

use super::typedef::flag;
use super::{PluginKind, llm};
use crate::domain::catalog::PluginSchema;
use crate::domain::schema::Field;

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("ai-prompt-template", 773, schema);

fn schema() -> PluginSchema {
    let template = [("name", Field::string().required()), ("template", Field::string().required())];
    KIND.describe(Field::record([
        ("templates", Field::array(Field::record(template).required()).required()),
        ("allow_untemplated_requests", flag(true)),
        ("log_original_request", flag(false)),
        ("max_request_body_size", llm::max_request_body_size()),
    ]))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;
    use serde_json::json;

    #[test]
    fn templates_have_names() {
        accepts(
            &KIND,
            &[json!({"templates": []}), json!({"templates": [{"name": "a", "template": "{{b}}"}]})],
        );
        refuses(
            &KIND,
            &[
                (json!({}), json!({"config": {"templates": "required field missing"}})),
                (
                    json!({"templates": [{"template": "x"}]}),
                    json!({"config": {"templates": [{"name": "required field missing"}]}}),
                ),
            ],
        );
    }
}
