//! The directory of consumers and credentials, brought up to date.

use super::CompileError;
use super::changes::{Changes, decode, fault};
use crate::domain::kinds::consumer;
use crate::plugins;
use crate::plugins::directory::Directory;

/// Brings a directory up to date.
///
/// # Errors
///
/// The first entity that cannot be read.
pub(super) fn follow(directory: &mut Directory, changes: &Changes<'_>) -> Result<(), CompileError> {
    // What goes first: a name or key may have moved to another.
    for changed in changes.of(consumer::KIND).iter().filter(|changed| changed.new.is_none()) {
        directory.remove_consumer(changed.id);
    }
    for entity in changes.of(consumer::KIND).iter().filter_map(|changed| changed.new) {
        directory.put_consumer(decode(entity)?);
    }
    for credential in plugins::handlers().flat_map(|handler| handler.credentials) {
        let changed = changes.of(credential.kind);
        for changed in changed.iter().filter(|changed| changed.new.is_none()) {
            directory.remove_credential(credential.kind, changed.id);
        }
        for entity in changed.iter().filter_map(|changed| changed.new) {
            let read = (credential.read)(entity);
            let read = read.map_err(|error| fault(entity.key(), error.to_string()))?;
            directory.put_credential(credential.kind, read);
        }
    }
    Ok(())
}
