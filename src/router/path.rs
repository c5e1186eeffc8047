//! The path that goes upstream (reference gateway-3, section C.4).

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::headers::ByteSet;

/// How service path and request path are joined; `v1` is there in the flavour `traditional` only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathHandling {
    /// With one slash in between.
    V0,
    /// As they are.
    V1,
}

/// Joins service path and request path.
///
/// `matched` is how many bytes of the normalised `request_path` the route's path matched, 0 when
/// it has none. What has to be escaped on the wire is. `room` is how many bytes the caller will
/// append.
pub fn upstream_path<'p>(
    service_path: Option<&str>,
    request_path: &'p str,
    matched: usize,
    how: (bool, PathHandling),
    room: usize,
) -> Cow<'p, str> {
    let base = service_path.unwrap_or("/");
    if is_kept(base, request_path, matched, how.0) && request_path.bytes().all(fits) {
        return Cow::Borrowed(request_path);
    }
    Cow::Owned(escaped(join(base, request_path, matched, how, room)))
}

/// Returns whether joining ends where it begins, as for most requests: nothing comes in front, and at most the
/// slash is cut off that is put there again.
fn is_kept(base: &str, request_path: &str, matched: usize, strip: bool) -> bool {
    let Some(rest) = request_path.strip_prefix('/').filter(|_| base == "/") else { return false };
    !strip || matched <= 1 && !rest.starts_with('/') && sanitised(Some(rest)).len() == rest.len()
}

pub(super) fn join(
    base: &str,
    request_path: &str,
    matched: usize,
    (strip, handling): (bool, PathHandling),
    room: usize,
) -> String {
    let mut path = String::with_capacity(base.len() + request_path.len() + 1 + room);
    if handling == PathHandling::V1 {
        let rest = match (strip, matched) {
            (true, 1..) => sanitised(request_path.get(matched..)),
            (true, 0) => sanitised(request_path.get(1..)),
            (false, _) => request_path.strip_prefix('/').unwrap_or(request_path),
        };
        let doubled = strip && base.ends_with('/') && rest.starts_with('/');
        path.push_str(if doubled { base.strip_suffix('/').unwrap_or(base) } else { base });
        path.push_str(rest);
    } else if strip {
        let cut = if matched == 0 { 1 } else { matched };
        join_stripped(&mut path, base, request_path, sanitised(request_path.get(cut..)));
    } else if base.ends_with('/') {
        path.push_str(base);
        path.push_str(request_path.strip_prefix('/').unwrap_or(request_path));
    } else {
        path.push_str(base);
        if request_path != "/" {
            path.push_str(request_path);
        }
    }
    path
}

/// A prefix may have been cut in the middle of a segment, so dots can have come to the front.
fn sanitised(rest: Option<&str>) -> &str {
    match rest.unwrap_or_default() {
        "." | ".." => "",
        rest => rest.strip_prefix("./").or_else(|| rest.strip_prefix("../")).unwrap_or(rest),
    }
}

fn join_stripped(path: &mut String, base: &str, request_path: &str, rest: &str) {
    let bare = base.strip_suffix('/');
    let slash_wanted = request_path.ends_with('/') && request_path != "/";
    match (bare, rest.is_empty(), rest.starts_with('/')) {
        (Some(bare), true, _) => {
            let keep = bare.is_empty() || request_path.ends_with('/');
            path.push_str(if keep { base } else { bare });
        }
        (Some(bare), _, true) => {
            path.push_str(bare);
            path.push_str(rest);
        }
        (Some(_), ..) => {
            path.push_str(base);
            path.push_str(rest);
        }
        (None, true, _) => {
            path.push_str(base);
            if slash_wanted {
                path.push('/');
            }
        }
        (None, _, true) => {
            path.push_str(base);
            path.push_str(rest);
        }
        (None, ..) => {
            path.push_str(base);
            path.push('/');
            path.push_str(rest);
        }
    }
}

/// Which bytes may stand in a path on the wire as they are. `?` and `#` can only be there as text of a segment:
/// unescaped they would start the query.
static WIRE: ByteSet = ByteSet::alphanumeric_and(b"!$&'()*+,/:;=@[]-_.~%");

fn fits(byte: u8) -> bool {
    WIRE.has(byte)
}

fn escaped(path: String) -> String {
    if path.bytes().all(fits) {
        return path;
    }
    let mut out = String::with_capacity(path.len() + 16);
    for byte in path.bytes() {
        if fits(byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
