//! One use of a mirror by a data plane: within bounds, and over at the first thing that is wrong.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::time::timeout_at;

use super::{Mirror, PARALLEL};
use crate::domain::hash::NodeHash;
use crate::snapshot::mirror::node_path;

/// How long a mirror may take for one batch of nodes, and for one snapshot.
const BATCH_WITHIN: Duration = Duration::from_secs(5);
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(60);

/// How long a mirror is left alone after it failed.
const REST: Duration = Duration::from_secs(60);

/// A mirror while one snapshot is fetched.
pub(crate) struct Turn<'m> {
    mirror: &'m Mirror,
    until: tokio::time::Instant,
    open: bool,
}

impl<'m> Turn<'m> {
    /// Begins, unless the mirror is to be left alone.
    pub(crate) fn begin(mirror: &'m Mirror) -> Option<Self> {
        let resting = mirror.rest_until().is_some_and(|until| Instant::now() < until);
        let until = tokio::time::Instant::now() + SNAPSHOT_WITHIN;
        (!resting).then_some(Self { mirror, until, open: true })
    }

    /// Returns whether it may be asked for more.
    pub(crate) fn is_open(&self) -> bool {
        self.open && tokio::time::Instant::now() < self.until
    }

    /// Returns those of the nodes that the mirror gives in time. Whether they are what they should
    /// be is for the caller to find out.
    pub(crate) async fn pull(&mut self, hashes: &[NodeHash]) -> Vec<(NodeHash, Bytes)> {
        let until = self.until.min(tokio::time::Instant::now() + BATCH_WITHIN);
        let gets = hashes.iter().copied().map(|hash| {
            let mirror = self.mirror.clone();
            async move { (hash, mirror.get(&node_path(hash)).await) }
        });
        let mut gets = Box::pin(stream::iter(gets.collect::<Vec<_>>()).buffer_unordered(PARALLEL));
        let mut pulled = Vec::new();
        loop {
            match timeout_at(until, gets.next()).await {
                Ok(Some((hash, Ok(Some(bytes))))) => pulled.push((hash, bytes)),
                Ok(Some((_, Ok(None)))) => {}
                Ok(Some((_, Err(error)))) => {
                    self.end(&error.to_string());
                    return pulled;
                }
                Ok(None) => return pulled,
                Err(_) => {
                    self.end("it is too slow");
                    return pulled;
                }
            }
        }
    }

    /// Asks for nothing more: the mirror gave bytes that are not the node.
    pub(crate) fn distrust(&mut self, hash: NodeHash) {
        self.end(&format!("the bytes that it has for node {hash} have another hash"));
    }

    fn end(&mut self, why: &str) {
        tracing::warn!(
            "[clustering] snapshot mirror is left alone for {} seconds: {why}",
            REST.as_secs()
        );
        self.open = false;
        *self.mirror.rest_until() = Some(Instant::now() + REST);
    }
}
