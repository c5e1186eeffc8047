//! `pre-function`: Lua code that runs before all other plugins (reference gateway-4, section F.4).

use super::{PluginKind, functions};

/// The plugin.
pub const KIND: PluginKind =
    PluginKind::new("pre-function", 1_000_000, || functions::schema(&KIND));
