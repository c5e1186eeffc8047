//! The PROXY protocol, versions 1 and 2: what a balancer before us says of its client.
//!
//! Not a byte behind the header is consumed, so that whatever comes next, such as a TLS handshake,
//! is read from the socket itself.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// The connection that a balancer took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The client.
    pub source: SocketAddr,
    /// What the client connected to.
    pub destination: SocketAddr,
}

/// What a beginning of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// It takes more bytes to tell.
    Partial,
    /// A header of this length; without addresses where the balancer speaks for itself, or of another
    /// family than IP.
    Whole(usize, Option<Announced>),
    /// No header.
    Invalid,
}

const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The length of a version 2 header before its addresses.
const V2_START: usize = 16;

/// The longest header of version 1, its line end included.
const V1_MAX: usize = 107;

/// The longest header of version 2 that is taken, as in nginx.
const V2_MAX: usize = 4096;

/// Reads the header that a connection begins with.
///
/// # Errors
///
/// What the socket fails with, or that there is no header.
pub async fn read(socket: &mut TcpStream) -> io::Result<Option<Announced>> {
    let mut buffer = [0; V1_MAX];
    let mut length = 0;
    loop {
        let room = buffer.get_mut(length..).unwrap_or_default();
        let seen = socket.peek(room).await?;
        if seen == 0 {
            // The client has gone, or what fills the buffer tells nothing.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match header(buffer.get(..length + seen).unwrap_or_default()) {
            Header::Whole(whole, announced) => {
                skip(socket, whole.saturating_sub(length)).await?;
                return Ok(announced);
            }
            // All of it belongs to the header.
            Header::Partial => skip(socket, seen).await?,
            Header::Invalid => return Err(io::ErrorKind::InvalidData.into()),
        }
        length += seen;
    }
}

/// Reads bytes that were looked at, or need not be.
async fn skip(socket: &mut TcpStream, mut count: usize) -> io::Result<()> {
    let mut buffer = [0; 256];
    while count > 0 {
        let room = buffer.len().min(count);
        let read = socket.read(buffer.get_mut(..room).unwrap_or_default()).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        count -= read;
    }
    Ok(())
}

/// Tells what the first bytes of a connection are.
pub fn header(bytes: &[u8]) -> Header {
    let shared = bytes.len().min(V2_SIGNATURE.len());
    if bytes.get(..shared) == V2_SIGNATURE.get(..shared) {
        return v2(bytes);
    }
    let line = bytes.get(..bytes.len().min(V1_MAX)).unwrap_or_default();
    if let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") {
        let text = line.get(..end).and_then(|text| std::str::from_utf8(text).ok());
        return match text.and_then(v1) {
            Some(announced) => Header::Whole(end + 2, announced),
            None => Header::Invalid,
        };
    }
    let start = b"PROXY ";
    let shared = line.len().min(start.len());
    match line.get(..shared) == start.get(..shared) && line.len() < V1_MAX {
        true => Header::Partial,
        false => Header::Invalid,
    }
}

/// Reads a line of version 1; the outer nothing is for one that is none.
fn v1(line: &str) -> Option<Option<Announced>> {
    let mut words = line.strip_prefix("PROXY ")?.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(None);
    }
    let mut ip = || -> Option<IpAddr> {
        let ip: IpAddr = words.next()?.parse().ok()?;
        (ip.is_ipv4() == (family == "TCP4") && matches!(family, "TCP4" | "TCP6")).then_some(ip)
    };
    let (source, destination) = (ip()?, ip()?);
    let mut port = || -> Option<u16> {
        let port = words.next()?;
        port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse().ok())?
    };
    let (from, to) = (port()?, port()?);
    let announced = Announced {
        source: SocketAddr::new(source, from),
        destination: SocketAddr::new(destination, to),
    };
    words.next().is_none().then_some(Some(announced))
}

fn v2(bytes: &[u8]) -> Header {
    let Some((start, addresses)) = bytes.split_first_chunk::<V2_START>() else {
        return Header::Partial;
    };
    let [.., command, family, high, low] = *start;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let whole = V2_START + length;
    // Version 2, and a connection that is the balancer's own (0) or a client's (1).
    let (own, needed) = match (command, family >> 4) {
        (0x20, _) => (true, 0),
        (0x21, 1) => (false, 12),
        (0x21, 2) => (false, 36),
        (0x21, _) => (true, 0),
        _ => return Header::Invalid,
    };
    if length < needed || whole > V2_MAX {
        return Header::Invalid;
    }
    match (own, addresses.get(..needed)) {
        (true, _) => Header::Whole(whole, None),
        (false, None) => Header::Partial,
        (false, Some(addresses)) => match announced(addresses) {
            Some(announced) => Header::Whole(whole, Some(announced)),
            None => Header::Invalid,
        },
    }
}

/// Reads two addresses and two ports.
fn announced(bytes: &[u8]) -> Option<Announced> {
    let (bytes, to) = bytes.split_last_chunk::<2>()?;
    let (addresses, from) = bytes.split_last_chunk::<2>()?;
    let ip = |bytes: &[u8]| -> Option<IpAddr> {
        match bytes.len() {
            4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
            16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
            _ => None,
        }
    };
    let (source, destination) = addresses.split_at_checked(addresses.len() / 2)?;
    Some(Announced {
        source: SocketAddr::new(ip(source)?, u16::from_be_bytes(*from)),
        destination: SocketAddr::new(ip(destination)?, u16::from_be_bytes(*to)),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn from(source: &str, destination: &str) -> Option<Announced> {
        Some(Announced {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        })
    }

    #[test]
    fn lines_of_version_1_are_read() {
        let v4 = from("192.0.2.1:56324", "198.51.100.9:443");
        for (text, expected) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.9 56324 443\r\n", Header::Whole(45, v4)),
            (
                "PROXY TCP6 2001:db8::1 ::1 1 65535\r\n",
                Header::Whole(36, from("[2001:db8::1]:1", "[::1]:65535")),
            ),
            ("PROXY UNKNOWN\r\n", Header::Whole(15, None)),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", Header::Whole(35, None)),
            ("PROXY TCP4 192.0.2.1 198.51.100.9 56324 443", Header::Partial),
            ("PRO", Header::Partial),
            ("", Header::Partial),
            ("PROXY TCP4 192.0.2.1 198.51.100.9 56324 443 \r\n", Header::Invalid),
            ("PROXY TCP4 192.0.2.1  198.51.100.9 56324 443\r\n", Header::Invalid),
            ("PROXY TCP4 ::1 ::1 1 2\r\n", Header::Invalid),
            ("PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", Header::Invalid),
            ("PROXY TCP4 192.0.2.1 198.51.100.9 +1 443\r\n", Header::Invalid),
            ("PROXY TCP4 192.0.2.1 198.51.100.9 1 65536\r\n", Header::Invalid),
            ("PROXY UDP4 192.0.2.1 198.51.100.9 1 2\r\n", Header::Invalid),
            ("proxy UNKNOWN\r\n", Header::Invalid),
            ("GET / HTTP/1.1\r\n", Header::Invalid),
            ("\x16\x03\x01\x02\x00\x01", Header::Invalid),
        ] {
            assert_eq!(header(text.as_bytes()), expected, "{text:?}");
        }
        let long = format!("PROXY UNKNOWN {}", "x".repeat(V1_MAX));
        assert_eq!(header(long.as_bytes()), Header::Invalid);
    }

    fn v2_header(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE, &[command, family], &length, addresses].concat()
    }

    #[test]
    fn headers_of_version_2_are_read() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 9, 0xdc, 0x04, 0x01, 0xbb];
        let mut v6 = [0; 36];
        (v6[15], v6[31], v6[33], v6[35]) = (1, 2, 3, 4);
        let with_more = [&v4[..], &[4, 0, 1, 0]].concat();
        for (command, family, addresses, expected) in [
            (0x21, 0x11, &v4[..], Some(from("192.0.2.1:56324", "198.51.100.9:443"))),
            (0x21, 0x11, &with_more, Some(from("192.0.2.1:56324", "198.51.100.9:443"))),
            (0x21, 0x21, &v6, Some(from("[::1]:3", "[::2]:4"))),
            (0x20, 0x00, &[], Some(None)),
            (0x20, 0x11, &v4, Some(None)),
            (0x21, 0x00, &[], Some(None)),
            (0x21, 0x31, &[0; 216], Some(None)),
            (0x21, 0x11, &v4[..11], None),
            (0x22, 0x11, &v4, None),
            (0x11, 0x11, &v4, None),
            (0x20, 0x00, &[0; V2_MAX], None),
        ] {
            let mut bytes = v2_header(command, family, addresses);
            let whole = bytes.len();
            bytes.extend_from_slice(b"GET /");
            let expected = expected.map_or(Header::Invalid, |it| Header::Whole(whole, it));
            assert_eq!(header(&bytes), expected, "{command:x} {family:x}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_no_beginning_of_a_header_is_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            source: [u8; 4],
            cut in 0_usize..28,
        ) {
            let _ = header(&bytes);
            let _ = header(&[V2_SIGNATURE, bytes.as_slice()].concat());
            let addresses = [&source[..], &[0; 8]].concat();
            let whole = v2_header(0x21, 0x11, &addresses);
            prop_assert_eq!(header(&whole[..cut]), Header::Partial);
        }
    }
}
