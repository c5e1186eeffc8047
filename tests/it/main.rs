//! End-to-end tests: both planes in one process, real sockets, real mTLS; and the tests that
//! hold the rules of the source itself.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod acceptance;
mod acknowledged;
mod admin_auth;
mod bad_input;
mod bodies;
mod both_planes;
mod bucket;
mod checkpoint_contract;
mod cluster_rotation;
mod cluster_tls;
mod compatibility;
mod corpora;
mod crash;
mod crash_loop;
mod disconnected;
mod disk_faults;
mod durability;
mod fleet;
mod fleet_store;
mod forward_proxy;
mod grpc;
mod harness;
mod history;
mod http;
mod kong_dialect;
mod kong_wire;
mod layers;
mod log_commands;
mod log_compact;
mod log_contract;
mod log_faults;
mod max_payload;
mod migrations;
mod mirror;
mod ocsp;
mod offline;
mod openssl;
mod postgres;
mod postgres_faults;
mod postgres_tls;
mod process;
mod promotion;
mod schemas;
mod several_cps;
mod snapshot_cli;
mod source;
mod status_api;
mod tidy;
mod unsupported_plugins;
mod upstream_faults;
mod upstream_tls;
mod websocket;
mod without_database;
