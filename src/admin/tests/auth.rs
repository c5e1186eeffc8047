//! Who may do what: tokens, certificates, roles, failures.

use axum::body::Body;
use axum::extract::Request;
use chrono::DateTime;
use serde_json::{Value, json};

use super::app::{ABSENT, Answer, App};
use crate::admin::serve::ClientName;
use crate::clock::Clock;
use crate::domain::role::AdminRole;
use crate::log::tokens::{TOKEN_PREFIX, Wanted};

/// Makes a token behind the API's back, as the command line does.
async fn token(app: &App, name: &str, role: AdminRole, expires_at: Option<i64>) -> String {
    let expires_at = expires_at.map(|at| DateTime::from_timestamp(at, 0).unwrap());
    let wanted = Wanted { name: name.parse().unwrap(), role, expires_at };
    let made = wanted.make(Clock::System.id(), DateTime::UNIX_EPOCH, "ann".into());
    let (token, secret) = made.unwrap();
    app.tokens.create_token(&token).await.unwrap();
    secret.reveal()
}

async fn send(app: &App, method: &str, path: &str, token: &str, body: Value) -> Answer {
    let headers = [("kong-admin-token", token), ("content-type", "application/json")];
    let headers = if token.is_empty() { &headers[1..] } else { &headers[..] };
    let body = if body.is_null() { String::new() } else { body.to_string() };
    app.send_raw(method, path, headers, &body).await
}

#[tokio::test]
async fn each_role_may_do_what_it_says() {
    let app = App::guarded(&[], Clock::System).await;
    let lacks_admin = || app.admin.0.auth.lacks_admin();
    assert!(lacks_admin());
    let mut callers = vec![String::new()];
    for role in [AdminRole::Viewer, AdminRole::Editor, AdminRole::Admin] {
        callers.push(token(&app, role.name(), role, None).await);
    }
    let service = json!({"name": "s", "host": "a"});
    let fresh = json!({"name": "new", "role": "viewer"});
    // What nobody, a viewer, an editor and an administrator are answered, in this order.
    for (method, path, body, statuses) in [
        ("OPTIONS", "/services", Value::Null, [204; 4]),
        ("OPTIONS", "/admin-tokens", Value::Null, [204; 4]),
        ("GET", "/", Value::Null, [401, 200, 200, 200]),
        ("HEAD", "/services", Value::Null, [401, 200, 200, 200]),
        ("GET", "/events", Value::Null, [401, 200, 200, 200]),
        ("GET", "/nope", Value::Null, [401, 404, 404, 404]),
        ("PUT", "/services/s", service.clone(), [401, 403, 200, 200]),
        ("PUT", "/services/s/", service, [401, 403, 200, 200]),
        ("PATCH", "/services/s", json!({"host": "b"}), [401, 403, 200, 200]),
        ("POST", "/services/s/routes", json!({"paths": ["/"]}), [401, 403, 201, 201]),
        ("DELETE", "/consumers/none", Value::Null, [401, 403, 204, 204]),
        ("DELETE", "/services", Value::Null, [401, 405, 405, 405]),
        ("POST", "/rollback", json!({"to": 1}), [401, 403, 403, 200]),
        ("POST", "/rollback/", json!({"to": 1}), [401, 403, 403, 200]),
        ("GET", "/admin-tokens", Value::Null, [401, 403, 403, 200]),
        ("HEAD", "/admin-tokens/viewer/", Value::Null, [401, 403, 403, 200]),
        ("POST", "/admin-tokens", fresh, [401, 403, 403, 201]),
        ("DELETE", "/admin-tokens/new", Value::Null, [401, 403, 403, 204]),
        ("GET", "/admin-tokens/new", Value::Null, [401, 403, 403, 404]),
        ("PUT", "/admin-tokens/new", Value::Null, [401, 405, 405, 405]),
    ] {
        for (caller, status) in callers.iter().zip(statuses) {
            let answer = send(&app, method, path, caller, body.clone()).await;
            let text = &answer.text;
            assert_eq!(answer.status, status, "{method} {path} by {caller:?}: {text}");
        }
    }
    assert!(!lacks_admin());
    assert_eq!(app.get("/events?size=1").await.status, 401);
    let newest = send(&app, "GET", "/events?size=1", &callers[1], Value::Null).await.json();
    assert_eq!(newest["data"][0]["actor"], "token:admin", "{newest}");
}

#[tokio::test]
async fn who_is_turned_away_is_told_what_to_do_and_pages_can_read_it() {
    let app = App::guarded(&[], Clock::System).await;
    let viewer = token(&app, "ann", AdminRole::Viewer, None).await;
    let json = ("content-type", "application/json");
    let realm = "Bearer realm=\"kong-admin\"";
    let invalid = format!("{realm}, error=\"invalid_token\"");
    let missing = "no admin token found in request: send one as Kong-Admin-Token, or as \
                   Authorization: Bearer";
    let role = "'token:ann' has the role viewer; this request needs the role editor";
    for (headers, status, challenge, message) in [
        (vec![("origin", "http://gui")], 401, realm, missing),
        (vec![("origin", "http://gui"), ("authorization", "Basic YTpi")], 401, realm, missing),
        (
            vec![("origin", "http://gui"), ("kong-admin-token", "nope"), json],
            401,
            &invalid,
            "invalid admin token",
        ),
        (
            vec![("origin", "http://gui"), ("kong-admin-token", ""), json],
            401,
            &invalid,
            "invalid admin token",
        ),
        (vec![("origin", "http://gui"), ("kong-admin-token", &viewer), json], 403, "", role),
    ] {
        let answer = app.send_raw("POST", "/services", &headers, "{\"host\": \"a\"}").await;
        assert_eq!(answer.status, status, "{}", answer.text);
        assert_eq!(answer.json(), json!({"message": message}));
        assert_eq!(answer.header("www-authenticate"), challenge);
        assert_eq!(answer.header("access-control-allow-origin"), "http://gui");
        assert_eq!(answer.header("access-control-allow-credentials"), "true");
        assert!(!answer.header("x-kong-admin-latency").is_empty());
    }
    let asked = [("access-control-request-headers", "kong-admin-token, authorization")];
    let preflight = app.send_raw("OPTIONS", "/services", &asked, "").await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-headers"), asked[0].1);
}

#[tokio::test]
async fn a_token_is_made_once_used_and_revoked_at_once() {
    let clock = Clock::seeded(DateTime::from_timestamp(1_000, 0).unwrap(), 1);
    let app = App::guarded(&[], clock.clone()).await;
    let admin = token(&app, "root", AdminRole::Admin, None).await;
    let wanted = json!({"name": "ci", "role": "editor", "expires": "90d"});
    let made = send(&app, "POST", "/admin-tokens", &admin, wanted.clone()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let mut made = made.json();
    let secret = made["token"].take().as_str().unwrap().to_owned();
    assert!(secret.starts_with(TOKEN_PREFIX));
    made.as_object_mut().unwrap().remove("token");
    let mut expected = json!({
        "id": made["id"], "name": "ci", "role": "editor", "created_at": 1_000,
        "created_by": "token:root", "expires_at": 1_000 + 90 * 86_400,
        "revoked_at": null, "revoked_by": null,
    });
    assert_eq!(made, expected);

    let again = send(&app, "POST", "/admin-tokens", &admin, wanted).await;
    assert_eq!((again.status.as_u16(), &again.json()["code"]), (409, &json!(5)));
    let bearer = format!("Bearer {secret}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let written = app.send_raw("POST", "/services", &headers, "{\"host\": \"a\"}").await;
    assert_eq!(written.status, 201, "{}", written.text);
    let events = send(&app, "GET", "/events", &secret, Value::Null).await.json();
    assert_eq!(events["data"][0]["actor"], "token:ci");

    clock.advance(5_000);
    let path = format!("/admin-tokens/{}", made["id"].as_str().unwrap());
    assert_eq!(send(&app, "DELETE", &path, &admin, Value::Null).await.status, 204);
    assert_eq!(send(&app, "GET", "/", &secret, Value::Null).await.status, 401);
    expected["revoked_at"] = json!(1_005);
    expected["revoked_by"] = json!("token:root");
    assert_eq!(send(&app, "GET", &path, &admin, Value::Null).await.json(), expected);
    let list = send(&app, "GET", "/admin-tokens", &admin, Value::Null).await;
    assert_eq!(list.json()["data"][1], expected);
    let scan = list.text + &events.to_string();
    assert!(!scan.contains(&secret) && !scan.contains(TOKEN_PREFIX));
    let absent = format!("/admin-tokens/{ABSENT}");
    assert_eq!(send(&app, "DELETE", &absent, &admin, Value::Null).await.status, 404);
}

#[tokio::test]
async fn a_token_that_cannot_be_made_names_every_bad_field() {
    let app = App::guarded(&[], Clock::System).await;
    let admin = token(&app, "root", AdminRole::Admin, None).await;
    for (body, fields) in [
        (json!({}), json!({"name": "required field missing", "role": "required field missing"})),
        (
            json!({"name": "a b", "role": "boss", "expires": "1y", "scope": 1}),
            json!({
                "name": "expected 1 to 64 letters, digits, '.', '_', '-' or '@', and no UUID",
                "role": "expected one of: viewer, editor, admin",
                "expires": "expected a length such as 90d, or a time such as 2027-01-31T08:00:00Z",
                "scope": "unknown field",
            }),
        ),
        (
            json!({"name": 1, "role": null, "expires": "0s"}),
            json!({
                "name": "expected a string",
                "role": "expected a string",
                "expires": "must be in the future",
            }),
        ),
    ] {
        let answer = send(&app, "POST", "/admin-tokens", &admin, body).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        assert_eq!(answer.json()["fields"], fields);
    }
    assert_eq!(app.tokens.tokens().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_token_ends_when_it_says() {
    let clock = Clock::seeded(DateTime::from_timestamp(1_000, 0).unwrap(), 1);
    let app = App::guarded(&[], clock.clone()).await;
    let short = token(&app, "short", AdminRole::Viewer, Some(1_010)).await;
    assert_eq!(send(&app, "GET", "/", &short, Value::Null).await.status, 200);
    clock.advance(10_000);
    assert_eq!(send(&app, "GET", "/", &short, Value::Null).await.status, 401);
}

#[tokio::test]
async fn a_peer_that_guesses_is_held_off_and_a_right_token_still_works() {
    let clock = Clock::seeded(DateTime::from_timestamp(1_000, 0).unwrap(), 1);
    let app = App::guarded(&[], clock.clone()).await;
    let good = token(&app, "ann", AdminRole::Viewer, None).await;
    let wrong = format!("{TOKEN_PREFIX}{}", "A".repeat(64));
    for _ in 0..10 {
        assert_eq!(send(&app, "GET", "/", &wrong, Value::Null).await.status, 401);
        assert_eq!(send(&app, "GET", "/", "", Value::Null).await.status, 401, "no guess");
    }
    let held = send(&app, "GET", "/", &wrong, Value::Null).await;
    assert_eq!((held.status.as_u16(), held.header("retry-after")), (429, "60"));
    assert_eq!(held.header("access-control-allow-origin"), "http://gui.test");
    assert_eq!(send(&app, "GET", "/", &good, Value::Null).await.status, 200);
    clock.advance(60_000);
    assert_eq!(send(&app, "GET", "/", &wrong, Value::Null).await.status, 401);
}

#[tokio::test]
async fn a_certificate_gives_the_role_of_its_name_and_a_token_goes_first() {
    let app = App::guarded(&[("ops", AdminRole::Editor)], Clock::System).await;
    let viewer = token(&app, "ann", AdminRole::Viewer, None).await;
    let send = async |name: Option<&str>, token: Option<&str>, origin: Option<&str>| {
        let mut request = Request::builder().method("POST").uri("/services");
        request = request.header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("kong-admin-token", token);
        }
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let mut request = request.body(Body::from("{\"host\": \"a\"}")).unwrap();
        if let Some(name) = name {
            request.extensions_mut().insert(ClientName(name.into()));
        }
        app.answer(request).await.status.as_u16()
    };
    assert_eq!(send(Some("ops"), None, None).await, 201);
    assert_eq!(send(Some("OPS"), None, None).await, 401, "a name is taken as it is");
    assert_eq!(send(None, None, None).await, 401);
    assert_eq!(send(Some("ops"), Some(&viewer), None).await, 403);
    assert_eq!(send(Some("ops"), Some("wrong"), None).await, 401);
    // A page that the operator opened must not write with the operator's certificate.
    assert_eq!(send(Some("ops"), None, Some("http://evil.test")).await, 401);
    assert_eq!(send(Some("ops"), None, Some("http://gui.test")).await, 201);
    let events = self::send(&app, "GET", "/events", &viewer, Value::Null).await.json();
    assert_eq!(events["data"][0]["actor"], "cert:ops");
}

#[tokio::test]
async fn without_authentication_nobody_makes_a_token_to_keep() {
    let app = App::start().await;
    let wanted = json!({"name": "ci", "role": "admin"});
    let answer = app.send("POST", "/admin-tokens", wanted).await;
    assert_eq!(answer.status, 403, "{}", answer.text);
    assert!(answer.text.contains("hybridctl token"), "{}", answer.text);
    assert!(app.tokens.tokens().await.unwrap().is_empty());
    assert_eq!(app.send("POST", "/services", json!({"host": "a"})).await.status, 201);
    assert_eq!(app.get("/events").await.json()["data"][0]["actor"], "anonymous");
}
