//! Field types that several kinds and plugins share, with their error texts
//! (reference gateway-1, section A.2).

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::domain::pem;
use crate::domain::schema::{Auto, Check, Field, OnDelete, Validator};

/// All protocols, in the order of Kong's messages.
const PROTOCOLS: &[&str] =
    &["grpc", "grpcs", "http", "https", "tcp", "tls", "tls_passthrough", "udp"];

/// The id of an entity.
pub fn id() -> Field {
    uuid().auto(Auto::Id)
}

/// A UUID.
pub fn uuid() -> Field {
    Field::string().uuid()
}

/// Labels.
pub fn tags() -> Field {
    Field::set(tag().required())
}

/// One label.
pub fn tag() -> Field {
    text(|tag| {
        let good = tag.chars().all(|c| match c {
            ',' | '/' => false,
            c if c.is_ascii() => !c.is_ascii_control(),
            _ => true,
        });
        good.then_some(()).ok_or_else(|| {
            format!(
                "invalid tag '{tag}': expected printable ascii (except `,` and `/`) or valid utf-8 \
                 sequences"
            )
        })
    })
}

/// A name that fits into a path.
pub fn utf8_name() -> Field {
    text(|name| {
        let good = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || ".-_~".contains(c);
        name.chars().all(good).then_some(()).ok_or_else(|| {
            format!(
                "invalid value '{name}': the only accepted ascii characters are alphanumerics or \
                 ., -, _, and ~"
            )
        })
    })
}

/// One protocol.
pub fn protocol() -> Field {
    Field::string().one_of(PROTOCOLS.iter().copied())
}

/// The protocols of plugins that run on HTTP.
pub fn protocols_http() -> Field {
    let http = ["grpc", "grpcs", "http", "https"];
    Field::set(Field::string().one_of(http)).required().default(json!(http))
}

/// The protocols of plugins that run on every protocol.
pub fn protocols() -> Field {
    Field::set(protocol()).required().default(json!(["grpc", "grpcs", "http", "https"]))
}

/// The scope of a plugin that cannot be set for a consumer.
pub fn no_consumer() -> Field {
    Field::foreign(super::consumer::KIND, OnDelete::Restrict).eq(Value::Null)
}

/// The scope of a plugin that cannot be set for a route.
pub fn no_route() -> Field {
    Field::foreign(super::route::KIND, OnDelete::Restrict).eq(Value::Null)
}

/// The scope of a plugin that cannot be set for a service.
pub fn no_service() -> Field {
    Field::foreign(super::service::KIND, OnDelete::Restrict).eq(Value::Null)
}

/// A port.
pub fn port() -> Field {
    Field::integer().between(0, 65535)
}

/// A host name or address, without a port.
pub fn host() -> Field {
    text(|text| match split_host_port(text) {
        Ok((_, None)) => Ok(()),
        Ok(_) => Err("must not have a port".into()),
        Err(_) => Err(format!("invalid value: {text}")),
    })
}

/// A host name or address with or without a port.
pub fn host_with_optional_port() -> Field {
    text(|text| split_host_port(text).map(drop).map_err(str::to_owned))
}

/// A server name.
pub fn sni() -> Field {
    text(|text| match split_host_port(text) {
        Ok((host, _)) if host.parse::<std::net::IpAddr>().is_ok() => {
            Err("must not be an IP".into())
        }
        Ok((_, Some(_))) => Err("must not have a port".into()),
        Ok(_) => Ok(()),
        Err(_) => Err(format!("invalid value: {text}")),
    })
}

/// A server name, with at most one `*` as its first or last character.
pub fn wildcard_host() -> Field {
    text(|text| {
        let stars = text.matches('*').count();
        if stars > 1 {
            return Err("only one wildcard must be specified".into());
        }
        if stars == 1 && !text.starts_with('*') && !text.ends_with('*') {
            return Err("wildcard must be leftmost or rightmost character".into());
        }
        match split_host_port(&text.replace('*', "wildcard")) {
            Ok((host, _)) if host.parse::<std::net::IpAddr>().is_ok() => {
                Err("must not be an IP".into())
            }
            Ok((_, Some(_))) => Err("must not have a port".into()),
            Ok(_) => Ok(()),
            Err(_) => Err(format!("invalid value: {text}")),
        }
    })
}

/// A host of a route.
pub fn route_host() -> Field {
    text(|text| split_host_port(&text.replace('*', "wildcard")).map(drop).map_err(str::to_owned))
        .match_all([("^[^*]*%*?[^*]*$", "invalid wildcard: must have at most one wildcard")])
        .match_any(
            ["^%*%.", "%.%*$", "^[^*]*$"],
            "invalid wildcard: must be placed at leftmost or rightmost label",
        )
}

/// An upper-case method name.
pub fn http_method() -> Field {
    Field::string().matches("^%u+$")
}

/// The name of a header.
pub fn header_name() -> Field {
    text(|text| {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        text.bytes().all(good).then_some(()).ok_or_else(|| {
            format!("bad header name '{text}', allowed characters are A-Z, a-z, 0-9, '_', and '-'")
        })
    })
}

/// The name of a cookie.
pub fn cookie_name() -> Field {
    text(|text| {
        let good = |c: char| c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?={}".contains(c);
        text.chars().all(good).then_some(()).ok_or_else(|| {
            format!("bad cookie name '{text}', allowed characters are those of an HTTP token")
        })
    })
}

/// Header names with values.
pub fn headers() -> Field {
    Field::map(header_name(), Field::array(Field::string()))
}

/// An IP address.
pub fn ip() -> Field {
    text(|text| match text.parse::<std::net::IpAddr>() {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("not an ip address: {text}")),
    })
}

/// An IP address or a range of them.
pub fn ip_or_cidr() -> Field {
    text(|text| {
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let address = address.parse::<std::net::IpAddr>().ok();
        let most = address.map_or(0, |a| if a.is_ipv4() { 32 } else { 128 });
        let bits_good = bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|b| b <= most));
        match address.is_some() && bits_good {
            true => Ok(()),
            false => Err(format!("invalid ip or cidr range: '{text}'")),
        }
    })
}

/// A set of addresses and ports.
pub fn endpoints() -> Field {
    let one = Check::AtLeastOneOf(&["ip", "port"]);
    Field::set(Field::record([("ip", ip_or_cidr()), ("port", port())]).check(one))
}

/// A path to send upstream.
pub fn path() -> Field {
    let path = text(|text| {
        if !text.bytes().all(is_uri_byte) {
            return Err(format!(
                "invalid path: '{text}' (characters outside of the reserved list of RFC 3986 found)"
            ));
        }
        check_escapes(text)
    });
    path.starts_with("/").match_none([("//", "must not have empty segments")])
}

/// A path of a route: a prefix, or a regular expression behind `~`.
pub fn router_path() -> Field {
    text(|text| {
        if let Some(pattern) = text.strip_prefix("~").filter(|rest| rest.starts_with('/')) {
            // The engine of the data plane: linear time, bounded size.
            return compile(pattern)
                .map(drop)
                .map_err(|error| format!("invalid regex: '{pattern}' ({error})"));
        }
        check_escapes(text)?;
        let normal = normalise_path(text);
        if normal != text {
            return Err(format!("non-normalized path, consider use '{normal}' instead"));
        }
        Ok(())
    })
    .match_none([("//", "must not have empty segments")])
    .match_any(["^/", "^~/"], "should start with: / (fixed path) or ~/ (regex path)")
}

/// How large one compiled pattern may get, in bytes.
const REGEX_SIZE_MAX: usize = 1 << 20;

/// Compiles a path pattern the way the router does: anchored at the start, Kong's `(?<name>…)`
/// accepted.
pub fn compile(pattern: &str) -> Result<regex::Regex, String> {
    regex::RegexBuilder::new(&format!("^{pattern}"))
        .size_limit(REGEX_SIZE_MAX)
        .build()
        .map_err(|error| error.to_string().lines().last().unwrap_or_default().trim().to_owned())
}

/// Normalises a path: escapes of unreserved characters decoded, `.` and `..` resolved, slashes
/// merged (reference gateway-3, section C.3). Bytes that are not UTF-8 stay escaped.
pub fn normalise_path(path: &str) -> Cow<'_, str> {
    if is_normal(path) {
        return Cow::Borrowed(path);
    }
    let decoded = decode_unreserved(path);
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut parts = decoded.split(|byte| *byte == b'/').peekable();
    let mut trailing = false;
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            b"" | b"." => trailing = last,
            b".." => {
                segments.pop();
                trailing = last;
            }
            part => segments.push(part),
        }
    }
    let mut normal = Vec::with_capacity(decoded.len());
    for segment in &segments {
        normal.push(b'/');
        normal.extend_from_slice(segment);
    }
    if trailing || segments.is_empty() {
        normal.push(b'/');
    }
    Cow::Owned(escape_invalid(&normal))
}

/// Most paths of real traffic are normal already.
fn is_normal(path: &str) -> bool {
    let mut last = b' ';
    let calm = path.bytes().all(|byte| {
        let calm = byte != b'%' && !(last == b'/' && (byte == b'/' || byte == b'.'));
        last = byte;
        calm
    });
    calm && path.starts_with('/')
}

fn escape_invalid(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Characters whose escapes are kept.
const RESERVED: &[u8] = b"!*'();:@&=+$,/?%#[]";

fn decode_unreserved(path: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.as_bytes();
    while let Some((first, rest)) = bytes.split_first() {
        match (first, rest) {
            (b'%', [high, low, tail @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                let byte = hex(*high).unwrap_or(0) << 4 | hex(*low).unwrap_or(0);
                if RESERVED.contains(&byte) {
                    out.push(b'%');
                    out.push(high.to_ascii_uppercase());
                    out.push(low.to_ascii_uppercase());
                } else {
                    out.push(byte);
                }
                bytes = tail;
            }
            (byte, tail) => {
                out.push(*byte);
                bytes = tail;
            }
        }
    }
    out
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn is_uri_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$&'()*+,/:;=?@[]-_.~%".contains(&byte)
}

fn check_escapes(text: &str) -> Result<(), String> {
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let escape: String = rest.chars().skip_while(|c| *c != '%').take(3).collect();
        let digits = escape.chars().skip(1).filter(char::is_ascii_hexdigit).count();
        if digits != 2 {
            return Err(format!("invalid url-encoded value: '{escape}'"));
        }
        rest = rest.get(at + 1..).unwrap_or_default();
    }
    Ok(())
}

/// Splits `host[:port]`; IPv6 with a port stands in brackets. Errors are Kong's texts.
pub fn split_host_port(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok((text, None));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or("invalid ipv6 address")?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| "invalid ipv6 address")?;
        return match port.strip_prefix(':') {
            Some(port) => parse_port(port).map(|port| (host, Some(port))),
            None if port.is_empty() => Ok((host, None)),
            None => Err("invalid ipv6 address"),
        };
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(parse_port(port)?)),
        None => (text, None),
    };
    is_host_name(host).then_some((host, port)).ok_or("invalid hostname")
}

fn parse_port(text: &str) -> Result<u16, &'static str> {
    text.parse().map_err(|_| "invalid port number")
}

/// Returns whether a text is a host name or IPv4 address.
fn is_host_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let all_numeric = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    text.len() <= 253
        && text.split('.').all(label)
        && (!all_numeric || text.parse::<std::net::Ipv4Addr>().is_ok() || !text.contains('.'))
}

/// A certificate, and its chain, in PEM.
pub fn certificate() -> Field {
    text(|text| {
        pem::certificate(text).map(drop).map_err(|error| format!("invalid certificate: {error}"))
    })
}

/// A private key in PEM.
pub fn private_key() -> Field {
    text(|text| pem::private_key(text).map(drop).map_err(|error| format!("invalid key: {error}")))
}

/// A text under a rule that a closure states.
pub fn text(rule: fn(&str) -> Result<(), String>) -> Field {
    Field::string().rule(Validator::code(move |value| match value.as_str() {
        Some(text) => rule(text),
        None => Ok(()),
    }))
}
