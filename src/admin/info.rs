//! The endpoints that tell of the node or steer it, and are no entities
//! (reference gateway-2, section B.6; gateway-3, section E.3).
//!
//! To add one: a variant of [`Info`], its lines in `patterns` and `resolve`, an arm in `answer`.

use axum::response::Response;
use http::{Method, StatusCode};
use serde_json::json;

use super::call::Call;
use super::error::ApiError;
use super::health::Declared;
use super::log_level::Reach;
use super::place::{self, Named};
use super::{Admin, cache, config, health, log_level, openapi, reply, tags};
use crate::domain::kinds::{target, upstream};
use crate::settings::Role;

/// What such a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Info {
    /// What a node without a database was configured with.
    Config,
    /// Everything that is cached.
    Cache,
    /// One thing that is cached.
    CacheKey,
    /// The level of the log.
    LogLevel,
    /// Another level of the log.
    SetLogLevel(Reach, String),
    /// How the resolver does.
    Dns,
    /// All tags.
    Tags,
    /// One tag.
    Tag(String),
    /// How the targets of an upstream do.
    Health(Named),
    /// How a target shall count.
    SetHealth(Declared),
    /// The description of the whole API.
    OpenApi,
}

/// Every path of this file as `/endpoints` shows it, with its methods; some only with a role.
pub(super) const PATTERNS: &[(&str, &str, Option<Role>)] = &[
    ("/cache", DELETE, None),
    ("/cache/{key}", "DELETE, GET, HEAD, OPTIONS", None),
    ("/config", "GET, HEAD, OPTIONS, POST", None),
    ("/debug/cluster/control-planes-nodes/log-level/{log_level}", PUT, Some(Role::ControlPlane)),
    ("/debug/cluster/log-level/{log_level}", PUT, Some(Role::Traditional)),
    ("/debug/node/log-level", GET, None),
    ("/debug/node/log-level/{log_level}", PUT, None),
    ("/openapi.json", GET, None),
    ("/status/dns", GET, None),
    ("/tags", GET, None),
    ("/tags/{tags}", GET, None),
    ("/upstreams/{upstreams}/health", GET, None),
    ("/upstreams/{upstreams}/targets/{targets}/healthy", PUT, Some(Role::Traditional)),
    ("/upstreams/{upstreams}/targets/{targets}/unhealthy", PUT, Some(Role::Traditional)),
    ("/upstreams/{upstreams}/targets/{targets}/{address}/healthy", PUT, Some(Role::Traditional)),
    ("/upstreams/{upstreams}/targets/{targets}/{address}/unhealthy", PUT, Some(Role::Traditional)),
];

const GET: &str = "GET, HEAD, OPTIONS";
const PUT: &str = "OPTIONS, PUT";
const DELETE: &str = "DELETE, OPTIONS";

impl Info {
    /// Resolves the segments of a path, not yet decoded.
    pub(super) fn resolve(segments: &[&str]) -> Option<Self> {
        let named = |kind, text: &str| Named::new(kind, text);
        Some(match segments {
            ["cache"] => Self::Cache,
            ["cache", _] => Self::CacheKey,
            ["config"] => Self::Config,
            ["debug", "node", "log-level"] => Self::LogLevel,
            ["debug", "node", "log-level", level] => {
                Self::SetLogLevel(Reach::Node, place::decode(level)?)
            }
            ["debug", "cluster", "log-level", level] => {
                Self::SetLogLevel(Reach::Cluster, place::decode(level)?)
            }
            ["debug", "cluster", "control-planes-nodes", "log-level", level] => {
                Self::SetLogLevel(Reach::ControlPlanes, place::decode(level)?)
            }
            ["openapi.json"] => Self::OpenApi,
            ["status", "dns"] => Self::Dns,
            ["tags"] => Self::Tags,
            ["tags", tag] => Self::Tag(place::decode(tag)?),
            ["upstreams", name, "health"] => Self::Health(named(upstream::KIND, name)?),
            ["upstreams", name, "targets", target, rest @ .., word @ ("healthy" | "unhealthy")] => {
                let address = match rest {
                    [] => None,
                    [address] => Some(place::decode(address)?),
                    _ => return None,
                };
                Self::SetHealth(Declared {
                    upstream: named(upstream::KIND, name)?,
                    target: named(target::KIND, target)?,
                    address,
                    healthy: *word == "healthy",
                })
            }
            _ => return None,
        })
    }

    fn pattern(&self) -> &'static str {
        match self {
            Self::Config => "/config",
            Self::Cache => "/cache",
            Self::CacheKey => "/cache/{key}",
            Self::LogLevel => "/debug/node/log-level",
            Self::SetLogLevel(Reach::Node, _) => "/debug/node/log-level/{log_level}",
            Self::SetLogLevel(Reach::Cluster, _) => "/debug/cluster/log-level/{log_level}",
            Self::SetLogLevel(Reach::ControlPlanes, _) => {
                "/debug/cluster/control-planes-nodes/log-level/{log_level}"
            }
            Self::Dns => "/status/dns",
            Self::Tags => "/tags",
            Self::Tag(_) => "/tags/{tags}",
            Self::Health(_) => "/upstreams/{upstreams}/health",
            // The four forms are alike in methods and role.
            Self::SetHealth(_) => "/upstreams/{upstreams}/targets/{targets}/healthy",
            Self::OpenApi => "/openapi.json",
        }
    }

    fn line(&self) -> Option<&'static (&'static str, &'static str, Option<Role>)> {
        PATTERNS.iter().find(|(pattern, ..)| *pattern == self.pattern())
    }

    /// Returns the methods that the path knows, sorted.
    pub(super) fn methods(&self) -> &'static str {
        self.line().map_or(GET, |(_, methods, _)| methods)
    }

    /// Returns whether a node of this role has the path.
    pub(super) fn is_there(&self, role: Role) -> bool {
        self.line().is_some_and(|(.., only)| only.is_none_or(|only| only == role))
    }
}

/// Answers a request for one of these paths.
pub(super) async fn answer(admin: &Admin, call: &Call, info: &Info) -> Result<Response, ApiError> {
    let body = match info {
        Info::Config if call.method == Method::POST => return config::load(admin, call).await,
        Info::Config => config::export(admin)?,
        Info::Cache => return Ok(cache::clear()),
        Info::CacheKey => return cache::entry(call),
        Info::LogLevel => log_level::show(admin),
        Info::SetLogLevel(_, level) => log_level::set(admin, call, level)?,
        Info::Dns => {
            let body = json!({"message": "not implemented with the legacy DNS client"});
            return Ok(reply::json(StatusCode::NOT_IMPLEMENTED, &body));
        }
        Info::Tags => return tags::all(admin, call).await,
        Info::Tag(tag) => return tags::one(admin, call, tag).await,
        Info::Health(upstream) => health::show(admin, call, upstream)?,
        Info::SetHealth(health) => return health::set(admin, health),
        Info::OpenApi => openapi::document(&admin.0.catalog, admin.0.node.role),
    };
    Ok(reply::json(StatusCode::OK, &body))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pattern resolves to what answers it, and back.
    #[test]
    fn every_pattern_resolves() {
        for (pattern, methods, role) in PATTERNS {
            let segments: Vec<_> = pattern.split('/').skip(1).collect();
            let info = Info::resolve(&segments).unwrap_or_else(|| panic!("{pattern}"));
            assert_eq!(info.methods(), *methods, "{pattern}");
            assert_eq!(info.is_there(Role::ControlPlane), *role != Some(Role::Traditional));
            let mut sorted: Vec<_> = methods.split(", ").collect();
            sorted.sort_unstable();
            assert_eq!(sorted.join(", "), *methods);
        }
        for segments in [&["cache", "a", "b"][..], &["tags", "%ff"], &["status"], &["nope"]] {
            assert_eq!(Info::resolve(segments), None, "{segments:?}");
        }
    }
}
