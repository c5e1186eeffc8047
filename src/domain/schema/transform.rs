//! Transforms: what becomes of a valid document before it is kept.

use crate::domain::canonical::Document;
use crate::domain::fresh::Fresh;
use crate::domain::rejection::FieldErrors;

/// A change to a valid document before it is kept.
#[derive(Clone, Copy)]
pub struct Transform {
    /// It runs when a body has one of these, not null.
    pub inputs: &'static [&'static str],
    /// Whether a document that was transformed before is left alone: a hash is not hashed again.
    pub once: bool,
    /// What it does.
    pub run: TransformFn,
}

/// Changes a valid document; the texts of what it refuses are Kong's.
pub type TransformFn = fn(&mut Document, &mut Fresh<'_>) -> Result<(), FieldErrors>;

impl Transform {
    /// Returns whether a body has what the transform reads.
    pub fn reads(&self, body: &Document) -> bool {
        self.inputs.iter().any(|name| body.get(*name).is_some_and(|value| !value.is_null()))
    }
}
