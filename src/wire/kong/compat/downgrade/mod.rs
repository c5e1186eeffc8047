//! What older data planes get in place of what they do not know (reference hybrid.md, section
//! 6.4, the tables of 3.9). [`super::legacy`] and [`super::older`] change before what these tables
//! leave in.
//!
//! Every rule looks at one entity, so the export runs them as it writes. Unlike Kong 3.9, a change
//! to one plugin is never lost over the next one, what a Redis of another policy holds is
//! translated too, since older data planes refuse the record, and a line is written only where
//! something is lost: null is what they assume anyway.

mod checks;
mod removed;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::version::number;
use super::{Level, Line, legacy, shown};
use crate::domain::canonical::Document;
use checks::CHECKERS;
use removed::{REMOVED, RENAMED, REVALUED};

/// What has to be done for data planes of one version.
#[derive(Clone, Debug)]
pub struct Downgrade {
    control: String,
    data: String,
    number: u64,
    /// By plugin, sorted.
    removed: BTreeMap<&'static str, BTreeSet<&'static str>>,
}

impl Downgrade {
    /// Returns what has to be done, if anything: nothing for the same version or the newest ones.
    pub fn new(control: &str, data: &str) -> Option<Self> {
        let (ours, theirs) = (number(control), number(data));
        let thresholds = REMOVED.iter().map(|(below, _)| *below);
        let newest = thresholds.chain(CHECKERS.iter().map(|checker| checker.below)).max()?;
        if ours == theirs || theirs >= newest {
            return None;
        }
        let mut removed: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (_, plugins) in REMOVED.iter().filter(|(below, _)| theirs < *below) {
            for (plugin, fields) in *plugins {
                removed.entry(*plugin).or_default().extend(fields.iter().copied());
            }
        }
        Some(Self { control: control.to_owned(), data: shown(data), number: theirs, removed })
    }

    /// Returns the version of the data planes.
    pub(super) fn data(&self) -> &str {
        &self.data
    }

    /// Returns their version as a number that can be compared.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Returns whether it is for data planes of 2.8.
    pub fn is_legacy(&self) -> bool {
        legacy::is_legacy(&self.data)
    }

    /// Makes what rules say of an entity.
    pub(in crate::wire::kong) fn says<'a>(&'a self, said: &'a mut Said) -> Says<'a> {
        Says { downgrade: self, said, changed: false }
    }

    /// Changes one entity, as it is sent, to what the data plane knows; returns whether it changed.
    pub fn run(&self, kind: &str, row: &mut Document, said: &mut Said) -> bool {
        let mut says = self.says(said);
        for checker in CHECKERS.iter().filter(|it| self.number < it.below && it.kind == kind) {
            checker.run(row, &mut says);
        }
        if kind == "plugins" {
            self.strip(row, &mut says);
        }
        says.changed
    }

    /// Renames and removes fields of a plugin's config.
    fn strip(&self, row: &mut Document, says: &mut Says<'_>) {
        let Some(name) = text(row, "name").map(|name| name.replace('-', "_")) else { return };
        let Some(Value::Object(config)) = row.get_mut("config") else { return };
        for (below, plugin, new, old) in RENAMED {
            if self.number < *below
                && *plugin == name
                && let Some(value) = config.remove(*new)
            {
                config.insert((*old).to_owned(), value);
                says.changed = true;
            }
        }
        for (below, plugin, field, new, old) in REVALUED {
            if self.number < *below && *plugin == name && text(config, field) == Some(new) {
                config.insert((*field).to_owned(), (*old).into());
                says.changed = true;
            }
        }
        for path in self.removed.get(name.as_str()).into_iter().flatten() {
            match remove_at(config, path) {
                None => continue,
                Some(Value::Null) => {}
                Some(_) => says.left_out(&name, path),
            }
            says.changed = true;
        }
    }
}

/// The lines of a downgrade, each once.
#[derive(Debug, Default)]
pub struct Said(Vec<Line>);

impl Said {
    fn warn(&mut self, text: String) {
        let line = Line::new(Level::Warn, text);
        if !self.0.contains(&line) {
            self.0.push(line);
        }
    }

    /// Returns the lines in the order in which they came.
    pub fn into_lines(self) -> Vec<Line> {
        self.0
    }
}

/// What a checker says and notes.
pub(in crate::wire::kong) struct Says<'a> {
    downgrade: &'a Downgrade,
    said: &'a mut Said,
    changed: bool,
}

impl Says<'_> {
    /// Says that a field of a plugin's config is left out.
    pub(super) fn left_out(&mut self, plugin: &str, path: &str) {
        let plugin = plugin.replace('-', "_");
        self.said.warn(format!(
            "{plugin} plugin contains configuration '{path}' which is incompatible with dataplane \
             and will be ignored"
        ));
    }

    /// Says what the data plane does not know, and what becomes of it.
    pub(super) fn gateway(&mut self, hint: &str, action: &str) {
        let Downgrade { control, data, .. } = self.downgrade;
        self.said.warn(format!(
            "Kong Gateway v{control} {hint} which is incompatible with dataplane version {data} and \
             will {action}."
        ));
    }
}

/// Returns a declarative table as a data plane of this version knows it, and what there is to be
/// said; none if nothing changes.
pub fn downgrade(table: &Value, control: &str, data: &str) -> Option<(Value, Vec<Line>)> {
    let downgrade = Downgrade::new(control, data)?;
    let mut said = Said::default();
    let mut changed: Option<Value> = None;
    for (kind, rows) in table.as_object()? {
        for (i, row) in rows.as_array().into_iter().flatten().enumerate() {
            let Some(mut row) = row.as_object().cloned() else { continue };
            if downgrade.run(kind, &mut row, &mut said) {
                let copy = changed.get_or_insert_with(|| table.clone());
                if let Some(slot) = copy.get_mut(kind).and_then(|rows| rows.get_mut(i)) {
                    *slot = row.into();
                }
            }
        }
    }
    Some((changed?, said.into_lines()))
}

pub(super) fn text<'d>(document: &'d Document, name: &str) -> Option<&'d str> {
    document.get(name)?.as_str()
}

/// Returns the record at a dotted path.
pub(super) fn record<'d>(document: &'d mut Document, path: &str) -> Option<&'d mut Document> {
    path.split('.').try_fold(document, |document, name| document.get_mut(name)?.as_object_mut())
}

/// Removes what stands at a dotted path.
pub(super) fn remove_at(document: &mut Document, path: &str) -> Option<Value> {
    match path.rsplit_once('.') {
        None => document.remove(path),
        Some((above, name)) => record(document, above)?.remove(name),
    }
}
