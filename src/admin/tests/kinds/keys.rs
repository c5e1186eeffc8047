//! Keys, key sets and vaults.

use serde_json::{Value, json};

use super::{accept, answers, reference, refuse, start};
use crate::domain::pem::tests::samples;

#[tokio::test]
async fn keys_are_jwks_or_pem_pairs() {
    let app = start().await;
    let (ec, other) = (samples::ec(), samples::other_ec());
    let jwk = samples::jwk("k1");
    let with_jwk = |kid: &str| json!({"kid": kid, "jwk": jwk});
    let pem = |private: &str, public: &str| json!({"private_key": private, "public_key": public});
    let with_pem = |pem: Value| json!({"kid": "p", "pem": pem});
    accept(&app, "/keys", with_jwk("k1"), json!({"pem": null, "set": null})).await;
    let pair = pem(&ec.key, &ec.public);
    accept(&app, "/keys", with_pem(pair.clone()), json!({"jwk": null, "pem": pair})).await;
    let public = json!({"kid": "q", "pem": {"public_key": ec.public}});
    let shown = json!({"public_key": ec.public, "private_key": null});
    accept(&app, "/keys", public, json!({"pem": shown})).await;
    let kept = json!({"kid": "v", "jwk": "{vault://env/jwk}"});
    accept(&app, "/keys", kept.clone(), json!({"jwk": kept["jwk"]})).await;
    let entity = |text: &str| json!({"@entity": [text]});
    refuse(
        &app,
        "/keys",
        vec![
            (
                json!({"kid": "k"}),
                entity("at least one of these fields must be non-empty: 'jwk', 'pem'"),
            ),
            (
                json!({"kid": "k1", "jwk": jwk, "pem": {"public_key": ec.public}}),
                entity("only one or none of these fields must be set: 'jwk', 'pem'"),
            ),
            (json!({"jwk": "{vault://env/jwk}"}), json!({"kid": "required field missing"})),
            (with_jwk("k2"), entity("kid in jwk.kid must be equal to keys.kid")),
            (json!({"kid": "k", "jwk": "{"}), entity("could not json decode jwk string")),
            (
                json!({"kid": "k", "jwk": "{\"kid\":\"k\"}"}),
                entity("could not load JWK, likely not a valid key"),
            ),
            (with_pem(pem(&ec.key, "x")), json!({"pem": "could not load public key"})),
            (
                with_pem(pem(&other.key, &ec.public)),
                json!({"pem": "public key does not match private key"}),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn keys_go_with_their_set() {
    let app = start().await;
    let set = accept(&app, "/key-sets", json!({"name": "s"}), json!({"tags": null})).await;
    let to = reference(&set);
    let key = |name: &str| json!({"name": name, "kid": "k", "jwk": samples::jwk("k")});
    accept(&app, "/key-sets/s/keys", key("one"), json!({"set": to})).await;
    let id = set["id"].as_str().unwrap();
    let taken = format!("UNIQUE violation detected on '{{kid=\"k\",set={{id=\"{id}\"}}}}'");
    let name = "UNIQUE violation detected on '{name=\"one\"}'";
    answers(
        &app,
        vec![
            ("POST", "/key-sets/s/keys".into(), key("two"), 409, &taken),
            ("POST", "/keys".into(), key("one"), 409, name),
            ("POST", "/keys".into(), key("two"), 201, ""),
            ("GET", "/keys/one/set".into(), Value::Null, 200, ""),
            ("GET", "/keys/two/set".into(), Value::Null, 404, "Not found"),
            ("PUT", "/key-sets/new".into(), json!({}), 200, ""),
            ("PUT", "/keys/new".into(), json!({"kid": "v", "jwk": "{vault://env/a}"}), 200, ""),
            ("GET", "/key_sets".into(), Value::Null, 404, "Not found"),
            ("DELETE", "/key-sets/s".into(), Value::Null, 204, ""),
            ("GET", "/keys/one".into(), Value::Null, 404, "Not found"),
            ("GET", "/keys/two".into(), Value::Null, 200, ""),
        ],
    )
    .await;
}

#[tokio::test]
async fn vaults_have_a_prefix_and_a_backend() {
    let app = start().await;
    let vault = json!({"prefix": "my-env", "name": "env", "config": {"prefix": "SSL_"}});
    let shown = json!({"config": {"prefix": "SSL_"}, "description": null});
    accept(&app, "/vaults", vault.clone(), shown).await;
    let bare = json!({"prefix": "e2", "name": "env"});
    accept(&app, "/vaults", bare, json!({"config": {"prefix": null}})).await;
    let env = |prefix: &str| json!({"prefix": prefix, "name": "env"});
    refuse(
        &app,
        "/vaults",
        vec![
            (json!({}), json!({"name": "required field missing"})),
            (json!({"name": "env"}), json!({"prefix": "required field missing"})),
            (env("env"), json!({"prefix": "must not be one of: env"})),
            (env("x"), json!({"prefix": "invalid value: x"})),
            (env("9a"), json!({"prefix": "invalid value: 9a"})),
            (env("a-"), json!({"prefix": "invalid value: a-"})),
            (env("aB"), json!({"prefix": "invalid value: aB"})),
            (
                json!({"prefix": "aws1", "name": "aws"}),
                json!({"name": "vault 'aws' is not installed"}),
            ),
            (
                json!({"prefix": "e3", "name": "env", "config": {"prefix": "9", "x": 1}}),
                json!({"config": {"prefix": "invalid value: 9", "x": "unknown field"}}),
            ),
        ],
    )
    .await;
    let patched = app.send("PATCH", "/vaults/my-env", json!({"config": {"prefix": "A_"}})).await;
    assert_eq!(patched.json()["config"]["prefix"], "A_");
    let taken = "UNIQUE violation detected on '{prefix=\"my-env\"}'";
    answers(
        &app,
        vec![
            ("POST", "/vaults".into(), vault, 409, taken),
            ("PUT", "/vaults/other".into(), json!({"name": "env"}), 200, ""),
            ("DELETE", "/vaults/other".into(), Value::Null, 204, ""),
        ],
    )
    .await;
}
