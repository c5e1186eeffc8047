//! Following the log: its events as server-sent events, as they happen.
//!
//! A follower reads the log at its own speed and is only told that the head moved, so that the
//! writer waits for nobody and nothing piles up for a reader that is slow. Who comes back with the
//! id of the last event that it saw misses none.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::sync::watch;

use super::filter;
use crate::admin::auth::{Auth, Caller};
use crate::admin::call::Call;
use crate::admin::error::ApiError;
use crate::admin::store::Store;
use crate::admin::{Admin, reply};
use crate::domain::event::Seq;
use crate::writer::Head;
use crate::writer::filter::Filter;
use crate::writer::history::AtError;

/// The header by which a client says what it saw last.
const LAST_EVENT_ID: &str = "last-event-id";

/// How long a stream stays silent: well below the idle limit of common proxies.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Most events that are read at once, and so held for a reader that is slow.
const CHUNK_LEN: u64 = 50;

/// How long a client is asked to wait before it comes back, in milliseconds.
const RETRY_MS: u32 = 1000;

/// One follower.
struct Follower {
    store: Store,
    auth: Arc<Auth>,
    caller: Caller,
    heads: watch::Receiver<Arc<Head>>,
    filter: Filter,
    after: Seq,
    greeted: bool,
}

/// Returns whether a call for events stays for those to come.
pub(in crate::admin) fn is_asked(call: &Call) -> bool {
    call.argument("follow").is_some_and(|follow| !["0", "false"].contains(&follow))
}

/// Answers with the events that a call asks for, and those to come.
pub(in crate::admin) async fn answer(admin: &Admin, call: &Call) -> Result<Response, ApiError> {
    let filter = filter::read(admin, call).await?;
    let (store, end) = (admin.0.store.clone(), admin.0.store.head().seq);
    let asked = match last_event_id(&call.headers)? {
        Some(seq) => Some(seq),
        None => {
            ["after", "since"].iter().find_map(|name| call.argument(name)).map(|_| filter.after)
        }
    };
    let after = asked.unwrap_or(end);
    if after > end {
        return Err(AtError::Beyond { asked: after, end }.into());
    }
    store.expect_events(after).await?;
    let heads = store.heads();
    let (auth, caller) = (admin.0.auth.clone(), call.caller.clone());
    let follower = Follower { store, auth, caller, heads, filter, after, greeted: false };
    let stream = stream::unfold(follower, async |mut follower| {
        let text = follower.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), follower))
    });
    let mut response = reply::text(StatusCode::OK, String::new(), "text/event-stream");
    *response.body_mut() = Body::from_stream(stream);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<Seq>, ApiError> {
    let Some(id) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let seq = id.to_str().ok().and_then(|id| id.parse().ok()).map(Seq);
    let wrong = || ApiError::BadRequest("Last-Event-ID must be the position of an event".into());
    seq.map(Some).ok_or_else(wrong)
}

impl Follower {
    /// Returns the next piece of the stream; none when the node stops, the log fails, or the token
    /// is good no more.
    async fn next(&mut self) -> Option<String> {
        if !std::mem::replace(&mut self.greeted, true) {
            return Some(format!("retry: {RETRY_MS}\n: events after {}\n\n", self.after));
        }
        loop {
            let head = self.heads.borrow_and_update().seq;
            if !self.auth.still_admits(&self.caller) {
                return None;
            }
            if self.after < head {
                let read = self.read(head).await;
                match read.inspect_err(|error| tracing::warn!(?error, "a follower was cut off")) {
                    Ok(text) if text.is_empty() => continue,
                    read => return read.ok(),
                }
            }
            tokio::select! {
                changed = self.heads.changed() => changed.ok()?,
                () = tokio::time::sleep(HEARTBEAT) => return Some(": still here\n\n".into()),
            }
        }
    }

    async fn read(&mut self, head: Seq) -> Result<String, ApiError> {
        use std::fmt::Write as _;
        let len = (head.0 - self.after.0).min(CHUNK_LEN);
        let events = self.store.select(&self.filter, self.after, len).await?;
        self.after = Seq(self.after.0 + len);
        let mut text = String::new();
        for event in &events {
            let _ = write!(text, "id: {}\ndata: {}\n\n", event.seq, super::show(event));
        }
        if text.is_empty() && len == CHUNK_LEN {
            // A long stretch without an event of interest is no silence.
            let _ = write!(text, ": nothing up to {}\n\n", self.after);
        }
        Ok(text)
    }
}
