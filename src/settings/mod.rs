//! The node's static settings: kong.conf, `KONG_*` variables, validation as Kong does it.
