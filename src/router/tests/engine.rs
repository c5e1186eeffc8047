//! The expression flavours against Kong's own engine, which tries every route: attributes are written
//! as the expressions that section C.1 of the reference gives for them.

use atc_router::ast::{Type, Value as AtcValue};
use atc_router::context::Context;
use atc_router::router::Router as Engine;
use atc_router::schema::Schema;
use proptest::prelude::*;

use super::samples::{attributes, expression, request};
use super::*;

fn schema() -> Schema {
    let mut schema = Schema::default();
    for text in [
        "net.protocol",
        "tls.sni",
        "http.method",
        "http.host",
        "http.path",
        "http.path.segments.*",
        "http.headers.*",
        "http.queries.*",
    ] {
        schema.add_field(text, Type::String);
    }
    for number in ["net.src.port", "net.dst.port", "http.path.segments.len"] {
        schema.add_field(number, Type::Int);
    }
    schema.add_field("net.src.ip", Type::IpAddr);
    schema.add_field("net.dst.ip", Type::IpAddr);
    schema
}

fn any_of(tests: Vec<String>) -> Option<String> {
    (!tests.is_empty()).then(|| format!("({})", tests.join(" || ")))
}

fn raw(text: &str) -> String {
    format!("r#\"{text}\"#")
}

fn host(host: &str) -> String {
    let (name, port) = match host.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    let test = match (name.strip_prefix('*'), name.strip_suffix('*')) {
        (Some(end), _) => format!("http.host =^ {}", raw(end)),
        (_, Some(start)) => format!("http.host ^= {}", raw(start)),
        _ => format!("http.host == {}", raw(name)),
    };
    port.map_or(test.clone(), |port| format!("({test} && net.dst.port == {port})"))
}

/// Writes the attributes of a route with some of its paths as an expression.
fn written(flavour: Flavour, route: &Route, paths: &[&String]) -> String {
    let mut parts = Vec::new();
    let snis =
        route.snis.iter().map(|sni| format!("tls.sni == {}", raw(sni.trim_end_matches('.'))));
    let snis = any_of(snis.collect());
    parts.extend(snis.map(|snis| format!("(net.protocol != \"https\" || {snis})")));
    parts.extend(any_of(
        route.methods.iter().map(|method| format!("http.method == {}", raw(method))).collect(),
    ));
    parts.extend(any_of(route.hosts.iter().map(|name| host(name)).collect()));
    let path = |path: &&String| match path.strip_prefix('~') {
        Some(pattern) => format!("http.path ~ {}", raw(&format!("^{pattern}"))),
        None => format!("http.path ^= {}", raw(path)),
    };
    parts.extend(any_of(paths.iter().map(path).collect()));
    for (name, values) in &route.headers {
        let field = name.to_lowercase().replace('-', "_");
        let test = |value: &String| {
            let (operator, value) =
                value.strip_prefix("~*").map_or(("==", &**value), |it| ("~", it));
            format!("any(lower(http.headers.{field})) {operator} {}", raw(&value.to_lowercase()))
        };
        parts.extend(any_of(values.iter().map(test).collect()));
    }
    if flavour == Flavour::Expressions && route.protocols != ["https"] {
        parts.extend(protocols(route));
    }
    match parts.is_empty() {
        true => "http.path ^= \"\"".to_owned(),
        false => parts.join(" && "),
    }
}

fn protocols(route: &Route) -> Option<String> {
    let name = |protocol: &String| protocol.replace("grpc", "http");
    let names = route.protocols.iter().map(name);
    any_of(names.map(|name| format!("net.protocol == {}", raw(&name))).collect())
}

/// The 64 bits of section C.2.
fn priority(route: &Route, paths: &[&String]) -> usize {
    let counts = [
        route.methods.len(),
        route.hosts.len(),
        route.headers.len(),
        route.snis.len(),
        paths.len(),
    ];
    let set = counts.iter().filter(|count| **count > 0).count();
    let plain = !route.hosts.is_empty() && !route.hosts.iter().any(|host| host.contains('*'));
    let pattern = paths.first().is_some_and(|path| path.starts_with('~'));
    let order = route.regex_priority.unwrap_or(0) as usize;
    let path = match pattern {
        true => 1 << 51 | order << 19,
        false => paths.first().map_or(0, |path| path.len()),
    };
    set << 61 | usize::from(plain) << 60 | route.headers.len() << 52 | path
}

/// Adds a route to the engine and tells its parts.
fn add(engine: &mut Engine<'_>, flavour: Flavour, route: &Route, parts: &mut Vec<(Uuid, Uuid)>) {
    if let Some(expression) = &route.expression {
        let priority = 0xff << 56 | route.priority.unwrap_or(0) as usize;
        let protocols = protocols(route).filter(|_| route.protocols != ["https"]);
        let text = protocols
            .map_or(expression.clone(), |protocols| format!("({expression}) && {protocols}"));
        engine.add_matcher(priority, route.id, &text).unwrap();
        parts.push((route.id, route.id));
        return;
    }
    let class = |path: &String| if path.starts_with('~') { 0 } else { path.len() };
    let mut groups: Vec<Vec<&String>> = Vec::new();
    for path in &route.paths {
        match groups.iter_mut().find(|group| class(group[0]) == class(path)) {
            Some(group) => group.push(path),
            None => groups.push(vec![path]),
        }
    }
    if groups.is_empty() {
        groups.push(Vec::new());
    }
    let namespace = "7f145bf9-0dce-4f91-98eb-debbce4b9f6b".parse().unwrap();
    for (number, paths) in groups.iter().enumerate() {
        let id = match groups.len() {
            1 => route.id,
            _ => Uuid::new_v5(&namespace, format!("{}#{}", route.id, number + 1).as_bytes()),
        };
        let text = written(flavour, route, paths);
        engine.add_matcher(priority(route, paths), id, &text).unwrap();
        parts.push((id, route.id));
    }
}

fn asked(engine: &Engine<'_>, schema: &Schema, request: &Request) -> Option<(Uuid, usize)> {
    let mut context = Context::new(schema);
    let text = |text: &str| AtcValue::String(text.to_owned());
    context.add_value("net.protocol", text(request.protocol.name()));
    if let Some(sni) = request.sni {
        context.add_value("tls.sni", text(sni));
    }
    context.add_value("http.method", text(request.method));
    context.add_value("http.host", text(&request.host));
    context.add_value("http.path", text(&request.path));
    let segments: Vec<&str> = request.path.split('/').filter(|it| !it.is_empty()).collect();
    context.add_value("http.path.segments.len", AtcValue::Int(segments.len() as i64));
    if let Some(first) = segments.first() {
        context.add_value("http.path.segments.0", text(first));
    }
    if let [first, second, ..] = segments[..] {
        context.add_value("http.path.segments.0_1", text(&format!("{first}/{second}")));
    }
    for (name, value) in
        request.headers.iter().flat_map(|(name, all)| all.iter().map(move |it| (name, it)))
    {
        context.add_value(&format!("http.headers.{}", name.replace('-', "_")), text(value));
    }
    let queries: &[&str] = match request.query {
        Some("q&q=a+b") => &["", "a b"],
        Some(_) => &["1"],
        None => &[],
    };
    queries.iter().for_each(|value| context.add_value("http.queries.q", text(value)));
    context.add_value("net.src.port", AtcValue::Int(request.source.port().into()));
    context.add_value("net.dst.port", AtcValue::Int(request.destination.port().into()));
    context.add_value("net.src.ip", AtcValue::IpAddr(request.source.ip()));
    context.add_value("net.dst.ip", AtcValue::IpAddr(request.destination.ip()));
    engine.execute(&mut context).then(|| {
        let found = context.result.unwrap();
        let path = found.matches.get("http.path");
        let length = path.map_or(0, |path| match path {
            AtcValue::String(path) => path.len(),
            _ => 0,
        });
        (found.uuid, length)
    })
}

fn agree(
    flavour: Flavour,
    routes: &[Value],
    gone: usize,
    requests: &[Request],
) -> Result<(), TestCaseError> {
    let mut router = router(flavour, routes);
    for number in 1..=gone.min(routes.len()) {
        router.apply([Uuid::from_u128(number as u128)], []).unwrap();
    }
    let schema = schema();
    let (mut engine, mut parts) = (Engine::new(&schema), Vec::new());
    for (number, attributes) in routes.iter().enumerate().skip(gone) {
        let route = route(number as u128 + 1, attributes.clone());
        add(&mut engine, flavour, &route, &mut parts);
    }
    for request in requests {
        let wanted = asked(&engine, &schema, request).map(|(part, length)| {
            let (_, id) = parts.iter().find(|(known, _)| *known == part).unwrap();
            (id.as_u128() as usize, length)
        });
        prop_assert_eq!(found(&router, request), wanted, "{:?}", request);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn attributes_match_what_the_engine_matches(
        expressions in any::<bool>(),
        routes in prop::collection::vec(attributes(), 0..12),
        gone in 0_usize..3,
        requests in prop::collection::vec(request(), 1..16),
    ) {
        let flavour =
            if expressions { Flavour::Expressions } else { Flavour::TraditionalCompatible };
        agree(flavour, &routes, gone, &requests)?;
    }

    #[test]
    fn expressions_match_what_the_engine_matches(
        expressions in prop::collection::vec((expression(), 0..3), 1..8),
        routes in prop::collection::vec(attributes(), 0..4),
        gone in 0_usize..3,
        requests in prop::collection::vec(request(), 1..16),
    ) {
        let mut all: Vec<_> = expressions
            .into_iter()
            .map(|(text, priority)| json!({"expression": text, "priority": priority}))
            .collect();
        all.extend(routes);
        agree(Flavour::Expressions, &all, gone, &requests)?;
    }
}
