//! Plugins: what a data plane lacks, and whether that matters (reference hybrid.md, sections 6.2
//! and 6.3). There are no WebAssembly filters here, so none can be missing on a data plane.

use std::collections::{BTreeMap, BTreeSet};

use super::version::{Version, number};
use super::{Level, Line, SyncStatus};
use crate::domain::catalog::Catalog;
use crate::domain::config::Config;
use crate::domain::kinds::route;
use crate::wire::kong::table::Left;

/// The plugins of a node by name, with their versions. What is no version of three numbers counts
/// as none.
#[derive(Clone, Default, Debug)]
pub struct PluginSet(BTreeMap<String, Option<Version>>);

impl PluginSet {
    /// Makes a set of names and versions; of a name that comes twice the last one counts.
    pub fn of<'a>(plugins: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> Self {
        let parse = |(name, version): (&str, Option<&str>)| {
            (name.to_owned(), version.and_then(Version::parse))
        };
        Self(plugins.into_iter().map(parse).collect())
    }

    /// Forgets the versions: what is left is which plugins there are.
    pub fn without_versions(mut self) -> Self {
        self.0.values_mut().for_each(|version| *version = None);
        self
    }

    /// Makes the set of what this node has.
    pub fn of_catalog(catalog: &Catalog) -> Self {
        Self::of(catalog.plugins().map(|plugin| (plugin.name, Some(plugin.version))))
    }
}

/// Says how the plugins of a data plane differ, whether they are configured or not.
pub fn presence(control: &PluginSet, data: &PluginSet) -> Vec<Line> {
    control.0.iter().filter_map(|(name, ours)| differs(name, ours.as_ref(), data)).collect()
}

fn differs(name: &str, ours: Option<&Version>, data: &PluginSet) -> Option<Line> {
    let ours_text = ours.map(|version| version.text.as_str());
    let Some(theirs) = data.0.get(name) else {
        let version = ours_text.map(|text| format!(" {text}")).unwrap_or_default();
        let text = format!("{name} plugin{version} is missing from data plane");
        return Some(Line::new(Level::Warn, text));
    };
    let line = match (ours, theirs) {
        (Some(ours), Some(theirs)) => {
            let level = match (ours.major == theirs.major, ours.minor == theirs.minor) {
                (false, _) => Level::Warn,
                (true, false) => Level::Info,
                (true, true) => return None,
            };
            Line::new(
                level,
                format!(
                    "data plane {name} plugin version {} is different to control plane plugin \
                     version {}",
                    theirs.text, ours.text
                ),
            )
        }
        (None, Some(theirs)) => Line::new(
            Level::Notice,
            format!(
                "data plane {name} plugin version {} has unspecified version on control plane",
                theirs.text
            ),
        ),
        (Some(ours), None) => Line::new(
            Level::Notice,
            format!(
                "data plane {name} plugin version is unspecified, and is different to control \
                 plane plugin version {}",
                ours.text
            ),
        ),
        (None, None) => return None,
    };
    Some(line)
}

/// Why a config is not sent to a data plane. The connection stays, and the data plane serves what
/// it has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blocked {
    /// The status of its row.
    pub status: SyncStatus,
    /// Why, in Kong's words.
    pub reason: String,
}

impl Blocked {
    /// Returns the line that says so.
    pub fn line(&self) -> Line {
        let seed = match self.status {
            SyncStatus::PluginSetIncompatible | SyncStatus::PluginVersionIncompatible => {
                ": CP and DP does not have same set of plugins installed or their versions might \
                 differ"
            }
            _ => "",
        };
        let reason = &self.reason;
        let text = format!("unable to send updated configuration to data plane: {reason}{seed}");
        Line::new(Level::Warn, text)
    }
}

/// The plugins that a data plane could not run if they were configured.
#[derive(Clone, Default, Debug)]
pub struct Unmet(BTreeMap<String, Blocked>);

impl Unmet {
    /// Compares the plugins of both sides.
    pub fn of(control: &PluginSet, data: &PluginSet) -> Self {
        let unmet = control
            .0
            .iter()
            .filter_map(|(name, ours)| Some((name.clone(), blocked(name, ours.as_ref(), data)?)));
        Self(unmet.collect())
    }

    /// Checks that a data plane can run all plugins of a config. Costs nothing if it has them all.
    ///
    /// # Errors
    ///
    /// The first plugin by name that it cannot run.
    pub fn check(&self, config: &Config) -> Result<(), Blocked> {
        if self.is_empty() {
            return Ok(());
        }
        self.check_names(&configured(config))
    }

    /// Returns whether a data plane can run whatever is configured.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks that a data plane can run the plugins of these names.
    pub(super) fn check_names(&self, configured: &BTreeSet<String>) -> Result<(), Blocked> {
        let first = self.0.iter().find(|(name, _)| configured.contains(*name));
        first.map_or(Ok(()), |(_, blocked)| Err(blocked.clone()))
    }
}

/// Returns the names of the plugins that are sent to data planes.
pub(super) fn configured(config: &Config) -> BTreeSet<String> {
    Left::out_of(config).plugins(config).collect()
}

fn blocked(name: &str, ours: Option<&Version>, data: &PluginSet) -> Option<Blocked> {
    let Some(theirs) = data.0.get(name) else {
        let version = ours.map(|version| format!(" {}", version.text)).unwrap_or_default();
        let reason = format!("configured {name} plugin{version} is missing from data plane");
        return Some(Blocked { status: SyncStatus::PluginSetIncompatible, reason });
    };
    let (ours, theirs) = (ours?, theirs.as_ref()?);
    // Kong kept this number through many releases.
    let excepted = name == "opentelemetry" && (theirs.major, theirs.minor) == (0, 1);
    let differs = ours.major != theirs.major || ours.minor < theirs.minor;
    (differs && !excepted).then(|| Blocked {
        status: SyncStatus::PluginVersionIncompatible,
        reason: format!(
            "configured data plane {name} plugin version {} is different to control plane plugin \
             version {}",
            theirs.text, ours.text
        ),
    })
}

/// Checks that a data plane understands the routes of a config: before 3.7 either all of them or
/// none are expressions.
///
/// # Errors
///
/// The config is not sent; the status stays as it is.
pub fn check_routes(catalog: &Catalog, config: &Config, data: &str) -> Result<(), Blocked> {
    let expressions = catalog.schema(route::KIND).fields.find("expression").is_some();
    if !expressions || number(data) >= 3_007_000_000 {
        return Ok(());
    }
    let left = Left::out_of(config);
    let routes = config.of_kind(route::KIND, None).filter(|route| left.keeps(route));
    let (mut with, mut without) = (false, false);
    for route in routes {
        *match route.document().contains_key("expression") {
            true => &mut with,
            false => &mut without,
        } = true;
    }
    match with && without {
        true => Err(Blocked {
            status: SyncStatus::Normal,
            reason: format!("{} does not support mixed mode route", super::shown(data)),
        }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
