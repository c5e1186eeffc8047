//! The prefix: the directory a node lives in, and the files it keeps there.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::pem::Pem;
use super::source::packed_assignment;
use super::values::{Value, Values};

/// The directory a node lives in, absolute and without a trailing slash.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Prefix(PathBuf);

impl Prefix {
    /// Returns the prefix at `path`; a relative one is taken from the working directory.
    pub fn new(path: &str) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
        Self(path.components().collect())
    }

    /// Returns the directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Returns a path taken relative to the prefix.
    pub fn join(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.0.join(relative)
    }

    /// Returns the file that holds the process id of the running node.
    pub fn pid_file(&self) -> PathBuf {
        self.join("pids/nginx.pid")
    }

    /// Returns the file that holds the settings of the running node.
    pub fn kong_env(&self) -> PathBuf {
        self.join(".kong_env")
    }

    /// Returns the file that holds the token of request debugging.
    pub fn request_debug_token(&self) -> PathBuf {
        self.join(".request_debug_token")
    }

    /// Returns the log that takes what the node itself prints.
    pub fn error_log(&self) -> PathBuf {
        self.join("logs/error.log")
    }

    /// Makes the directory and those inside it.
    ///
    /// # Errors
    /// With Kong's text if something else is in the way.
    pub fn create(&self) -> io::Result<()> {
        if self.0.exists() && !self.0.is_dir() {
            let message = format!("{} is not a directory", self.0.display());
            return Err(io::Error::new(io::ErrorKind::NotADirectory, message));
        }
        for name in ["", "pids", "logs"] {
            std::fs::create_dir_all(self.join(name)).map_err(|it| self.named(&it))?;
        }
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(self.join("ssl"))
    }

    fn named(&self, reason: &io::Error) -> io::Error {
        io::Error::new(reason.kind(), format!("cannot create {}: {reason}", self.0.display()))
    }

    /// Returns the node's id, as kept in `kong.id` (reference hybrid.md, section 7.4).
    ///
    /// An absent or invalid file is written anew with `fresh`; when that fails, the id holds for
    /// this start only. The second value says what went wrong.
    pub fn node_id(&self, fresh: Uuid) -> (Uuid, Option<String>) {
        let path = self.join("kong.id");
        let mut warning = None;
        if let Ok(text) = std::fs::read_to_string(&path) {
            match Uuid::parse_str(text.trim()) {
                Ok(id) => return (id, None),
                Err(_) => {
                    let text: String = text.chars().take(64).collect();
                    let path = path.display();
                    warning = Some(format!("file {path} contains invalid uuid: {}", text.trim()));
                }
            }
        }
        if let Err(reason) = write_whole(&path, fresh.to_string().as_bytes(), 0o644) {
            let path = path.display();
            warning = Some(format!("cannot keep the node id in {path}, it holds once: {reason}"));
        }
        (fresh, warning)
    }

    /// Writes inline PEM text to `ssl/<target>`; keys are readable by the owner alone.
    pub(super) fn write_pem(&self, pem: &Pem, target: &str) -> io::Result<PathBuf> {
        let Pem::Inline(text) = pem else {
            return Ok(pem.path().unwrap_or(Path::new("")).to_owned());
        };
        let path = self.join("ssl").join(target);
        let mode = if target.ends_with(".key") { 0o600 } else { 0o644 };
        write_whole(&path, text.as_bytes(), mode)?;
        Ok(path)
    }

    /// Writes `.kong_env`: what was set explicitly, and what every reader looks for.
    pub(super) fn write_env(&self, values: &Values) -> io::Result<()> {
        let mut text = "# Written by the node's start; edit kong.conf instead.\n".to_owned();
        for (name, value) in values.written().filter(|(name, _)| *name != "prefix") {
            text.push_str(&packed_assignment(name, value));
        }
        for name in ["role", "database"] {
            if let (Value::Text(value), false) =
                (values.value(name), values.written().any(|it| it.0 == name))
            {
                text.push_str(&packed_assignment(name, value));
            }
        }
        let _ = writeln!(text, "prefix = {}", self.0.display().to_string().replace('#', "\\#"));
        write_whole(&self.kong_env(), text.as_bytes(), 0o640)
    }
}

/// Writes a file in one step: a reader sees the old text or the new, never half of one.
fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let _ = std::fs::remove_file(&temporary);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(mode).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}
