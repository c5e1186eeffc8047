//! The kinds that plugins own: credentials of consumers, tokens, sessions.

use serde_json::{Value, json};

use super::{accept, answers, reference, refuse, start};
use crate::admin::tests::app::App;
use crate::domain::pem::tests::samples;

async fn consumer(app: &App) -> Value {
    accept(app, "/consumers", json!({"username": "c"}), json!({})).await
}

#[tokio::test]
async fn passwords_are_hashed_once_and_never_kept() {
    let app = start().await;
    let to = reference(&consumer(&app).await);
    let id = to["id"].as_str().unwrap();
    let hashed = crate::domain::pem::sha1_hex(&format!("hush{id}"));
    let body = json!({"username": "u", "password": "hush"});
    let shown = json!({"password": hashed, "consumer": to});
    let made = accept(&app, "/consumers/c/basic-auth", body.clone(), shown).await;
    let path = format!("/basic-auths/{}", made["id"].as_str().unwrap());
    let tagged = app.send("PATCH", &path, json!({"tags": ["t"]})).await.json();
    assert_eq!(tagged["password"], hashed, "what was hashed is not hashed again");
    let renewed = app.send("PATCH", "/basic-auths/u", json!({"password": "new"})).await.json();
    assert_eq!(renewed["password"], crate::domain::pem::sha1_hex(&format!("new{id}")));
    let back = app.send("PUT", "/consumers/c/basic-auth/u", body.clone()).await.json();
    assert_eq!((&back["password"], &back["id"]), (&json!(hashed), &made["id"]));
    refuse(
        &app,
        "/basic-auths",
        vec![
            (
                json!({}),
                json!({
                    "consumer": "required field missing", "password": "required field missing",
                    "username": "required field missing",
                }),
            ),
            (
                json!({"username": "v", "password": "", "consumer": to}),
                json!({"password": "length must be at least 1"}),
            ),
        ],
    )
    .await;
    let taken = "UNIQUE violation detected on '{username=\"u\"}'";
    answers(
        &app,
        vec![
            ("POST", "/consumers/c/basic-auth".into(), body, 409, taken),
            ("GET", "/basic-auths/u/consumer".into(), Value::Null, 200, ""),
            ("DELETE", "/consumers/c".into(), Value::Null, 204, ""),
            ("GET", "/basic-auths/u".into(), Value::Null, 404, "Not found"),
        ],
    )
    .await;
}

#[tokio::test]
async fn jwt_secrets_have_what_their_algorithm_needs() {
    let app = start().await;
    let to = reference(&consumer(&app).await);
    let made = accept(&app, "/consumers/c/jwt", json!({}), json!({"algorithm": "HS256"})).await;
    assert_eq!(made["key"].as_str().unwrap().len(), 32);
    assert_eq!(made["secret"].as_str().unwrap().len(), 32);
    for (algorithm, key) in [("RS256", samples::rsa()), ("EdDSA", samples::ed25519())] {
        let body = json!({"algorithm": algorithm, "rsa_public_key": key.public});
        accept(&app, "/consumers/c/jwt", body, json!({"rsa_public_key": key.public})).await;
    }
    accept(&app, "/consumers/c/jwt", json!({"algorithm": "ES256"}), json!({})).await;
    let conditional = "failed conditional validation given value of field 'algorithm'";
    let with = |more: Value| {
        let mut body = json!({"consumer": to});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    refuse(
        &app,
        "/jwts",
        vec![
            (
                with(json!({"algorithm": "PS512"})),
                json!({"@entity": [conditional], "rsa_public_key": "required field missing"}),
            ),
            (
                with(json!({"algorithm": "RS256", "rsa_public_key": "x"})),
                json!({"@entity": [conditional], "rsa_public_key": "invalid key"}),
            ),
            (
                with(json!({"algorithm": "none"})),
                json!({"algorithm": "expected one of: HS256, HS384, HS512, RS256, RS384, RS512, \
                                     ES256, ES384, ES512, PS256, PS384, PS512, EdDSA"}),
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn groups_are_reached_by_their_name_under_their_consumer() {
    let app = start().await;
    let to = reference(&consumer(&app).await);
    let made = accept(&app, "/consumers/c/acls", json!({"group": "g"}), json!({})).await;
    let id = made["id"].as_str().unwrap();
    let missing = json!({"group": "required field missing"});
    refuse(&app, "/acls", vec![(json!({"consumer": to}), missing)]).await;
    let owner = to["id"].as_str().unwrap();
    let taken =
        format!("UNIQUE violation detected on '{{consumer={{id=\"{owner}\"}},group=\"g\"}}'");
    let bad_key = "invalid primary key: '{id=\"expected a valid UUID\"}'";
    let group = |name: &str| json!({"group": name});
    answers(
        &app,
        vec![
            ("POST", "/consumers/c/acls".into(), group("g"), 409, &taken),
            ("GET", "/acls/g".into(), Value::Null, 400, bad_key),
            ("GET", "/consumers/c/acls/g".into(), Value::Null, 200, ""),
            ("GET", format!("/consumers/c/acls/{id}"), Value::Null, 200, ""),
            ("GET", "/consumers/c/acls/h".into(), Value::Null, 404, "Not found"),
            ("PATCH", "/consumers/c/acls/h".into(), json!({}), 404, "Not found"),
            ("PUT", "/consumers/c/acls/h".into(), json!({}), 200, ""),
            ("PUT", "/consumers/c/acls/h".into(), json!({"tags": ["t"]}), 200, ""),
            ("PATCH", "/consumers/c/acls/h".into(), group("i"), 200, ""),
            ("DELETE", "/consumers/c/acls/i".into(), Value::Null, 204, ""),
            ("DELETE", "/consumers/c/acls/i".into(), Value::Null, 404, "Not found"),
        ],
    )
    .await;
    let left = app.get("/consumers/c/acls").await.json();
    assert_eq!(left["data"], json!([made]));
    let none = app.get("/acls?size=1000").await.json()["data"].as_array().unwrap().len();
    assert_eq!(none, 1);
}

#[tokio::test]
async fn hmac_and_key_credentials_draw_their_secrets() {
    let app = start().await;
    consumer(&app).await;
    let hmac = accept(&app, "/consumers/c/hmac-auth", json!({"username": "u"}), json!({})).await;
    assert_eq!(hmac["secret"].as_str().unwrap().len(), 32);
    let key = accept(&app, "/consumers/c/key-auth", json!({}), json!({"ttl": null})).await;
    assert_eq!(key["key"].as_str().unwrap().len(), 32);
    let timed = app.send("POST", "/consumers/c/key-auth", json!({"ttl": 100})).await.json();
    assert!((95..=100).contains(&timed["ttl"].as_i64().unwrap()), "{timed}");
    for bad in [json!(-1), json!(100_000_001), json!(1.5), json!("x"), json!([])] {
        let answer = app.send("POST", "/consumers/c/key-auth", json!({"ttl": bad})).await;
        let text = "must be an integer between 0 and 100000000";
        let wanted = json!({
            "code": 11, "name": "invalid options", "options": {"ttl": text},
            "message": format!("invalid option (ttl: {text})"),
        });
        assert_eq!((answer.status.as_u16(), answer.json()), (400, wanted));
    }
    let unknown = json!({"username": "v", "ttl": 1});
    let answer = app.send("POST", "/consumers/c/hmac-auth", unknown).await;
    assert_eq!(answer.json()["fields"], json!({"ttl": "unknown field"}));
}

#[tokio::test]
async fn oauth2_clients_may_have_their_secret_hashed() {
    let app = start().await;
    let to = reference(&consumer(&app).await);
    let clear = json!({"name": "a", "client_id": "a", "client_secret": "hush"});
    let shown = json!({
        "client_secret": "hush", "hash_secret": false, "client_type": "confidential",
        "redirect_uris": null,
    });
    accept(&app, "/consumers/c/oauth2", clear, shown).await;
    let mut hashed = json!({
        "name": "b", "client_id": "b", "client_secret": "hush", "hash_secret": true,
        "redirect_uris": ["https://a.test/back?x=1"],
    });
    let made = accept(&app, "/consumers/c/oauth2", hashed.clone(), json!({})).await;
    let kept = made["client_secret"].as_str().unwrap();
    assert!(crate::plugins::oauth2::secret::matches("hush", kept), "{kept}");
    let patched = app.send("PATCH", "/oauth2/b", json!({"name": "c"})).await.json();
    assert_eq!(patched["client_secret"], kept);
    hashed["consumer"] = to.clone();
    let uri =
        |uri: &str| json!({"name": "n", "consumer": to, "redirect_uris": ["https://a.test", uri]});
    refuse(
        &app,
        "/oauth2",
        vec![
            (json!({"consumer": to}), json!({"name": "required field missing"})),
            (uri("a.test"), json!({"redirect_uris": [null, "cannot parse 'a.test'"]})),
            (
                uri("http://b.test#x"),
                json!({"redirect_uris": [null, "fragment not allowed in 'http://b.test#x'"]}),
            ),
            (
                json!({"name": "n", "consumer": to, "client_type": "x"}),
                json!({"client_type": "expected one of: confidential, public"}),
            ),
        ],
    )
    .await;
    let token = json!({"expires_in": 60, "access_token": "t", "ttl": 60});
    let of = json!({"credential": reference(&made), "service": null, "token_type": "bearer"});
    let answer = app.send("POST", "/oauth2/b/oauth2_tokens", token).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    for (name, value) in of.as_object().unwrap() {
        assert_eq!(&answer.json()[name], value);
    }
    answers(
        &app,
        vec![
            ("GET", "/oauth2_tokens/t/credential".into(), Value::Null, 200, ""),
            ("GET", "/oauth2_tokens/t/service".into(), Value::Null, 404, "Not found"),
            ("GET", "/oauth2_authorization_codes".into(), Value::Null, 404, "Not found"),
            ("GET", "/oauth2/b/oauth2_authorization_codes".into(), Value::Null, 404, "Not found"),
            ("DELETE", "/oauth2/b".into(), Value::Null, 204, ""),
            ("GET", "/oauth2_tokens/t".into(), Value::Null, 404, "Not found"),
        ],
    )
    .await;
}

#[tokio::test]
async fn sessions_and_acme_storage_are_found_by_their_key() {
    let app = start().await;
    let session = json!({"session_id": "s", "expires": 9, "data": "d"});
    accept(&app, "/sessions", session.clone(), json!({"ttl": null})).await;
    let stored = json!({"key": "k", "value": "v"});
    accept(&app, "/acme_storage", stored, json!({"value": "v"})).await;
    refuse(&app, "/sessions", vec![(json!({}), json!({"session_id": "required field missing"}))])
        .await;
    answers(
        &app,
        vec![
            ("POST", "/sessions".into(), session, 409, ""),
            ("GET", "/sessions/s".into(), Value::Null, 200, ""),
            ("PATCH", "/sessions/s".into(), json!({"data": "e"}), 200, ""),
            ("DELETE", "/sessions/s".into(), Value::Null, 204, ""),
            ("GET", "/acme_storage/k".into(), Value::Null, 200, ""),
            ("PUT", "/acme_storage/l".into(), json!({"value": "v"}), 200, ""),
        ],
    )
    .await;
}
