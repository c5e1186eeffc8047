//! `rollback`: brings an earlier config back, also beside a running control plane.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use crate::clock::Clock;
use crate::domain::catalog::Catalog;
use crate::domain::event::{EventKind, Origin};
use crate::log::moment::Moment;
use crate::log::sqlite::SqliteLog;
use crate::writer::Writer;

/// Bring the config of an earlier moment back, as one more event
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// First characters of a config hash (8 at least), position, or time
    #[arg(value_name = "HASH|SEQ|TIME")]
    to: Moment,
    /// Why, for the log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Runs on the log in the file `database`; `actor` is who is recorded with the event.
pub(super) async fn run(
    args: Args,
    database: &Path,
    catalog: Arc<Catalog>,
    actor: String,
) -> anyhow::Result<()> {
    let log = SqliteLog::open_existing(database).await;
    let log = log.with_context(|| format!("cannot open the log {}", database.display()))?;
    let clock = Clock::System;
    let origin = Origin {
        actor,
        request_id: clock.id().to_string(),
        source: "cli".to_owned(),
        kind: EventKind::RolledBack,
        reason: args.reason,
    };
    let opened = Writer::open(Arc::new(log), catalog, clock).await;
    let (writer, task) = opened.context("cannot read the log")?;
    let before = writer.head().seq;
    let work = async {
        let head = writer.rollback(origin, args.to).await;
        drop(writer);
        head
    };
    let (head, ()) = tokio::join!(work, task.run(std::future::pending()));
    let head = head.with_context(|| format!("cannot roll back to {}", args.to))?;
    if head.seq == before {
        println!("Config {} is in force already; nothing was written.", head.config_hash.short());
    } else {
        println!("Rolled back to {}: config {} at {}.", args.to, head.config_hash, head.seq);
    }
    Ok(())
}
