//! Names of the counters, as Kong's `/status` spells them in `server` (reference hybrid.md,
//! section 9).

/// Connections accepted since the start.
pub const CONNECTIONS_ACCEPTED: &str = "connections_accepted";
/// Connections open now, idle ones included.
pub const CONNECTIONS_ACTIVE: &str = "connections_active";
/// Connections handled since the start; lower than accepted only when a limit turned some away.
pub const CONNECTIONS_HANDLED: &str = "connections_handled";
/// Connections whose request head is being read.
pub const CONNECTIONS_READING: &str = "connections_reading";
/// Connections that wait for their next request.
pub const CONNECTIONS_WAITING: &str = "connections_waiting";
/// Connections whose request is being served.
pub const CONNECTIONS_WRITING: &str = "connections_writing";
/// Requests since the start.
pub const TOTAL_REQUESTS: &str = "total_requests";
