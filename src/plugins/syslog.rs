//! `syslog`: writes a line for each request to the system's log
//! (reference gateway-4, section F.5).

use super::PluginKind;
use super::typedef::{custom_fields_by_lua, severity};
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::Field;

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("syslog", 4, schema);

fn schema() -> PluginSchema {
    let facilities = [
        "auth", "authpriv", "cron", "daemon", "ftp", "kern", "lpr", "mail", "news", "syslog",
        "user", "uucp", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
        "local7",
    ];
    KIND.describe(Field::record([
        ("log_level", severity().required()),
        ("successful_severity", severity().required()),
        ("client_errors_severity", severity().required()),
        ("server_errors_severity", severity().required()),
        ("custom_fields_by_lua", custom_fields_by_lua()),
        ("facility", Field::string().required().default("user").one_of(facilities)),
    ]))
    .field("protocols", typedef::protocols())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{accepts, refuses};
    use super::*;
    use serde_json::json;

    #[test]
    fn severities_are_syslogs() {
        accepts(&KIND, &[json!({}), json!({"log_level": "crit", "facility": "local7"})]);
        refuses(
            &KIND,
            &[(
                json!({"log_level": "warn"}),
                json!({"config": {"log_level":
                    "expected one of: debug, info, notice, warning, err, crit, alert, emerg"}}),
            )],
        );
    }
}
