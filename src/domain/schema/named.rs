//! Names for entities of one kind that entities of another hold.

use crate::domain::entity::Kind;

/// Names that belong to another kind, as those of certificates are their SNIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedBy {
    /// The kind that has the names.
    pub kind: Kind,
    /// Its unique field.
    pub field: &'static str,
    /// Its field that refers to what is named.
    pub through: &'static str,
    /// The transient field of what is named that lists its names.
    pub list: &'static str,
    /// What is said when a name leads nowhere.
    pub absent: &'static str,
}
