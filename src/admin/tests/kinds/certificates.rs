//! Certificates, CA certificates and SNIs.

use serde_json::{Value, json};

use super::{accept, answers, reference, refuse, start};
use crate::domain::pem::tests::samples;

fn pair(pair: &samples::Pair) -> Value {
    json!({"cert": pair.cert, "key": pair.key})
}

fn with(mut body: Value, more: Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn certificates_come_with_their_key() {
    let app = start().await;
    let (ec, rsa) = (samples::ec(), samples::rsa());
    let plain = json!({"snis": [], "cert_alt": null, "key_alt": null, "tags": null});
    accept(&app, "/certificates", pair(ec), plain).await;
    accept(&app, "/certificates", pair(samples::ed25519()), json!({})).await;
    let both = with(pair(ec), json!({"cert_alt": rsa.cert, "key_alt": rsa.key}));
    accept(&app, "/certificates", both, json!({"cert_alt": rsa.cert})).await;
    let kept = "{vault://env/cert}";
    let referred = json!({"cert": kept, "key": "{vault://env/key}"});
    accept(&app, "/certificates", referred, json!({"cert": kept})).await;
    let entity = |text: &str| json!({"@entity": [text]});
    let same = "certificate and alternative certificate need to have different type (e.g. RSA and \
                ECDSA), the provided certificates were both of the same type";
    let other = samples::other_ec();
    refuse(
        &app,
        "/certificates",
        vec![
            (json!({}), json!({"cert": "required field missing", "key": "required field missing"})),
            (json!({"cert": ec.cert, "key": rsa.key}), entity("certificate does not match key")),
            (
                with(pair(ec), json!({"cert_alt": rsa.cert})),
                entity("all or none of these fields must be set: 'cert_alt', 'key_alt'"),
            ),
            (
                with(pair(ec), json!({"cert_alt": rsa.cert, "key_alt": ec.key})),
                entity("alternative certificate does not match key"),
            ),
            (with(pair(ec), json!({"cert_alt": other.cert, "key_alt": other.key})), entity(same)),
            (
                with(pair(ec), json!({"snis": ["a.test", "b.test", "a.test"]})),
                json!({"snis": "a.test is duplicated"}),
            ),
            (
                with(pair(ec), json!({"snis": ["a.test", "a*b"]})),
                json!({"snis": [null, "wildcard must be leftmost or rightmost character"]}),
            ),
        ],
    )
    .await;
    for (body, field, head) in [
        (json!({"cert": "x", "key": ec.key}), "cert", "invalid certificate: "),
        (json!({"cert": ec.cert, "key": "x"}), "key", "invalid key: "),
    ] {
        let error = app.send("POST", "/certificates", body).await.json();
        assert!(error["fields"][field].as_str().unwrap().starts_with(head), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_is_written_with_its_names() {
    let app = start().await;
    let ec = pair(samples::ec());
    let names = |names: Value| with(ec.clone(), json!({"snis": names}));
    let sorted = json!({"snis": ["*.b.test", "a.test"]});
    let first = accept(&app, "/certificates", names(json!(["a.test", "*.b.test"])), sorted).await;
    let id = first["id"].as_str().unwrap();
    let (by_id, by_name) = (format!("/certificates/{id}"), "/certificates/a.test");
    assert_eq!(app.get(by_name).await.json(), first);
    let taken = format!("a.test already associated with existing certificate '{id}'");
    refuse(&app, "/certificates", vec![(names(json!(["a.test"])), json!({"snis": taken}))]).await;

    let shown = |answer: super::super::app::Answer| answer.json()["snis"].clone();
    let tagged = app.send("PATCH", by_name, json!({"tags": ["t"]})).await;
    assert_eq!(shown(tagged), json!(["*.b.test", "a.test"]), "a patch without names keeps them");
    let patched = app.send("PATCH", &by_id, json!({"snis": ["a.test", "c.test"]})).await;
    assert_eq!(shown(patched), json!(["a.test", "c.test"]));
    assert_eq!(app.get("/snis/*.b.test").await.status, 404);
    let replaced = app.send("PUT", &by_id, ec.clone()).await;
    assert_eq!(shown(replaced), json!([]), "a PUT without names removes all");

    let made = app.send("PUT", "/certificates/new.test", names(json!(["d.test"]))).await;
    assert_eq!((made.status.as_u16(), &made.json()["snis"]), (200, &json!(["d.test", "new.test"])));
    let again = app.send("PUT", "/certificates/new.test", ec.clone()).await.json();
    assert_eq!((&again["id"], &again["snis"]), (&made.json()["id"], &json!(["new.test"])));
    answers(
        &app,
        vec![
            ("GET", "/certificates/no.test".into(), Value::Null, 404, "SNI not found"),
            ("PATCH", "/certificates/no.test".into(), json!({}), 404, "SNI not found"),
            ("DELETE", "/certificates/no.test".into(), Value::Null, 404, "SNI not found"),
            ("GET", "/certificates/new.test/snis".into(), Value::Null, 200, ""),
            ("GET", "/snis/new.test".into(), Value::Null, 200, ""),
            ("GET", "/snis/new.test/certificate".into(), Value::Null, 404, "Not found"),
            ("DELETE", "/certificates/new.test".into(), Value::Null, 204, ""),
            ("GET", "/snis/new.test".into(), Value::Null, 404, "Not found"),
        ],
    )
    .await;
}

#[tokio::test]
async fn snis_are_unique_names_of_a_certificate() {
    let app = start().await;
    let certificate = accept(&app, "/certificates", pair(samples::ec()), json!({})).await;
    let to = reference(&certificate);
    for name in ["a.test", "*.a.test", "a.*"] {
        let body = json!({"name": name, "certificate": to});
        accept(&app, "/snis", body, json!({"certificate": to})).await;
    }
    refuse(
        &app,
        "/snis",
        vec![
            (
                json!({"name": "*.*", "certificate": to}),
                json!({"name": "only one wildcard must be specified"}),
            ),
            (json!({"name": "10.0.0.1", "certificate": to}), json!({"name": "must not be an IP"})),
            (
                json!({"name": "b.test:80", "certificate": to}),
                json!({"name": "must not have a port"}),
            ),
            (json!({"name": "b.test"}), json!({"certificate": "required field missing"})),
        ],
    )
    .await;
    let again = json!({"name": "a.test", "certificate": to});
    let taken = "UNIQUE violation detected on '{name=\"a.test\"}'";
    answers(&app, vec![("POST", "/snis".into(), again, 409, taken)]).await;
}

#[tokio::test]
async fn ca_certificates_are_cas_that_nobody_needs_any_more_when_they_go() {
    let app = start().await;
    let (ca, other) = (samples::ca(), samples::other_ca());
    let made = accept(&app, "/ca_certificates", json!({"cert": ca.cert}), json!({})).await;
    assert_eq!(made["cert_digest"].as_str().unwrap().len(), 64);
    let entity = |text: &str| json!({"@entity": [text]});
    let chain = format!("{}{}", ca.cert, other.cert);
    refuse(
        &app,
        "/ca_certificates",
        vec![
            (json!({}), json!({"cert": "required field missing"})),
            (
                json!({"cert": samples::ec().cert}),
                entity(
                    "certificate does not appear to be a CA because it is missing the \"CA\" \
                     basic constraint",
                ),
            ),
            (json!({"cert": chain}), entity("please submit only one certificate at a time")),
            (
                json!({"cert": samples::expired_ca().cert}),
                entity("certificate expired, \"Not After\" time is in the past"),
            ),
        ],
    )
    .await;
    let id = made["id"].as_str().unwrap();
    let body = json!({"host": "a", "protocol": "https", "ca_certificates": [id]});
    let service = accept(&app, "/services", body, json!({"ca_certificates": [id]})).await;
    let service = service["id"].as_str().unwrap();
    let needed = format!("ca certificate {id} is still referenced by services (id = {service})");
    let path = format!("/ca_certificates/{id}");
    let refused = app.send("DELETE", &path, Value::Null).await;
    let wanted = json!({"code": 19, "name": "referenced by others", "message": needed});
    assert_eq!((refused.status.as_u16(), refused.json()), (400, wanted));
    let bad_key = "invalid primary key: '{id=\"expected a valid UUID\"}'";
    let twice = json!({"cert": ca.cert});
    answers(
        &app,
        vec![
            ("POST", "/ca_certificates".into(), twice, 409, ""),
            ("GET", "/ca_certificates/foo".into(), Value::Null, 400, bad_key),
            ("DELETE", format!("/services/{service}"), Value::Null, 204, ""),
            ("DELETE", path, Value::Null, 204, ""),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_certificate_stays_while_a_service_or_upstream_shows_it() {
    let app = start().await;
    let certificate = accept(&app, "/certificates", pair(samples::ec()), json!({})).await;
    let to = reference(&certificate);
    let https = json!({"name": "s", "host": "a", "protocol": "https", "client_certificate": to});
    accept(&app, "/services", https, json!({"client_certificate": to})).await;
    let upstream = json!({"name": "u", "client_certificate": to});
    accept(&app, "/upstreams", upstream, json!({"client_certificate": to})).await;
    let http = json!({"host": "a", "client_certificate": to});
    let refused = json!({
        "client_certificate": "value must be null",
        "@entity": ["failed conditional validation given value of field 'protocol'"],
    });
    refuse(&app, "/services", vec![(http, refused)]).await;
    let id = to["id"].as_str().unwrap();
    for path in ["/services/s", "/upstreams/u"] {
        let shown = app.get(&format!("{path}/client_certificate")).await.json();
        assert_eq!(shown["id"], to["id"]);
        let blocked = app.send("DELETE", &format!("/certificates/{id}"), Value::Null).await;
        assert_eq!((blocked.status.as_u16(), &blocked.json()["code"]), (400, &json!(4)));
        let (collection, _) = path[1..].split_once('/').unwrap();
        let nested = app.get(&format!("/certificates/{id}/{collection}")).await.json();
        assert_eq!(nested["data"].as_array().unwrap().len(), 1);
        assert_eq!(app.send("DELETE", path, Value::Null).await.status, 204);
    }
    let gone = app.send("DELETE", &format!("/certificates/{id}"), Value::Null).await;
    assert_eq!(gone.status, 204);
}
