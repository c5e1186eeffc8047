//! The access logs of a data plane.

use anyhow::Context as _;

use crate::settings::Settings;
use crate::telemetry::access::{AccessGuard, AccessLog, AccessTarget};
use crate::telemetry::trouble::is_of_disk;

/// How many bytes of an access log wait in memory.
const BYTES_MAX: usize = 4 << 20;

/// The logs that are open; two that go to the same place are one.
pub(super) struct AccessLogs<'a> {
    settings: &'a Settings,
    open: Vec<(AccessTarget, AccessLog)>,
    /// What ends them.
    pub(super) guards: Vec<AccessGuard>,
}

impl<'a> AccessLogs<'a> {
    pub(super) fn new(settings: &'a Settings) -> Self {
        Self { settings, open: Vec::new(), guards: Vec::new() }
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
            path => AccessTarget::File(self.settings.prefix.join(path)),
        };
        if let Some((_, log)) = self.open.iter().find(|(known, _)| *known == target) {
            return Ok(Some(log.clone()));
        }
        match AccessLog::open(target.clone(), BYTES_MAX) {
            Ok((log, guard)) => {
                self.open.push((target, log.clone()));
                self.guards.push(guard);
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
