//! Which requests are sent, how many of each, and over what kind of connection.

use crate::client::{Ask, Content, Scene, Way};
use crate::configuration::KEY;

/// A browser's headers, as far as they differ from a script's.
const BROWSER: &[(&str, &str)] = &[
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-US,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br"),
    ("cookie", "session=0123456789abcdef0123456789abcdef; theme=dark"),
    ("referer", "https://train.example/start?from=here"),
    ("sec-fetch-mode", "navigate"),
];

/// What stands before us has said.
const FORWARDED: &[(&str, &str)] = &[
    ("user-agent", "balancer/1.0"),
    ("x-forwarded-for", "203.0.113.7, 198.51.100.3"),
    ("x-forwarded-proto", "https"),
    ("via", "1.1 balancer"),
];

const SCRIPT: &[(&str, &str)] = &[("user-agent", "curl/8.5.0"), ("accept", "*/*")];

const GUARDED: &[(&str, &str)] = &[("user-agent", "curl/8.5.0"), ("apikey", KEY)];

const TENANT: &[(&str, &str)] = &[("x-tenant", "blue"), ("x-hashed", "one")];

const GRPC: &[(&str, &str)] = &[("content-type", "application/grpc"), ("te", "trailers")];

const JSON: &[(&str, &str)] =
    &[("content-type", "application/json"), ("accept", "application/json")];

/// Returns a request that succeeds once everything that was configured is served.
pub(crate) fn last_configured() -> Ask {
    Ask::get("/last", &[])
}

/// Returns what is sent, in order.
pub(crate) fn all() -> Vec<Scene> {
    let scene = |name, way, connections, streams, requests, asks| Scene {
        name,
        way,
        connections,
        streams,
        requests,
        per_connection: 1000,
        asks,
    };
    vec![
        scene(
            "scripts",
            Way::Plain,
            64,
            1,
            40_000,
            vec![Ask::get("/", &[]), Ask::get("/a", SCRIPT)],
        ),
        scene("the usual, in clear", Way::Plain, 64, 1, 20_000, usual()),
        scene("the usual, through TLS", Way::Tls, 64, 1, 40_000, usual()),
        scene("the usual, by HTTP/2", Way::Http2, 16, 16, 60_000, usual()),
        scene("bodies", Way::Plain, 16, 1, 6_000, bodies()),
        scene("bodies through TLS", Way::Tls, 16, 1, 4_000, bodies()),
        scene("bodies by HTTP/2", Way::Http2, 4, 8, 4_000, bodies()),
        Scene {
            per_connection: 2,
            ..scene("short connections", Way::Plain, 8, 1, 3_000, vec![Ask::get("/", SCRIPT)])
        },
        Scene {
            per_connection: 2,
            ..scene("handshakes", Way::Tls, 4, 1, 2_000, vec![Ask::get("/", SCRIPT)])
        },
        scene("plugins", Way::Plain, 32, 1, 12_000, plugins()),
        scene("balancing", Way::Plain, 32, 1, 12_000, balancing()),
        scene("many routes", Way::Plain, 32, 1, 15_000, many_routes()),
        scene("calls of gRPC", Way::ClearHttp2, 4, 8, 4_000, vec![call()]),
        scene("what fails", Way::Plain, 16, 1, 3_000, failing()),
    ]
}

/// What a site is asked for.
fn usual() -> Vec<Ask> {
    vec![
        Ask::get("/", SCRIPT),
        Ask::get("/rich", BROWSER),
        Ask::get("/shop/list?page=2&sort=price", BROWSER),
        Ask::get("/", FORWARDED),
        Ask { host: "api.train.example", ..Ask::get("/api/v1/items/17", JSON) },
        Ask { status: 304, ..Ask::get("/same", BROWSER) },
        Ask { method: "HEAD", ..Ask::get("/rich", SCRIPT) },
        Ask { method: "POST", body: Content::Length(300), ..Ask::get("/form", JSON) },
        Ask { status: 204, method: "DELETE", ..Ask::get("/nothing", SCRIPT) },
    ]
}

/// Bodies of all sizes and kinds, both ways.
fn bodies() -> Vec<Ask> {
    let post = |path, body| Ask { method: "POST", body, ..Ask::get(path, JSON) };
    vec![
        post("/small", Content::Length(20)),
        post("/form", Content::Length(3000)),
        post("/upload", Content::Length(100_000)),
        post("/stream", Content::Pieces),
        post("/pieces", Content::Pieces),
        Ask::get("/pieces", SCRIPT),
        Ask::get("/pieces", BROWSER),
        Ask::get("/rich", SCRIPT),
        Ask::get("/rich", BROWSER),
        Ask::get("/large", SCRIPT),
    ]
}

fn plugins() -> Vec<Ask> {
    vec![
        Ask::get("/guarded", GUARDED),
        Ask::get("/guarded/rich", GUARDED),
        Ask { status: 401, ..Ask::get("/guarded", SCRIPT) },
        Ask { method: "POST", body: Content::Length(300), ..Ask::get("/guarded/form", GUARDED) },
    ]
}

fn balancing() -> Vec<Ask> {
    ["/in-turn", "/hashed", "/least", "/fastest"].map(|path| Ask::get(path, TENANT)).to_vec()
}

/// Routes found by names, patterns, headers and methods among many.
fn many_routes() -> Vec<Ask> {
    let hosts = ["h7.many.example", "h123.many.example", "h999.many.example"];
    let by_host = hosts.map(|host| Ask { host, ..Ask::get("/p/3/details", SCRIPT) });
    let wild = Ask { host: "any.wild.example", ..Ask::get("/wild", SCRIPT) };
    let more = [
        wild,
        Ask::get("/items/4711/parts", SCRIPT),
        Ask::get("/by-header", TENANT),
        Ask { method: "PUT", body: Content::Length(20), ..Ask::get("/by-method", SCRIPT) },
        Ask::get("/a%20b/../by-method-not", SCRIPT),
    ];
    by_host.into_iter().chain(more).collect()
}

fn call() -> Ask {
    Ask { method: "POST", body: Content::Length(8), ..Ask::get("/train.Service/Call", GRPC) }
}

/// Answers of our own, and an upstream that is not there.
fn failing() -> Vec<Ask> {
    let elsewhere = Ask { host: "elsewhere.example", status: 404, ..Ask::get("/", BROWSER) };
    vec![
        Ask { host: "nowhere.example", ..elsewhere.clone() },
        elsewhere,
        Ask { status: 500, ..Ask::get("/broken", SCRIPT) },
        Ask { status: 502, ..Ask::get("/dead", JSON) },
        Ask { status: 426, ..Ask::get("/encrypted", SCRIPT) },
    ]
}
