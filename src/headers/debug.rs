//! The headers of request debugging, by which a client asks where the time of its request went.

/// Asks for it.
pub const WANTED: &str = "x-kong-request-debug";

/// Shows that the client may ask.
pub const TOKEN: &str = "x-kong-request-debug-token";

/// Asks for a line in the log, too.
pub const LOG: &str = "x-kong-request-debug-log";

/// What is answered.
pub const OUTPUT: &str = "x-kong-request-debug-output";

/// Returns whether a header of a request is one of them, whatever its capitals.
pub fn is_about(name: &str) -> bool {
    [WANTED, TOKEN, LOG].iter().any(|known| name.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_known_in_any_case() {
        for name in
            ["X-Kong-Request-Debug", "x-kong-request-debug-Log", "X-KONG-REQUEST-DEBUG-TOKEN"]
        {
            assert!(is_about(name), "{name}");
        }
        for name in ["x-kong-request-id", "x-kong-request-debug-output", "x-kong-request-debug-"] {
            assert!(!is_about(name), "{name}");
        }
    }
}
