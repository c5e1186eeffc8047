//! `file-log`: writes a line for each request to a file (reference gateway-4, section F.5).

use super::PluginKind;
use super::typedef::{custom_fields_by_lua, flag};
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::Field;

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("file-log", 9, schema);

fn schema() -> PluginSchema {
    let path = Field::string().required().matches(r"^[^*&%%\`]+$").err("not a valid filename");
    KIND.describe(Field::record([
        ("path", path),
        ("reopen", flag(false)),
        ("custom_fields_by_lua", custom_fields_by_lua()),
    ]))
    .field("protocols", typedef::protocols())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_path_is_a_file_name() {
        accepts(
            &KIND,
            &[
                json!({"path": "/tmp/a.log"}),
                json!({"path": "a", "custom_fields_by_lua": {"x": "return 1"}}),
            ],
        );
        let refused = |path: &str| {
            (json!({"path": path}), json!({"config": {"path": "not a valid filename"}}))
        };
        refuses(
            &KIND,
            &[
                refused("/tmp/*.log"),
                refused("/tmp/a%"),
                (
                    json!({"path": "a", "custom_fields_by_lua": {"x": ""}}),
                    json!({"config": {"custom_fields_by_lua": "length must be at least 1"}}),
                ),
            ],
        );
    }
}
