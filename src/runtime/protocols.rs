//! The protocols of routes and services as every request asks for them: read once, not as texts.

/// Which protocols of HTTP a route takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteProtocols {
    /// `http`.
    pub http: bool,
    /// `https`.
    pub https: bool,
    /// `grpc`.
    pub grpc: bool,
    /// `grpcs`.
    pub grpcs: bool,
}

impl RouteProtocols {
    pub(super) fn of(protocols: &[String]) -> Self {
        let has = |wanted: &str| protocols.iter().any(|protocol| protocol == wanted);
        Self { http: has("http"), https: has("https"), grpc: has("grpc"), grpcs: has("grpcs") }
    }
}

/// How a service speaks HTTP to its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheme {
    /// Whether it speaks HTTP/2.
    pub http2: bool,
    /// Whether it is encrypted.
    pub encrypted: bool,
}

impl Scheme {
    /// Reads the protocol of a service; none, if that is none of HTTP.
    pub(super) fn of(protocol: &str) -> Option<Self> {
        let (http2, encrypted) = match protocol {
            "http" => (false, false),
            "https" => (false, true),
            "grpc" => (true, false),
            "grpcs" => (true, true),
            _ => return None,
        };
        Some(Self { http2, encrypted })
    }
}
