//! Matching a request to a route: an index, never a scan.
