//! `log show`: the events of the log, each with what it changed, field by field.

use std::str::FromStr;

use anyhow::{Context as _, bail};
use chrono::Duration;
use uuid::Uuid;

use super::line::{json_line, print, text};
use crate::cli::JsonArgs;
use crate::cli::output::Output;
use crate::domain::event::{Event, EventKind, Seq};
use crate::log::moment::{HashPrefix, Moment};
use crate::writer::explain::Explainer;
use crate::writer::filter::{ChangeFilter, Filter};
use crate::writer::history::{AtError, History};
use crate::writer::search::Search;

/// Events shown when neither a number nor a beginning is asked for.
const LAST: usize = 20;

/// Show events, oldest first, with what each changed; what may be a secret is masked
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show the last N events [default: 20; all with --seq or --since]
    #[arg(long, value_name = "N")]
    last: Option<usize>,
    /// Show events at these positions: `17`, `10..20` (both included), `10..`, `..20`
    #[arg(long, value_name = "RANGE")]
    seq: Option<Range>,
    /// Show events since this time, such as 2026-01-31 or 2026-01-31T08:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Show events up to this time
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// Show events by this actor
    #[arg(long)]
    actor: Option<String>,
    /// Show events that came through this: admin-api, cli, quickstart
    #[arg(long)]
    source: Option<String>,
    /// Show the event of this request
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Show events of this sort: written, imported, rolled_back
    #[arg(long = "type", value_name = "SORT", value_parser = sort)]
    sort: Option<EventKind>,
    /// Show events whose config hash, or own hash, begins so
    #[arg(long, value_name = "HASH")]
    hash: Option<HashPrefix>,
    /// Show events that changed entities of this kind, such as routes
    #[arg(long)]
    kind: Option<String>,
    /// Show events that changed the entity with this id
    #[arg(long)]
    id: Option<Uuid>,
    /// Show events that changed an entity of this name
    #[arg(long)]
    name: Option<String>,
    /// Stay, and show events as they come
    #[arg(short, long)]
    follow: bool,
    /// Show every change of an event, not only the first hundred
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    common: JsonArgs,
}

/// Positions, the ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u64,
    last: Option<u64>,
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let seq = |text: &str| match text.parse() {
            Ok(seq) => Ok(seq),
            Err(_) => Err("expected positions, such as 17, 10..20, 10.. or ..20".to_owned()),
        };
        let Some((first, last)) = text.split_once("..") else {
            let seq = seq(text)?;
            return Ok(Self { first: seq, last: Some(seq) });
        };
        Ok(Self {
            first: if first.is_empty() { 0 } else { seq(first)? },
            last: if last.is_empty() { None } else { Some(seq(last)?) },
        })
    }
}

fn sort(name: &str) -> Result<EventKind, String> {
    EventKind::from_name(name).ok_or_else(|| "expected written, imported or rolled_back".to_owned())
}

/// Shows the events that are asked for.
pub(super) async fn run(args: Args, out: &Output) -> anyhow::Result<()> {
    let history = super::history(args.common.settings.clone()).await?;
    let filter = filter(&args, &history, out).await?;
    let mut search = Search::new(history.clone(), filter);
    let whole = args.seq.is_some() || args.since.is_some();
    if let Some(count) = args.last.or((!whole).then_some(LAST)) {
        search.skip_to_last(count).await.context("cannot read the log")?;
    }
    let mut explainer = Explainer::new(history);
    loop {
        while let Some(events) = search.step().await.context("cannot read the log")? {
            for event in events {
                show(&mut explainer, &event, &args).await?;
            }
        }
        if !args.follow || search.is_over() {
            return Ok(());
        }
        search.wait().await.context("cannot read the log")?;
    }
}

async fn show(explainer: &mut Explainer, event: &Event, args: &Args) -> anyhow::Result<()> {
    let differences = explainer.explain(event).await.context("cannot rebuild a config")?;
    print(&match args.common.json {
        true => json_line(event, &differences, args.full).to_string(),
        false => text(event, &differences, args.full),
    })
}

async fn filter(args: &Args, history: &History, out: &Output) -> anyhow::Result<Filter> {
    let kind = match &args.kind {
        None => None,
        Some(name) => Some(super::kind(history.catalog(), name)?),
    };
    let floor = history.floor().await.context("cannot read the log")?;
    let (mut after, mut before) = (floor, None);
    if let Some(range) = args.seq {
        let first = Seq(range.first.saturating_sub(1));
        if range.first > 0 {
            history.expect_events(first).await.context("cannot show these events")?;
        }
        after = floor.max(first);
        before = range.last.map(|last| Seq(last.saturating_add(1)));
    }
    if let Some(since) = time("since", args.since)? {
        // Whatever is not after the last event before that time.
        let earlier = since - Duration::microseconds(1);
        if let Err(error @ AtError::Archived(_)) = history.resolve(Moment::Time(earlier)).await {
            out.warn(&format!("not all events since then are here: {error}"));
        }
        after = after.max(history.log().find_time(earlier).await.context("cannot read the log")?);
    }
    if let Some(until) = time("until", args.until)? {
        let end = history.log().find_time(until).await.context("cannot read the log")?.next();
        before = Some(before.map_or(end, |before: Seq| before.min(end)));
    }
    Ok(Filter {
        after,
        before,
        actor: args.actor.clone(),
        source: args.source.clone(),
        request_id: args.request_id.clone(),
        sort: args.sort,
        hash: args.hash,
        change: ChangeFilter { kind, id: args.id, name: args.name.clone() },
    })
}

fn time(
    name: &str,
    moment: Option<Moment>,
) -> anyhow::Result<Option<chrono::DateTime<chrono::Utc>>> {
    match moment {
        None => Ok(None),
        Some(Moment::Time(time)) => Ok(Some(time)),
        Some(_) => bail!("--{name}: expected a time such as 2026-01-31T08:00:00Z"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_positions_with_both_ends() {
        for (text, first, last) in
            [("17", 17, Some(17)), ("3..5", 3, Some(5)), ("3..", 3, None), ("..5", 0, Some(5))]
        {
            assert_eq!(text.parse(), Ok(Range { first, last }), "{text}");
        }
        for text in ["", "a", "1-2", "1..x", "-1"] {
            assert!(text.parse::<Range>().is_err(), "{text}");
        }
    }
}
