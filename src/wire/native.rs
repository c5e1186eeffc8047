//! A data plane of the native dialect as its control plane knows it: logged, and noted in the fleet.

use std::net::SocketAddr;

use super::frame::{self, Hello, Rejected};
use super::journal;
use super::kong::compat::{Suffix, SyncStatus};
use super::publish::Shared;
use super::session::compared::Withheld;
use super::session::publisher::Action;
use crate::domain::hash::ConfigHash;
use crate::fleet::{Arrival, Dialect, Refused, Visit};
use crate::pki::cluster::PeerCertificate;
use crate::promotion::decision::{Peer, Position};

/// The other end of a session.
pub(super) struct Known<'a> {
    pub(super) address: SocketAddr,
    pub(super) certificate: &'a PeerCertificate,
    pub(super) visit: Option<Visit>,
    pub(super) plane: Option<Peer>,
    /// What lines about it end with; known once it has said who it is.
    pub(super) suffix: Option<Suffix>,
}

impl Known<'_> {
    /// The data plane told who it is.
    fn joined(&mut self, hello: Hello, status: SyncStatus, shared: &Shared) {
        let (peer, publication) = (self.address, &shared.publication);
        tracing::info!(%peer, node_id = %hello.node_id, hostname = hello.hostname,
            "[clustering] data plane connected");
        let applied = hello.applied.map(|p| (p.seq, p.config_hash));
        let arrival = Arrival {
            id: hello.node_id,
            ip: peer.ip(),
            hostname: hello.hostname,
            version: hello.version,
            labels: hello.labels,
            cert_expires_at: self.certificate.not_after(),
            sync_status: status.text(),
            dialect: Dialect::Native,
            applied,
        };
        self.visit = Some(publication.fleet.joined(arrival, publication.clock.now()));
    }

    /// Notes what the session found out about the data plane.
    pub(super) fn note(&mut self, action: Action, shared: &Shared) {
        let (fleet, now) = (&shared.publication.fleet, shared.publication.clock.now());
        match (action, self.visit, &self.suffix) {
            (Action::Joined(hello, status), ..) => self.joined(*hello, status, shared),
            (Action::Judged(status), Some(visit), _) => fleet.judged(visit, status.text(), now),
            (Action::Withheld(withheld), Some(visit), _) => {
                let Withheld { config_hash, revision, why } = withheld;
                let refused = Refused::at("compatibility", config_hash, revision, why.reason);
                fleet.rejected(visit, refused, now);
            }
            (Action::Say(line), _, Some(suffix)) => line.log(suffix),
            _ => {}
        }
    }

    /// Notes how lines about the data plane end.
    pub(super) fn introduce(&mut self, hello: &Hello) {
        let id = hello.node_id.to_string();
        let version = Some(hello.version.as_str());
        self.suffix = Some(Suffix::new(&id, &hello.hostname, self.address.ip(), version));
    }

    /// Returns whether the data plane would get this config now: what it refused of old is no news.
    pub(super) fn would_get(&self, shared: &Shared, config_hash: ConfigHash) -> bool {
        let publication = &shared.publication;
        let (view, newest) = (publication.promotion.view(), publication.heads.borrow());
        let assigned = self.plane.as_ref().map(|plane| view.assigned(plane, &newest).0);
        assigned.is_some_and(|assigned| assigned.config_hash == config_hash)
    }

    /// Tells the fleet under which revision the data plane refuses a config and what it serves
    /// instead, and the others' sessions if it crashed on it.
    pub(super) async fn refused(
        &self,
        shared: &Shared,
        rejected: Rejected,
        (revision, serves): (u64, Option<frame::Position>),
    ) {
        let (peer, config_hash) = (self.address, rejected.config_hash);
        tracing::error!(%peer, %config_hash, phase = rejected.phase, entity = rejected.entity,
            reason = rejected.reason, "[clustering] data plane rejected the configuration");
        let publication = &shared.publication;
        if let Some(visit) = self.visit {
            let Rejected { phase, entity, pointer, reason, .. } = rejected.clone();
            let refused = Refused { config_hash, revision, phase, entity, pointer, reason };
            publication.fleet.rejected(visit, refused, publication.clock.now());
        }
        if let Some(plane) = self.plane.as_ref().filter(|_| rejected.phase == journal::CRASH) {
            let serves = serves.and_then(|it| in_this_epoch(shared, it));
            let who = (plane.id, &*rejected.reason);
            publication.promotion.quarantine(who, config_hash, serves).await;
        }
    }
}

/// Returns a position of a data plane, if it is of this life of the log.
pub(super) fn in_this_epoch(shared: &Shared, at: frame::Position) -> Option<Position> {
    let frame::Position { epoch, seq, config_hash, .. } = at;
    (epoch == shared.publication.cluster.epoch).then_some(Position { seq, config_hash })
}
