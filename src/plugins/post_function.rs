//! `post-function`: Lua code that runs after all other plugins (reference gateway-4, section F.4).

use super::{PluginKind, functions};

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("post-function", -1000, || functions::schema(&KIND));
