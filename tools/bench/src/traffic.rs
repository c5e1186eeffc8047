//! The kinds of load a proxy is compared under, each by the tool that is known for it.
//!
//! HTTP/1.1 is loaded by `wrk`, in clear and through TLS, HTTP/2 by `h2load`, full handshakes by
//! `openssl s_time`, all from Debian, all on the core of everything else. Only requests at scheduled
//! instants, which wrk does not know, are sent by this tool itself ([`crate::load`]).

use std::collections::HashMap;
use std::process::Command;

use anyhow::Context as _;
use clap::ValueEnum;

use crate::process::{OTHER_CORE, own, pinned};
use crate::yardstick::Addresses;

/// What a connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Traffic {
    /// HTTP/1.1 over kept-alive connections, in clear
    Http,
    /// HTTP/1.1 over kept-alive TLS connections
    Https,
    /// HTTP/2 over TLS: 16 connections of 16 streams
    Http2,
    /// A full TLS handshake and a connection for each request, by two clients
    Handshake,
}

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amount<'a> {
    pub(crate) path: &'a str,
    pub(crate) connections: usize,
    /// Requests per second at scheduled instants, instead of as many as possible; plain HTTP only.
    pub(crate) rate: Option<f64>,
}

/// What came back.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    pub(crate) requests: f64,
    pub(crate) rps: f64,
    /// Zero where the tool does not tell.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) failed: u64,
}

/// Loads a proxy for so many seconds.
pub(crate) fn load(
    traffic: Traffic,
    addresses: Addresses,
    amount: Amount<'_>,
    seconds: f64,
) -> anyhow::Result<Figures> {
    let Amount { path, connections, rate } = amount;
    // wrk, h2load and s_time take whole seconds.
    let whole = seconds.ceil().max(1.0);
    match traffic {
        Traffic::Http => {
            let url = format!("http://{}{path}", addresses.plain);
            let Some(rate) = rate else { return wrk(&url, connections, whole) };
            let mut command = own("load")?;
            command.args([url, format!("--connections={connections}")]);
            command.args([format!("--seconds={seconds}"), format!("--rate={rate}")]);
            of_own(&output(command)?)
        }
        Traffic::Https => wrk(&format!("https://{}{path}", addresses.tls), connections, whole),
        Traffic::Http2 => {
            let mut command = pinned(OTHER_CORE, "h2load");
            command.args(["-c16", "-m16", "-t1", "-D"]).arg(format!("{whole}s"));
            command.arg(format!("https://{}{path}", addresses.tls));
            of_h2load(&output(command)?, whole)
        }
        Traffic::Handshake => {
            let start = || {
                let mut command = pinned(OTHER_CORE, "openssl");
                command.args(["s_time", "-new", "-www", path, "-time", &whole.to_string()]);
                command.arg("-connect").arg(addresses.tls.to_string());
                command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
                command.spawn().context("cannot start openssl")
            };
            let mut figures = Figures::default();
            for client in [start()?, start()?] {
                let output = client.wait_with_output()?;
                let one = of_s_time(&String::from_utf8_lossy(&output.stdout))?;
                figures.requests += one.requests;
                figures.rps += one.rps;
            }
            Ok(figures)
        }
    }
}

fn wrk(url: &str, connections: usize, seconds: f64) -> anyhow::Result<Figures> {
    let mut command = pinned(OTHER_CORE, "wrk");
    command.args(["-t1", "--latency"]);
    command.args([format!("-c{connections}"), format!("-d{seconds}s")]).arg(url);
    of_wrk(&output(command)?)
}

fn output(mut command: Command) -> anyhow::Result<String> {
    let program = format!("{command:?}");
    let output = command.output().with_context(|| format!("cannot start {program}"))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    anyhow::ensure!(
        output.status.success(),
        "{program} failed: {printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(printed)
}

/// Reads `name value` lines.
fn of_own(printed: &str) -> anyhow::Result<Figures> {
    let lines: HashMap<_, _> = printed.lines().filter_map(|line| line.split_once(' ')).collect();
    let figure = |name: &str| -> anyhow::Result<f64> {
        let value = lines.get(name).and_then(|value| value.parse().ok());
        value.with_context(|| format!("load printed no {name}"))
    };
    Ok(Figures {
        requests: figure("requests")?,
        rps: figure("rps")?,
        p50_us: figure("p50_us")?,
        p99_us: figure("p99_us")?,
        failed: (figure("errors")? + figure("non_2xx")?) as u64,
    })
}

/// Reads what wrk prints with `--latency`.
fn of_wrk(printed: &str) -> anyhow::Result<Figures> {
    let line = |start: &str| printed.lines().find_map(|line| line.trim().strip_prefix(start));
    let missing = |what: &str| format!("wrk printed no {what}: {printed}");
    let total = printed.lines().find(|line| line.contains(" requests in "));
    let requests = total.and_then(|line| line.split_whitespace().next()?.parse().ok());
    let rps = line("Requests/sec:").and_then(|rest| rest.trim().parse().ok());
    let latency = |percentile: &str| line(percentile).and_then(|rest| micros(rest.trim()));
    let numbers = |text: &str| -> u64 {
        text.split(|byte: char| !byte.is_ascii_digit())
            .filter_map(|it| it.parse::<u64>().ok())
            .sum()
    };
    let failed = ["Socket errors:", "Non-2xx or 3xx responses:"];
    Ok(Figures {
        requests: requests.with_context(|| missing("requests"))?,
        rps: rps.with_context(|| missing("Requests/sec"))?,
        p50_us: latency("50%").with_context(|| missing("50%"))?,
        p99_us: latency("99%").with_context(|| missing("99%"))?,
        failed: failed.iter().filter_map(|start| line(start)).map(numbers).sum(),
    })
}

/// Reads `12.34us`, `1.23ms`, `0.99s`.
fn micros(text: &str) -> Option<f64> {
    let (digits, factor) = [("us", 1.0), ("ms", 1e3), ("s", 1e6)]
        .into_iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    Some(digits.parse::<f64>().ok()? * factor)
}

/// Reads what h2load prints; it tells no percentiles.
fn of_h2load(printed: &str, seconds: f64) -> anyhow::Result<Figures> {
    // requests: 1000 total, 1000 started, 1000 done, 1000 succeeded, 0 failed, 0 errored, 0 timeout
    let line = printed.lines().find_map(|line| line.strip_prefix("requests: "));
    let line = line.with_context(|| format!("h2load printed no requests: {printed}"))?;
    let counts: HashMap<&str, f64> = line
        .split(", ")
        .filter_map(|part| part.split_once(' '))
        .filter_map(|(number, name)| Some((name, number.parse().ok()?)))
        .collect();
    let count = |name: &str| counts.get(name).copied().unwrap_or_default();
    let requests = count("succeeded");
    let failed = (count("failed") + count("errored") + count("timeout")) as u64;
    Ok(Figures { requests, rps: requests / seconds, failed, ..Figures::default() })
}

/// Reads what s_time prints: `1234 connections in 5 real seconds, 123 bytes read per connection`.
fn of_s_time(printed: &str) -> anyhow::Result<Figures> {
    let line = printed.lines().find(|line| line.contains(" real seconds, "));
    let line = line.with_context(|| format!("s_time printed no real seconds: {printed}"))?;
    let mut words = line.split_whitespace();
    let requests = words.next().and_then(|it| it.parse().ok()).unwrap_or_default();
    let seconds: f64 = words.nth(2).and_then(|it| it.parse().ok()).unwrap_or(1.0);
    let bytes = line.split(" real seconds, ").nth(1).and_then(|rest| rest.split(' ').next());
    // Connections that were closed before an answer are connections, too.
    anyhow::ensure!(bytes.is_some_and(|bytes| bytes != "0"), "s_time was not answered: {line}");
    Ok(Figures { requests, rps: requests / seconds.max(1.0), ..Figures::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_read() {
        let printed = "Running 2s test @ https://127.0.0.1:1/\n  1 threads and 64 connections\n  \
                       Latency Distribution\n     50%    1.25ms\n     75%    2.00ms\n     \
                       90%    3.00ms\n     99%  950.00us\n  100 requests in 2.00s, 1.00MB read\n  \
                       Socket errors: connect 0, read 3, write 0, timeout 1\n  \
                       Non-2xx or 3xx responses: 2\nRequests/sec:     50.00\n";
        let figures = of_wrk(printed).unwrap();
        let expected =
            Figures { requests: 100.0, rps: 50.0, p50_us: 1250.0, p99_us: 950.0, failed: 6 };
        assert_eq!(figures, expected);
        assert!(of_wrk("unable to connect").is_err());
    }

    #[test]
    fn what_h2load_prints_is_read() {
        let printed = "finished in 3.00s, 20.00 req/s, 1KB/s\nrequests: 70 total, 70 started, 65 \
                       done, 60 succeeded, 5 failed, 4 errored, 1 timeout\n";
        let figures = of_h2load(printed, 3.0).unwrap();
        assert_eq!((figures.requests, figures.rps, figures.failed), (60.0, 20.0, 10));
        assert!(of_h2load("", 3.0).is_err());
    }

    #[test]
    fn what_s_time_prints_is_read() {
        let printed = "\n\n900 connections in 0.50s; 1800.00 connections/user sec, bytes read 9\n\
                       900 connections in 6 real seconds, 226 bytes read per connection\n";
        let figures = of_s_time(printed).unwrap();
        assert_eq!((figures.requests, figures.rps), (900.0, 150.0));
        assert!(of_s_time("9 connections in 6 real seconds, 0 bytes read per connection").is_err());
    }
}
