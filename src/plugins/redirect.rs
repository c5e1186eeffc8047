//! `redirect`: sends clients elsewhere (reference gateway-4, section F.3).

use super::PluginKind;
use super::typedef::url;
use crate::domain::catalog::PluginSchema;
use crate::domain::schema::Field;

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("redirect", 779, schema);

fn schema() -> PluginSchema {
    KIND.describe(Field::record([
        ("status_code", Field::integer().required().default(301).between(100, 599)),
        ("location", url().required()),
        ("keep_incoming_path", Field::boolean().default(false)),
    ]))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_location_is_a_url() {
        accepts(&KIND, &[json!({"location": "https://b.test/x", "status_code": 307})]);
        refuses(
            &KIND,
            &[
                (json!({}), json!({"config": {"location": "required field missing"}})),
                (json!({"location": "/x"}), json!({"config": {"location": "missing host in url"}})),
            ],
        );
    }
}
