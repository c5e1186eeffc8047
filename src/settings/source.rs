//! Where settings come from, and the raw text of each after layering: defaults < file <
//! environment < command line.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error::SettingsError;
use super::{file, table};

/// Files that are looked for when none is named.
const DEFAULT_FILES: [&str; 2] = ["/etc/kong/kong.conf", "/etc/kong.conf"];

/// Marks a value in `.kong_env` that does not fit one line of kong.conf.
const PACKED: &str = "{base64}";

/// Where the settings of a node come from.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file named with `-c`; it must exist.
    pub conf: Option<PathBuf>,
    /// The environment: `KONG_*` and what vault references name.
    pub env: BTreeMap<String, String>,
    /// The prefix named with `-p`.
    pub prefix: Option<String>,
}

impl Sources {
    /// Returns sources that see this process's environment: the module's only door to it.
    pub fn of_process(conf: Option<PathBuf>, prefix: Option<String>) -> Self {
        let env = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { conf, env, prefix }
    }

    /// Returns the file that will be read: the named one, or the first default that exists.
    pub fn file(&self) -> Option<PathBuf> {
        let default = || DEFAULT_FILES.map(PathBuf::from).into_iter().find(|it| it.exists());
        self.conf.clone().or_else(default)
    }

    /// Layers file, environment and command line.
    pub(super) fn layer(&self) -> Result<Raw, SettingsError> {
        let mut raw = Raw::default();
        if let Some(path) = self.file() {
            raw.read_file(&path)?;
        }
        for (key, value) in &self.env {
            let Some(name) = key.strip_prefix("KONG_") else { continue };
            if name.bytes().all(|it| !it.is_ascii_lowercase()) {
                // Text of several lines is kept to the byte.
                let value = if value.contains('\n') { value } else { value.trim() };
                raw.set(&name.to_ascii_lowercase(), value);
            }
        }
        if let Some(prefix) = &self.prefix {
            raw.set("prefix", prefix);
        }
        Ok(raw)
    }
}

/// What was set explicitly; an empty text unsets the property, default included.
#[derive(Debug, Default)]
pub(super) struct Raw {
    pub(super) set: BTreeMap<String, String>,
    pub(super) warnings: Vec<String>,
}

impl Raw {
    /// Reads a file over what is there.
    pub(super) fn read_file(&mut self, path: &Path) -> Result<(), SettingsError> {
        let text = std::fs::read_to_string(path).map_err(|reason| match reason.kind() {
            io::ErrorKind::NotFound => SettingsError::NoFile(path.into()),
            _ => SettingsError::Unreadable { path: path.into(), reason },
        })?;
        let packed = path.file_name().is_some_and(|it| it == ".kong_env");
        let found = file::parse(&text);
        let named = |it: String| format!("{}: {it}", path.display());
        self.warnings.extend(found.warnings.into_iter().map(named));
        for (name, value) in found.pairs {
            let unpacked = packed.then(|| unpack(&value)).flatten();
            self.set(&name, unpacked.as_deref().unwrap_or(&value));
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: &str) {
        if table::find(name).is_some() || table::is_dynamic(name) {
            self.set.insert(name.to_owned(), value.to_owned());
        }
    }
}

/// Writes one assignment of `.kong_env`.
pub(super) fn packed_assignment(name: &str, value: &str) -> String {
    if file::fits_one_line(value) && !value.starts_with(PACKED) {
        return file::assignment(name, value);
    }
    file::assignment(name, &format!("{PACKED}{}", STANDARD.encode(value)))
}

fn unpack(value: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(value.strip_prefix(PACKED)?).ok()?).ok()
}
