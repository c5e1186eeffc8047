//! Certificates while the node runs: read again when their files change or the settings are
//! reloaded, and looked at for their end.
//!
//! Connections are never closed for it: handshakes take what is in force. Files that are no good
//! leave the old ones in force.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use uuid::Uuid;

use super::listen::{self, Face};
use super::node;
use super::trust::{NodeTrust, UpstreamTrust};
use crate::clock::Clock;
use crate::fleet::Fleet;
use crate::pki::cluster::LiveIdentity;
use crate::pki::expiry::{Nearness, Notices};
use crate::pki::listener::ListenerCertificates;
use crate::settings::{Pem, Settings};

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// What a plane has that is replaced.
pub(super) struct Certificates {
    settings: watch::Receiver<Arc<Settings>>,
    cluster: Option<LiveIdentity>,
    listeners: Listeners,
    upstreams: Option<UpstreamTrust>,
    fleet: Option<Arc<Fleet>>,
}

/// The listeners whose certificates are followed, for as long as they are there; clones share them.
#[derive(Clone)]
pub(super) struct Listeners {
    list: Arc<Mutex<Vec<Followed>>>,
    clock: Clock,
}

type Followed = (Face, Weak<ListenerCertificates>);

impl Listeners {
    /// Returns the time that certificates are judged by.
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Adds the certificates of a listener.
    pub(super) fn add(&self, face: Face, certificates: &Arc<ListenerCertificates>) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|(_, known)| known.strong_count() > 0);
        list.push((face, Arc::downgrade(certificates)));
    }

    fn all(&self) -> Vec<(Face, Arc<ListenerCertificates>)> {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.iter().filter_map(|(face, known)| Some((*face, known.upgrade()?))).collect()
    }
}

impl Certificates {
    /// Returns what is to be filled, and what tells it of new settings.
    pub(super) fn new(settings: &Settings, clock: &Clock) -> (watch::Sender<Arc<Settings>>, Self) {
        let (live, settings) = watch::channel(Arc::new(settings.clone()));
        let listeners = Listeners { list: Arc::default(), clock: clock.clone() };
        (live, Self { settings, cluster: None, listeners, upstreams: None, fleet: None })
    }

    /// Reads the pair of the cluster link, and whom the node trusts.
    pub(super) fn add_cluster(&mut self) -> anyhow::Result<LiveIdentity> {
        let identity = LiveIdentity::new(node::identity(&self.settings.borrow())?);
        self.cluster = Some(identity.clone());
        Ok(identity)
    }

    /// Returns where listeners are added.
    pub(super) fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// Adds what services fall back to.
    pub(super) fn add_upstreams(&mut self, upstreams: UpstreamTrust) {
        self.upstreams = Some(upstreams);
    }

    /// Adds the data planes whose certificates are watched for their end.
    pub(super) fn add_fleet(&mut self, fleet: Arc<Fleet>) {
        self.fleet = Some(fleet);
    }

    /// Looks after everything until `stop` turns true.
    pub(super) async fn follow(mut self, mut stop: watch::Receiver<bool>) {
        // The files may have changed since the start: the first look reads them.
        let mut seen = Vec::new();
        let mut trouble = None;
        let (mut own, mut theirs) = (Notices::default(), Notices::default());
        let mut ticks = tokio::time::interval(LOOK_INTERVAL);
        loop {
            let reloaded = tokio::select! {
                _ = ticks.tick() => false,
                changed = self.settings.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    true
                }
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let files = self.files();
            let Ok(now) = tokio::task::spawn_blocking(move || prints(&files)).await else { return };
            // A pair is two files: what is half replaced is tried again at each look.
            if reloaded || now != seen || trouble.is_some() {
                seen = now;
                self.read_again(reloaded, &mut trouble);
            }
            self.notice(&mut own, &mut theirs);
        }
    }

    fn clock(&self) -> &Clock {
        self.listeners.clock()
    }

    fn files(&self) -> Vec<PathBuf> {
        let settings = self.settings.borrow();
        let (cluster, tls) = (&settings.cluster, &settings.tls);
        let single = [&cluster.cert, &cluster.cert_key, &cluster.ca_cert].into_iter().flatten();
        let trusted = cluster.trusted_certs.iter().chain(tls.trusted.iter().flatten());
        let pairs = [&tls.proxy, &tls.admin, &tls.status].into_iter().flatten();
        let pairs = pairs.chain(&tls.client);
        let pairs = pairs.flat_map(|pair| [&pair.cert, &pair.key]);
        let all = single.chain(trusted).chain(pairs);
        all.filter_map(Pem::path).map(PathBuf::from).collect()
    }

    fn read_again(&mut self, reloaded: bool, trouble: &mut Option<Trouble>) {
        let settings = self.settings.borrow_and_update().clone();
        match self.replace(&settings) {
            Ok(()) => *trouble = None,
            Err(error) => {
                let text = format!("{error:#}");
                // Said at once of a reload; of files only if it was no moment between two of them.
                let same = trouble.take().filter(|before| before.text == text);
                let said = same.as_ref().is_some_and(|before| before.said);
                if (reloaded || same.is_some()) && !said {
                    tracing::error!("new certificates cannot be used, the old ones stay: {text}");
                }
                let said = said || reloaded || same.is_some();
                *trouble = Some(Trouble { text, said });
            }
        }
    }

    /// Puts what the files hold in force, all of it or nothing.
    fn replace(&mut self, settings: &Settings) -> anyhow::Result<()> {
        let identity = match &self.cluster {
            Some(live) => Some((live, node::identity(settings)?)),
            None => None,
        };
        let mut listeners = Vec::new();
        for (face, certificates) in self.listeners.all() {
            listeners.push((face, certificates, listen::pairs(settings, face, self.clock())?));
        }
        let trust = self.upstreams.as_ref().map(|_| NodeTrust::read(settings)).transpose()?;
        if let Some((live, identity)) = identity
            && !live.current().is_same(&identity)
        {
            let (subject, not_after) = (identity.subject(), identity.not_after());
            tracing::info!(subject, %not_after, "[clustering] certificates read again");
            live.replace(identity);
        }
        for (face, certificates, pairs) in listeners {
            if certificates.replace_default(&pairs)? {
                tracing::info!("certificates of the {} listeners read again", face.name());
            }
        }
        if let (Some(upstreams), Some(trust)) = (&mut self.upstreams, trust) {
            upstreams.take(trust);
        }
        Ok(())
    }

    /// Says of each certificate that it runs out, when it comes near and once it has.
    fn notice(&self, own: &mut Notices<()>, theirs: &mut Notices<Uuid>) {
        let now = self.clock().now();
        if let Some(identity) = self.cluster.as_ref().map(LiveIdentity::current) {
            let not_after = identity.not_after();
            match own.look((), not_after, now) {
                Some(Nearness::Over) => {
                    tracing::error!(
                        "[clustering] this node's cluster_cert has expired at {not_after}"
                    );
                }
                Some(_) => {
                    let days = (not_after - now).num_days();
                    tracing::warn!(
                        "[clustering] this node's cluster_cert expires in {days} days, at {not_after}"
                    );
                }
                None => {}
            }
        }
        let Some(fleet) = &self.fleet else { return };
        let rows = fleet.rows(now);
        theirs.retain(|id| rows.binary_search_by_key(id, |row| row.id).is_ok());
        for row in rows {
            let end = row.cert_expires_at.and_then(|at| chrono::DateTime::from_timestamp(at, 0));
            let Some(not_after) = end.filter(|_| row.connected) else { continue };
            let (id, host) = (row.id, &row.hostname);
            match theirs.look(id, not_after, now) {
                Some(Nearness::Over) => tracing::error!(
                    "[clustering] certificate of data plane has expired at {not_after} \
                     [id: {id}, host: {host}, ip: {}]",
                    row.ip
                ),
                Some(_) => tracing::warn!(
                    "[clustering] certificate of data plane expires in {} days, at {not_after} \
                     [id: {id}, host: {host}, ip: {}]",
                    (not_after - now).num_days(),
                    row.ip
                ),
                None => {}
            }
        }
    }
}

/// Why the files of late were not taken over.
struct Trouble {
    text: String,
    said: bool,
}

/// What changes whenever a file is written, replaced, or linked elsewhere.
type Print = Option<(u64, u64, i64, i64)>;

fn prints(files: &[PathBuf]) -> Vec<(PathBuf, Print)> {
    let print = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.ino(), found.size(), found.ctime(), found.ctime_nsec()))
    };
    files.iter().map(|path| (path.clone(), print(path))).collect()
}
