//! Bodies of requests: what came and was not read yet, bounded by the windows that were given.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;

use crate::proxy::listener::request::ClientBodyError;
use crate::proxy::upstream::timer::LazyTimer;

/// How much of a body may wait to be read, for a stream and for all of a connection, in bytes.
pub(super) const STREAM_WINDOW: u32 = 256 * 1024;
pub(super) const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// How far the client has come with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Open,
    Whole,
    /// Nothing more comes, although more should.
    Broken,
}

/// Whether the client waits to be asked for its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Invitation {
    None,
    Expected,
    Wanted,
}

/// What came of a body. The connection and the [`Http2Body`] that is read share it.
#[derive(Debug)]
pub(super) struct Input {
    data: BytesMut,
    trailers: Option<HeaderMap>,
    course: Course,
    /// How much is to come behind the frame that is coming, where that was told.
    left: Option<u64>,
    /// How much is to come of that frame, in bytes.
    coming: u64,
    /// How much more the client may send, in bytes.
    window: u32,
    /// How much was read since the client was last told.
    read: u32,
    /// The same for all of the connection.
    read_of_all: Rc<Cell<u32>>,
    invitation: Invitation,
    /// Whether nobody reads any more.
    abandoned: bool,
    reader: Option<Waker>,
    /// Who tells the client what was read.
    connection: Waker,
}

/// Why what a client sends of a body is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFault {
    /// It has ended already.
    Closed,
    /// It is longer than the window, or than any that was given.
    Window,
    /// Its length is not what was announced.
    Length,
}

impl Input {
    pub(super) fn new(
        length: Option<u64>,
        expects_continue: bool,
        read_of_all: Rc<Cell<u32>>,
        connection: Waker,
    ) -> Self {
        Self {
            data: BytesMut::new(),
            trailers: None,
            course: Course::Open,
            left: length,
            coming: 0,
            window: STREAM_WINDOW,
            read: 0,
            read_of_all,
            invitation: if expects_continue { Invitation::Expected } else { Invitation::None },
            abandoned: false,
            reader: None,
            connection,
        }
    }

    /// Returns whether more may come.
    pub(super) fn is_open(&self) -> bool {
        self.course == Course::Open
    }

    /// Takes account of a frame of `length` bytes, of which `content` are of the body.
    pub(super) fn announce(&mut self, length: u32, content: u32) -> Result<(), BodyFault> {
        if !self.is_open() {
            return Err(BodyFault::Closed);
        }
        self.window = self.window.checked_sub(length).ok_or(BodyFault::Window)?;
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(u64::from(content)).ok_or(BodyFault::Length)?;
        }
        self.coming = u64::from(content);
        // What pads is read at once.
        self.read += length - content;
        self.invitation = Invitation::None;
        Ok(())
    }

    /// Takes a piece of what was announced.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.coming = self.coming.saturating_sub(piece.len() as u64);
        if self.abandoned || !self.is_open() {
            self.give_back(length(piece.len()));
            return;
        }
        self.data.extend_from_slice(piece);
        self.wake();
    }

    /// Takes the end.
    pub(super) fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), BodyFault> {
        if !self.is_open() {
            return Err(BodyFault::Closed);
        }
        if self.left.is_some_and(|left| left > 0) {
            return Err(BodyFault::Length);
        }
        self.course = Course::Whole;
        self.trailers = trailers.filter(|trailers| !trailers.is_empty());
        self.wake();
        Ok(())
    }

    /// Takes note that nothing more comes.
    pub(super) fn break_off(&mut self) {
        if self.is_open() {
            self.course = Course::Broken;
            self.discard();
            self.wake();
        }
    }

    /// Returns by how much the window grows, once it is worth a frame.
    pub(super) fn take_read(&mut self) -> Option<u32> {
        let is_worth = self.is_open() && !self.abandoned && self.read >= STREAM_WINDOW / 2;
        is_worth.then(|| {
            self.window += self.read;
            std::mem::take(&mut self.read)
        })
    }

    /// Returns whether the client is to be asked for the body now.
    pub(super) fn take_invitation(&mut self) -> bool {
        let is_wanted = self.invitation == Invitation::Wanted;
        if is_wanted {
            self.invitation = Invitation::None;
        }
        is_wanted
    }

    fn discard(&mut self) {
        let length = length(self.data.len());
        self.data = BytesMut::new();
        self.give_back(length);
    }

    fn give_back(&mut self, length: u32) {
        self.read = self.read.saturating_add(length);
        let all = self.read_of_all.get().saturating_add(length);
        self.read_of_all.set(all);
        if self.read >= STREAM_WINDOW / 2 || all >= CONNECTION_WINDOW / 2 {
            self.connection.wake_by_ref();
        }
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// No frame and no window is longer than 32 bits tell.
fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// A body of HTTP/2, whose client may not be silent for longer than its limit.
pub struct Http2Body {
    input: Rc<RefCell<Input>>,
    limit: Option<Duration>,
    timer: LazyTimer,
}

impl Http2Body {
    pub(super) fn new(input: Rc<RefCell<Input>>, limit: Option<Duration>) -> Self {
        Self { input, limit, timer: LazyTimer::default() }
    }

    pub(in crate::proxy::listener) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        let mut input = self.input.borrow_mut();
        if !input.data.is_empty() {
            self.timer.clear();
            let data = input.data.split().freeze();
            input.give_back(length(data.len()));
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match input.course {
            Course::Whole => {
                let trailers = input.trailers.take();
                return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
            }
            Course::Broken => {
                let gone = ClientBodyError::Gone(io::ErrorKind::ConnectionReset.into());
                return Poll::Ready(Some(Err(gone)));
            }
            Course::Open => {}
        }
        if input.reader.as_ref().is_none_or(|reader| !reader.will_wake(cx.waker())) {
            input.reader = Some(cx.waker().clone());
        }
        if input.invitation == Invitation::Expected {
            input.invitation = Invitation::Wanted;
            input.connection.wake_by_ref();
        }
        let Some(limit) = self.limit else { return Poll::Pending };
        ready!(self.timer.poll(cx, limit));
        Poll::Ready(Some(Err(ClientBodyError::Silent(limit))))
    }

    pub(in crate::proxy::listener) fn is_end(&self) -> bool {
        let input = self.input.borrow();
        input.course == Course::Whole && input.data.is_empty() && input.trailers.is_none()
    }

    /// Returns how much is to come, where that is known.
    pub(in crate::proxy::listener) fn length(&self) -> Option<u64> {
        let input = self.input.borrow();
        let waiting = input.data.len() as u64;
        match input.course {
            Course::Whole => Some(waiting),
            _ => input.left.map(|left| left + input.coming + waiting),
        }
    }
}

impl Drop for Http2Body {
    fn drop(&mut self) {
        let mut input = self.input.borrow_mut();
        input.abandoned = true;
        input.reader = None;
        input.discard();
    }
}
