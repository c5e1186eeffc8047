//! What a browser is told: origins, credentials, preflights, on errors too
//! (reference gateway-2, section B.1; client-kong-manager.md).

use serde_json::json;

use super::app::App;
use crate::admin::{Options, Tells};

#[tokio::test]
async fn every_answer_names_the_origin_it_is_for() {
    let listed = || vec!["http://ui:8002".to_owned(), "https://ui.example".to_owned()];
    for (gui_origins, origin, allowed) in [
        (vec![], None, "*"),
        (vec![], Some("http://x"), "http://x"),
        (vec![], Some("null"), "null"),
        (listed(), None, "http://ui:8002"),
        (listed(), Some("https://ui.example"), "https://ui.example"),
        (listed(), Some("https://ui.example:443"), "http://ui:8002"),
        (listed(), Some("HTTPS://UI.EXAMPLE"), "http://ui:8002"),
        (listed(), Some("http://evil"), "http://ui:8002"),
    ] {
        let app =
            App::with(Options { gui_origins, body_bytes_max: 64, ..Options::default() }).await;
        app.create("/services", json!({"name": "s", "host": "a"})).await;
        let long = "a".repeat(100);
        let json = ("content-type", "application/json");
        let text = ("content-type", "text/plain");
        for (method, path, header, body, status) in [
            ("GET", "/services", None, "", 200),
            ("HEAD", "/services", None, "", 200),
            ("GET", "/nope", None, "", 404),
            ("GET", "/services/nope", None, "", 404),
            ("GET", "/services?size=0", None, "", 400),
            ("GET", "/services/%00", None, "", 400),
            ("POST", "/services", Some(json), r#"{"host":"b"}"#, 201),
            ("POST", "/services", Some(json), r#"{"name":"s","host":"b"}"#, 409),
            ("POST", "/services", Some(json), "{", 400),
            ("POST", "/services", Some(json), &long, 413),
            ("POST", "/services", Some(text), "x", 415),
            ("PUT", "/services", Some(json), "{}", 405),
            ("DELETE", "/services/nope", None, "", 204),
            ("OPTIONS", "/services", None, "", 204),
            ("OPTIONS", "/nope", None, "", 404),
        ] {
            let headers: Vec<_> = origin.map(|o| ("origin", o)).into_iter().chain(header).collect();
            let answer = app.send_raw(method, path, &headers, body).await;
            assert_eq!(answer.status.as_u16(), status, "{method} {path}: {}", answer.text);
            let shown = format!("{method} {path} from {origin:?}");
            assert_eq!(answer.header("access-control-allow-origin"), allowed, "{shown}");
            assert_eq!(answer.header("access-control-allow-credentials"), "true", "{shown}");
            assert_eq!(answer.header("vary"), "Origin", "{shown}");
            assert_eq!(answer.header("server"), "kong/3.9.1", "{shown}");
            assert!(answer.header("x-kong-admin-latency").parse::<u64>().is_ok(), "{shown}");
            assert_eq!(answer.header("x-kong-admin-request-id").len(), 32, "{shown}");
            let one = |name| answer.headers.get_all(name).iter().count();
            assert_eq!(one("access-control-allow-origin"), 1, "{shown}");
        }
    }
}

#[tokio::test]
async fn answers_tell_what_the_settings_let_them() {
    let setting = |headers: &[&str]| headers.iter().map(|h| (*h).to_owned()).collect::<Vec<_>>();
    for (headers, latency, server) in [
        (setting(&["server_tokens", "latency_tokens"]), true, true),
        (setting(&["x-kong-admin-latency"]), true, false),
        (setting(&["server"]), false, true),
        (setting(&["off"]), false, false),
    ] {
        let app = App::with(Options { tells: Tells::read(&headers), ..Options::default() }).await;
        let answer = app.get("/services").await;
        assert_eq!(!answer.header("x-kong-admin-latency").is_empty(), latency, "{headers:?}");
        assert_eq!(!answer.header("server").is_empty(), server, "{headers:?}");
    }
}

#[tokio::test]
async fn preflights_echo_what_was_asked() {
    let app = App::with_plugins().await;
    let collection = "GET, HEAD, OPTIONS, POST";
    let item = "DELETE, GET, HEAD, OPTIONS, PATCH, PUT";
    for (path, methods) in [
        ("/services", collection),
        ("/services/", collection),
        ("/services/x/routes", collection),
        ("/upstreams/x/targets", collection),
        ("/consumers/x/key-auth", collection),
        ("/plugins/x", item),
        ("/services/x/routes/y", item),
        ("/services/x/plugins/y", item),
        ("/routes/x/service", item),
        ("/consumers/x/key-auth/y", item),
        ("/upstreams/x/targets/y", item),
        ("/", "GET, HEAD, OPTIONS"),
    ] {
        for asked in [None, Some("content-type"), Some("Content-Type, Kong-Admin-Token, X-A")] {
            let asked_header = asked.map(|asked| ("access-control-request-headers", asked));
            let mut headers =
                vec![("origin", "http://ui"), ("access-control-request-method", "DELETE")];
            headers.extend(asked_header);
            let answer = app.send_raw("OPTIONS", path, &headers, "").await;
            assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""), "{path}");
            assert_eq!(answer.header("allow"), methods, "{path}");
            assert_eq!(answer.header("access-control-allow-methods"), methods, "{path}");
            let allowed = answer.header("access-control-allow-headers");
            assert_eq!(allowed, asked.unwrap_or("Content-Type"), "{path}");
            assert_eq!(answer.header("access-control-max-age"), "", "Kong sends none");
            assert_eq!(answer.header("content-type"), "");
        }
    }
}
