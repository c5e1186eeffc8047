//! How addresses and upstreams do, and who is told.

mod report;
mod state;

pub use report::{AddressReport, Health, TargetHealth};
pub use state::{AddressHealth, Outcome};
