//! Stand-in for the plugin's own file.
pub mod kind;
