//! The first message of a TLS client: which server it asks for (RFC 8446, section 4.1.2; RFC 6066,
//! section 3).
//!
//! Only the name is read: which versions and extensions are any good is for who ends the TLS.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What a beginning of a connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hello {
    /// It takes more bytes to tell.
    Partial,
    /// A hello that asks for this server, in lower case, if it asks for one.
    Whole(Option<Box<str>>),
    /// No TLS.
    Invalid,
}

/// How many bytes a hello may have, with its framing (nginx `preread_buffer_size`).
const HELLO_MAX: usize = 16 * 1024;

/// How long a client may take to send it (nginx `preread_timeout`).
pub(super) const HELLO_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads a hello; returns what was read, to be read again, and the name.
///
/// # Errors
///
/// What the socket fails with, or that there is no hello within bounds of bytes and time.
pub(super) async fn read(socket: &mut TcpStream) -> io::Result<(BytesMut, Option<Box<str>>)> {
    let reading = async {
        let mut read = BytesMut::with_capacity(2048);
        loop {
            if socket.read_buf(&mut read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match hello(&read) {
                Hello::Whole(name) => return Ok((read, name)),
                Hello::Partial if read.len() < HELLO_MAX => {}
                Hello::Partial | Hello::Invalid => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    };
    timeout(HELLO_TIMEOUT, reading).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The types of a record and a message.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// Tells what the first bytes of a connection are.
pub(super) fn hello(bytes: &[u8]) -> Hello {
    let (mut rest, mut message) = (bytes, Vec::new());
    loop {
        if let Some(body) = body(&message) {
            return match name(body) {
                Some(name) => Hello::Whole(name),
                None => Hello::Invalid,
            };
        }
        // A record says early what it is not.
        let fits = |at: usize, wanted: u8| rest.get(at).is_none_or(|byte| *byte == wanted);
        if !(fits(0, HANDSHAKE) && fits(1, 3))
            || message.first().is_some_and(|it| *it != CLIENT_HELLO)
        {
            return Hello::Invalid;
        }
        let Some(([_, _, _, high, low], after)) = rest.split_first_chunk::<5>() else {
            return Hello::Partial;
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if !(1..=HELLO_MAX).contains(&length) {
            return Hello::Invalid;
        }
        let Some((record, after)) = after.split_at_checked(length) else { return Hello::Partial };
        message.extend_from_slice(record);
        rest = after;
    }
}

/// Returns the body of a message, once it is all there.
fn body(message: &[u8]) -> Option<&[u8]> {
    let ([kind, a, b, c], rest) = message.split_first_chunk::<4>()?;
    let length = u32::from_be_bytes([0, *a, *b, *c]);
    (*kind == CLIENT_HELLO).then(|| rest.get(..usize::try_from(length).ok()?))?
}

/// Reads the server name; the outer nothing is for what is no hello.
fn name(body: &[u8]) -> Option<Option<Box<str>>> {
    let mut body = Fields(body);
    // The version and the random bytes.
    body.take(34)?;
    let (_session, _suites, _compressions) = (body.short()?, body.long()?, body.short()?);
    if body.0.is_empty() {
        return Some(None);
    }
    let mut extensions = Fields(body.long()?);
    while !extensions.0.is_empty() {
        let kind = extensions.number()?;
        let content = extensions.long()?;
        if kind == 0 {
            let mut names = Fields(Fields(content).long()?);
            while !names.0.is_empty() {
                let kind = names.take(1)?;
                let text = names.long()?;
                if kind == [0] {
                    return Some(host(text));
                }
            }
        }
    }
    Some(None)
}

/// A name that could stand in a certificate; others match nothing.
fn host(text: &[u8]) -> Option<Box<str>> {
    let text = std::str::from_utf8(text).ok()?;
    let whole = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    whole.then(|| text.to_ascii_lowercase().into())
}

/// Fields with their lengths before them.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        let taken = self.take(2)?;
        Some(u16::from_be_bytes(taken.try_into().ok()?))
    }

    /// A field of up to 255 bytes.
    fn short(&mut self) -> Option<&'a [u8]> {
        let length = self.take(1)?.first().copied()?;
        self.take(usize::from(length))
    }

    /// A field of up to 65535 bytes.
    fn long(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(usize::from(length))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::pki_types::ServerName;

    use super::*;
    use crate::clock::Clock;
    use crate::pki::upstream::{UpstreamOptions, upstream_client_config};

    /// What the TLS library says first when it asks for a server.
    fn first_words(server: &str) -> Vec<u8> {
        let config = upstream_client_config(&UpstreamOptions::default(), &Clock::System).unwrap();
        let name = ServerName::try_from(server.to_owned()).unwrap();
        let mut client = rustls::ClientConnection::new(Arc::clone(&config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    /// Cuts the message of one record into records of at most `size` bytes.
    fn in_records(bytes: &[u8], size: usize) -> Vec<u8> {
        let record = |part: &[u8]| {
            let length = u16::try_from(part.len()).unwrap().to_be_bytes();
            [&[HANDSHAKE, 3, 1], &length[..], part].concat()
        };
        bytes[5..].chunks(size).flat_map(record).collect()
    }

    #[test]
    fn a_hello_tells_the_server_and_its_beginnings_do_not() {
        for (server, expected) in [("A.Test", Some("a.test")), ("127.0.0.1", None)] {
            let bytes = first_words(server);
            let expected = Hello::Whole(expected.map(Box::from));
            assert_eq!(hello(&bytes), expected);
            assert_eq!(hello(&in_records(&bytes, 7)), expected);
            // What comes behind it is not looked at.
            assert_eq!(hello(&[&bytes[..], b"more"].concat()), expected);
            for length in 0..bytes.len() {
                assert_eq!(hello(&bytes[..length]), Hello::Partial, "{length}");
            }
        }
    }

    #[test]
    fn what_is_no_hello_is_told_early() {
        for bytes in [
            &b"G"[..],
            b"SSH-2.0-x",
            b"\x16\x02",
            b"\x16\x03\x01\x00\x00",
            b"\x16\x03\x01\xff\xff",
            b"\x16\x03\x01\x00\x01\x02\x16",
            b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",
            b"\x15\x03\x03\x00\x02\x02\x28",
        ] {
            assert_eq!(hello(bytes), Hello::Invalid, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0_usize..200, byte: u8) {
            let _ = hello(&bytes);
            let mut damaged = first_words("a.test");
            let at = at % damaged.len();
            damaged[at] = byte;
            let _ = hello(&damaged);
            let _ = hello(&[&[HANDSHAKE, 3, 1, 0, 200, CLIENT_HELLO, 0, 0, 190], &bytes[..]].concat());
        }
    }
}
