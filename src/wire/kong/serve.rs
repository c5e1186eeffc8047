//! The control plane's driver: one session with a data plane of Kong.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::timeout;

use super::compat::legacy::LegacyDataPlanes;
use super::guest::Guest;
use super::introduction::Arguments;
use super::payload::Payloads;
use super::session::outlet::{Action, Outlet};
use super::session::{CloseReason, Timing};
use super::stream::{self, Reader, StreamError, Writer};
use super::websocket::{Frame, Side};
use crate::fleet::Refused;
use crate::pki::cluster::PeerCertificate;
use crate::promotion::view::{Offer, View};
use crate::wire::publish::{Publication, Shared};
use crate::writer::Head;

/// How often a session looks at the time.
const TICK: Duration = Duration::from_secs(1);

/// How a control plane serves data planes of Kong.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// When things are done, and when a data plane is given up.
    pub timing: Timing,
    /// The longest message in bytes, both ways (`cluster_max_payload`).
    pub payload_len_max: usize,
    /// Whether data planes of Kong 2.8 are let in (`cluster_legacy_data_planes`).
    pub legacy: LegacyDataPlanes,
}

/// What all sessions share.
pub(in crate::wire) struct Outlets {
    terms: Terms,
    payloads: Arc<Payloads>,
}

impl Outlets {
    pub(in crate::wire) fn new(publication: &Publication) -> Self {
        let (catalog, clock) = (publication.catalog.clone(), publication.clock.clone());
        let payloads = Payloads::new(catalog, publication.cluster.cluster_id, clock);
        Self { terms: publication.kong, payloads: Arc::new(payloads) }
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

/// A session under way.
struct Session<'a, S> {
    guest: Guest<'a>,
    outlet: Outlet,
    heads: watch::Receiver<Arc<Head>>,
    views: watch::Receiver<Arc<View>>,
    /// Who writes, while nothing is being sent.
    idle: Option<Writer<S>>,
    sending: Option<Sending<S>>,
}

/// Runs a session to its end.
pub(in crate::wire) async fn session<S: AsyncRead + AsyncWrite + Send + 'static>(
    stream: S,
    shared: &Shared,
    peer: (SocketAddr, &PeerCertificate),
    arguments: Arguments,
) {
    let terms = shared.outlets.terms;
    let opened = (BytesMut::new(), terms.payload_len_max);
    let clock = shared.publication.clock.clone();
    let (mut reader, writer) = stream::divide(stream, Side::Server, opened, clock);
    let mut session = Session {
        guest: Guest::new(shared, peer, arguments),
        outlet: Outlet::new(terms.timing, Instant::now()),
        heads: shared.publication.heads.clone(),
        views: shared.publication.promotion.subscribe(),
        idle: Some(writer),
        sending: None,
    };
    let end = session.run(&mut reader).await;
    session.guest.left(&end);
    // A configuration that is being written cannot be cut short by a frame.
    if let Some(mut writer) = session.idle {
        let _ = timeout(TICK, writer.send(Frame::Close)).await;
    }
}

impl<S: AsyncRead + AsyncWrite + Send + 'static> Session<'_, S> {
    async fn run(&mut self, reader: &mut Reader<S>) -> End {
        let mut stop = self.guest.shared.stop.clone();
        let mut ticks = tokio::time::interval(TICK);
        loop {
            let actions = tokio::select! {
                frame = reader.receive() => match frame {
                    Ok(frame) => self.outlet.frame(frame, Instant::now()),
                    Err(error) => {
                        let reason = self.outlet.broken(&error);
                        return reason.map_or(End::Broken(error), End::Closed);
                    }
                },
                (writer, sent) = finished(&mut self.sending) => {
                    self.sending = None;
                    self.idle = Some(writer);
                    match sent {
                        Sent::Whole => self.outlet.sent(Instant::now()),
                        Sent::Withheld(refused) => {
                            self.guest.withheld(refused);
                            self.outlet.withheld(Instant::now())
                        }
                        Sent::Failed(error) => return End::Broken(error),
                    }
                }
                changed = self.heads.changed() => match changed {
                    Ok(()) => self.offer(),
                    Err(_) => return End::Stopped,
                },
                changed = self.views.changed() => match changed {
                    Ok(()) => self.offer(),
                    Err(_) => return End::Stopped,
                },
                _ = ticks.tick() => self.outlet.tick(Instant::now()),
                _ = stop.wait_for(|stop| *stop) => return End::Stopped,
            };
            if let Err(end) = self.perform(actions) {
                return end;
            }
        }
    }

    /// Does what the session asks for; the error is how it ends.
    fn perform(&mut self, actions: Vec<Action>) -> Result<(), End> {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            let guest = &mut self.guest;
            match action {
                Action::Judge(introduction) => {
                    if !guest.judge(&introduction) {
                        return Err(End::Refused);
                    }
                    // Labels decide what it is to get, and they are known now.
                    actions.extend(self.offer());
                    actions.extend(self.outlet.accepted(Instant::now()));
                }
                Action::Push(offer) => match guest.check(&offer) {
                    Ok(()) => {
                        self.sending = self.idle.take().map(|writer| push(writer, guest, offer));
                    }
                    Err(()) => actions.extend(self.outlet.withheld(Instant::now())),
                },
                Action::Pong => self.sending = self.idle.take().map(|writer| pong(writer, guest)),
                Action::Pinged { hash, served, lag } => guest.pinged(&hash, served, lag),
                Action::Failed(failure) => guest.failed(failure),
                Action::Close(reason) => return Err(End::Closed(reason)),
            }
        }
        Ok(())
    }

    /// Tells the machine what its data plane is to get.
    fn offer(&mut self) -> Vec<Action> {
        let offer = self.guest.offer(&mut self.heads, &mut self.views);
        offer.map_or_else(Vec::new, |offer| self.outlet.offer(offer, Instant::now()))
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
        let withheld = |reason| Sent::Withheld(Refused::at("send", config_hash, revision, reason));
        let payload = match payloads.of(&offer.head, &version, downgrade).await {
            Ok(Ok(payload)) => payload,
            Ok(Err(error)) => {
                let reason = error.to_string();
                let refused = Refused::at("compatibility", config_hash, revision, reason);
                return (writer, Sent::Withheld(refused));
            }
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
