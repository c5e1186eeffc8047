//! `snapshot publish`, and packs of nodes: what a mirror holds.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::json;

use super::file::{check, sign};
use super::{at_or_newest, history};
use crate::cli::JsonArgs;
use crate::cli::output::Output;
use crate::clock::Clock;
use crate::domain::catalog::Catalog;
use crate::log::moment::Moment;
use crate::planes;
use crate::snapshot::Snapshot;
use crate::snapshot::assembly::Assembly;
use crate::snapshot::head::SignedHead;
use crate::snapshot::mirror::{HEAD, MirrorHead, node_path};
use crate::wire::mirror::Mirror;
use crate::writer::Head;

#[derive(Debug, clap::Args)]
pub(super) struct Publish {
    /// Where to: file:///folder, s3://bucket/prefix, or http(s)://host/path, which takes PUT
    #[arg(long, value_name = "URL")]
    to: String,
    /// First characters of a hash (8 at least), a position, or a time [default: the newest]
    #[arg(long, value_name = "HASH|SEQ|TIME")]
    hash: Option<Moment>,
    /// Put every node there, also those that are there already
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    common: JsonArgs,
}

pub(super) async fn publish(args: Publish, out: &Output) -> anyhow::Result<()> {
    let (target, history) = history(&args.common).await?;
    let mirror = planes::mirror::open(&target.settings, &args.to, &Clock::System)?;
    let head = at_or_newest(&history, args.hash).await?;
    let (signed, public_key) = sign(&history, &head).await?;
    let newest = MirrorHead { head: signed, public_key };
    let put = mirror.publish(&head.snapshot, &newest, args.all).await;
    let put = put.with_context(|| format!("cannot publish to {}", args.to))?;
    let (config_hash, seq) = (head.config_hash, head.seq);
    if args.common.json {
        println!("{}", json!({"config_hash": config_hash, "seq": seq, "nodes_written": put}));
    } else {
        out.say(&format!(
            "Published config {config_hash} at {seq} to {}: {put} new nodes.",
            args.to
        ));
    }
    Ok(())
}

/// Writes a snapshot into a folder as a mirror has it; returns how many nodes were not there.
pub(super) async fn write(
    folder: &Path,
    head: &Head,
    (signed, public_key): (SignedHead, String),
) -> anyhow::Result<usize> {
    let newest = MirrorHead { head: signed, public_key };
    let written = Mirror::folder(folder.to_owned()).publish(&head.snapshot, &newest, false).await;
    written.with_context(|| format!("cannot write {}", folder.display()))
}

/// Reads and verifies the newest snapshot in a folder.
pub(super) fn read(catalog: &Catalog, folder: &Path) -> anyhow::Result<Arc<Snapshot>> {
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let newest = MirrorHead::decode(&read(HEAD)?)?;
    check(&newest.head, &newest.public_key)?;
    let mut assembly = Assembly::new(newest.head.config_hash, None);
    loop {
        let missing = assembly.missing();
        if missing.is_empty() {
            return Ok(Arc::new(assembly.finish(catalog)?));
        }
        for hash in missing {
            assembly.feed(hash, read(&node_path(hash))?.into())?;
        }
    }
}
