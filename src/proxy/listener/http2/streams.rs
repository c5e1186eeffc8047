//! The open streams of a connection, each in a place with a waker of its own.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;

use super::body::Input;
use super::frame::WINDOW_MAX;
use super::ready::{Mark, Ready};
use crate::proxy::listener::body::ProxyBody;
use crate::proxy::listener::serve::Working;

/// How far the answer of a stream has come.
pub(super) enum Stage<F> {
    /// The handler works on it.
    Working(Pin<Box<F>>),
    /// Its body is sent.
    Sending(Sending),
}

/// A body on its way out.
pub(super) struct Sending {
    pub(super) body: ProxyBody,
    /// What was taken from the body and is not sent.
    pub(super) piece: Bytes,
    /// How much is to come, where that was told.
    pub(super) left: Option<u64>,
}

/// A request and its answer.
pub(super) struct Stream<F> {
    pub(super) id: u32,
    pub(super) stage: Stage<F>,
    /// The body of the request, if it has one.
    pub(super) input: Option<Rc<RefCell<Input>>>,
    /// How much of the answer the client takes, in bytes; it may be less than nothing.
    pub(super) window: i64,
    /// Whether the answer waits for a larger window.
    pub(super) is_blocked: bool,
    pub(super) head_only: bool,
    pub(super) _working: Working,
}

impl<F> Stream<F> {
    /// Returns whether the client may send more of the request.
    pub(super) fn is_open(&self) -> bool {
        self.input.as_ref().is_some_and(|input| input.borrow().is_open())
    }
}

/// Where a stream is while it is open; the next one in the place has the same waker.
pub(super) struct Place<F> {
    mark: Arc<Mark>,
    pub(super) waker: Waker,
    pub(super) stream: Option<Stream<F>>,
}

/// The streams of a connection.
pub(super) struct Streams<F> {
    pub(super) ready: Arc<Ready>,
    places: Vec<Place<F>>,
    /// The stream in each place, 0 for none; apart, so that a search touches little.
    ids: Vec<u32>,
    free: Vec<usize>,
    /// What was woken and not polled yet, the last first.
    turn: Vec<usize>,
    /// How many answers wait for a window.
    pub(super) blocked: usize,
}

/// How many places an idle connection keeps.
const PLACES_KEPT: usize = 16;

impl<F: Future> Streams<F> {
    pub(super) fn new(task: Waker) -> Self {
        Self {
            ready: Ready::new(task),
            places: Vec::new(),
            ids: Vec::new(),
            free: Vec::new(),
            turn: Vec::new(),
            blocked: 0,
        }
    }

    /// Returns how many are open.
    pub(super) fn count(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Returns the place of a stream that is open.
    pub(super) fn find(&self, id: u32) -> Option<usize> {
        self.ids.iter().position(|it| *it == id)
    }

    /// Returns a place that has no stream.
    pub(super) fn vacant(&mut self) -> usize {
        if let Some(place) = self.free.last() {
            return *place;
        }
        let place = self.places.len();
        let mark = Mark::new(&self.ready, place);
        self.places.push(Place { waker: mark.clone().into(), mark, stream: None });
        self.ids.push(0);
        self.free.push(place);
        place
    }

    /// Returns the waker of a place.
    pub(super) fn waker(&self, place: usize) -> Option<&Waker> {
        self.places.get(place).map(|place| &place.waker)
    }

    /// Opens a stream in the place that [`Self::vacant`] returned.
    pub(super) fn open(&mut self, place: usize, stream: Stream<F>) {
        if let (Some(id), Some(there)) = (self.ids.get_mut(place), self.places.get_mut(place)) {
            *id = stream.id;
            there.stream = Some(stream);
            self.free.pop();
            there.waker.wake_by_ref();
        }
    }

    pub(super) fn get(&mut self, place: usize) -> Option<&mut Place<F>> {
        self.places.get_mut(place).filter(|place| place.stream.is_some())
    }

    /// Takes a stream out.
    pub(super) fn close(&mut self, place: usize) -> Option<Stream<F>> {
        let stream = self.places.get_mut(place)?.stream.take()?;
        if let Some(id) = self.ids.get_mut(place) {
            *id = 0;
        }
        self.free.push(place);
        self.blocked -= usize::from(stream.is_blocked);
        if let Some(input) = &stream.input {
            input.borrow_mut().break_off();
        }
        Some(stream)
    }

    /// Takes all streams out.
    pub(super) fn close_all(&mut self) {
        for place in 0..self.places.len() {
            drop(self.close(place));
        }
    }

    /// Begins a turn with those who were woken. Who is woken again meanwhile waits for the next one.
    pub(super) fn begin_turn(&mut self) {
        if self.turn.is_empty() {
            self.ready.take(&mut self.turn);
            self.turn.reverse();
        }
    }

    /// Returns the next place of this turn, and lets it be woken again.
    pub(super) fn next_woken(&mut self) -> Option<usize> {
        while let Some(place) = self.turn.pop() {
            if let Some(there) = self.places.get(place) {
                there.mark.clear();
                return Some(place);
            }
        }
        None
    }

    /// Returns whether somebody was woken in this turn and not polled.
    pub(super) fn has_woken(&self) -> bool {
        !self.turn.is_empty()
    }

    /// Takes note that an answer waits for a window.
    pub(super) fn block(&mut self, place: usize) {
        if let Some(stream) = self.get(place).and_then(|place| place.stream.as_mut())
            && !std::mem::replace(&mut stream.is_blocked, true)
        {
            self.blocked += 1;
        }
    }

    /// Wakes a stream if its answer waits for a window.
    pub(super) fn unblock(&mut self, place: usize) {
        if let Some(there) = self.places.get_mut(place)
            && let Some(stream) = &mut there.stream
            && std::mem::take(&mut stream.is_blocked)
        {
            self.blocked -= 1;
            there.waker.wake_by_ref();
        }
    }

    /// Wakes all streams whose answers wait for a window.
    pub(super) fn unblock_all(&mut self) {
        for place in 0..self.places.len() {
            self.unblock(place);
        }
    }

    /// Returns the streams whose answers wait for a window.
    pub(super) fn blocked_ids(&self) -> Vec<u32> {
        let streams = self.places.iter().filter_map(|place| place.stream.as_ref());
        streams.filter(|stream| stream.is_blocked).map(|stream| stream.id).collect()
    }

    /// Changes all windows by the same; false when one would be too large.
    pub(super) fn move_windows(&mut self, by: i64) -> bool {
        let streams = self.places.iter_mut().filter_map(|place| place.stream.as_mut());
        streams.fold(true, |fits, stream| {
            stream.window += by;
            fits && stream.window <= WINDOW_MAX
        })
    }

    /// Lets go of the room of streams that are over.
    pub(super) fn shrink(&mut self) {
        if self.free.len() == self.places.len() && self.places.len() > PLACES_KEPT {
            // Wakers of these places may live on: they wake places without a stream.
            self.places = Vec::new();
            self.ids = Vec::new();
            self.free = Vec::new();
        }
    }
}
