//! Bytes cut into frames, whatever pieces they come in.
//!
//! What a frame says is needed whole, but for bodies: those are passed on as they come, so that a
//! slow body holds no buffer but its own.

use super::frame::{Code, FRAME_MAX, Fault, HEAD, Head, PREFACE, flag, kind};

/// What was found in the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'b> {
    /// A frame of a body begins, of which `content` bytes are not padding.
    Data { head: Head, content: usize },
    /// A piece of it; the last one may end the stream.
    Piece { piece: &'b [u8], last: bool },
    /// Any other frame.
    Frame(Head, &'b [u8]),
}

/// A frame of a body that has begun.
#[derive(Clone, Copy, Debug)]
struct Body {
    content: usize,
    padding: usize,
}

/// The reader of a connection.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// How much of the preface has come.
    preface: usize,
    /// The first bytes of a frame that is not whole. Holds no memory between frames.
    part: Vec<u8>,
    body: Option<Body>,
}

impl Incoming {
    /// Returns whether a frame has begun and not ended.
    pub(super) fn is_within(&self) -> bool {
        !self.part.is_empty() || self.body.is_some() || self.preface < PREFACE.len()
    }

    /// Cuts bytes into frames.
    pub(super) fn read(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(Found<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        while let Some((byte, rest)) = bytes.split_first()
            && let Some(wanted) = PREFACE.get(self.preface)
        {
            if byte != wanted {
                return Err(Fault::Connection(Code::Protocol));
            }
            self.preface += 1;
            bytes = rest;
        }
        if self.part.is_empty() {
            let left = self.cut(bytes, &mut take)?;
            self.part.extend_from_slice(left);
            return Ok(());
        }
        let mut part = std::mem::take(&mut self.part);
        part.extend_from_slice(bytes);
        let left = self.cut(&part, &mut take)?.len();
        part.drain(..part.len() - left);
        if !part.is_empty() {
            self.part = part;
        }
        Ok(())
    }

    /// Takes what frames there are, and returns what is left.
    fn cut<'b>(
        &mut self,
        mut bytes: &'b [u8],
        take: &mut impl FnMut(Found<'_>) -> Result<(), Fault>,
    ) -> Result<&'b [u8], Fault> {
        loop {
            if let Some(body) = &mut self.body {
                let (piece, rest) = bytes.split_at(body.content.min(bytes.len()));
                body.content -= piece.len();
                let skipped = body.padding.min(rest.len());
                body.padding -= skipped;
                bytes = rest.get(skipped..).unwrap_or_default();
                let last = body.content == 0 && body.padding == 0;
                if last {
                    self.body = None;
                }
                take(Found::Piece { piece, last })?;
                if !last {
                    return Ok(bytes);
                }
            }
            let Some(head) = Head::read(bytes) else { return Ok(bytes) };
            if head.length > FRAME_MAX {
                return Err(Fault::Connection(Code::FrameSize));
            }
            let behind = bytes.get(HEAD..).unwrap_or_default();
            if head.kind == kind::DATA {
                let Some((body, rest)) = begin(&head, behind)? else { return Ok(bytes) };
                self.body = Some(body);
                bytes = rest;
                take(Found::Data { head, content: body.content })?;
            } else {
                let Some((payload, rest)) = behind.split_at_checked(head.length) else {
                    return Ok(bytes);
                };
                bytes = rest;
                take(Found::Frame(head, payload))?;
            }
        }
    }
}

/// Begins a frame of a body; none when it is not known yet how long its padding is.
fn begin<'b>(head: &Head, behind: &'b [u8]) -> Result<Option<(Body, &'b [u8])>, Fault> {
    if !head.has(flag::PADDED) {
        return Ok(Some((Body { content: head.length, padding: 0 }, behind)));
    }
    if head.length == 0 {
        return Err(Fault::Connection(Code::FrameSize));
    }
    let Some((padding, rest)) = behind.split_first() else { return Ok(None) };
    let padding = usize::from(*padding);
    match (head.length - 1).checked_sub(padding) {
        Some(content) => Ok(Some((Body { content, padding }, rest))),
        None => Err(Fault::Connection(Code::Protocol)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame;
    use super::*;

    /// What was found, with the pieces of a body put together.
    fn read(wire: &[u8], cuts: &[usize]) -> Result<Vec<String>, Fault> {
        let (mut incoming, mut found, mut body) = (Incoming::default(), Vec::new(), Vec::new());
        let mut from = 0;
        for to in cuts.iter().map(|cut| cut % (wire.len() + 1)).chain([wire.len()]) {
            let to = to.max(from);
            incoming.read(&wire[from..to], |it| {
                match it {
                    Found::Data { head, content } => found.push(format!("{head:?} {content}")),
                    Found::Piece { piece, last } => {
                        body.extend_from_slice(piece);
                        if last {
                            found.push(format!("{:?}", std::mem::take(&mut body)));
                        }
                    }
                    Found::Frame(head, payload) => found.push(format!("{head:?} {payload:?}")),
                }
                Ok(())
            })?;
            from = to;
        }
        assert!(!incoming.is_within() || !incoming.part.is_empty() || incoming.body.is_some());
        Ok(found)
    }

    proptest! {
        #[test]
        fn frames_are_the_same_however_they_are_cut(
            frames in proptest::collection::vec(
                (0_u8..12, any::<u8>(), 0_u32..9, proptest::collection::vec(any::<u8>(), 0..40)),
                0..8,
            ),
            mut cuts in proptest::collection::vec(0_usize..500, 0..12),
        ) {
            let mut wire = PREFACE.to_vec();
            for (kind, flags, stream, payload) in frames {
                frame::push_head(&mut wire, payload.len(), kind, flags, stream);
                wire.extend_from_slice(&payload);
            }
            cuts.sort_unstable();
            prop_assert_eq!(read(&wire, &cuts), read(&wire, &[]));
        }
    }
}
