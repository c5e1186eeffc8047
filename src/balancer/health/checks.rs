//! What is checked of an upstream, in the form that traffic and probes ask for it
//! (reference gateway-1, section A.5; gateway-3, section E.2).

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};

use super::state::{Outcome, Sign};
use crate::domain::kinds::upstream::{ActiveChecks, Healthchecks, Probe as Counted, Upstream};

/// How long a probe may take when its upstream says 0.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Kong looks for what is due so often, and probes no more often.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// How many probes run at once when an upstream does not say.
const CONCURRENCY: u32 = 10;

/// The checks of an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Checks {
    /// The percentage of weight that must be exceeded by what is available.
    pub threshold: f64,
    /// Whether anything is checked; if not, every address is available.
    pub is_on: bool,
    /// What traffic is a sign of.
    pub passive: Limits,
    /// What probes are a sign of.
    pub active: Limits,
    /// How to probe; none without an interval.
    pub probe: Option<Probe>,
}

/// Which outcomes are signs of what, and how many of them turn an address over.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    successes: u8,
    tcp_failures: u8,
    http_failures: u8,
    timeouts: u8,
    healthy: Statuses,
    unhealthy: Statuses,
}

/// A set of statuses below 1024.
#[derive(Clone, Debug, Default, PartialEq)]
struct Statuses([u64; 16]);

/// How an upstream is probed.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// What is spoken.
    pub kind: ProbeKind,
    /// How long one probe may take.
    pub timeout: Duration,
    /// How many run at once.
    pub concurrency: usize,
    /// Between probes of an address that is up.
    pub healthy_interval: Option<Duration>,
    /// Between probes of an address that is down.
    pub unhealthy_interval: Option<Duration>,
    /// The path that is asked for.
    pub path: String,
    /// What is asked with.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The Host that is asked for; that of the target without.
    pub host: Option<String>,
    /// The name in the handshake; that of the target without.
    pub sni: Option<String>,
    /// Whether the certificate is verified.
    pub verify: bool,
}

/// What a probe speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// A connection is all that is asked for.
    Tcp,
    /// HTTP/1.0.
    Http,
    /// The same over TLS.
    Https,
    /// The health service of gRPC.
    Grpc,
    /// The same over TLS.
    Grpcs,
}

impl Checks {
    /// Reads those of an upstream.
    pub fn of(upstream: &Upstream) -> Self {
        let Healthchecks { threshold, active, passive } = &upstream.healthchecks;
        let probe = Probe::of(active, upstream.host_header.as_deref());
        let passive = Limits::of(&passive.healthy, &passive.unhealthy);
        let failures = [passive.tcp_failures, passive.timeouts, passive.http_failures];
        Self {
            threshold: threshold.unwrap_or(0.0),
            is_on: probe.is_some() || failures.iter().any(|limit| *limit > 0),
            passive,
            active: Limits::of(&active.healthy, &active.unhealthy),
            probe,
        }
    }

    /// Returns what the outcome of a try for a client is a sign of, and how many such turn an
    /// address over. One that did not answer also counts as the status that the client got, where
    /// failed connections are not counted as such.
    pub fn of_traffic(&self, outcome: Outcome) -> Option<(Sign, u8)> {
        let limits = &self.passive;
        match outcome {
            Outcome::Status(StatusCode::GATEWAY_TIMEOUT) => limits.judge(Outcome::TimedOut),
            Outcome::Failed if limits.tcp_failures == 0 => {
                let listed = limits.judge(Outcome::Status(StatusCode::BAD_GATEWAY));
                let listed = listed.filter(|(sign, _)| *sign == Sign::HttpFailure);
                listed.or_else(|| limits.judge(outcome))
            }
            outcome => limits.judge(outcome),
        }
    }
}

impl Limits {
    fn of(healthy: &Counted, unhealthy: &Counted) -> Self {
        let limit = |count: Option<u32>| u8::try_from(count.unwrap_or(0)).unwrap_or(u8::MAX);
        Self {
            successes: limit(healthy.successes),
            tcp_failures: limit(unhealthy.tcp_failures),
            http_failures: limit(unhealthy.http_failures),
            timeouts: limit(unhealthy.timeouts),
            healthy: Statuses::of(healthy.http_statuses.as_deref()),
            unhealthy: Statuses::of(unhealthy.http_statuses.as_deref()),
        }
    }

    /// Returns what an outcome is a sign of, and how many such turn an address over; none for a
    /// status that is in neither list.
    pub fn judge(&self, outcome: Outcome) -> Option<(Sign, u8)> {
        match outcome {
            Outcome::Status(status) if self.healthy.has(status) => {
                Some((Sign::Success, self.successes))
            }
            Outcome::Status(status) if self.unhealthy.has(status) => {
                Some((Sign::HttpFailure, self.http_failures))
            }
            Outcome::Status(_) => None,
            Outcome::Succeeded => Some((Sign::Success, self.successes)),
            Outcome::Unwell => Some((Sign::HttpFailure, self.http_failures)),
            Outcome::Failed => Some((Sign::TcpFailure, self.tcp_failures)),
            Outcome::TimedOut => Some((Sign::Timeout, self.timeouts)),
        }
    }
}

impl Statuses {
    fn of(statuses: Option<&[u16]>) -> Self {
        let mut set = Self::default();
        for status in statuses.into_iter().flatten() {
            if let Some(word) = set.0.get_mut(usize::from(status / 64)) {
                *word |= 1 << (status % 64);
            }
        }
        set
    }

    fn has(&self, status: StatusCode) -> bool {
        let status = status.as_u16();
        self.0.get(usize::from(status / 64)).is_some_and(|word| word >> (status % 64) & 1 == 1)
    }
}

impl Probe {
    fn of(active: &ActiveChecks, host: Option<&str>) -> Option<Self> {
        let interval = |counted: &Counted| {
            let interval = seconds(counted.interval.filter(|seconds| *seconds > 0.0)?)?;
            Some(interval.max(INTERVAL_MIN))
        };
        let (healthy, unhealthy) = (interval(&active.healthy), interval(&active.unhealthy));
        if healthy.is_none() && unhealthy.is_none() {
            return None;
        }
        let timeout = active.timeout.and_then(seconds).filter(|timeout| !timeout.is_zero());
        let concurrency = active.concurrency.unwrap_or(CONCURRENCY).max(1);
        Some(Self {
            kind: ProbeKind::of(active.kind.as_deref()),
            timeout: timeout.unwrap_or(TIMEOUT),
            concurrency: usize::try_from(concurrency).unwrap_or(usize::MAX),
            healthy_interval: healthy,
            unhealthy_interval: unhealthy,
            path: escaped(active.http_path.as_deref().unwrap_or("/")),
            headers: headers(active),
            host: host.map(str::to_owned),
            sni: active.https_sni.clone(),
            verify: active.https_verify_certificate,
        })
    }
}

impl ProbeKind {
    fn of(kind: Option<&str>) -> Self {
        match kind {
            Some("tcp") => Self::Tcp,
            Some("https") => Self::Https,
            Some("grpc") => Self::Grpc,
            Some("grpcs") => Self::Grpcs,
            _ => Self::Http,
        }
    }

    /// Returns whether it goes over TLS.
    pub fn is_secure(self) -> bool {
        matches!(self, Self::Https | Self::Grpcs)
    }

    /// Returns whether it speaks HTTP/2.
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Grpc | Self::Grpcs)
    }
}

fn seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

/// Returns the headers that can be sent, one for each value.
fn headers(active: &ActiveChecks) -> Vec<(HeaderName, HeaderValue)> {
    let values = active
        .headers
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    let parsed = values.filter_map(|(name, value)| {
        Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
    });
    parsed.collect()
}

/// Returns a path that fits into a request line.
fn escaped(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            0x21..=0x7e => escaped.push(byte.into()),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::balancer::tests::upstream;

    fn checks(healthchecks: Value) -> Checks {
        Checks::of(&upstream(json!({"healthchecks": healthchecks})))
    }

    fn status(code: u16) -> Outcome {
        Outcome::Status(StatusCode::from_u16(code).unwrap())
    }

    #[test]
    fn nothing_is_checked_unless_asked_for() {
        let off = checks(json!({}));
        assert!(!off.is_on && off.probe.is_none());
        let only_successes = json!({"passive": {"healthy": {"successes": 3}}});
        assert!(!checks(only_successes).is_on);
        for count in ["tcp_failures", "timeouts", "http_failures"] {
            let checks = checks(json!({"passive": {"unhealthy": {count: 1}}}));
            assert!(checks.is_on && checks.probe.is_none(), "{count}");
        }
        for side in ["healthy", "unhealthy"] {
            let checks = checks(json!({"active": {side: {"interval": 0.001}}}));
            let probe = checks.probe.unwrap();
            let intervals = [probe.healthy_interval, probe.unhealthy_interval];
            assert_eq!(intervals.iter().flatten().collect::<Vec<_>>(), [&INTERVAL_MIN], "{side}");
            assert!(checks.is_on);
        }
    }

    #[test]
    fn a_probe_has_the_defaults_of_the_schema_and_what_is_set() {
        let probe = checks(json!({"active": {"healthy": {"interval": 5}}})).probe.unwrap();
        let wanted = Probe {
            kind: ProbeKind::Http,
            timeout: Duration::from_secs(1),
            concurrency: 10,
            healthy_interval: Some(Duration::from_secs(5)),
            unhealthy_interval: None,
            path: "/".into(),
            headers: Vec::new(),
            host: None,
            sni: None,
            verify: true,
        };
        assert_eq!(probe, wanted);
        let set = json!({
            "type": "https", "timeout": 0, "concurrency": 3, "http_path": "/a b",
            "headers": {"X-A": ["1", "2"]}, "https_sni": "s.test",
            "https_verify_certificate": false, "unhealthy": {"interval": 0.5},
        });
        let probe = checks(json!({"active": set})).probe.unwrap();
        assert_eq!((probe.kind, probe.timeout), (ProbeKind::Https, TIMEOUT));
        assert_eq!((probe.concurrency, probe.path.as_str()), (3, "/a%20b"));
        assert_eq!(probe.headers.len(), 2);
        assert_eq!((probe.sni.as_deref(), probe.verify), (Some("s.test"), false));
    }

    #[test]
    fn outcomes_are_judged_by_the_lists() {
        let checks = checks(json!({"passive": {
            "healthy": {"successes": 1, "http_statuses": [200, 999]},
            "unhealthy": {"tcp_failures": 2, "http_failures": 3, "timeouts": 4},
        }}));
        for (outcome, wanted) in [
            (status(200), Some((Sign::Success, 1))),
            (status(999), Some((Sign::Success, 1))),
            (status(404), None),
            (status(500), Some((Sign::HttpFailure, 3))),
            (status(504), Some((Sign::Timeout, 4))),
            (Outcome::Succeeded, Some((Sign::Success, 1))),
            (Outcome::Unwell, Some((Sign::HttpFailure, 3))),
            (Outcome::Failed, Some((Sign::TcpFailure, 2))),
            (Outcome::TimedOut, Some((Sign::Timeout, 4))),
        ] {
            assert_eq!(checks.of_traffic(outcome), wanted, "{outcome}");
        }
    }

    #[test]
    fn a_failed_connection_counts_as_the_502_that_clients_get() {
        let listed = json!({"http_failures": 2, "http_statuses": [502]});
        let listed = checks(json!({"passive": {"unhealthy": listed}}));
        assert_eq!(listed.of_traffic(Outcome::Failed), Some((Sign::HttpFailure, 2)));
        let unlisted = checks(json!({"passive": {"unhealthy": {"http_failures": 2}}}));
        assert_eq!(unlisted.of_traffic(Outcome::Failed), Some((Sign::TcpFailure, 0)));
    }
}
