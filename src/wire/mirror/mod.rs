//! Mirrors of snapshots: a folder, an HTTP server or a bucket that holds nodes by hash and a signed
//! head.
//!
//! A mirror is not trusted and not needed. What it gives counts by its hash; when it fails, lies or
//! is slow, it is left alone for a while and the control plane is asked instead.

mod bucket;
mod client;
mod http;
mod turn;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ::http::StatusCode;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;

use self::bucket::Bucket;
use self::http::Http;
pub(super) use self::turn::Turn;
use crate::domain::hash::NodeHash;
use crate::failpoint;
use crate::pki::file::{Access, replace};
use crate::snapshot::Snapshot;
use crate::snapshot::mirror::{HEAD, MirrorHead, Upload, node_path};

/// How many requests are under way at once.
const PARALLEL: usize = 8;

/// The largest file that is read, in bytes. A larger node comes from the control plane.
const FILE_BYTES_MAX: usize = 32 << 20;

/// Why a mirror could not be used.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// Not an address that a mirror can have.
    #[error(
        "mirror must be http://host/path, https://host/path, s3://bucket/prefix or \
         file:///folder, not {0:?}"
    )]
    Url(String),
    /// A variable of the environment is no URL, or no text for a header.
    #[error("{0} in the environment is not valid")]
    Variable(String),
    /// A bucket cannot be used.
    #[error("bucket {bucket}: {what}")]
    Bucket {
        /// Its name.
        bucket: String,
        /// Why, in the words of its server as far as there are any.
        what: String,
    },
    /// An address to which nothing is sent.
    #[error("address must be http://host or https://host, without credentials")]
    Origin,
    /// An address that is not secured.
    #[error("address is http:// and AWS_ALLOW_HTTP is not true")]
    Plain,
    /// A file cannot be read or written.
    #[error("file cannot be used: {0}")]
    File(std::io::Error),
    /// The server cannot be reached.
    #[error("failed to connect: {0}")]
    Connect(std::io::Error),
    /// The exchange broke.
    #[error("exchange failed: {0}")]
    Exchange(#[from] hyper::Error),
    /// The answer is too large, or ended early.
    #[error("answer could not be read: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    /// The server answers something else than what was asked for.
    #[error("HTTP status {0}")]
    Status(StatusCode),
    /// It took too long.
    #[error("timed out")]
    TimedOut,
}

/// A place that holds snapshots; a clone is another handle.
#[derive(Clone)]
pub struct Mirror(Arc<Shared>);

struct Shared {
    place: Place,
    /// Until when it is left alone after it failed.
    resting: Mutex<Option<Instant>>,
}

enum Place {
    Folder(PathBuf),
    Http(Box<Http>),
    Bucket(Box<Bucket>),
}

impl Mirror {
    /// Returns a folder as a mirror; it is made when something is put there.
    pub fn folder(path: PathBuf) -> Self {
        Self::at(Place::Folder(path))
    }

    /// Returns the mirror at a URL; `tls` is asked for where the URL wants it, and the environment
    /// for what it says of a bucket (`AWS_*`).
    ///
    /// # Errors
    ///
    /// The URL is not one of a mirror, the environment is wrong, or `tls` fails.
    pub fn open<E: From<MirrorError>>(
        url: &str,
        tls: impl FnOnce() -> Result<Arc<rustls::ClientConfig>, E>,
        environment: impl FnOnce() -> BTreeMap<String, String>,
    ) -> Result<Self, E> {
        if Bucket::is_at(url) {
            let bucket = Bucket::open(url, tls, &environment())?;
            return Ok(Self::at(Place::Bucket(Box::new(bucket))));
        }
        if let Some(path) = url.strip_prefix("file://") {
            let absolute = Path::new(path).is_absolute();
            let folder = absolute.then(|| Self::folder(path.into()));
            return folder.ok_or_else(|| MirrorError::Url(url.to_owned()).into());
        }
        Ok(Self::at(Place::Http(Box::new(Http::open(url, tls)?))))
    }

    fn at(place: Place) -> Self {
        Self(Arc::new(Shared { place, resting: Mutex::default() }))
    }

    /// Puts a snapshot there, its head last; returns how many nodes were put. What is there already
    /// is left alone unless `all` says otherwise.
    ///
    /// # Errors
    ///
    /// The mirror fails: its head is as it was, and the nodes that are there do no harm.
    pub async fn publish(
        &self,
        snapshot: &Snapshot,
        head: &MirrorHead,
        all: bool,
    ) -> Result<usize, MirrorError> {
        let mut upload = Upload::new(snapshot);
        loop {
            let asked = upload.asking();
            if asked.is_empty() {
                break;
            }
            let present = if all { HashSet::new() } else { self.present(asked).await? };
            upload.answer(|hash| present.contains(&hash));
        }
        let mut put = 0;
        for level in upload.levels() {
            put += level.len();
            let puts = level.into_iter().map(|node| async move {
                self.put(&node_path(node.hash()), node.bytes(), true).await
            });
            let mut puts = stream::iter(puts).buffer_unordered(PARALLEL);
            while let Some(done) = puts.next().await {
                done?;
            }
        }
        failpoint::hit("mirror.head");
        self.put(HEAD, head.encode(), false).await?;
        Ok(put)
    }

    async fn present(&self, hashes: Vec<NodeHash>) -> Result<HashSet<NodeHash>, MirrorError> {
        let asks = hashes.into_iter().map(|hash| async move {
            Ok::<_, MirrorError>((hash, self.has(&node_path(hash)).await?))
        });
        let mut asks = stream::iter(asks).buffer_unordered(PARALLEL);
        let mut present = HashSet::new();
        while let Some(asked) = asks.next().await {
            let (hash, there) = asked?;
            if there {
                present.insert(hash);
            }
        }
        Ok(present)
    }

    async fn has(&self, path: &str) -> Result<bool, MirrorError> {
        match &self.0.place {
            Place::Folder(folder) => {
                tokio::fs::try_exists(folder.join(path)).await.map_err(MirrorError::File)
            }
            Place::Http(http) => http.has(path).await,
            Place::Bucket(bucket) => bucket.has(path).await,
        }
    }

    /// Returns a file; none if it is not there.
    async fn get(&self, path: &str) -> Result<Option<Bytes>, MirrorError> {
        match &self.0.place {
            Place::Folder(folder) => {
                let path = folder.join(path);
                match tokio::fs::metadata(&path).await {
                    Ok(about) if !about.is_file() || about.len() > FILE_BYTES_MAX as u64 => {
                        return Ok(None);
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                    about => about.map_err(MirrorError::File)?,
                };
                let bytes = tokio::fs::read(path).await.map_err(MirrorError::File)?;
                Ok(Some(bytes.into()))
            }
            Place::Http(http) => http.get(path).await,
            Place::Bucket(bucket) => bucket.get(path).await,
        }
    }

    async fn put(&self, path: &str, bytes: Bytes, immutable: bool) -> Result<(), MirrorError> {
        match &self.0.place {
            Place::Folder(folder) => {
                let path = folder.join(path);
                let written = tokio::task::spawn_blocking(move || write(&path, &bytes)).await;
                let written = written.unwrap_or_else(|error| Err(std::io::Error::other(error)));
                written.map_err(MirrorError::File)
            }
            Place::Http(http) => http.put(path, bytes, immutable).await,
            Place::Bucket(bucket) => bucket.put(path, bytes, immutable).await,
        }
    }

    fn rest_until(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.0.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What caches are told of a file.
fn cache_control(immutable: bool) -> &'static str {
    if immutable { "public, max-age=31536000, immutable" } else { "no-cache" }
}

/// Writes a file whole or not at all. It may hold secrets, so its owner alone reads it.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    replace(path, bytes, Access::Private)
}
