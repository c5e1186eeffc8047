//! How addresses and upstreams do: what traffic and probes show of them, and who is told
//! (behaviour: reference gateway-3, section E.2).
//!
//! Invariants:
//! - a proxy core asks and reports without a lock and never waits;
//! - an address that turns over is told of once, with the reason;
//! - probes run on the shared runtime, and for upstreams without them nothing runs.

pub mod checker;
pub mod checks;
mod grpc;
mod kept;
mod monitor;
mod probe;
mod report;
mod state;

pub use kept::HealthFile;
pub use monitor::{DeclareError, HealthChange, Monitor, Why};
pub use report::{AddressReport, Health, TargetHealth};
pub use state::{AddressHealth, Failures, Outcome, Sign, State, Turn};

#[cfg(test)]
mod tests;
