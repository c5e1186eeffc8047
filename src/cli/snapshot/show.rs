//! `snapshot list`, `show` and `diff`: what there is, what is in one, what differs between two.

use anyhow::Context as _;
use serde_json::json;

use super::{at, history};
use crate::cli::JsonArgs;
use crate::cli::difference;
use crate::domain::event::Seq;
use crate::log::moment::Moment;

pub(super) async fn list(last: u32, common: JsonArgs) -> anyhow::Result<()> {
    let (_, history) = history(&common).await?;
    let tip = history.log().tip().await.context("cannot read the log")?;
    let floor = history.floor().await.context("cannot read the log")?;
    let after = Seq(tip.seq.0.saturating_sub(u64::from(last))).max(floor);
    let rows = history.log().read(after, last).await.context("cannot read the log")?;
    for row in rows {
        let at = row.time().map(|at| at.to_rfc3339()).unwrap_or_default();
        if common.json {
            let line = json!({
                "config_hash": row.config_hash, "seq": row.seq, "at": at, "kind": row.kind,
            });
            println!("{line}");
        } else {
            println!("{}  {:>8}  {at}  {}", row.config_hash.short(), row.seq, row.kind);
        }
    }
    Ok(())
}

pub(super) async fn show(moment: Moment, common: JsonArgs) -> anyhow::Result<()> {
    let (target, history) = history(&common).await?;
    let head = at(&history, moment).await?;
    let config = head.snapshot.config();
    let counts: Vec<(&str, usize)> = target
        .catalog
        .schemas()
        .map(|schema| (schema.kind.name(), config.of_kind(schema.kind, None).count()))
        .filter(|(_, count)| *count > 0)
        .collect();
    if common.json {
        let counts: serde_json::Map<_, _> =
            counts.iter().map(|(kind, count)| ((*kind).to_owned(), (*count).into())).collect();
        let shown = json!({
            "config_hash": head.config_hash, "seq": head.seq, "at": head.at.to_rfc3339(),
            "entities": counts,
        });
        println!("{shown}");
        return Ok(());
    }
    println!(
        "config  {}\nseq     {}\nat      {}",
        head.config_hash,
        head.seq,
        head.at.to_rfc3339()
    );
    for (kind, count) in counts {
        println!("{count:>7} {kind}");
    }
    Ok(())
}

pub(super) async fn diff(from: Moment, to: Moment, common: JsonArgs) -> anyhow::Result<()> {
    let (target, history) = history(&common).await?;
    let (from, to) = (at(&history, from).await?, at(&history, to).await?);
    let old = from.snapshot.config();
    let changes = old.diff(&target.catalog, to.snapshot.config());
    difference::print(&target.catalog, old, &changes, common.json);
    Ok(())
}
