//! Who a cluster is: the id, epoch and key that its log's database holds.

use anyhow::Context as _;

use crate::clock::Clock;
use crate::log::{EventLog, Meta};
use crate::pki::ed25519::SigningKey;
use crate::snapshot::head::Signer;

/// Reads the cluster's id, epoch and key from its database, or makes them.
///
/// # Errors
///
/// The database cannot be read, or holds no key.
pub async fn meta(log: &dyn EventLog, clock: &Clock) -> anyhow::Result<Meta> {
    let key = SigningKey::generate().context("cannot generate a key")?;
    let signing_key = key.to_pkcs8()?.as_ref().to_vec();
    let fresh = Meta { cluster_id: clock.id(), signing_key, epoch: 0 };
    log.meta(fresh).await.context("cannot read the cluster's identity")
}

/// Returns who signs the heads of a log.
///
/// # Errors
///
/// As [`meta`].
pub async fn signer(log: &dyn EventLog, clock: &Clock) -> anyhow::Result<Signer> {
    let meta = meta(log, clock).await?;
    let key = SigningKey::from_bytes(&meta.signing_key).context("the cluster's key is damaged")?;
    Ok(Signer { cluster_id: meta.cluster_id, epoch: meta.epoch, key })
}
