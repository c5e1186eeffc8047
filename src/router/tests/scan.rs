//! The flavour `traditional` against a scan that reads the reference anew.

use proptest::prelude::*;
use regex::Regex;

use super::samples::{attributes, request};
use super::*;

type Order = (usize, u32, u32, usize, i64, usize, i64, std::cmp::Reverse<Uuid>);

/// What goes first of a route with one path, by the seven criteria of section C.2.
fn order(route: &Route, path: Option<&String>) -> Order {
    let set = [
        (!route.hosts.is_empty(), 0x40),
        (!route.headers.is_empty(), 0x20),
        (path.is_some(), 0x10),
        (!route.methods.is_empty(), 0x08),
        (!route.snis.is_empty(), 0x04),
    ];
    let set: Vec<u32> = set.iter().filter(|(set, _)| *set).map(|(_, bit)| *bit).collect();
    let pattern = path.is_some_and(|path| path.starts_with('~'));
    let wildcard = |host: &&String| host.contains('*');
    let mut finer = u32::from(pattern);
    if !route.hosts.iter().any(|host| host.contains('*')) {
        finer |= 0x02;
    }
    if route.hosts.iter().filter(wildcard).any(|host| host.contains(':')) {
        finer |= 0x04;
    }
    (
        set.len(),
        set.iter().sum(),
        finer,
        route.headers.len(),
        if pattern { route.regex_priority.unwrap_or(0) } else { 0 },
        path.filter(|_| !pattern).map_or(0, String::len),
        -route.created_at,
        std::cmp::Reverse(route.id),
    )
}

fn host_fits(route: &Route, request: &Request) -> bool {
    let scheme = if request.protocol == Protocol::Https { 443 } else { 80 };
    let port = request.host_port.unwrap_or(scheme);
    route.hosts.is_empty()
        || route.hosts.iter().any(|host| {
            let (name, wanted) = match host.split_once(':') {
                Some((name, port)) => (name, port.parse().ok()),
                None => (host.as_str(), None::<u16>),
            };
            let pattern = format!("^{}$", regex::escape(name).replace(r"\*", ".+"));
            wanted.is_none_or(|wanted| wanted == port)
                && Regex::new(&pattern).unwrap().is_match(&request.host)
        })
}

fn headers_fit(route: &Route, request: &Request) -> bool {
    route.headers.iter().all(|(name, wanted)| {
        let there = request.headers.get(&name.to_lowercase());
        there.into_iter().flatten().any(|value| match &wanted[..] {
            [only] if only.starts_with("~*") => {
                Regex::new(&only[2..]).unwrap().is_match(&value.to_lowercase())
            }
            all => all.iter().any(|one| one.to_lowercase() == value.to_lowercase()),
        })
    })
}

/// Whether server names fit; what comes without TLS gets to them only in the second pass.
fn snis_fit(route: &Route, request: &Request, second: bool) -> bool {
    let others = [route.hosts.len(), route.headers.len(), route.paths.len(), route.methods.len()];
    match (route.snis.is_empty(), request.protocol) {
        (true, _) => true,
        (false, Protocol::Http) => second && others.iter().any(|count| *count > 0),
        (false, _) => {
            let name = request.sni;
            route.snis.iter().any(|sni| name == Some(sni.trim_end_matches('.')))
        }
    }
}

fn path_fits(path: Option<&String>, request: &Request) -> bool {
    match path.map(|path| path.strip_prefix('~').ok_or(path)) {
        None => true,
        Some(Ok(pattern)) => {
            Regex::new(&format!("^(?:{pattern})")).unwrap().is_match(&request.path)
        }
        Some(Err(prefix)) => request.path.starts_with(prefix.as_str()),
    }
}

/// What the index replaces: every route once for each of its paths, the best first.
fn scan(routes: &[Arc<Route>], request: &Request) -> Option<Uuid> {
    let pass = |second| {
        let split = routes.iter().flat_map(|route| {
            let none = route.paths.is_empty().then_some(None);
            none.into_iter().chain(route.paths.iter().map(Some)).map(move |path| (route, path))
        });
        let fits = |(route, path): &(&Arc<Route>, Option<&String>)| {
            host_fits(route, request)
                && headers_fit(route, request)
                && snis_fit(route, request, second)
                && path_fits(*path, request)
                && (route.methods.is_empty()
                    || route.methods.iter().any(|method| method == request.method))
        };
        let best = split.filter(fits).max_by_key(|(route, path)| order(route, *path));
        best.map(|(route, _)| route.id)
    };
    pass(false).or_else(|| (request.protocol == Protocol::Http).then(|| pass(true)).flatten())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn traditional_finds_what_a_scan_finds(
        routes in prop::collection::vec(attributes(), 0..12),
        gone in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        requests in prop::collection::vec(request(), 1..20),
    ) {
        let mut router = router(Flavour::Traditional, &routes);
        let numbered = routes.into_iter().enumerate();
        let mut routes: Vec<_> = numbered.map(|(i, it)| route(i as u128 + 1, it)).collect();
        for index in gone.iter().filter(|_| !routes.is_empty()).collect::<Vec<_>>() {
            if routes.is_empty() {
                break;
            }
            let removed = routes.swap_remove(index.index(routes.len()));
            router.apply([removed.id], []).unwrap();
        }
        for request in &requests {
            let seen = request.see(|view| router.matched(view).map(|found| found.route.id));
            prop_assert_eq!(seen, scan(&routes, request), "{:?}", request);
        }
    }
}
