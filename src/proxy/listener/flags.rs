//! The flags of a listening socket beyond its address.

use std::io;

use socket2::{Socket, TcpKeepalive};

use super::bind::ListenSpec;

/// Sets what accepted sockets inherit, and whether an IPv6 socket takes IPv4.
pub(in crate::proxy) fn set(socket: &Socket, spec: &ListenSpec) -> io::Result<()> {
    if spec.addr.is_ipv6() {
        socket.set_only_v6(spec.ipv6only)?;
    }
    // Inherited, which saves a system call for each connection.
    socket.set_tcp_nodelay(true)?;
    if let Some(wanted) = &spec.keepalive {
        socket.set_keepalive(true)?;
        let mut keepalive = TcpKeepalive::new();
        if let Some(idle) = wanted.idle {
            keepalive = keepalive.with_time(idle);
        }
        if let Some(interval) = wanted.interval {
            keepalive = keepalive.with_interval(interval);
        }
        if let Some(count) = wanted.count {
            keepalive = keepalive.with_retries(count);
        }
        socket.set_tcp_keepalive(&keepalive)?;
    }
    Ok(())
}
