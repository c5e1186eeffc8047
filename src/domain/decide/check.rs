//! Checking a document as if it were created, for clients that ask before they write.

use super::{Fresh, complete, settle};
use crate::domain::canonical::Document;
use crate::domain::catalog::Catalog;
use crate::domain::entity::Kind;
use crate::domain::rejection::Rejection;

/// Checks a body whose references are ids as if it were created, but makes nothing of it.
///
/// # Errors
///
/// What the schema refuses, field by field.
pub fn check(
    catalog: &Catalog,
    kind: Kind,
    body: Document,
    fresh: &mut Fresh<'_>,
) -> Result<(), Rejection> {
    let (mut document, transforms) = complete(catalog, kind, body, fresh)?;
    settle(catalog, kind, &mut document, &transforms, fresh).map(drop)
}
