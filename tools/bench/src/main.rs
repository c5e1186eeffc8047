//! Benchmarks: CPU per proxied request against nginx, the time from a write to traffic, and more.
//!
//! `upstream` and `load` are the two ends that `proxy` starts, of use by hand as well; the others are
//! benchmarks. The method is in each file's head. Linux only: CPU time is read from `/proc`.

mod abuse;
mod admin;
mod client;
mod configuration;
mod connection;
mod cpu;
mod fleet;
mod gateway;
mod growth;
mod idle;
mod kong_export;
mod load;
mod pick;
mod process;
mod propagation;
mod proxy;
mod report;
mod response;
mod routes;
mod swaps;
mod traffic;
mod upstream;
mod yardstick;

use std::process::ExitCode;

use clap::Parser;

/// Benchmarks of hybridctl, and the tools that they are made of
#[derive(Parser)]
#[command(name = "bench", bin_name = "cargo xtask bench")]
enum Bench {
    /// Compare CPU per proxied request with nginx, in alternating runs
    Proxy(proxy::Args),
    /// Measure the memory of an idle connection, beside nginx's
    Idle(idle::Args),
    /// Compare latency under configuration changes with latency without
    Swaps(swaps::Args),
    /// Measure from an acknowledged Admin write to the first answer of the new route
    Propagation(propagation::Args),
    /// Measure durable Admin writes and reads on SQLite, with one client and with several
    Admin(admin::Args),
    /// Measure how the cost of a change and of a start grow with configuration and log
    Growth(growth::Args),
    /// Measure what a lookup and one changed route cost, by the number of routes
    Routes(routes::Args),
    /// Measure what choosing a target costs, by algorithm and number of targets
    Pick(pick::Args),
    /// Measure a control plane with a thousand data planes: a change, a restart, some that do not read
    Fleet(fleet::Args),
    /// Measure how long a configuration takes to become a message for data planes of Kong
    KongExport(kong_export::Args),
    /// Measure what slow clients cost the others (slowhttptest), and HTTP/2 (h2load)
    Abuse(abuse::Args),
    /// Serve 100 bytes at every path, 1 MiB below /1m, until stopped
    Upstream(upstream::Args),
    /// Load one URL over keep-alive connections and print what came back
    Load(load::Args),
}

fn main() -> ExitCode {
    let outcome = match Bench::parse() {
        Bench::Proxy(args) => proxy::run(&args),
        Bench::Idle(args) => idle::run(&args),
        Bench::Swaps(args) => swaps::run(&args),
        Bench::Propagation(args) => propagation::run(&args),
        Bench::Admin(args) => admin::run(&args),
        Bench::Growth(args) => growth::run(&args),
        Bench::Routes(args) => routes::run(&args),
        Bench::Pick(args) => pick::run(&args),
        Bench::Fleet(args) => fleet::run(&args),
        Bench::KongExport(args) => kong_export::run(&args),
        Bench::Abuse(args) => abuse::run(&args),
        Bench::Upstream(args) => upstream::run(&args),
        Bench::Load(args) => load::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
