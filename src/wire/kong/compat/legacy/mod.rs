//! What data planes of Kong 2.8 get, where the operator lets them in
//! (`cluster_legacy_data_planes`): the entities of 3.9 as 2.8 says them. Pure. The facts: Kong
//! 2.8.5's schemas of entities and plugins and its router.
//!
//! It runs before the downgrade to 3.0, which takes out what Kong itself takes out for older data
//! planes, with its own lines.
//!
//! Invariants:
//! - what 2.8 would do otherwise is never sent: what cannot be said refuses the whole config, and
//!   the reason names the entity and the field, but no secret;
//! - what is left out or said otherwise without harm to a request is told by a line, once a config.

mod entity;
mod path;
mod pattern;
mod plugin;
mod route;
#[cfg(test)]
mod tests;

use serde_json::Value;

use super::downgrade::Says;
use super::version::Version;
use super::{Unsayable, has_streams};
use crate::domain::canonical::Document;
use crate::domain::catalog::Catalog;
use crate::domain::config::Config;
use crate::domain::kinds::route::Flavour;

/// The version of the declarative format that 2.8 writes, and the newest that it reads.
pub const FORMAT_VERSION: &str = "2.1";

/// What it is called where something cannot be said to it.
const LEVEL: &str = "2.8";

/// Kinds that 2.8 does not know, or, as vaults, only as a trial under another name.
const LEFT_OUT: &[&str] = &["keys", "key_sets", "vaults"];

/// Whether data planes of 2.8 are let in, though the major version is another one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LegacyDataPlanes {
    /// Kong's own rule: they are not.
    #[default]
    Refused,
    /// They are.
    Admitted,
}

impl LegacyDataPlanes {
    /// Returns whether a data plane of this version is let in by this setting.
    pub fn admits(self, version: &str) -> bool {
        self == Self::Admitted && is_legacy(version)
    }

    /// Returns what is to be added to the line that refuses a version, if this setting has a part
    /// in it.
    pub fn hint(self, version: &str) -> Option<&'static str> {
        let refused = Version::parse(version)?;
        match (refused.major, refused.minor, self) {
            (2, 8, Self::Refused) => {
                Some("; cluster_legacy_data_planes = on lets data planes of Kong 2.8 in")
            }
            (1, _, Self::Admitted) | (2, 0..8, Self::Admitted) => {
                Some("; cluster_legacy_data_planes lets data planes of Kong 2.8 in, none older")
            }
            _ => None,
        }
    }
}

/// Returns whether a version is one of those that get the configs of this module.
pub fn is_legacy(version: &str) -> bool {
    Version::parse(version).is_some_and(|it| (it.major, it.minor) == (2, 8))
}

/// Returns whether 2.8 does not know a kind that there are entities of, and says so.
pub(in crate::wire::kong) fn leaves_out(kind: &str, says: &mut Says<'_>) -> bool {
    let is_left = LEFT_OUT.contains(&kind);
    if is_left {
        says.gateway(&format!("contains configuration '{kind}'"), "be removed");
    }
    is_left
}

/// What decides how a config is said, beside the entity itself.
#[derive(Clone, Copy, Debug)]
pub(in crate::wire::kong) struct Legacy {
    flavour: Flavour,
    /// Whether there are routes below HTTP.
    has_streams: bool,
}

impl Legacy {
    /// Looks at a whole config.
    pub(in crate::wire::kong) fn of(catalog: &Catalog, config: &Config) -> Self {
        Self { flavour: catalog.flavour(), has_streams: has_streams(config) }
    }

    /// Changes one entity, as it is sent to data planes of 3.9, to what 2.8 and 3.0 both know.
    ///
    /// # Errors
    ///
    /// 2.8 cannot do the same.
    pub(in crate::wire::kong) fn translate(
        self,
        kind: &str,
        row: &mut Document,
        says: &mut Says<'_>,
    ) -> Result<(), Unsayable> {
        let done = match (reference_in(row), kind) {
            (Some(field), _) => {
                Err(format!("'{field}' refers to a vault, which 2.8 has as a trial that is off"))
            }
            (None, "routes") => route::translate(self.flavour, row),
            (None, "plugins") => plugin::translate(self.has_streams, row, says),
            (None, _) => entity::translate(kind, row),
        };
        done.map_err(|why| Unsayable::new(LEVEL, kind, row, &why))
    }
}

/// Returns the first field that refers to a secret in a vault, however deep.
fn reference_in(row: &Document) -> Option<&str> {
    fn refers(value: &Value) -> bool {
        match value {
            Value::String(text) => text.starts_with("{vault://") && text.ends_with('}'),
            Value::Array(items) => items.iter().any(refers),
            Value::Object(fields) => fields.values().any(refers),
            _ => false,
        }
    }
    row.iter().find_map(|(name, value)| match value {
        Value::Object(fields) if name == "config" => reference_in(fields),
        value => refers(value).then_some(name.as_str()),
    })
}
