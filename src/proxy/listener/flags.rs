//! The flags of a listening socket beyond its address.

use std::io;

use socket2::{Socket, TcpKeepalive};

use super::bind::ListenSpec;

/// Sets what accepted sockets inherit.
pub(super) fn set(socket: &Socket, spec: &ListenSpec) -> io::Result<()> {
    // Inherited, which saves a system call for each connection.
    socket.set_tcp_nodelay(true)?;
    // One that is taken over may have it.
    socket.set_keepalive(spec.keepalive.is_some())?;
    if let Some(wanted) = &spec.keepalive {
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
