//! What data planes of 3.0 to 3.8 refuse, and with it the whole config, though Kong's own tables
//! leave it in: found by holding the schemas of each version against those of 3.9.1. Pure. It runs
//! before the downgrade by Kong's tables.
//!
//! Invariant: what an older data plane would do otherwise is never sent; what is left out without
//! harm to a request is told by a line, once a config.

use super::downgrade::{Downgrade, Says, record, text};
use super::rule::Plain::{Empty, No};
use super::rule::{Rule, restrict_http};
use super::version::Version;
use super::{Unsayable, has_streams};
use crate::domain::canonical::Document;
use crate::domain::config::Config;

const V3_9: u64 = 3_009_000_000;
const V3_8: u64 = 3_008_000_000;
const V3_7: u64 = 3_007_000_000;
const V3_5: u64 = 3_005_000_000;
const V3_4: u64 = 3_004_000_000;
const V3_3: u64 = 3_003_000_000;
const V3_2: u64 = 3_002_000_000;
const V3_1: u64 = 3_001_000_000;

/// Kinds by the version that brought them.
const KINDS: &[(u64, &str)] = &[(V3_1, "keys"), (V3_1, "key_sets")];

/// The algorithms of a JWT before 3.7.
const JWT: &[&str] = &["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384"];

/// The headers of tracing before 3.7; those that came before it are in Kong's tables.
const HEADERS: &[&str] =
    &["preserve", "ignore", "b3", "b3-single", "w3c", "jaeger", "ot", "aws", "gcp"];

/// As above, where one has to be chosen.
const DEFAULT_HEADERS: &[&str] = &["b3", "b3-single", "w3c", "jaeger", "ot", "aws", "gcp"];

/// Fields of plugins' configs: data planes below the version, plugin, dotted path.
const FIELDS: &[(u64, &str, &str, Rule)] = &[
    // What tells how to speak to one provider says nothing to the others.
    (V3_9, "ai-proxy", "model.options.huggingface", Rule::Gone),
    (V3_9, "ai-request-transformer", "llm.model.options.huggingface", Rule::Gone),
    (V3_9, "ai-response-transformer", "llm.model.options.huggingface", Rule::Gone),
    (V3_8, "ai-proxy", "model.options.input_cost", Rule::Lost(No)),
    (V3_8, "ai-proxy", "model.options.output_cost", Rule::Lost(No)),
    (V3_8, "ai-request-transformer", "llm.model.options.input_cost", Rule::Lost(No)),
    (V3_8, "ai-request-transformer", "llm.model.options.output_cost", Rule::Lost(No)),
    (V3_8, "ai-response-transformer", "llm.model.options.input_cost", Rule::Lost(No)),
    (V3_8, "ai-response-transformer", "llm.model.options.output_cost", Rule::Lost(No)),
    (V3_7, "opentelemetry", "header_type", Rule::Nearest(HEADERS)),
    (V3_7, "zipkin", "header_type", Rule::Nearest(HEADERS)),
    (V3_7, "zipkin", "default_header_type", Rule::Nearest(DEFAULT_HEADERS)),
    (V3_5, "proxy-cache", "response_headers", Rule::Lost(Empty)),
    (V3_3, "http-log", "content_type", Rule::Nearest(&["application/json"])),
];

/// What a plugin cannot belong to: data planes below the version, plugin, field.
const SCOPES: &[(u64, &str, &str)] = &[
    (V3_8, "ai-prompt-template", "consumer"),
    (V3_8, "ai-proxy", "consumer"),
    (V3_8, "ai-proxy", "service"),
    (V3_8, "ai-response-transformer", "consumer"),
    (V3_2, "opentelemetry", "consumer"),
    (V3_2, "opentelemetry", "route"),
    (V3_2, "opentelemetry", "service"),
];

/// What decides how a config is said to data planes of one version.
#[derive(Clone, Debug)]
pub(in crate::wire::kong) struct Older {
    number: u64,
    /// As `3.4`.
    level: String,
    has_streams: bool,
}

impl Older {
    /// Looks at a whole config.
    pub(in crate::wire::kong) fn of(downgrade: &Downgrade, config: &Config) -> Self {
        let data = downgrade.data();
        let version = Version::parse(data);
        let level = version.map_or_else(|| data.to_owned(), |it| it.level());
        Self { number: downgrade.number(), level, has_streams: has_streams(config) }
    }

    /// Returns whether the data planes do not know a kind that there are entities of, and says so.
    pub(in crate::wire::kong) fn leaves_out(&self, kind: &str, says: &mut Says<'_>) -> bool {
        let is_left = KINDS.iter().any(|(below, name)| self.number < *below && *name == kind);
        if is_left {
            says.gateway(&format!("contains configuration '{kind}'"), "be removed");
        }
        is_left
    }

    /// Changes one entity, as it is sent to data planes of 3.9, to what the older ones know but for
    /// what Kong's tables change.
    ///
    /// # Errors
    ///
    /// They cannot do the same.
    pub(in crate::wire::kong) fn translate(
        &self,
        kind: &str,
        row: &mut Document,
        says: &mut Says<'_>,
    ) -> Result<(), Unsayable> {
        let done = match kind {
            "plugins" => self.plugin(row, says),
            "jwt_secrets" if self.number < V3_7 => {
                Rule::OneOf(JWT).run(row, "algorithm", &self.level).map(drop)
            }
            _ => Ok(()),
        };
        done.map_err(|why| Unsayable::new(&self.level, kind, row, &why))
    }

    fn plugin(&self, row: &mut Document, says: &mut Says<'_>) -> Result<(), String> {
        let name = text(row, "name").unwrap_or_default().to_owned();
        if name == "ip-restriction" && self.number < V3_4 {
            restrict_http(self.has_streams, row, &self.level)?;
        }
        let scopes = SCOPES.iter().filter(|(below, of, _)| self.number < *below && *of == name);
        let mut scopes =
            scopes.filter(|(.., field)| row.get(*field).is_some_and(|it| !it.is_null()));
        if let Some((.., field)) = scopes.next() {
            return Err(format!("{} has no such plugin of a {field}", self.level));
        }
        let Some(config) = record(row, "config") else { return Ok(()) };
        if name == "opentelemetry"
            && self.number < V3_8
            && text(config, "traces_endpoint").is_none()
        {
            return Err(format!("{} needs 'traces_endpoint'", self.level));
        }
        for (_, _, field, rule) in
            FIELDS.iter().filter(|(below, of, ..)| self.number < *below && *of == name)
        {
            rule.run(config, field, &self.level)?.tell(&name, field, says);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
