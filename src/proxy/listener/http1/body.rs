//! The body of an HTTP/1 request, read from its connection as somebody asks for it.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;

use super::wire::{Remaining, Wire};
use crate::proxy::listener::request::ClientBodyError;

/// A body that is read as it comes.
pub struct Http1Body(Rc<RefCell<Wire>>);

impl Http1Body {
    pub(super) fn new(wire: Rc<RefCell<Wire>>) -> Self {
        Self(wire)
    }

    pub(in crate::proxy::listener) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        self.0.borrow_mut().poll_body(cx)
    }

    pub(in crate::proxy::listener) fn is_end(&self) -> bool {
        matches!(self.0.borrow().remaining, Remaining::None)
    }

    /// Returns how much is to come, where that is known.
    pub(in crate::proxy::listener) fn length(&self) -> Option<u64> {
        match self.0.borrow().remaining {
            Remaining::None => Some(0),
            Remaining::Length(left) => Some(left),
            Remaining::Chunked(_) | Remaining::Broken => None,
        }
    }
}
