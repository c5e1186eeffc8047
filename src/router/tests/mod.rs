//! The router against other readings of the same rules: tables of winners, a scan, Kong's engine.

mod capture;
mod engine;
mod path;
mod samples;
mod scan;
mod stream;
mod winners;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::domain::entity::Entity;
use crate::domain::kinds::route;

const FLAVOURS: [Flavour; 3] =
    [Flavour::Traditional, Flavour::TraditionalCompatible, Flavour::Expressions];

fn route(id: u128, attributes: Value) -> Arc<Route> {
    let mut document = json!({
        "id": Uuid::from_u128(id), "created_at": 1, "updated_at": 1, "protocols": ["http", "https"],
        "https_redirect_status_code": 426, "strip_path": true, "preserve_host": false,
        "request_buffering": true, "response_buffering": true,
    });
    document.as_object_mut().unwrap().extend(attributes.as_object().unwrap().clone());
    let entity = Entity::new(route::KIND, document.as_object().unwrap()).unwrap();
    Arc::new(entity.decode().unwrap())
}

/// Builds a router of routes numbered from 1 on; the slot is the number.
fn router(flavour: Flavour, routes: &[Value]) -> Router {
    let routes = routes.iter().enumerate().map(|(i, attributes)| {
        let number = i + 1;
        (number, route(number as u128, attributes.clone()))
    });
    Router::build(flavour, routes).unwrap()
}

#[derive(Clone, Debug)]
struct Request {
    method: &'static str,
    host: String,
    host_port: Option<u16>,
    path: String,
    query: Option<&'static str>,
    headers: BTreeMap<String, Vec<String>>,
    protocol: Protocol,
    sni: Option<&'static str>,
    source: SocketAddr,
    destination: SocketAddr,
}

fn get(host: &str, path: &str) -> Request {
    Request {
        method: "GET",
        host: host.into(),
        host_port: None,
        path: path.into(),
        query: None,
        headers: BTreeMap::new(),
        protocol: Protocol::Http,
        sni: None,
        source: ([10, 0, 0, 9], 4000).into(),
        destination: ([10, 0, 0, 1], 80).into(),
    }
}

impl Request {
    fn with(mut self, header: &str, values: &[&str]) -> Self {
        self.headers.insert(header.into(), values.iter().map(|value| (*value).into()).collect());
        self
    }

    fn https(mut self, sni: Option<&'static str>) -> Self {
        (self.protocol, self.sni) = (Protocol::Https, sni);
        self
    }

    fn see<T>(&self, see: impl FnOnce(&RequestView<'_>) -> T) -> T {
        let headers = |name: &str, visit: &mut dyn FnMut(&str)| {
            self.headers.get(name).into_iter().flatten().for_each(|value| visit(value));
        };
        see(&RequestView {
            method: self.method,
            host: &self.host,
            host_port: self.host_port,
            path: &self.path,
            query: self.query,
            headers: &headers,
            net: NetView {
                protocol: self.protocol,
                sni: self.sni,
                source: self.source,
                destination: self.destination,
            },
        })
    }
}

/// Returns the number of the route that a request goes to, and how much of its path matched.
fn found(router: &Router, request: &Request) -> Option<(usize, usize)> {
    request.see(|view| router.matched(view).map(|found| (found.slot, found.prefix_len)))
}

fn winner(router: &Router, request: &Request) -> Option<usize> {
    found(router, request).map(|(slot, _)| slot)
}
