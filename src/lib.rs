//! Kong's hybrid mode on an event log: every layer of the product, lowest first.
//!
//! ARCHITECTURE.md tells the data's way; `tests/it/layers.rs` holds who may import whom.

pub mod domain;

pub mod clock;
pub mod failpoint;
pub mod headers;
pub mod pki;
pub mod settings;
pub mod telemetry;

pub mod log;
pub mod plugins;
pub mod snapshot;

pub mod balancer;
pub mod fleet;
pub mod router;
pub mod writer;

pub mod promotion;
pub mod runtime;

pub mod admin;
pub mod proxy;
pub mod wire;

pub mod planes;

pub mod cli;
