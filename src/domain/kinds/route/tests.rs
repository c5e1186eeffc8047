//! Routes of each flavour: what they admit and what they refuse.

use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::domain::catalog::Catalog;

/// Returns what is wrong with a route, none if nothing is.
fn errors(flavour: Flavour, body: &Value) -> Value {
    let catalog = Catalog::with_flavour(flavour, Vec::new());
    let mut document = body.as_object().unwrap().clone();
    document.insert("id".into(), json!(Uuid::from_u128(1)));
    let checked = catalog.complete(KIND, &mut document);
    match checked.and_then(|()| catalog.validate(KIND, &document)) {
        Ok(()) => Value::Null,
        Err(errors) => Value::Object(errors.as_map().clone()),
    }
}

#[test]
fn each_protocol_asks_for_attributes_and_refuses_others() {
    let entity = |text: &str| json!({"@entity": [text]});
    let http = "must set one of 'methods', 'hosts', 'headers', 'paths' when 'protocols' is 'http'";
    let https = "must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when 'protocols' \
                 is 'https'";
    let grpc = "must set one of 'hosts', 'headers', 'paths' when 'protocols' is 'grpc'";
    let stream = "must set one of 'sources', 'destinations', 'snis' when 'protocols' is 'tcp', 'tls' or \
         'udp'";
    let sni = "'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or \
               'tls_passthrough'";
    let host = "cannot contain 'host' header, which must be specified in the 'hosts' attribute";
    for (body, wrong) in [
        (json!({"paths": ["/"]}), Value::Null),
        (json!({"protocols": ["https"], "snis": ["*.a.test"]}), Value::Null),
        (json!({"protocols": ["grpc"], "paths": ["/"], "strip_path": false}), Value::Null),
        (json!({"protocols": ["tcp"], "sources": [{"ip": "10.0.0.0/8"}]}), Value::Null),
        (json!({"protocols": ["tls_passthrough"], "snis": ["a.test"]}), Value::Null),
        (json!({"headers": {"x-a": ["1", "2"]}}), Value::Null),
        (json!({"protocols": ["http"]}), entity(http)),
        (json!({}), entity(https)),
        (json!({"protocols": ["grpc"]}), entity(grpc)),
        (json!({"protocols": ["udp"]}), entity(stream)),
        (
            json!({"protocols": ["tls_passthrough"]}),
            entity("must set snis when 'protocols' is 'tls_passthrough'"),
        ),
        (
            json!({"protocols": ["http"], "paths": ["/"], "snis": ["a.test"]}),
            json!({"snis": "length must be 0", "@entity": [sni]}),
        ),
        (
            json!({"paths": ["/"], "sources": [{"port": 1}]}),
            json!({"sources": "cannot set 'sources' when 'protocols' is 'http' or 'https'"}),
        ),
        (
            json!({"protocols": ["grpc"], "paths": ["/"], "methods": ["GET"], "strip_path": true}),
            json!({
                "methods": "cannot set 'methods' when 'protocols' is 'grpc' or 'grpcs'",
                "strip_path": "cannot set 'strip_path' when 'protocols' is 'grpc' or 'grpcs'",
            }),
        ),
        (
            json!({"protocols": ["tls"], "snis": ["a.test"], "hosts": ["a.test"]}),
            json!({"hosts": "cannot set 'hosts' when 'protocols' is 'tcp', 'tls', \
                             'tls_passthrough' or 'udp'"}),
        ),
        (
            json!({"protocols": ["http", "tcp"], "paths": ["/"]}),
            json!({"protocols": "these sets are mutually exclusive: ('http', 'https'), ('tcp', \
                                 'tls', 'udp')"}),
        ),
        (json!({"paths": ["/"], "headers": {"Host": ["a"]}}), json!({"headers": host})),
        (
            json!({"paths": ["/"], "https_redirect_status_code": 303}),
            json!({"https_redirect_status_code": "expected one of: 426, 301, 302, 307, 308"}),
        ),
        (json!({"paths": ["/"], "methods": ["get"]}), json!({"methods": ["invalid value: get"]})),
        (
            json!({"protocols": ["tcp"], "sources": [{}]}),
            json!({"sources": [
                {"@entity": ["at least one of these fields must be non-empty: 'ip', 'port'"]},
            ]}),
        ),
        (json!({"paths": ["/"], "expression": "x"}), json!({"expression": "unknown field"})),
    ] {
        assert_eq!(errors(Flavour::TraditionalCompatible, &body), wrong, "{body}");
    }
}

#[test]
fn only_the_traditional_flavour_knows_no_wildcards_in_snis() {
    let body = json!({"snis": ["*.a.test"]});
    assert_eq!(errors(Flavour::Traditional, &body), json!({"snis": ["invalid value: *.a.test"]}));
    assert_eq!(errors(Flavour::Expressions, &body), Value::Null);
}

#[test]
fn an_expression_stands_for_all_attributes() {
    let failed =
        |text: &str| json!({"@entity": [format!("Router Expression failed validation: {text}")]});
    let all = "'methods', 'hosts', 'paths', 'headers', 'snis', 'sources' or 'destinations'";
    let one = "must set one of 'methods', 'hosts', 'headers', 'paths', 'expression' when \
               'protocols' is 'http'";
    let expression = "http.path == \"/a\"";
    for (body, wrong) in [
        (json!({"expression": expression, "priority": 5}), Value::Null),
        (json!({"paths": ["/"]}), Value::Null),
        (json!({"paths": ["/"], "sources": [{"port": 1}]}), Value::Null),
        (json!({"protocols": ["http"]}), json!({"@entity": [one]})),
        (
            json!({"expression": expression, "paths": ["/"]}),
            failed(&format!("cannot set 'expression' with {all} simultaneously")),
        ),
        (
            json!({"expression": expression, "regex_priority": 1}),
            failed("cannot set 'regex_priority' with 'expression' simultaneously"),
        ),
        (
            json!({"paths": ["/"], "priority": 1}),
            failed(&format!("cannot set 'priority' with {all} simultaneously")),
        ),
        (
            json!({"expression": expression, "priority": -1}),
            json!({"priority": "value should be between 0 and 70368744177663"}),
        ),
    ] {
        assert_eq!(errors(Flavour::Expressions, &body), wrong, "{body}");
    }
}

#[test]
fn every_flavour_reads_into_the_struct() {
    for flavour in [Flavour::Traditional, Flavour::Expressions] {
        let document = crate::domain::kinds::tests::fill_all(&schema_of(flavour).fields);
        let entity = crate::domain::entity::Entity::new(KIND, &document).unwrap();
        let route: Route = entity.decode().unwrap();
        assert_eq!(route.expression.is_some(), flavour == Flavour::Expressions);
    }
}
