//! A data plane of Kong as its control plane knows it: judged, logged, and noted in the fleet
//! (reference hybrid.md, sections 6 and 8.5).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use uuid::Uuid;

use super::compat::downgrade::Downgrade;
use super::compat::plugins::{self, Blocked, PluginSet, Unmet};
use super::compat::{Level, Line, Suffix, SyncStatus, legacy, shown, version};
use super::introduction::{Arguments, Introduction};
use super::serve::End;
use super::session::CloseReason;
use super::session::outlet::Failure;
use super::stream::StreamError;
use crate::domain::event::Seq;
use crate::domain::hash::ConfigHash;
use crate::fleet::{Arrival, Dialect, Refused, Visit};
use crate::pki::cluster::PeerCertificate;
use crate::promotion::decision::{Peer, Position};
use crate::promotion::view::{Offer, View};
use crate::wire::publish::Shared;
use crate::writer::Head;

/// The data plane of a session.
pub(super) struct Guest<'a> {
    pub(super) shared: &'a Shared,
    pub(super) arguments: Arguments,
    pub(super) suffix: Suffix,
    /// What is taken out of messages for it.
    pub(super) downgrade: Option<Arc<Downgrade>>,
    address: SocketAddr,
    certificate: &'a PeerCertificate,
    /// None when what it calls its id is none: it is served, but has no row.
    id: Option<Uuid>,
    peer: Peer,
    visit: Option<Visit>,
    /// What it serves, as far as it said.
    serves: Option<Position>,
    status: SyncStatus,
    /// The plugins that it may not be sent; nothing before it introduced itself.
    unmet: Option<Unmet>,
    /// What it was not sent or did not take before it had a row.
    refused: Option<Refused>,
}

impl<'a> Guest<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        (address, certificate): (SocketAddr, &'a PeerCertificate),
        arguments: Arguments,
    ) -> Self {
        let suffix = arguments.suffix(address.ip());
        let id = arguments.node_id.as_deref().and_then(|id| Uuid::try_parse(id).ok());
        let peer = Peer { id: id.unwrap_or_default(), labels: Default::default() };
        Self {
            shared,
            arguments,
            suffix,
            downgrade: None,
            address,
            certificate,
            id,
            peer,
            visit: None,
            serves: None,
            status: SyncStatus::Unknown,
            unmet: None,
            refused: None,
        }
    }

    /// Says whether the data plane may stay.
    pub(super) fn judge(&mut self, introduction: &Introduction) -> bool {
        let suffix = &self.suffix;
        let theirs = self.arguments.node_version.clone().unwrap_or_default();
        self.peer.labels = introduction.labels.clone();
        let ours = &self.shared.ours;
        match version::check(&ours.version, &theirs) {
            Ok(said) => said.iter().for_each(|line| line.log(suffix)),
            Err(_) if ours.legacy.admits(&theirs) => admitted(&theirs).log(suffix),
            Err(mut line) => {
                line.text.push_str(ours.legacy.hint(&theirs).unwrap_or_default());
                line.log(suffix);
                self.status = SyncStatus::KongVersionIncompatible;
                if version::is_recordable(&theirs) {
                    self.visit = self.join(None);
                }
                return false;
            }
        }
        let versions = introduction.plugins.iter();
        let data =
            PluginSet::of(versions.map(|(name, version)| (name.as_str(), version.as_deref())));
        // In 2.8 each plugin has a version of its own, which tells nothing of those of 3.x.
        let is_legacy = legacy::is_legacy(&theirs);
        let data = if is_legacy { data.without_versions() } else { data };
        let said = plugins::presence(&ours.plugins, &data);
        let is_news = |line: &&Line| !is_legacy || line.level == Level::Warn;
        said.iter().filter(is_news).for_each(|line| line.log(suffix));
        self.unmet = Some(Unmet::of(&ours.plugins, &data));
        self.downgrade = Downgrade::new(&ours.version, &theirs).map(Arc::new);
        self.status = SyncStatus::Normal;
        if self.id.is_none() {
            tracing::error!(
                "[clustering] unable to update clustering data plane status: schema violation (id: \
                 expected a valid UUID){suffix}"
            );
        }
        tracing::debug!("[clustering] data plane connected{suffix}");
        true
    }

    /// Returns what the data plane is to get, once it introduced itself.
    pub(super) fn offer(
        &self,
        heads: &mut watch::Receiver<Arc<Head>>,
        views: &mut watch::Receiver<Arc<View>>,
    ) -> Option<Offer> {
        // The view goes first: what it holds is no newer than the head then.
        let view = views.borrow_and_update().clone();
        let newest = heads.borrow_and_update().clone();
        self.shared.recent.remember(newest.clone());
        self.unmet.as_ref().and_then(|_| view.offer(&self.peer, &newest, self.serves))
    }

    /// Says whether the data plane can run an offer; if not, why is logged and noted.
    pub(super) fn check(&mut self, offer: &Offer) -> Result<(), ()> {
        let snapshot = &offer.head.snapshot;
        let catalog = &self.shared.publication.catalog;
        let version = self.arguments.node_version.as_deref().unwrap_or_default();
        let unmet = self.unmet.as_ref().map_or(Ok(()), |it| self.shared.ours.check(it, snapshot));
        let checked =
            unmet.and_then(|()| plugins::check_routes(catalog, snapshot.config(), version));
        let Err(blocked) = checked else {
            self.set_status(SyncStatus::Normal);
            return Ok(());
        };
        blocked.line().log(&self.suffix);
        let Blocked { status, reason } = blocked;
        self.set_status(status);
        let (config_hash, revision) = (offer.head.config_hash, offer.revision);
        self.refuse(Refused::at("compatibility", config_hash, revision, reason));
        Err(())
    }

    /// A message could not be sent.
    pub(super) fn withheld(&mut self, refused: Refused) {
        let (reason, suffix) = (&refused.reason, &self.suffix);
        tracing::error!(
            "[clustering] unable to send updated configuration to data plane: {reason}{suffix}"
        );
        self.refuse(refused);
    }

    /// The data plane says that it cannot serve what it was sent.
    pub(super) fn failed(&mut self, failure: Failure) {
        let Failure { refused, reason } = failure;
        let suffix = &self.suffix;
        tracing::error!(
            "[clustering] data plane rejected the configuration: {}{suffix}",
            reason.escape_debug()
        );
        if let Some((config_hash, revision)) = refused {
            self.refuse(Refused::at("apply", config_hash, revision, reason));
        }
    }

    /// The data plane says what it serves.
    pub(super) fn pinged(&mut self, hash: &str, served: Option<Offer>, lag: Option<Duration>) {
        tracing::debug!("[clustering] received ping frame from data plane{}", self.suffix);
        let served = served.map(|offer| offer.head);
        let served = served.or_else(|| self.shared.recent.find_short(hash));
        self.serves = served.as_deref().map(Position::of);
        let applied = served.map(|head| (head.seq, head.config_hash));
        self.visit = self.visit.or_else(|| self.join(applied));
        let Some(visit) = self.visit else { return };
        let (fleet, now) = (&self.shared.publication.fleet, self.now());
        if let Some(refused) = self.refused.take() {
            fleet.rejected(visit, refused, now);
        }
        fleet.reported(visit, (hash, applied), lag, now);
    }

    /// The session ended.
    pub(super) fn left(&self, end: &End) {
        let suffix = &self.suffix;
        match end {
            End::Closed(CloseReason::Closed) => {
                tracing::debug!("[clustering] received close frame from data plane{suffix}");
            }
            End::Closed(reason) => tracing::error!("[clustering] {reason}{suffix}"),
            End::Broken(StreamError::Closed) => {
                tracing::debug!("[clustering] data plane closed the connection{suffix}");
            }
            End::Broken(error) => {
                tracing::error!("[clustering] connection to data plane broken: {error}{suffix}");
            }
            End::Refused | End::Stopped => {}
        }
        if let Some(visit) = self.visit {
            self.shared.publication.fleet.left(visit, self.now());
        }
    }

    fn now(&self) -> chrono::DateTime<chrono::Utc> {
        self.shared.publication.clock.now()
    }

    /// Makes the row of the data plane: Kong has none before the first ping.
    fn join(&self, applied: Option<(Seq, ConfigHash)>) -> Option<Visit> {
        let arrival = Arrival {
            id: self.id?,
            ip: self.address.ip(),
            hostname: self.arguments.node_hostname.clone().unwrap_or_default(),
            version: self.arguments.node_version.clone().unwrap_or_default(),
            labels: self.peer.labels.clone(),
            cert_expires_at: self.certificate.not_after(),
            sync_status: self.status.text(),
            dialect: Dialect::Kong,
            applied,
        };
        Some(self.shared.publication.fleet.joined(arrival, self.now()))
    }

    fn set_status(&mut self, status: SyncStatus) {
        if self.status != status {
            self.status = status;
            if let Some(visit) = self.visit {
                self.shared.publication.fleet.judged(visit, status.text(), self.now());
            }
        }
    }

    fn refuse(&mut self, refused: Refused) {
        match self.visit {
            Some(visit) => self.shared.publication.fleet.rejected(visit, refused, self.now()),
            None => self.refused = Some(refused),
        }
    }
}

/// Says that a data plane of another major version is let in.
fn admitted(version: &str) -> Line {
    let text = format!(
        "data plane version {} is let in (cluster_legacy_data_planes); it prefers routes as \
         router_flavor = traditional does",
        shown(version)
    );
    Line::new(Level::Notice, text)
}
