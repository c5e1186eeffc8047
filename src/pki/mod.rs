//! Certificates and TLS settings of the cluster link, the proxy and the Admin API.
