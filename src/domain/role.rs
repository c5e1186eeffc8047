//! Roles: what a caller of the Admin API may do.

use std::fmt;
use std::str::FromStr;

/// What a caller of the Admin API may do; each role may do what those before it may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum AdminRole {
    /// Reads.
    Viewer,
    /// Writes entities.
    Editor,
    /// Does everything.
    Admin,
}

/// A text is no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected one of: viewer, editor, admin")]
pub struct ParseRoleError;

impl AdminRole {
    const ALL: [Self; 3] = [Self::Viewer, Self::Editor, Self::Admin];

    /// Returns the role's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for AdminRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for AdminRole {
    type Err = ParseRoleError;

    fn from_str(text: &str) -> Result<Self, ParseRoleError> {
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or(ParseRoleError)
    }
}
