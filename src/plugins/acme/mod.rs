//! `acme`: gets certificates from a certificate authority by itself
//! (reference gateway-4, section F.3).

pub mod kind;

mod storage;

use super::PluginKind;
use super::typedef::url;
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::{Check, Field, Match};

const NAME: &str = "acme";

/// The plugin.
pub const KIND: PluginKind = PluginKind::new(NAME, 1705, schema);

fn schema() -> PluginSchema {
    let account_key =
        Field::record([("key_id", Field::string().required()), ("key_set", Field::string())]);
    let eab = || Field::string().encrypted().referenceable();
    let email = Field::string().required().encrypted().referenceable();
    let config = Field::record([
        ("account_email", email.matches("%w*%p*@+%w*%.?%w*")),
        ("account_key", account_key.optional()),
        ("api_uri", url().default("https://acme-v02.api.letsencrypt.org/directory")),
        ("tos_accepted", Field::boolean().default(false)),
        ("eab_kid", eab()),
        ("eab_hmac_key", eab()),
        ("cert_type", Field::string().default("rsa").one_of(["rsa", "ecc"])),
        ("rsa_key_size", Field::number().default(4096).one_of([2048, 3072, 4096])),
        ("renew_threshold_days", Field::number().default(14)),
        ("domains", Field::array(typedef::route_host())),
        ("allow_any_domain", Field::boolean().default(false)),
        ("fail_backoff_minutes", Field::number().default(5)),
        ("storage", storage::name()),
        ("storage_config", storage::config()),
        ("preferred_chain", Field::string()),
        ("enable_ipv4_common_name", Field::boolean().default(true)),
    ]);
    let plugin = KIND
        .describe(config)
        .field("consumer", typedef::no_consumer())
        .kind(kind::schema())
        .field("service", typedef::no_service())
        .field("route", typedef::no_route());
    storage::checks().into_iter().fold(plugin.check(terms()), PluginSchema::check)
}

/// Let's Encrypt's terms must be accepted.
fn terms() -> Check {
    let authorities = Match::one_of([
        "https://acme-v02.api.letsencrypt.org",
        "https://acme-staging-v02.api.letsencrypt.org",
    ]);
    Check::conditional("config.api_uri", authorities, "config.tos_accepted", Match::eq(true))
        .err("terms of service must be accepted, see https://letsencrypt.org/repository/")
}

#[cfg(test)]
mod tests;
