//! Whether a data plane can run what this control plane has, and what is left out for it: pure
//! (reference hybrid.md, section 6).
//!
//! Invariants:
//! - a data plane that is refused or passed over keeps what it serves, and a log line and its row
//!   in the fleet say why;
//! - log lines have the texts of Kong 3.9. Where those of Kong's manual differ, its reason
//!   follows behind.

pub mod downgrade;
pub mod legacy;
pub mod older;
pub mod plugins;
#[cfg(test)]
mod records;
mod rule;
pub mod version;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use self::legacy::LegacyDataPlanes;
use self::plugins::{Blocked, PluginSet, Unmet};
use crate::domain::canonical::Document;
use crate::domain::catalog::Catalog;
use crate::domain::config::Config;
use crate::domain::entity::Entity;
use crate::domain::hash::ConfigHash;
use crate::settings::KONG_VERSION;
use crate::snapshot::Snapshot;

/// What a control plane compares its data planes with.
#[derive(Debug)]
pub struct Ours {
    /// The level of Kong that it implements.
    pub version: String,
    /// Its plugins.
    pub plugins: PluginSet,
    /// Whether it lets in data planes of 2.8.
    pub legacy: LegacyDataPlanes,
    /// Which plugins the configs of late have: a thousand data planes are compared with the same.
    configured: Mutex<VecDeque<(ConfigHash, Arc<BTreeSet<String>>)>>,
}

/// How many configs of late are kept.
const CONFIGURED_MAX: usize = 4;

impl Ours {
    /// Makes what this control plane is.
    pub fn of(catalog: &Catalog) -> Self {
        let plugins = PluginSet::of_catalog(catalog);
        let legacy = LegacyDataPlanes::default();
        Self { version: KONG_VERSION.to_owned(), plugins, legacy, configured: Mutex::default() }
    }

    /// Lets data planes of 2.8 in, or not.
    pub fn with_legacy(self, legacy: LegacyDataPlanes) -> Self {
        Self { legacy, ..self }
    }

    /// Checks that a data plane can run all plugins of a snapshot.
    ///
    /// # Errors
    ///
    /// The first plugin by name that it cannot run.
    pub fn check(&self, unmet: &Unmet, snapshot: &Snapshot) -> Result<(), Blocked> {
        if unmet.is_empty() {
            return Ok(());
        }
        // What is kept can be found again, so a poisoned lock is still good.
        let mut kept = self.configured.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = snapshot.hash();
        let names = match kept.iter().find(|(of, _)| *of == hash) {
            Some((_, names)) => names.clone(),
            None => {
                let names = Arc::new(plugins::configured(snapshot.config()));
                kept.truncate(CONFIGURED_MAX - 1);
                kept.push_front((hash, names.clone()));
                names
            }
        };
        drop(kept);
        unmet.check_names(&names)
    }
}

/// Whether a data plane can be served: the column `sync_status` of the fleet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncStatus {
    /// Nothing was checked yet.
    Unknown,
    /// It can.
    Normal,
    /// Its version is too new, or of another major.
    KongVersionIncompatible,
    /// It lacks a configured plugin.
    PluginSetIncompatible,
    /// It has a configured plugin in another version.
    PluginVersionIncompatible,
}

impl SyncStatus {
    /// Returns the text of the column.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Normal => "normal",
            Self::KongVersionIncompatible => "kong_version_incompatible",
            Self::PluginSetIncompatible => "plugin_set_incompatible",
            Self::PluginVersionIncompatible => "plugin_version_incompatible",
        }
    }
}

/// Why a config cannot be said to older data planes: the version, what and which, then why.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("data planes of Kong {version} cannot be told {what}")]
pub struct Unsayable {
    version: String,
    what: String,
}

impl Unsayable {
    /// Names an entity as an operator knows it, and why it cannot be said.
    fn new(version: &str, kind: &str, row: &Document, why: &str) -> Self {
        let text = |field| row.get(field).and_then(serde_json::Value::as_str);
        let id = text("id").unwrap_or("without an id");
        let name = text("name").map(|name| format!(" ({})", shown(name))).unwrap_or_default();
        Self { version: version.to_owned(), what: format!("{kind} {id}{name}: {why}") }
    }
}

/// Most obstacles that are named: whoever removes them asks again.
const NAMED_MAX: usize = 10;

/// All of a config that cannot be said, so that it need not be found out one by one.
#[derive(Default, Debug)]
pub struct Obstacles {
    named: Option<Unsayable>,
    count: usize,
}

impl Obstacles {
    /// Adds one.
    pub fn add(&mut self, obstacle: Unsayable) {
        self.count += 1;
        match &mut self.named {
            None => self.named = Some(obstacle),
            Some(named) if self.count <= NAMED_MAX => {
                named.what.push_str("; ");
                named.what.push_str(&obstacle.what);
            }
            Some(_) => {}
        }
    }

    /// Returns them as one; none, if there were none.
    pub fn all(&mut self) -> Option<Unsayable> {
        let mut all = self.named.take()?;
        if self.count > NAMED_MAX {
            all.what.push_str(&format!("; and {} more", self.count - NAMED_MAX));
        }
        Some(all)
    }
}

/// Returns whether there are routes below HTTP.
fn has_streams(config: &Config) -> bool {
    // As they stand in canonical bytes; a name of that text asks for more care than it needs.
    let streams = ["\"tcp\"", "\"tls\"", "\"udp\"", "\"tls_passthrough\""];
    let is_stream = |entity: &Entity| streams.iter().any(|text| entity.text().contains(text));
    config.of_kind(crate::domain::kinds::route::KIND, None).any(is_stream)
}

/// How grave a line is, in Kong's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// `error`.
    Error,
    /// `warn`.
    Warn,
    /// `notice`: our `info`.
    Notice,
    /// `info`: our `debug`.
    Info,
}

/// A line for the log, without what it is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// How grave it is.
    pub level: Level,
    /// Kong's text, without prefix and suffix.
    pub text: String,
}

impl Line {
    pub(super) fn new(level: Level, text: impl Into<String>) -> Self {
        Self { level, text: text.into() }
    }

    /// Writes the line to the log, with Kong's prefix, and the suffix of the data plane.
    pub fn log(&self, suffix: &Suffix) {
        let text = &self.text;
        match self.level {
            Level::Error => tracing::error!("[clustering] {text}{suffix}"),
            Level::Warn => tracing::warn!("[clustering] {text}{suffix}"),
            Level::Notice => tracing::info!("[clustering] {text}{suffix}"),
            Level::Info => tracing::debug!("[clustering] {text}{suffix}"),
        }
    }
}

/// What ends each line about a data plane: ` [id: …, host: …, ip: …, version: …]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Suffix(String);

impl Suffix {
    /// Makes the suffix of what a data plane said of itself.
    pub fn new(id: &str, host: &str, ip: IpAddr, version: Option<&str>) -> Self {
        let (id, host) = (shown(id), shown(host));
        let version = version.map(|text| format!(", version: {}", shown(text)));
        Self(format!(" [id: {id}, host: {host}, ip: {ip}{}]", version.unwrap_or_default()))
    }
}

impl fmt::Display for Suffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The longest text of a peer that a line repeats, in characters; a host name has up to 253.
const SHOWN_MAX: usize = 256;

/// Returns what a peer said as it may stand in a line: cut, and on one line.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|sign| !sign.is_control()).take(SHOWN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_stays_on_its_line() {
        let ip = IpAddr::from([10, 0, 0, 1]);
        let suffix = Suffix::new("i\n[x", &"h".repeat(1000), ip, Some("3.9.1"));
        let host = "h".repeat(256);
        assert_eq!(
            suffix.to_string(),
            format!(" [id: i[x, host: {host}, ip: 10.0.0.1, version: 3.9.1]")
        );
        assert_eq!(Suffix::new("i", "h", ip, None).to_string(), " [id: i, host: h, ip: 10.0.0.1]");
    }

    #[test]
    fn statuses_are_those_of_the_schema() {
        use SyncStatus::*;
        let all = [
            Unknown,
            Normal,
            KongVersionIncompatible,
            PluginSetIncompatible,
            PluginVersionIncompatible,
        ];
        let catalog = crate::domain::catalog::Catalog::new(Vec::new());
        let schema = catalog.described("clustering_data_planes").unwrap();
        let field = schema.fields.find("sync_status").unwrap();
        for status in all {
            let text = status.text().into();
            let unknown = crate::domain::schema::UnknownNull::Refuse;
            assert_eq!(crate::domain::schema::check_value(field, &text, unknown), None);
        }
    }

    #[test]
    fn obstacles_are_told_all_at_once() {
        let obstacle = |number: usize| {
            let row = serde_json::json!({"id": number.to_string()});
            Unsayable::new("2.8", "routes", row.as_object().unwrap(), "it has an expression")
        };
        let told = |count| {
            let mut obstacles = Obstacles::default();
            (0..count).for_each(|number| obstacles.add(obstacle(number)));
            obstacles.all().map(|all| all.to_string())
        };
        assert_eq!(told(0), None);
        let two = "data planes of Kong 2.8 cannot be told routes 0: it has an expression; \
                   routes 1: it has an expression";
        assert_eq!(told(2).unwrap(), two);
        let many = told(NAMED_MAX + 3).unwrap();
        assert!(many.ends_with("routes 9: it has an expression; and 3 more"), "{many}");
    }
}
