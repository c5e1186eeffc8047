//! `snapshot`: the configurations that the log has had, by hash.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::JsonArgs;
use super::database::{self, Target};
use super::output::Output;
use crate::clock::Clock;
use crate::domain::decide::Fresh;
use crate::domain::entity::Entity;
use crate::domain::event::{Change, Seq};
use crate::log::moment::Moment;
use crate::planes::identity;
use crate::snapshot::file;
use crate::writer::Head;
use crate::writer::history::History;

/// List, show, export, compare and verify snapshots
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the newest snapshots
    List {
        /// How many
        #[arg(long, default_value_t = 20)]
        last: u32,
        #[command(flatten)]
        common: JsonArgs,
    },
    /// Show what is in a snapshot
    Show {
        /// First characters of a hash, a position, or a time
        #[arg(value_name = "HASH|SEQ|TIME")]
        moment: Moment,
        #[command(flatten)]
        common: JsonArgs,
    },
    /// Write a snapshot to a file that starts a data plane
    Export {
        /// First characters of a hash, a position, or a time [default: the newest]
        #[arg(long, value_name = "HASH|SEQ|TIME")]
        hash: Option<Moment>,
        /// File to write
        #[arg(short, long, value_name = "FILE", default_value = file::FILE_NAME)]
        output: PathBuf,
        #[command(flatten)]
        common: JsonArgs,
    },
    /// Check that a file is a snapshot, whole and unchanged
    Verify {
        /// File to check
        file: PathBuf,
        #[command(flatten)]
        common: JsonArgs,
    },
    /// Compare two snapshots, by entity and field
    Diff {
        /// The older one
        #[arg(value_name = "HASH|SEQ|TIME")]
        from: Moment,
        /// The newer one
        #[arg(value_name = "HASH|SEQ|TIME")]
        to: Moment,
        #[command(flatten)]
        common: JsonArgs,
    },
}

pub(super) fn run(args: Args, out: &Output) -> anyhow::Result<()> {
    database::block_on(async {
        match args.verb {
            Verb::List { last, common } => list(last, common).await,
            Verb::Show { moment, common } => show(moment, common).await,
            Verb::Export { hash, output, common } => export(hash, output, common, out).await,
            Verb::Verify { file, common } => verify(&file, common),
            Verb::Diff { from, to, common } => diff(from, to, common).await,
        }
    })
}

async fn history(common: &JsonArgs) -> anyhow::Result<(Target, History)> {
    let target = Target::find(common.settings.clone())?;
    let log = target.open().await?;
    let history = History::new(log, target.catalog.clone());
    Ok((target, history))
}

async fn at(history: &History, moment: Moment) -> anyhow::Result<Arc<Head>> {
    history.at(moment).await.with_context(|| format!("cannot go to {moment}"))
}

async fn list(last: u32, common: JsonArgs) -> anyhow::Result<()> {
    let (_, history) = history(&common).await?;
    let tip = history.log().tip().await.context("cannot read the log")?;
    let after = Seq(tip.seq.0.saturating_sub(u64::from(last)));
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

async fn show(moment: Moment, common: JsonArgs) -> anyhow::Result<()> {
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

async fn export(
    hash: Option<Moment>,
    output: PathBuf,
    common: JsonArgs,
    out: &Output,
) -> anyhow::Result<()> {
    let (target, history) = history(&common).await?;
    let head = match hash {
        Some(moment) => at(&history, moment).await?,
        None => Arc::new(history.newest().await.context("cannot read the log")?),
    };
    let signer = identity::signer(&**history.log(), &Clock::System).await?;
    let (seq, config_hash) = (head.seq, head.config_hash);
    let origin = Some((signer.sign(seq, config_hash)?, signer.key.verify_key().to_string()));
    let bytes = file::encode(&target.catalog, &head.snapshot, origin);
    file::write_private(&output, &bytes)
        .with_context(|| format!("cannot write {}", output.display()))?;
    if common.json {
        println!("{}", json!({"config_hash": config_hash, "seq": seq, "file": output}));
    } else {
        out.say(&format!("Exported config {config_hash} at {seq} to {}.", output.display()));
    }
    Ok(())
}

fn verify(path: &std::path::Path, common: JsonArgs) -> anyhow::Result<()> {
    let target = Target::find(common.settings)?;
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let clock = Clock::System;
    let mut id = || clock.id();
    let mut fresh = Fresh { at: clock.now(), id: &mut id };
    let loaded = file::decode(&target.catalog, &bytes, &mut fresh)
        .with_context(|| format!("{} is no snapshot", path.display()))?;
    let signed = match &loaded.origin {
        None => false,
        Some((head, key)) => {
            let key = crate::pki::ed25519::VerifyKey::parse(key).context("the key is damaged")?;
            let signed = key.verify(&head.signed_message(), &head.signature.0);
            ensure!(signed.is_ok(), "the signature does not verify");
            true
        }
    };
    let (hash, count) = (loaded.snapshot.hash(), loaded.snapshot.config().len());
    if common.json {
        println!("{}", json!({"config_hash": hash, "entities": count, "signed": signed}));
    } else {
        let signed = if signed { "signed" } else { "not signed" };
        println!("Config {hash}: {count} entities, {signed}.");
    }
    Ok(())
}

async fn diff(from: Moment, to: Moment, common: JsonArgs) -> anyhow::Result<()> {
    let (target, history) = history(&common).await?;
    let (from, to) = (at(&history, from).await?, at(&history, to).await?);
    let (old, new) = (from.snapshot.config(), to.snapshot.config());
    for change in old.diff(&target.catalog, new) {
        let key = change.key();
        let before = old.find(key);
        let (sign, fields) = match (&change, before) {
            (Change::Deleted(_), _) => ("-", Vec::new()),
            (Change::Upserted(_), None) => ("+", Vec::new()),
            (Change::Upserted(entity), Some(before)) => ("~", changed_fields(before, entity)),
        };
        let named = match &change {
            Change::Upserted(entity) => Some(entity),
            Change::Deleted(_) => before,
        };
        let name = named.and_then(|entity| name_of(&target, entity));
        if common.json {
            let line = json!({
                "change": sign, "kind": key.kind.name(), "id": key.id, "name": name, "fields": fields,
            });
            println!("{line}");
        } else {
            let name = name.map(|name| format!(" {name}")).unwrap_or_default();
            let fields = match fields.is_empty() {
                true => String::new(),
                false => format!(": {}", fields.join(", ")),
            };
            println!("{sign} {key}{name}{fields}");
        }
    }
    Ok(())
}

/// Names the fields that differ; values may be secrets.
fn changed_fields(before: &Entity, after: &Entity) -> Vec<String> {
    let (before, after) = (before.document(), after.document());
    let mut names: Vec<_> = before
        .keys()
        .chain(after.keys())
        .filter(|name| before.get(*name) != after.get(*name))
        .cloned()
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Returns the endpoint key of an entity, unless it is a secret.
fn name_of(target: &Target, entity: &Entity) -> Option<String> {
    let schema = target.catalog.schema(entity.kind());
    let field = schema.endpoint_key?;
    let secret = schema.fields.find(field).is_some_and(|field| field.auto.is_some());
    let document = entity.document();
    document.get(field).filter(|_| !secret)?.as_str().map(str::to_owned)
}
