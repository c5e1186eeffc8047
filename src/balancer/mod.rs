//! Upstream peers: which target gets the next request.
