//! The access logs of a data plane.

use anyhow::Context as _;

use crate::settings::Prefix;
use crate::telemetry::access::{AccessGuard, AccessLog, AccessTarget};
use crate::telemetry::trouble::is_of_disk;

/// How many bytes of an access log wait in memory.
const BYTES_MAX: usize = 4 << 20;

/// The logs that are open; two that go to the same place are one.
/// Dropped, they end, and the last lines are written.
pub(super) struct AccessLogs {
    prefix: Prefix,
    open: Vec<(AccessTarget, AccessLog, AccessGuard)>,
}

impl AccessLogs {
    /// Returns none yet; files are below the prefix.
    pub(super) fn new(prefix: &Prefix) -> Self {
        Self { prefix: prefix.clone(), open: Vec::new() }
    }

    /// Opens the files again, after logrotate has moved them.
    pub(super) fn reopen(&self) {
        self.open.iter().for_each(|(_, log, _)| log.reopen());
    }

    /// Opens what a property names: none for `off`, or when the disk takes no writes now.
    pub(super) fn open(
        &mut self,
        property: &str,
        value: &str,
    ) -> anyhow::Result<Option<AccessLog>> {
        let target = match value {
            "off" => return Ok(None),
            "/dev/stdout" => AccessTarget::Stdout,
            "/dev/stderr" => AccessTarget::Stderr,
            path => AccessTarget::File(self.prefix.join(path)),
        };
        if let Some((_, log, _)) = self.open.iter().find(|(known, _, _)| *known == target) {
            return Ok(Some(log.clone()));
        }
        match AccessLog::open(target.clone(), BYTES_MAX) {
            Ok((log, guard)) => {
                self.open.push((target, log.clone(), guard));
                Ok(Some(log))
            }
            Err(error) if is_of_disk(&error) => {
                tracing::error!(%error, "cannot open {property}: nothing is logged there");
                Ok(None)
            }
            Err(error) => Err(error).with_context(|| format!("cannot open {property}")),
        }
    }
}
