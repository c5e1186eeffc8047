//! Whether a data plane's certificate was revoked, asked of its authority's responder (OCSP,
//! RFC 6960).
//!
//! The control plane asks after the handshake and before the first request is read. Where the
//! responder is stands in the certificate, so nothing is asked for a chain that was not verified.
//! What an answer is worth: only the issuer of the certificate, or whom the issuer certified for
//! exactly this, can say that it is good, and only for as long as the answer itself says.
//!
//! Texts and the table of outcomes: reference hybrid.md, section 3.5.
//!
//! Invariants:
//! - a check ends within its deadline, however the responder behaves, and holds up nobody else;
//! - nothing that a responder sends makes it panic, or take more memory than
//!   [`fetch::ANSWER_BYTES_MAX`];
//! - a failure is never remembered, a statement not longer than it holds.

mod answer;
mod error;
mod fetch;
mod known;
mod revocation;
mod statement;
mod target;
#[cfg(test)]
mod tests;

pub use self::answer::Status;
pub use self::error::{Invalid, RevocationError, Unchecked};
pub use self::fetch::body_of;
pub use self::revocation::{DEADLINE, Revocation, Rule};
pub use self::statement::Statement;
pub use self::target::Target;
