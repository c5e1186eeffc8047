//! Files that hold keys, private from their first byte on, and whole or not there.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use crate::failpoint;

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
pub fn write_new(path: &Path, contents: impl AsRef<[u8]>, access: Access) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(access.mode()).open(path)?;
    failpoint::hit("file.created");
    let written = file
        // The umask may have taken bits of a public file away.
        .set_permissions(Permissions::from_mode(access.mode()))
        .and_then(|()| file.write_all(contents.as_ref()))
        .and_then(|()| {
            failpoint::hit("file.written");
            file.sync_all()
        });
    written.inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}

/// Writes a file in place of the one that may be there: whole and on disk, or not at all.
///
/// # Errors
/// With the system's reason; what was there is still there.
pub fn replace(path: &Path, contents: impl AsRef<[u8]>, access: Access) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    // Another process may write the same file.
    temporary.push(format!(".new-{}", std::process::id()));
    let temporary = Path::new(&temporary);
    // Left over from a crash.
    let _ = fs::remove_file(temporary);
    write_new(temporary, contents, access)?;
    failpoint::hit("file.synced");
    fs::rename(temporary, path)?;
    failpoint::hit("file.renamed");
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
