//! What the operator can set about streams.

use crate::proxy::settings::Network;
use crate::settings::StreamFormat;
use crate::telemetry::access::AccessLog;

/// The settings of streams.
#[derive(Clone)]
pub struct StreamSettings {
    /// The peers whose PROXY protocol is believed.
    pub trusted: Vec<Network>,
    /// The ports that clients see, by the ports that we listen on.
    pub port_maps: Vec<(u16, u16)>,
    /// Where sessions are logged.
    pub access_log: Option<AccessLog>,
    /// How lines of it look.
    pub access_format: StreamFormat,
}
