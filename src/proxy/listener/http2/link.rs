//! What a connection knows beside its streams: windows, tables, what it has to send, how it ends.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::body::{CONNECTION_WINDOW, STREAM_WINDOW};
use super::frame::{self, Code, Fault, WINDOW_DEFAULT, setting};
use super::hpack::{Decoder, Encoder};
use super::patience::Patience;
use crate::proxy::listener::serve::{Core, ServeLimits};

/// How much waits to be sent before no stream is polled any more, in bytes.
pub(super) const OUT_MAX: usize = 64 * 1024;

/// The ping behind the first GOAWAY: who answers it knows of the end.
const LAST_CALL: [u8; 8] = *b"lastcall";

/// The ping that asks whether a client is there.
const ARE_YOU_THERE: [u8; 8] = *b"alive?  ";

/// How many streams that are over are remembered: what comes of one that we have reset may have been
/// sent in good faith, and what comes of another is another fault than a stream out of order.
const RECENT: usize = 64;

/// How far the end of a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    None,
    /// The client was told to open no more streams; those on their way are served.
    Announced,
    /// Streams behind this one are not served.
    Final(u32),
    /// The client did wrong: what was written is all.
    Fault,
}

/// The part of a connection that all its streams share.
pub(super) struct Link {
    /// What is to be sent; up to `written` it has been.
    pub(super) out: Vec<u8>,
    pub(super) written: usize,
    /// Whether some of it may be held up on its way.
    pub(super) is_unflushed: bool,
    pub(super) encoder: Encoder,
    pub(super) decoder: Decoder,
    /// How much of all answers the client takes, in bytes.
    pub(super) window: i64,
    /// What the window of a new stream is.
    pub(super) stream_window: i64,
    /// How much of all bodies the client may send, in bytes.
    receive_window: u32,
    pub(super) read_of_all: Rc<Cell<u32>>,
    /// The newest stream of the client.
    pub(super) last: u32,
    /// Streams that are over, and whether we have reset them.
    recent: VecDeque<(u32, bool)>,
    pub(super) patience: Patience,
    pub(super) farewell: Farewell,
    /// Whether the client opens no more streams.
    pub(super) client_leaves: bool,
    /// Whether the client was asked whether it is there, and has not answered.
    pub(super) is_asked: bool,
    /// Whether something came, or ended, since the timer was last looked at.
    pub(super) has_moved: bool,
    /// Whether something of a body was sent since then.
    pub(super) has_sent: bool,
}

impl Link {
    pub(super) fn new(core: &Core) -> Self {
        let mut out = core.buffers.take();
        let ServeLimits { h2_streams_max, h2_header_list_max, .. } = core.limits;
        let settings = [
            (setting::MAX_CONCURRENT_STREAMS, h2_streams_max),
            (setting::INITIAL_WINDOW_SIZE, STREAM_WINDOW),
            (setting::MAX_FRAME_SIZE, frame::FRAME_MAX as u32),
            (setting::MAX_HEADER_LIST_SIZE, h2_header_list_max),
        ];
        frame::push_settings(&mut out, 0, &settings);
        frame::push_window_update(&mut out, 0, CONNECTION_WINDOW - WINDOW_DEFAULT as u32);
        Self {
            out,
            written: 0,
            is_unflushed: false,
            encoder: Encoder::new(),
            decoder: Decoder::new(),
            window: WINDOW_DEFAULT,
            stream_window: WINDOW_DEFAULT,
            receive_window: CONNECTION_WINDOW,
            read_of_all: Rc::default(),
            last: 0,
            recent: VecDeque::new(),
            patience: Patience::default(),
            farewell: Farewell::None,
            client_leaves: false,
            is_asked: false,
            has_moved: false,
            has_sent: false,
        }
    }

    /// Returns whether so much waits to be sent that no stream should be polled.
    pub(super) fn is_full(&self) -> bool {
        self.out.len() - self.written >= OUT_MAX
    }

    /// Returns whether so much waits to be sent that nothing should be read that asks for more.
    pub(super) fn is_flooded(&self) -> bool {
        self.out.len() - self.written >= 2 * OUT_MAX
    }

    /// Lets go of what was sent, before it is more than what is to be.
    pub(super) fn compact(&mut self) {
        if self.written >= OUT_MAX {
            self.out.drain(..self.written);
            self.written = 0;
        }
    }

    /// Takes account of a frame of a body.
    pub(super) fn announce(&mut self, length: u32) -> Result<(), Fault> {
        let left = self.receive_window.checked_sub(length);
        self.receive_window = left.ok_or(Fault::Connection(Code::FlowControl))?;
        Ok(())
    }

    /// Takes account of what of a body is read by nobody.
    pub(super) fn skip(&self, length: u32) {
        self.read_of_all.set(self.read_of_all.get().saturating_add(length));
    }

    /// Tells the client what was read, once that is worth a frame.
    pub(super) fn give_back(&mut self) {
        let read = self.read_of_all.get();
        if read >= CONNECTION_WINDOW / 2 {
            self.read_of_all.set(0);
            self.receive_window += read;
            frame::push_window_update(&mut self.out, 0, read);
        }
    }

    /// Ends a stream, and remembers that what comes of it is not the client's fault.
    pub(super) fn reset(&mut self, stream: u32, code: Code) {
        self.remember(stream, true);
        frame::push_reset(&mut self.out, stream, code);
    }

    /// Takes note that a stream is over.
    pub(super) fn remember(&mut self, stream: u32, is_reset: bool) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((stream, is_reset));
    }

    /// Returns what is wrong with a header block of a stream that is over.
    pub(super) fn fault_of(&self, stream: u32) -> Code {
        let was_open = self.recent.iter().any(|(recent, _)| *recent == stream);
        if was_open { Code::StreamClosed } else { Code::Protocol }
    }

    /// Returns whether what comes of a stream that is not open may have been sent in good faith.
    pub(super) fn ignores(&self, stream: u32) -> bool {
        self.is_late(stream) || self.recent.contains(&(stream, true))
    }

    /// Returns whether a stream was opened when the client had not heard yet that it is not served.
    pub(super) fn is_late(&self, stream: u32) -> bool {
        matches!(self.farewell, Farewell::Final(last) if stream > last)
    }

    /// Asks the client to open no more streams.
    pub(super) fn announce_end(&mut self) {
        if self.farewell == Farewell::None {
            self.farewell = Farewell::Announced;
            frame::push_goaway(&mut self.out, i32::MAX as u32, Code::None);
            frame::push_ping(&mut self.out, 0, LAST_CALL);
        }
    }

    /// Tells which streams are served to their end.
    pub(super) fn end(&mut self) {
        if matches!(self.farewell, Farewell::None | Farewell::Announced) {
            self.farewell = Farewell::Final(self.last);
            frame::push_goaway(&mut self.out, self.last, Code::None);
        }
    }

    /// Ends the connection, whose client did wrong.
    pub(super) fn fail(&mut self, code: Code) {
        if self.farewell != Farewell::Fault {
            let last = match self.farewell {
                Farewell::Final(last) => last,
                _ => self.last,
            };
            self.farewell = Farewell::Fault;
            frame::push_goaway(&mut self.out, last, code);
        }
    }

    /// Asks the client whether it is there.
    pub(super) fn ask(&mut self) {
        self.is_asked = true;
        frame::push_ping(&mut self.out, 0, ARE_YOU_THERE);
    }

    /// Takes the answer to a ping.
    pub(super) fn pong(&mut self, payload: &[u8]) {
        if payload == LAST_CALL && self.farewell == Farewell::Announced {
            self.end();
        }
        if payload == ARE_YOU_THERE && self.is_asked {
            self.moved();
        }
    }

    /// Takes note that the client is there, or that something of ours has ended.
    pub(super) fn moved(&mut self) {
        self.has_moved = true;
        self.is_asked = false;
    }
}
