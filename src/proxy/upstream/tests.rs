//! Against raw TCP upstreams: reuse, framing, failures, limits.
