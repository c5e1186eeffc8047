//! `azure-functions`: answers requests with what an Azure function says
//! (reference gateway-4, section F.4).

use super::PluginKind;
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::Field;

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("azure-functions", 749, schema);

fn schema() -> PluginSchema {
    let secret = || Field::string().encrypted().referenceable();
    KIND.describe(Field::record([
        ("timeout", Field::number().default(600_000)),
        ("keepalive", Field::number().default(60_000)),
        ("https", Field::boolean().default(true)),
        ("https_verify", Field::boolean().default(false)),
        ("apikey", secret()),
        ("clientid", secret()),
        ("appname", Field::string().required()),
        ("hostdomain", Field::string().required().default("azurewebsites.net")),
        ("routeprefix", Field::string().default("api")),
        ("functionname", Field::string().required()),
    ]))
    .field("protocols", typedef::protocols())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_function_of_an_app_is_named() {
        accepts(&KIND, &[json!({"appname": "a", "functionname": "f", "apikey": "k"})]);
        let missing = "required field missing";
        refuses(
            &KIND,
            &[(json!({}), json!({"config": {"appname": missing, "functionname": missing}}))],
        );
    }
}
