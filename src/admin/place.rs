//! Places: what a path names. All paths of entities come from the catalog
//! (reference gateway-1, section A.9).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::auth;
use super::info::{self, Info};
use super::schemas::{self, SchemaPlace};
use crate::domain::catalog::Catalog;
use crate::domain::decide::Target;
use crate::domain::entity::Kind;
use crate::domain::kinds::{plugin, target};
use crate::domain::schema::{Auto, Schema};
use crate::settings::Role;

/// An entity by the text that stands for it in a path: an id or a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// The kind.
    pub(super) kind: Kind,
    /// The segment, decoded.
    pub(super) text: String,
}

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// No entities.
    Fixed(Fixed),
    /// A description of schemas, or a check against one.
    Schema(SchemaPlace),
    /// No entities either.
    Info(Info),
    /// All entities of a kind.
    Collection(Kind),
    /// One entity.
    Entity(Named),
    /// The entities of a kind whose `field` refers to the parent.
    Nested { parent: Named, kind: Kind, field: &'static str, read_only: bool },
    /// One of those.
    NestedEntity { parent: Named, child: Named, field: &'static str },
    /// The entity that `field` of the child refers to.
    Foreign { child: Named, field: &'static str, kind: Kind },
    /// One event of the log, by its position.
    Event(String),
    /// A snapshot, by a moment that had it.
    Snapshot(String),
    /// What differs between two snapshots.
    Difference(String, String),
    /// A pin of data planes to a config, by its number.
    Pin(String),
    /// A config in quarantine, by its hash.
    Quarantined(String),
}

/// The endpoints that are no entities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fixed {
    Root,
    Robots,
    Status,
    Metrics,
    Endpoints,
    PluginsEnabled,
    DataPlanes,
    ClusteringStatus,
    Events,
    Snapshots,
    Rollback,
    Freeze,
    Unfreeze,
    Pins,
    Quarantine,
    Rollout,
    Batch,
    FilterChains,
}

const FIXED: &[(&str, Fixed)] = &[
    ("/", Fixed::Root),
    ("/robots.txt", Fixed::Robots),
    ("/status", Fixed::Status),
    ("/metrics", Fixed::Metrics),
    ("/endpoints", Fixed::Endpoints),
    ("/plugins/enabled", Fixed::PluginsEnabled),
    ("/clustering/data-planes", Fixed::DataPlanes),
    ("/clustering/status", Fixed::ClusteringStatus),
    ("/events", Fixed::Events),
    ("/snapshots", Fixed::Snapshots),
    ("/rollback", Fixed::Rollback),
    ("/freeze", Fixed::Freeze),
    ("/unfreeze", Fixed::Unfreeze),
    ("/pins", Fixed::Pins),
    ("/quarantine", Fixed::Quarantine),
    ("/rollout", Fixed::Rollout),
    ("/batch", Fixed::Batch),
];

/// The paths that name one thing that is no entity, as `/endpoints` shows them.
const NAMED: &[&str] = &[
    "/events/{seq}",
    "/snapshots/{moment}",
    "/snapshots/{from}/diff/{to}",
    "/pins/{pin}",
    "/quarantine/{hash}",
];

impl Place {
    /// Resolves a raw path. Segments are decoded once; a trailing slash is tolerated.
    pub(super) fn resolve(catalog: &Catalog, path: &str) -> Option<Self> {
        let path = path.strip_suffix('/').filter(|rest| !rest.is_empty()).unwrap_or(path);
        if let Some((_, fixed)) = FIXED.iter().find(|(known, _)| *known == path) {
            return Some(Self::Fixed(*fixed));
        }
        let segments: Vec<_> = path.strip_prefix('/')?.split('/').collect();
        if let Some(info) = Info::resolve(&segments) {
            return Some(Self::Info(info));
        }
        // Kong has them in these places, and serves them only when told to run wasm.
        if let ["filter-chains", ..] | ["routes" | "services", _, "filter-chains", ..] = &*segments
        {
            return (segments.len() <= 4).then_some(Self::Fixed(Fixed::FilterChains));
        }
        if let Some(schema) = SchemaPlace::resolve(&segments) {
            return Some(Self::Schema(schema));
        }
        match segments.as_slice() {
            ["events", seq] => return decode(seq).map(Self::Event),
            ["pins", pin] => return decode(pin).map(Self::Pin),
            ["quarantine", hash] => return decode(hash).map(Self::Quarantined),
            ["snapshots", moment] => return decode(moment).map(Self::Snapshot),
            ["snapshots", from, "diff", to] => {
                return Some(Self::Difference(decode(from)?, decode(to)?));
            }
            _ => {}
        }
        let schema = catalog.by_path(segments.first()?)?;
        match segments.as_slice() {
            [_] => Some(Self::Collection(schema.kind)),
            [_, name] => Some(Self::Entity(Named::new(schema.kind, name)?)),
            [_, name, below] => Self::below(catalog, schema, Named::new(schema.kind, name)?, below),
            [_, name, below, child] => {
                let parent = Named::new(schema.kind, name)?;
                let (nested, field) = catalog.nested(schema.kind, below)?;
                Some(match *child {
                    "all" if nested.kind == target::KIND => {
                        Self::Nested { parent, kind: nested.kind, field, read_only: true }
                    }
                    child => {
                        let child = Named::new(nested.kind, child)?;
                        Self::NestedEntity { parent, child, field }
                    }
                })
            }
            _ => None,
        }
    }

    fn below(catalog: &Catalog, schema: &Schema, named: Named, below: &str) -> Option<Self> {
        if let Some((nested, field)) = catalog.nested(schema.kind, below) {
            let kind = nested.kind;
            return Some(Self::Nested { parent: named, kind, field, read_only: false });
        }
        let mut foreign = schema.foreign_fields().filter(|(f, _, _)| !schema.pathless.contains(f));
        let (field, kind, _) = foreign.find(|(field, _, _)| *field == below)?;
        Some(Self::Foreign { child: named, field, kind })
    }

    /// Returns the methods that the place knows, sorted, as `Allow` has them.
    pub(super) fn methods(&self) -> &'static str {
        match self {
            Self::Info(info) => info.methods(),
            Self::Schema(schema) => schema.methods(),
            Self::Fixed(Fixed::Rollback | Fixed::Unfreeze | Fixed::Batch) => "OPTIONS, POST",
            Self::Fixed(Fixed::Freeze | Fixed::Pins) => "GET, HEAD, OPTIONS, POST",
            Self::Fixed(Fixed::Rollout) => "DELETE, GET, HEAD, OPTIONS, PUT",
            Self::Pin(_) | Self::Quarantined(_) => "DELETE, GET, HEAD, OPTIONS",
            Self::Fixed(Fixed::FilterChains) => "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT",
            Self::Fixed(_)
            | Self::Event(_)
            | Self::Snapshot(_)
            | Self::Difference(..)
            | Self::Nested { read_only: true, .. } => "GET, HEAD, OPTIONS",
            Self::Collection(_) | Self::Nested { .. } => "GET, HEAD, OPTIONS, POST",
            Self::Entity(_) | Self::NestedEntity { .. } | Self::Foreign { .. } => {
                "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"
            }
        }
    }

    /// Returns the kind of the entities that the place holds.
    pub(super) fn kind(&self) -> Option<Kind> {
        match self {
            Self::Info(_)
            | Self::Fixed(_)
            | Self::Schema(_)
            | Self::Event(_)
            | Self::Snapshot(_)
            | Self::Pin(_)
            | Self::Quarantined(_)
            | Self::Difference(..) => None,
            Self::Collection(kind) | Self::Nested { kind, .. } | Self::Foreign { kind, .. } => {
                Some(*kind)
            }
            Self::Entity(named) | Self::NestedEntity { child: named, .. } => Some(named.kind),
        }
    }
}

impl Named {
    /// Decodes a segment; nothing is named by no text, or by bytes that are no text.
    pub(super) fn new(kind: Kind, segment: &str) -> Option<Self> {
        Some(Self { kind, text: decode(segment)? })
    }
}

/// What a segment may hold as it is.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// Returns a name as a segment of a path.
pub(super) fn segment(name: &str) -> String {
    utf8_percent_encode(name, PLAIN).to_string()
}

/// Decodes a segment of a path.
pub(super) fn decode(segment: &str) -> Option<String> {
    let spaced = segment.replace('+', " ");
    let text = percent_decode_str(&spaced).decode_utf8().ok()?.into_owned();
    (!text.is_empty()).then_some(text)
}

/// Returns a path as the access log may show it: a name that is a secret, such as an API key,
/// masked.
pub(super) fn loggable(catalog: &Catalog, path: &str) -> String {
    let (depth, named) = match Place::resolve(catalog, path) {
        Some(Place::Entity(named) | Place::Foreign { child: named, .. }) => (2, named),
        Some(Place::NestedEntity { child, .. }) => (4, child),
        _ => return path.to_owned(),
    };
    let schema = catalog.schema(named.kind);
    let key = schema.endpoint_key.and_then(|key| schema.fields.find(key));
    let is_drawn = key.is_some_and(|field| field.auto == Some(Auto::Secret));
    let is_secret = is_drawn || schema.secret_key;
    if !is_secret || matches!(Target::parse(schema, &named.text), Ok(Target::Id(_))) {
        return path.to_owned();
    }
    let segments = path.split('/').enumerate();
    let masked = segments.map(|(at, segment)| if at == depth { "***" } else { segment });
    masked.collect::<Vec<_>>().join("/")
}

/// Returns whether PUT creates what is absent; Kong's targets are only updated.
pub(super) fn put_creates(kind: Kind) -> bool {
    kind != target::KIND
}

/// Returns whether a kind is listed newest first, with a decimal offset.
pub(super) fn newest_first(kind: Kind) -> bool {
    kind == target::KIND
}

/// Returns whether PATCH of something absent answers without an entity error, as Kong's plugins do.
pub(super) fn patch_misses_plainly(kind: Kind) -> bool {
    kind == plugin::KIND
}

/// Returns every path as `/endpoints` shows it, `/a/z` before `/ab`.
pub(super) fn patterns(catalog: &Catalog, role: Role) -> Vec<String> {
    let fixed = FIXED.iter().map(|(path, _)| *path);
    let mut patterns: Vec<String> = fixed.chain(NAMED.iter().copied()).map(str::to_owned).collect();
    patterns.extend(schemas::PATTERNS.iter().map(|path| (*path).to_owned()));
    let here = info::PATTERNS.iter().filter(|(.., only)| only.is_none_or(|only| only == role));
    patterns.extend(here.map(|(path, ..)| (*path).to_owned()));
    for schema in catalog.schemas().filter(|schema| schema.top_level) {
        let (path, name) = (schema.admin_path, schema.kind);
        let entity = format!("/{path}/{{{name}}}");
        patterns.push(format!("/{path}"));
        for (field, _, _) in
            schema.foreign_fields().filter(|(f, _, _)| !schema.pathless.contains(f))
        {
            patterns.push(format!("{entity}/{field}"));
        }
        for referrer in catalog.referrers(schema.kind) {
            let nested = catalog.schema(referrer.kind);
            if nested.unreachable {
                continue;
            }
            let list = format!("{entity}/{}", nested.nested_path);
            patterns.push(format!("{list}/{{{}}}", nested.kind));
            if nested.kind == target::KIND {
                patterns.push(format!("{list}/all"));
            }
            patterns.push(list);
        }
        patterns.push(entity);
    }
    patterns.extend(auth::tokens::PATTERNS.map(str::to_owned));
    patterns.sort_by(|a, b| a.split('/').cmp(b.split('/')));
    patterns.dedup();
    patterns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalog::PluginSchema;
    use crate::domain::kinds::{consumer, route, service, upstream};
    use crate::domain::schema::{Field, OnDelete};

    fn resolve(path: &str) -> Option<Place> {
        Place::resolve(&Catalog::new(Vec::new()), path)
    }

    fn named(kind: Kind, text: &str) -> Named {
        Named { kind, text: text.to_owned() }
    }

    #[test]
    fn the_catalog_makes_the_paths() {
        let parent = named(service::KIND, "s");
        let nested = |read_only| Place::Nested {
            parent: named(upstream::KIND, "u"),
            kind: target::KIND,
            field: "upstream",
            read_only,
        };
        let cases = [
            ("/", Place::Fixed(Fixed::Root)),
            ("/services", Place::Collection(service::KIND)),
            ("/services/", Place::Collection(service::KIND)),
            ("/services/a%2Fb+c", Place::Entity(named(service::KIND, "a/b c"))),
            ("/plugins/enabled", Place::Fixed(Fixed::PluginsEnabled)),
            ("/plugins/x", Place::Entity(named(plugin::KIND, "x"))),
            ("/upstreams/u/targets/all", nested(true)),
            ("/upstreams/u/targets", nested(false)),
            (
                "/services/s/routes/r",
                Place::NestedEntity { parent, child: named(route::KIND, "r"), field: "service" },
            ),
            (
                "/plugins/p/consumer",
                Place::Foreign {
                    child: named(plugin::KIND, "p"),
                    field: "consumer",
                    kind: consumer::KIND,
                },
            ),
        ];
        for (path, place) in cases {
            assert_eq!(resolve(path), Some(place), "{path}");
        }
    }

    #[test]
    fn other_paths_name_nothing() {
        for path in [
            "//services",
            "/Services",
            "/serv%69ces",
            "/targets",
            "/targets/x/upstream",
            "/nope",
            "/services//",
            "/services/s/nope",
            "/services/s/routes/r/service",
            "/services/%ff",
            "",
            "*",
        ] {
            assert_eq!(resolve(path), None, "{path}");
        }
    }

    #[test]
    fn a_secret_that_names_an_entity_is_masked() {
        let key = Field::string().unique().auto(Auto::Secret);
        let keys = Schema::new(Kind::new("keyauth_credentials"))
            .paths("key-auths", "key-auth")
            .endpoint_key("key")
            .field("key", key)
            .field("consumer", Field::foreign(consumer::KIND, OnDelete::Cascade));
        let catalog = Catalog::new(vec![PluginSchema::new("key-auth", "3.9.1", 1250).kind(keys)]);
        let id = "00000000-0000-4000-8000-000000000001";
        for (path, logged) in [
            ("/key-auths/hush".to_owned(), "/key-auths/***".to_owned()),
            ("/key-auths/hush/consumer".into(), "/key-auths/***/consumer".into()),
            ("/consumers/c/key-auth/hush/".into(), "/consumers/c/key-auth/***/".into()),
            (format!("/key-auths/{id}"), format!("/key-auths/{id}")),
            ("/consumers/c".into(), "/consumers/c".into()),
            ("/nope/hush".into(), "/nope/hush".into()),
        ] {
            assert_eq!(loggable(&catalog, &path), logged);
        }
    }

    #[test]
    fn endpoints_list_slashes_first() {
        let patterns = patterns(&Catalog::new(Vec::new()), Role::Traditional);
        let at = |path: &str| patterns.iter().position(|pattern| pattern == path);
        assert!(at("/upstreams/{upstreams}/targets/{targets}").is_some());
        assert!(at("/routes/{routes}/service").is_some());
        assert_eq!(at("/targets"), None);
        assert!(at("/services/{services}") < at("/status"));
        assert_eq!(at("/"), Some(0));
    }
}
