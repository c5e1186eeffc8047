//! What a request matched, for who asks by `Kong-Debug`.

use http::{HeaderName, HeaderValue};

use crate::plugins::exchange::{Exchange, ResponseHead};
use crate::runtime::Destination;

/// Tells what matched to who asks for it.
pub(in crate::proxy) fn add_matched(
    exchange: &Exchange,
    destination: Option<&Destination>,
    head: &mut ResponseHead,
) {
    let asked = exchange.header("kong-debug") == Some("1");
    let Some(destination) = destination.filter(|_| asked) else { return };
    let service = destination.service.as_ref().map(|target| &target.service);
    let pairs = [
        ("kong-route-id", Some(destination.route.id.to_string())),
        ("kong-route-name", destination.route.name.clone()),
        ("kong-service-id", service.map(|service| service.id.to_string())),
        ("kong-service-name", service.and_then(|service| service.name.clone())),
    ];
    for (name, value) in pairs {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            head.headers.insert(HeaderName::from_static(name), value);
        }
    }
}
