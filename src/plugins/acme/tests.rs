//! What `acme` is told.

use serde_json::{Value, json};

use super::super::tests::{accepts, completed, refuses};
use super::*;

const EMAIL: &str = "ops@example.test";

#[test]
fn a_storage_has_what_it_needs() {
    let redis = json!({"host": "r.test", "extra_options": {"namespace": "mine"}});
    accepts(
        &KIND,
        &[
            json!({"account_email": EMAIL}),
            json!({
                "account_email": EMAIL, "domains": ["*.a.test", "b.test"], "storage": "redis",
                "storage_config": {"redis": redis},
            }),
            json!({"account_email": "{vault://env/acme-email}", "storage": "consul"}),
        ],
    );
    let redis = |errors: Value| json!({"config": {"storage_config": {"redis": errors}}});
    let mut hostless = redis(json!({"host": "required field missing"}));
    hostless["@entity"] =
        json!(["failed conditional validation given value of field 'config.storage'"]);
    let reserved = "namespace can't be prefixed with reserved word: kong_acme:cert_key:";
    let namespaced = json!({"redis": {"extra_options": {"namespace": "kong_acme:cert_key:1"}}});
    refuses(
        &KIND,
        &[
            (json!({}), json!({"config": {"account_email": "required field missing"}})),
            (
                json!({"account_email": "ops"}),
                json!({"config": {"account_email": "invalid value: ops"}}),
            ),
            (json!({"account_email": EMAIL, "storage": "redis"}), hostless),
            (
                json!({"account_email": EMAIL, "storage_config": namespaced}),
                redis(json!({"extra_options": {"namespace": reserved}})),
            ),
            (
                json!({"account_email": EMAIL, "storage_config": {"shm": {"shm_name": "mine"}}}),
                json!({"config": {"storage_config": {"shm": {
                    "shm_name": "failed validating: mine",
                }}}}),
            ),
        ],
    );
}

#[test]
fn terms_are_accepted() {
    let api = "https://acme-v02.api.letsencrypt.org";
    accepts(&KIND, &[json!({"account_email": EMAIL, "api_uri": api, "tos_accepted": true})]);
    let text = "terms of service must be accepted, see https://letsencrypt.org/repository/";
    refuses(
        &KIND,
        &[(
            json!({"account_email": EMAIL, "api_uri": api}),
            json!({"@entity": [text], "config": {"tos_accepted": "value must be true"}}),
        )],
    );
}

#[test]
fn old_names_of_redis_settings_are_read() {
    let old = json!({"auth": "p", "namespace": "n", "scan_count": 3, "ssl_server_name": "r.test"});
    let config = json!({"account_email": EMAIL, "storage_config": {"redis": old}});
    let redis = &completed(&KIND, config)["storage_config"]["redis"];
    assert_eq!((&redis["password"], &redis["server_name"]), (&json!("p"), &json!("r.test")));
    assert_eq!(redis["extra_options"], json!({"namespace": "n", "scan_count": 3}));
}
