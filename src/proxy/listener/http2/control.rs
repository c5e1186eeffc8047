//! Frames that steer a connection or its streams (RFC 9113, sections 6.4, 6.5, 6.7 and 6.9).

use std::future::Future;
use std::rc::Rc;

use super::connection::Connection;
use super::frame::{self, Code, Fault, Head, WINDOW_MAX, flag, number, setting};
use super::receive::{FRAME_SIZE, PROTOCOL, at_connection, at_stream, stream_is_known};
use super::streams::Stage;
use crate::proxy::listener::connection::ConnectionInfo;
use crate::proxy::listener::request::ClientRequest;
use crate::proxy::listener::response::ClientResponse;

impl<H, F> Connection<H, F>
where
    H: Fn(ClientRequest, Rc<ConnectionInfo>) -> F + 'static,
    F: Future<Output: Into<Box<ClientResponse>>> + 'static,
{
    pub(super) fn rst_stream(&mut self, head: &Head, payload: &[u8]) -> Result<(), Fault> {
        at_stream(head)?;
        number(payload)?;
        let place = self.streams.find(head.stream);
        if !stream_is_known(place, head.stream, self.link.last) {
            return Err(PROTOCOL);
        }
        let Some(stream) = place.and_then(|place| self.streams.close(place)) else {
            return self.link.patience.empty();
        };
        self.link.remember(head.stream, false);
        self.link.moved();
        match stream.stage {
            Stage::Working(_) => self.link.patience.given_up(),
            Stage::Sending(_) => Ok(()),
        }
    }

    pub(super) fn settings(&mut self, head: &Head, payload: &[u8]) -> Result<(), Fault> {
        at_connection(head)?;
        if head.has(flag::ACK) {
            return if payload.is_empty() { Ok(()) } else { Err(FRAME_SIZE) };
        }
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(FRAME_SIZE);
        }
        self.is_greeted = true;
        for [a, b, value @ ..] in settings {
            self.setting(u16::from_be_bytes([*a, *b]), u32::from_be_bytes(*value))?;
        }
        frame::push_settings(&mut self.link.out, flag::ACK, &[]);
        self.link.patience.empty()
    }

    fn setting(&mut self, name: u16, value: u32) -> Result<(), Fault> {
        match name {
            setting::HEADER_TABLE_SIZE => self.link.encoder.resize(value),
            setting::ENABLE_PUSH if value > 1 => return Err(PROTOCOL),
            setting::INITIAL_WINDOW_SIZE => {
                let window = i64::from(value);
                let by = window - self.link.stream_window;
                if window > WINDOW_MAX || !self.streams.move_windows(by) {
                    return Err(Fault::Connection(Code::FlowControl));
                }
                self.link.stream_window = window;
                if by > 0 {
                    self.streams.unblock_all();
                }
            }
            setting::MAX_FRAME_SIZE if !(1 << 14..1 << 24).contains(&value) => {
                return Err(PROTOCOL);
            }
            // We send no longer frames than everyone takes, and what an answer has is the
            // handler's affair.
            _ => {}
        }
        Ok(())
    }

    pub(super) fn ping(&mut self, head: &Head, payload: &[u8]) -> Result<(), Fault> {
        at_connection(head)?;
        let payload: [u8; 8] = payload.try_into().map_err(|_| FRAME_SIZE)?;
        match head.has(flag::ACK) {
            true => self.link.pong(&payload),
            false => frame::push_ping(&mut self.link.out, flag::ACK, payload),
        }
        self.link.patience.empty()
    }

    pub(super) fn window_update(&mut self, head: &Head, payload: &[u8]) -> Result<(), Fault> {
        let more = i64::from(number(payload)?);
        if head.stream == 0 {
            if more == 0 {
                return Err(PROTOCOL);
            }
            let was_closed = self.link.window <= 0;
            self.link.window += more;
            if self.link.window > WINDOW_MAX {
                return Err(Fault::Connection(Code::FlowControl));
            }
            if was_closed {
                self.streams.unblock_all();
            }
            return self.link.patience.empty();
        }
        let place = self.streams.find(head.stream);
        if !stream_is_known(place, head.stream, self.link.last) {
            return Err(PROTOCOL);
        }
        if let Some(place) = place
            && let Some(stream) = self.streams.get(place).and_then(|it| it.stream.as_mut())
        {
            stream.window += more;
            let id = head.stream;
            if more == 0 {
                return Err(Fault::Stream(id, Code::Protocol));
            }
            if stream.window > WINDOW_MAX {
                return Err(Fault::Stream(id, Code::FlowControl));
            }
            self.streams.unblock(place);
        }
        self.link.patience.empty()
    }
}
