//! Checking a document as if it were created, for clients that ask before they write.

use super::stamp::{Stamp, stamp};
use crate::domain::canonical::Document;
use crate::domain::catalog::Catalog;
use crate::domain::entity::Kind;
use crate::domain::fresh::Fresh;
use crate::domain::lifetime;
use crate::domain::rejection::Rejection;

/// Checks a body whose references are ids as if it were created, but makes nothing of it: the
/// kind may hold no entities here.
///
/// # Errors
///
/// What the schema refuses, field by field.
pub fn check(
    catalog: &Catalog,
    kind: Kind,
    mut body: Document,
    fresh: &mut Fresh<'_>,
) -> Result<(), Rejection> {
    lifetime::take(catalog.schema(kind), &mut body)?;
    catalog.complete(kind, &mut body)?;
    stamp(catalog.fields(kind, &body), &mut body, fresh, Stamp::Created);
    Ok(catalog.validate(kind, &body)?)
}
