//! The bytes of one non-blocking connection: what is still to be written, and reading till dry.

use std::io::{self, ErrorKind, Read as _, Write as _};

use mio::net::TcpStream;

/// A non-blocking connection with its unwritten rest.
pub(crate) struct Connection {
    stream: TcpStream,
    unwritten: Vec<u8>,
}

/// What one read brought.
pub(crate) enum Received {
    /// So many bytes; there may be more.
    Bytes(usize),
    /// Nothing for now: the poll will tell.
    Nothing,
    /// The peer ended the connection.
    End,
}

impl Connection {
    /// Wraps a stream that the caller has registered for both readiness events.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, unwritten: Vec::new() }
    }

    /// Returns the stream, to register it.
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Writes as much as the socket takes and keeps the rest for [`Connection::flush`].
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let taken = if self.unwritten.is_empty() { self.write_some(bytes)? } else { 0 };
        self.unwritten.extend_from_slice(&bytes[taken..]);
        Ok(())
    }

    /// Writes what was left over, once the socket takes bytes again.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.unwritten);
        let taken = self.write_some(&bytes)?;
        self.unwritten.extend_from_slice(&bytes[taken..]);
        Ok(())
    }

    /// Reads once into `buffer`.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        loop {
            return match self.stream.read(buffer) {
                Ok(0) => Ok(Received::End),
                Ok(count) => Ok(Received::Bytes(count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Received::Nothing),
                Err(error) => Err(error),
            };
        }
    }

    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        while taken < bytes.len() {
            match self.stream.write(&bytes[taken..]) {
                Ok(count) => taken += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A socket that is still connecting says so once it is asked to send.
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) =>
                {
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }
}
