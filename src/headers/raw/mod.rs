//! Header lines as an upstream sent them, for answers that nobody changes: they are passed on as they
//! are, and listed only for whoever asks.
//!
//! Only what every reader reads alike is taken this way: lines that end in CR LF, names that are tokens,
//! values without control characters, one plain length or `chunked`. Everything else is left to the
//! parser.

use bytes::Bytes;
use http::{HeaderValue, header};

use super::{ByteSet, Headers, read_name};

/// Most lines that are left out of a head that is passed on.
const LEFT_OUT_MAX: usize = 4;

/// Most lines of a head.
const LINES_MAX: usize = 128;

/// A part of a head, from and to.
type Span = (u16, u16);

/// Lines of which some are left out.
#[derive(Clone, Debug)]
pub struct RawHeaders {
    lines: Bytes,
    layout: Layout,
}

/// What was found in a head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    left_out: [Span; LEFT_OUT_MAX],
    left_out_count: u8,
    content_type: Option<(Span, Span)>,
    /// The length of the body.
    pub content_length: Option<u64>,
    /// Whether the body comes in chunks.
    pub chunked: bool,
    /// Whether there is a `Date`.
    pub has_date: bool,
    /// Whether there is a `Server`.
    pub has_server: bool,
    /// Whether there is a `Via`.
    pub has_via: bool,
    /// Whether the body is encoded.
    pub is_encoded: bool,
    /// Whether a name begins with `x-kong-`, or is `x-config-hash`.
    pub is_of_gateway: bool,
}

/// Reads a line of the plain kind that these bytes begin with: its name, and what follows the colon up to
/// CR LF, with spaces. None, if it is not all there, or of another kind.
pub fn read_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, rest) = bytes.split_at_checked(token_length(bytes))?;
    let text = rest.strip_prefix(b":")?;
    let (text, rest) = text.split_at_checked(text_length(text))?;
    (!name.is_empty() && rest.starts_with(b"\r\n")).then_some((name, text))
}

/// Returns how many bytes of a token these bytes begin with (RFC 9110, section 5.6.2).
pub fn token_length(bytes: &[u8]) -> usize {
    let end = bytes.iter().position(|byte| !TOKEN.has(*byte));
    end.unwrap_or(bytes.len())
}

impl Layout {
    /// Reads header lines up to an empty one; returns what they are and their length with that.
    /// None, if they are not all there, or not of the plain kind.
    pub fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut layout = Self::default();
        let mut at = 0;
        for _ in 0..=LINES_MAX {
            let line = bytes.get(at..)?;
            if let [b'\r', b'\n', ..] = line {
                return Some((layout, at + 2));
            }
            let (name, text) = read_line(line)?;
            let end = at + name.len() + 1 + text.len() + 2;
            layout.note(name, text, (u16::try_from(at).ok()?, u16::try_from(end).ok()?))?;
            at = end;
        }
        None
    }

    /// Takes note of a line, which lies there; none, if it is not of the plain kind.
    fn note(&mut self, name: &[u8], text: &[u8], line: Span) -> Option<()> {
        let is = |title: &[u8], lower: &[u8]| {
            name == lower || name == title || name.eq_ignore_ascii_case(lower)
        };
        let value = text.trim_ascii();
        match (name.len(), name.first()? | 0x20) {
            (3, b'v') if is(b"Via", b"via") => self.has_via = true,
            (4, b'd') if is(b"Date", b"date") => self.has_date = true,
            (6, b's') if is(b"Server", b"server") => self.has_server = true,
            (7, b'u') if is(b"Upgrade", b"upgrade") => return None,
            (7, b't') if is(b"Trailer", b"trailer") => return None,
            (10, b'c') if is(b"Connection", b"connection") => {
                value.eq_ignore_ascii_case(b"keep-alive").then_some(())?;
                self.leave_out(line)?;
            }
            (10, b'k') if is(b"Keep-Alive", b"keep-alive") => self.leave_out(line)?,
            (12, b'c') if is(b"Content-Type", b"content-type") => {
                let before = text.len() - text.trim_ascii_start().len();
                let start = line.0 + u16::try_from(name.len() + 1 + before).ok()?;
                let value = (start, start + u16::try_from(value.len()).ok()?);
                self.content_type.is_none().then_some(())?;
                self.content_type = Some((line, value));
            }
            (14, b'c') if is(b"Content-Length", b"content-length") => {
                let is_first = self.content_length.is_none() && !self.chunked;
                is_first.then_some(())?;
                self.content_length = Some(plain_number(value)?);
                self.leave_out(line)?;
            }
            (16, b'p') if is(b"Proxy-Connection", b"proxy-connection") => return None,
            (16, b'c') if is(b"Content-Encoding", b"content-encoding") => self.is_encoded = true,
            (17, b't') if is(b"Transfer-Encoding", b"transfer-encoding") => {
                let is_first = self.content_length.is_none() && !self.chunked;
                (is_first && value.eq_ignore_ascii_case(b"chunked")).then_some(())?;
                self.chunked = true;
                self.leave_out(line)?;
            }
            (_, b'x') => {
                let start = name.get(..7).is_some_and(|it| it.eq_ignore_ascii_case(b"x-kong-"));
                self.is_of_gateway |= start || name.eq_ignore_ascii_case(b"x-config-hash");
            }
            _ => {}
        }
        Some(())
    }

    /// Leaves a line out; none, if there are too many already. Room is kept for the content type.
    fn leave_out(&mut self, line: Span) -> Option<()> {
        let room = self.left_out.get_mut(..LEFT_OUT_MAX - 1)?;
        *room.get_mut(usize::from(self.left_out_count))? = line;
        self.left_out_count += 1;
        Some(())
    }
}

/// Reads digits that nobody counts otherwise: few enough, and without zeros before them.
fn plain_number(digits: &[u8]) -> Option<u64> {
    let is_padded = digits.len() > 1 && digits.starts_with(b"0");
    if digits.is_empty() || digits.len() > 18 || is_padded {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
    })
}

/// Returns how many bytes a text begins with that may stand in a value (RFC 9110, section 5.5), most of
/// them eight at a time.
pub fn text_length(bytes: &[u8]) -> usize {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const TOP: u64 = 0x80 * EACH;
    let mut plain = 0;
    for eight in bytes.as_chunks().0 {
        let word = u64::from_le_bytes(*eight);
        let control = word.wrapping_sub(0x20 * EACH) & !word;
        let delete = word ^ (0x7f * EACH);
        let delete = delete.wrapping_sub(EACH) & !delete;
        let odd = (control | delete) & TOP;
        if odd != 0 {
            // The first that is found is one; of those behind it nothing is known.
            plain += odd.trailing_zeros() as usize / 8;
            break;
        }
        plain += 8;
    }
    let is_text = |&byte: &u8| byte >= b' ' && byte != 0x7f || byte == b'\t';
    let rest = bytes.get(plain..).unwrap_or_default();
    let end = rest.iter().position(|byte| !is_text(byte));
    plain + end.unwrap_or(rest.len())
}

/// Which bytes a name is made of (RFC 9110, section 5.6.2).
static TOKEN: ByteSet = ByteSet::alphanumeric_and(b"!#$%&'*+-.^_`|~");

impl RawHeaders {
    /// Puts the lines, as they were read, to what was found in them.
    pub fn new(lines: Bytes, layout: Layout) -> Self {
        Self { lines, layout }
    }

    /// Returns what was found.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns the lines that are passed on, in as few pieces as there are lines left out between them.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let Layout { left_out, left_out_count, .. } = &self.layout;
        let left_out = left_out.get(..usize::from(*left_out_count)).unwrap_or_default();
        let starts = left_out.iter().map(|line| line.1);
        let ends = left_out.iter().map(|line| line.0);
        let length = u16::try_from(self.lines.len()).unwrap_or(u16::MAX);
        std::iter::once(0)
            .chain(starts)
            .zip(ends.chain([length]))
            .map(|(start, end)| self.part((start, end)))
    }

    fn part(&self, (start, end): Span) -> &[u8] {
        self.lines.get(usize::from(start)..usize::from(end)).unwrap_or_default()
    }

    /// Returns the content type.
    pub fn content_type(&self) -> Option<&[u8]> {
        self.layout.content_type.map(|(_, value)| self.part(value))
    }

    /// Leaves out the content type.
    pub fn leave_out_content_type(&mut self) {
        let Layout { left_out, left_out_count, content_type, .. } = &mut self.layout;
        let Some((line, _)) = content_type.take() else { return };
        if let Some(slot) = left_out.get_mut(usize::from(*left_out_count)) {
            *slot = line;
            *left_out_count += 1;
        }
        let all = left_out.get_mut(..usize::from(*left_out_count));
        all.unwrap_or_default().sort_unstable();
    }

    /// Lists the headers that are passed on, and the length.
    pub fn list(&self, headers: &mut Headers) {
        for line in self.pieces().flat_map(|piece| piece.split_inclusive(|byte| *byte == b'\n')) {
            let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
            let (name, value) = line.split_at(colon);
            let value = value.strip_prefix(b":").unwrap_or_default().trim_ascii();
            let value = match value {
                [] => Ok(HeaderValue::from_static("")),
                value => HeaderValue::from_maybe_shared(self.lines.slice_ref(value)),
            };
            // They were looked at before: what is no header is not here.
            if let (Ok(name), Ok(value)) = (read_name(name), value) {
                headers.append(name, value);
            }
        }
        if let Some(length) = self.layout.content_length {
            headers.append(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
    }
}

#[cfg(test)]
mod tests;
