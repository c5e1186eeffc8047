//! Hosts as clients may name them: a name or an address, and perhaps a port.

use std::net::Ipv6Addr;

use crate::headers::ByteSet;

/// Returns whether this is a host with or without a port, in which nothing can be read as something
/// else (RFC 9110, section 7.2). An empty one is allowed: it names no host.
pub(in crate::proxy::listener) fn is_host(value: &[u8]) -> bool {
    let (name, rest) = match value {
        [] => return true,
        [b'[', ..] => {
            let Some(end) = memchr::memchr(b']', value) else { return false };
            let literal = value.get(1..end).and_then(|text| std::str::from_utf8(text).ok());
            if literal.is_none_or(|text| text.parse::<Ipv6Addr>().is_err()) {
                return false;
            }
            (None, value.get(end + 1..).unwrap_or_default())
        }
        _ => {
            let end = memchr::memchr(b':', value).unwrap_or(value.len());
            let (name, rest) = value.split_at(end);
            (Some(name), rest)
        }
    };
    name.is_none_or(|name| !name.is_empty() && name.iter().all(|byte| OF_NAME.has(*byte)))
        && is_port(rest)
}

/// Letters, digits and the signs of a registered name, without the comma, which parts lists.
static OF_NAME: ByteSet = ByteSet::alphanumeric_and(b"-._~!$&'()*+;=%");

/// Returns whether this is nothing, or a colon and a port, which may be empty.
fn is_port(rest: &[u8]) -> bool {
    let Some((colon, digits)) = rest.split_first() else { return true };
    let number = digits.iter().try_fold(0_u32, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u32::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    });
    *colon == b':' && number.is_some_and(|number| number <= u32::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_with_or_without_a_port() {
        for host in ["", "h", "h.test:80", "h:", "127.0.0.1:65535", "[::1]", "[fe80::1]:80", "a_b"]
        {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            ":", ":80", "h:65536", "h:8x", "h:80:80", "::1", "[::1", "[::1]x", "[]", "[g::1]",
            "a b", "a,b", "a/b", "u@h", "a\\b", "é",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }
}
