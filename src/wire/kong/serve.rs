//! The control plane's driver: one session with a data plane of Kong.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::compat::plugins::PluginSet;
use super::guest::Guest;
use super::introduction::Arguments;
use super::payload::Payloads;
use super::session::outlet::{Action, Outlet};
use super::session::{CloseReason, Timing};
use super::stream::{self, StreamError, Writer};
use super::websocket::{Frame, Side};
use crate::fleet::Refused;
use crate::pki::cluster::PeerCertificate;
use crate::promotion::view::Offer;
use crate::wire::publish::{Publication, Shared};

/// How often a session looks at the time.
const TICK: Duration = Duration::from_secs(1);

/// How a control plane serves data planes of Kong.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// When things are done, and when a data plane is given up.
    pub timing: Timing,
    /// The longest message in bytes, both ways (`cluster_max_payload`).
    pub payload_len_max: usize,
}

/// What all sessions share.
pub(in crate::wire) struct Outlets {
    terms: Terms,
    /// The plugins that this control plane has.
    pub(super) plugins: PluginSet,
    payloads: Arc<Payloads>,
}

impl Outlets {
    pub(in crate::wire) fn new(publication: &Publication) -> Self {
        let (catalog, clock) = (publication.catalog.clone(), publication.clock.clone());
        let plugins = PluginSet::of_catalog(&catalog);
        let payloads = Payloads::new(catalog, publication.cluster.cluster_id, clock);
        Self { terms: publication.kong, plugins, payloads: Arc::new(payloads) }
    }
}

/// What became of what was to be sent.
enum Sent {
    Whole,
    Withheld(Refused),
    Failed(StreamError),
}

type Sending<S> = Pin<Box<dyn Future<Output = (Writer<S>, Sent)> + Send>>;

/// Why a session ends.
pub(super) enum End {
    /// The peer or the rules end it.
    Closed(CloseReason),
    /// The data plane is refused, and that was said.
    Refused,
    /// The connection broke.
    Broken(StreamError),
    /// The control plane stops.
    Stopped,
}

/// Runs a session to its end.
pub(in crate::wire) async fn session<S: AsyncRead + AsyncWrite + Send + 'static>(
    stream: S,
    shared: &Shared,
    peer: (SocketAddr, &PeerCertificate),
    arguments: Arguments,
) {
    let terms = shared.outlets.terms;
    let mut guest = Guest::new(shared, peer, arguments);
    let opened = (BytesMut::new(), terms.payload_len_max);
    let clock = shared.publication.clock.clone();
    let (mut reader, writer) = stream::divide(stream, Side::Server, opened, clock);
    let mut outlet = Outlet::new(terms.timing, Instant::now());
    let mut idle = Some(writer);
    let mut sending: Option<Sending<S>> = None;
    let mut heads = shared.publication.heads.clone();
    let mut views = shared.publication.promotion.subscribe();
    let mut stop = shared.stop.clone();
    let mut ticks = tokio::time::interval(TICK);
    let end = loop {
        let actions = tokio::select! {
            frame = reader.receive() => match frame {
                Ok(frame) => outlet.frame(frame, Instant::now()),
                Err(error) => break outlet.broken(&error).map_or(End::Broken(error), End::Closed),
            },
            (writer, sent) = finished(&mut sending) => {
                sending = None;
                idle = Some(writer);
                match sent {
                    Sent::Whole => outlet.sent(Instant::now()),
                    Sent::Withheld(refused) => {
                        guest.withheld(refused);
                        outlet.withheld(Instant::now())
                    }
                    Sent::Failed(error) => break End::Broken(error),
                }
            }
            changed = heads.changed() => match changed {
                Ok(()) => guest.offer(&mut outlet, &mut heads, &mut views),
                Err(_) => break End::Stopped,
            },
            changed = views.changed() => match changed {
                Ok(()) => guest.offer(&mut outlet, &mut heads, &mut views),
                Err(_) => break End::Stopped,
            },
            _ = ticks.tick() => outlet.tick(Instant::now()),
            _ = stop.wait_for(|stop| *stop) => break End::Stopped,
        };
        let mut actions = VecDeque::from(actions);
        let mut over = None;
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Judge(introduction) => {
                    if !guest.judge(&introduction) {
                        over = Some(End::Refused);
                        break;
                    }
                    // Labels decide what it is to get, and they are known now.
                    actions.extend(guest.offer(&mut outlet, &mut heads, &mut views));
                    actions.extend(outlet.accepted(Instant::now()));
                }
                Action::Push(offer) => match guest.check(&offer) {
                    Ok(()) => sending = idle.take().map(|writer| push(writer, &guest, offer)),
                    Err(()) => actions.extend(outlet.withheld(Instant::now())),
                },
                Action::Pong => sending = idle.take().map(|writer| pong(writer, &guest)),
                Action::Pinged { hash, served, lag } => guest.pinged(&hash, served, lag),
                Action::Failed(failure) => guest.failed(failure),
                Action::Close(reason) => over = Some(End::Closed(reason)),
            }
        }
        if let Some(end) = over {
            break end;
        }
    };
    guest.left(&end);
    // A configuration that is being written cannot be cut short by a frame.
    if let Some(mut writer) = idle {
        let _ = timeout(TICK, writer.send(Frame::Close)).await;
    }
}

/// Waits for what is being sent; for ever if that is nothing.
async fn finished<S>(sending: &mut Option<Sending<S>>) -> (Writer<S>, Sent) {
    match sending {
        Some(sending) => sending.await,
        None => std::future::pending().await,
    }
}

fn pong<S: AsyncWrite + Send + 'static>(writer: Writer<S>, guest: &Guest<'_>) -> Sending<S> {
    let suffix = guest.suffix.clone();
    Box::pin(async move {
        let sent = send(writer, Frame::Pong(Bytes::new())).await;
        tracing::debug!("[clustering] sent pong frame to data plane{suffix}");
        sent
    })
}

/// Makes the message of an offer, or takes it from those of late, and sends it.
fn push<S: AsyncWrite + Send + 'static>(
    writer: Writer<S>,
    guest: &Guest<'_>,
    offer: Offer,
) -> Sending<S> {
    let payloads = guest.shared.outlets.payloads.clone();
    let len_max = guest.shared.outlets.terms.payload_len_max;
    let (suffix, downgrade) = (guest.suffix.clone(), guest.downgrade.clone());
    let version = guest.arguments.node_version.clone().unwrap_or_default();
    Box::pin(async move {
        let (config_hash, revision) = (offer.head.config_hash, offer.revision);
        let withheld = |reason| Sent::Withheld(Refused { config_hash, revision, reason });
        let payload = match payloads.of(&offer.head, &version, downgrade).await {
            Ok(payload) => payload,
            Err(error) => return (writer, withheld(error.to_string())),
        };
        for line in &payload.lines {
            line.log(&suffix);
        }
        let len = payload.bytes.len();
        if len > len_max {
            let reason = format!(
                "payload too big: it has {len} bytes, cluster_max_payload allows {len_max}"
            );
            return (writer, withheld(reason));
        }
        let sent = send(writer, Frame::Binary(payload.bytes.clone())).await;
        tracing::debug!("[clustering] sent config update to data plane{suffix}");
        sent
    })
}

async fn send<S: AsyncWrite>(mut writer: Writer<S>, frame: Frame) -> (Writer<S>, Sent) {
    let sent = writer.send(frame).await.map_or_else(Sent::Failed, |()| Sent::Whole);
    (writer, sent)
}
