//! What a connection of HTTP/1 makes of bytes, without a connection: other readers are compared
//! with it.

use bytes::BytesMut;

use super::head::{self, Head};
use super::wire::Remaining;
use crate::headers::RequestHead;
use crate::proxy::chunk::Piece;

/// A request that was read to its end.
#[derive(Debug)]
pub struct WholeRequest {
    /// Method, target, version and headers.
    pub head: RequestHead,
    /// The body, without its coding.
    pub body: Vec<u8>,
}

/// Reads the requests that bytes begin with, up to one that is refused or not whole, or after which
/// a connection ends. A head may have `head_bytes_max` bytes.
pub fn read_whole(bytes: &[u8], head_bytes_max: usize) -> Vec<WholeRequest> {
    let mut input = BytesMut::from(bytes);
    let mut requests = Vec::new();
    while let Ok(Some(Head { parts, remaining, keep_alive, .. })) =
        head::take(&mut input, head_bytes_max)
    {
        let Some(body) = take_body(&mut input, remaining) else { break };
        requests.push(WholeRequest { head: *parts, body });
        if !keep_alive {
            break;
        }
    }
    requests
}

fn take_body(input: &mut BytesMut, remaining: Remaining) -> Option<Vec<u8>> {
    match remaining {
        Remaining::None => Some(Vec::new()),
        Remaining::Length(length) => {
            let length = usize::try_from(length).ok().filter(|length| *length <= input.len())?;
            Some(input.split_to(length).to_vec())
        }
        Remaining::Chunked(mut decoder) => {
            let mut body = Vec::new();
            loop {
                match decoder.decode(input).ok()? {
                    Piece::Data(data) => body.extend_from_slice(&data),
                    Piece::End(_) => return Some(body),
                    Piece::More => return None,
                }
            }
        }
        Remaining::Broken => None,
    }
}
