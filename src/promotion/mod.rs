//! Promotion: which data plane gets which config, and when.
//!
//! Without decisions everyone gets the newest head. Operators may freeze the head, pin data planes
//! to a config, and have heads rolled out wave by wave. Each of these is a [`decision`] in a table
//! beside the log; [`state`] is the sum of them, the same on every control plane of a database, and
//! says what a data plane gets. [`order`] turns orders into decisions or refuses them, [`rollout`]
//! decides when a wave is over, and [`keeper`] does the I/O. A config that a data plane crashed on goes
//! to [`quarantine`], by itself.
//!
//! Invariants:
//! - a decision is in force only when it is durable, and its number decides which was first;
//! - under one revision a data plane's positions only grow; whatever sends it back is a decision
//!   with a new revision, which is signed with the head;
//! - the head of a config that is not at hand is not announced: the data plane stays where it is.

pub mod decision;
pub mod keeper;
pub mod order;
pub mod quarantine;
pub mod rollout;
pub mod state;
pub mod view;

#[cfg(test)]
mod tests;
