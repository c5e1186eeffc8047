//! What a lookup costs, and what one changed route costs, by the number of routes.
//!
//! In this process and on one thread: the config is compiled into a runtime, requests to random routes
//! are matched, then routes are changed one by one, each change compiled and the runtime before it dropped.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Context as _;
use hybridctl::balancer::dns::resolver::Resolver;
use hybridctl::balancer::health::checker::Checker;
use hybridctl::clock::Clock;
use hybridctl::domain::canonical::Document;
use hybridctl::domain::catalog::Catalog;
use hybridctl::domain::config::Config;
use hybridctl::domain::entity::Entity;
use hybridctl::domain::event::Change;
use hybridctl::domain::hash::ConfigHash;
use hybridctl::domain::kinds::route::{self, Flavour};
use hybridctl::plugins;
use hybridctl::plugins::state::PluginState;
use hybridctl::router::{NetView, Protocol, RequestView};
use hybridctl::runtime::{LiveTls, Runtime, Tools};
use serde_json::{Value, json};

use crate::report::Percentiles;

/// Lookups that the cost of one is taken from.
const LOOKUPS: usize = 200_000;

/// Changes that the cost of one is taken from.
const CHANGES: usize = 200;

/// Measure what a lookup and one changed route cost, by the number of routes
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Number of routes; may be given more than once
    #[arg(long = "routes", default_values_t = [1, 10_000, 100_000])]
    routes: Vec<usize>,
    /// Shapes of routes to measure; all if none is named
    #[arg(long = "shape")]
    shapes: Vec<String>,
}

/// How the routes of a run look.
struct Shape {
    name: &'static str,
    flavour: Flavour,
    /// Returns the attributes of a route by its number.
    route: fn(usize) -> Value,
    /// How many hosts there are; 0 is one for each route.
    hosts: usize,
    /// How many routes are measured at the most.
    routes_max: usize,
}

const SHAPES: &[Shape] = &[
    Shape {
        name: "paths",
        flavour: Flavour::TraditionalCompatible,
        route: |number| json!({"paths": [format!("/p/{number}/")]}),
        hosts: 1,
        routes_max: usize::MAX,
    },
    Shape {
        name: "hosts",
        flavour: Flavour::TraditionalCompatible,
        route: |number| json!({"hosts": [host(number)], "paths": ["/p/"]}),
        hosts: 0,
        routes_max: usize::MAX,
    },
    Shape {
        name: "traditional",
        flavour: Flavour::Traditional,
        route: |number| json!({"hosts": [host(number % 1000)], "paths": [format!("/p/{number}/")], "methods": ["GET"]}),
        hosts: 1000,
        routes_max: usize::MAX,
    },
    Shape {
        name: "patterns",
        flavour: Flavour::TraditionalCompatible,
        route: |number| json!({"paths": [format!("~/p/{number}/[a-z]*")]}),
        hosts: 1,
        routes_max: usize::MAX,
    },
    Shape {
        name: "alike-patterns",
        flavour: Flavour::TraditionalCompatible,
        route: |number| json!({"paths": [format!("~/[a-z]/{number}/")]}),
        hosts: 1,
        routes_max: 10_000,
    },
    Shape {
        name: "expressions",
        flavour: Flavour::Expressions,
        route: |number| {
            let (host, path) = (host(number % 1000), format!("/p/{number}/"));
            let text = format!(
                "http.host == \"{host}\" && http.path ^= \"{path}\" && http.method == \"GET\""
            );
            json!({"expression": text, "priority": number % 100})
        },
        hosts: 1000,
        routes_max: usize::MAX,
    },
    Shape {
        name: "open-expressions",
        flavour: Flavour::Expressions,
        route: |number| {
            let text =
                format!("http.path.segments.0 == \"p\" && http.path.segments.1 == \"{number}\"");
            json!({"expression": text, "priority": number % 100})
        },
        hosts: 1,
        routes_max: 10_000,
    },
];

fn host(number: usize) -> String {
    format!("h{number}.example.com")
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    for shape in SHAPES {
        if !args.shapes.is_empty() && !args.shapes.iter().any(|name| name == shape.name) {
            continue;
        }
        for count in args.routes.iter().filter(|count| **count <= shape.routes_max) {
            measure(shape, *count)?;
        }
    }
    Ok(())
}

fn entity(catalog: &Catalog, shape: &Shape, number: usize, tag: &str) -> anyhow::Result<Entity> {
    let mut document: Document = match (shape.route)(number) {
        Value::Object(members) => members.into_iter().collect(),
        _ => anyhow::bail!("a route is an object"),
    };
    let id = format!("00000000-0000-4000-8000-{number:012x}");
    document.extend([
        ("id".to_owned(), json!(id)),
        ("created_at".to_owned(), json!(1)),
        ("updated_at".to_owned(), json!(1)),
        ("tags".to_owned(), json!([tag])),
    ]);
    let done = catalog.complete(route::KIND, &mut document);
    done.map_err(|errors| anyhow::anyhow!("{:?}", errors.as_map()))?;
    Ok(Entity::new(route::KIND, &document)?)
}

fn measure(shape: &Shape, count: usize) -> anyhow::Result<()> {
    let catalog = plugins::catalog_of(shape.flavour, |_| true);
    let hash = ConfigHash([0; 32]);
    let flavour = shape.flavour;
    let (plugin_state, tls) = (PluginState::default(), LiveTls::default());
    let resolver = Resolver::nowhere();
    let tools = Tools {
        plugin_state,
        tls,
        clock: Clock::System,
        flavour,
        resolver,
        checker: Checker::nowhere(),
        slow_start: std::time::Duration::ZERO,
    };
    let mut config = Config::default();
    for number in 0..count {
        config.apply(&catalog, &Change::Upserted(entity(&catalog, shape, number, "a")?));
    }
    let started = Instant::now();
    let mut runtime = Runtime::compile(&config, hash, None, &tools)?;
    let compiled = started.elapsed();

    let lookup_ns = lookup(shape, &runtime, count)?;
    let mut changed_ns = Vec::new();
    for change in 0..CHANGES {
        let number = change * 7919 % count;
        let tag = format!("t{change}");
        config.apply(&catalog, &Change::Upserted(entity(&catalog, shape, number, &tag)?));
        let started = Instant::now();
        runtime = Runtime::compile(&config, hash, Some(&runtime), &tools)?;
        changed_ns.push(started.elapsed().as_nanos() as u64);
    }
    let changed = Percentiles::of(changed_ns);
    println!(
        "{:>16} {count:>7} routes: {lookup_ns:>7.0} ns a lookup; one change {:.2} ms (p99 {:.2}); all {:.0} ms",
        shape.name,
        changed.at(500) as f64 / 1e6,
        changed.at(990) as f64 / 1e6,
        compiled.as_secs_f64() * 1e3,
    );
    Ok(())
}

fn lookup(shape: &Shape, runtime: &Runtime, count: usize) -> anyhow::Result<f64> {
    let numbers = (0..LOOKUPS).map(|lookup| lookup * 7919 % count);
    let host_of = |number| match shape.hosts {
        0 => host(number),
        hosts => host(number % hosts),
    };
    let path_of = |number: usize| match shape.name {
        "alike-patterns" => format!("/q/{number}/x"),
        _ => format!("/p/{number}/x"),
    };
    let requests: Vec<_> = numbers.map(|number| (host_of(number), path_of(number))).collect();
    let address = ([127, 0, 0, 1], 80).into();
    // Tables that every request is tried on are slow: fewer requests tell as much.
    let tried = if shape.name.starts_with("open") { LOOKUPS / 1000 } else { LOOKUPS };
    let started = Instant::now();
    for (host, path) in requests.iter().take(tried) {
        let view = RequestView {
            method: "GET",
            host,
            host_port: None,
            path,
            query: None,
            headers: &|_, _| {},
            net: NetView {
                protocol: Protocol::Http,
                sni: None,
                source: address,
                destination: address,
            },
        };
        black_box(runtime.router.matched(&view).context("a request found no route")?);
    }
    Ok(started.elapsed().as_nanos() as f64 / tried as f64)
}
