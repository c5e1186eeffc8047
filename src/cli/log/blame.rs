//! `log blame`: which event last set each field of an entity.

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};
use uuid::Uuid;

use super::line::{about, headline, plain, print, value};
use crate::cli::JsonArgs;
use crate::domain::canonical::Document;
use crate::domain::difference;
use crate::domain::entity::{Key, Kind};
use crate::log::moment::Moment;
use crate::writer::Head;
use crate::writer::blame::{FieldBlame, blame};

/// Show which event last set each field of an entity
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Kind, such as routes
    kind: String,
    /// Id, or name
    #[arg(value_name = "ID|NAME")]
    entity: String,
    /// Field, such as paths or config.minute; all of them if none is given
    field: Option<String>,
    /// Look at the entity as it was then [default: as it is]
    #[arg(long, value_name = "SEQ|HASH|TIME")]
    at: Option<Moment>,
    #[command(flatten)]
    common: JsonArgs,
}

/// Shows who set what.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let history = super::history(args.common.settings.clone()).await?;
    let kind = super::kind(history.catalog(), &args.kind)?;
    let seq = match args.at {
        Some(moment) => history.resolve(moment).await.context("cannot find that moment")?,
        None => history.log().tip().await.context("cannot read the log")?.seq,
    };
    let key = match args.entity.parse::<Uuid>() {
        Ok(id) => Key { kind, id },
        Err(_) => {
            let head = history.rebuild(seq, None).await.context("cannot rebuild the config")?;
            find(&head, kind, &args.entity)?
        }
    };
    let fields = blame(&history, key, seq, args.field.as_deref()).await;
    let fields = fields.context("cannot tell who set what")?;
    if args.common.json {
        let by_path = fields.iter().map(|field| (field.path.clone(), to_json(field)));
        let shown = json!({
            "kind": kind.name(), "id": key.id, "seq": seq, "fields": by_path.collect::<Document>(),
        });
        return print(&shown.to_string());
    }
    fields.iter().try_for_each(|field| print(&to_text(field)))
}

fn find(head: &Head, kind: Kind, name: &str) -> anyhow::Result<Key> {
    let mut entities = head.snapshot.config().of_kind(kind, None);
    let found = entities.find(|entity| difference::name(entity).as_deref() == Some(name));
    let found = found.map(|entity| entity.key());
    found.ok_or_else(|| anyhow!("no {} are called {name:?} at {}", kind.name(), head.seq))
}

fn to_json(field: &FieldBlame) -> Value {
    let event = field.event.as_ref().map(|event| about(event));
    json!({"value": field.value, "event": event})
}

fn to_text(field: &FieldBlame) -> String {
    let shown = field.value.as_ref().map_or_else(|| "(none)".to_owned(), value);
    let by = match &field.event {
        Some(event) => headline(event),
        None => "before the first event of this log; an archive has it".to_owned(),
    };
    format!("{}: {shown}\n    {by}", plain(&field.path))
}
