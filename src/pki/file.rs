//! New files for certificates and keys, private from their first byte on.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Who may read a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Its owner alone (mode 0600).
    Private,
    /// Everybody (mode 0644).
    Public,
}

impl Access {
    fn mode(self) -> u32 {
        match self {
            Self::Private => 0o600,
            Self::Public => 0o644,
        }
    }
}

/// Creates `path` with `contents` and forces both to disk; a file that cannot be completed is
/// removed again.
///
/// The file is created under its final mode, so a key is never readable by others, not even
/// before its first byte (Kong writes first and narrows the mode afterwards).
///
/// # Errors
/// Fails with `AlreadyExists` when there is something at `path`, else with the system's reason.
pub fn write_new(path: &Path, contents: &str, access: Access) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(access.mode()).open(path)?;
    let written = file
        // The umask may have taken bits of a public file away.
        .set_permissions(Permissions::from_mode(access.mode()))
        .and_then(|()| file.write_all(contents.as_bytes()))
        .and_then(|()| file.sync_all());
    written.inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}
