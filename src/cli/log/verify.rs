//! `log verify`: every hash of the log and every config, computed again.

use std::io::{BufRead, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, bail, ensure};
use serde_json::json;

use super::line::print;
use crate::cli::JsonArgs;
use crate::domain::event::Seq;
use crate::domain::hash::{ConfigHash, EventHash};
use crate::log::archive;
use crate::log::moment::HashPrefix;
use crate::log::transfer::{FileError, Reader};
use crate::writer::Head;
use crate::writer::audit::Audit;
use crate::writer::history::History;

/// Events between two looks of the progress.
const PROGRESS_EVENTS: u64 = 500;

/// Check every hash of the log and rebuild every config
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Check that the log still has this event: a position and the first characters of its hash,
    /// as an earlier `log verify` printed them. Finds a log that was cut off at its end
    #[arg(long, value_name = "SEQ:HASH")]
    head: Option<Noted>,
    /// Check these archives of events too, in whichever order they are named; without them the log is
    /// checked from its newest checkpoint on
    #[arg(long, value_name = "FILE", num_args = 1..)]
    archive: Vec<PathBuf>,
    #[command(flatten)]
    common: JsonArgs,
}

/// An event that somebody noted elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Noted {
    seq: Seq,
    hash: HashPrefix,
}

impl FromStr for Noted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected SEQ:HASH, the hash by 8 characters at least".to_owned();
        let (seq, hash) = text.split_once(':').ok_or_else(expected)?;
        let seq = Seq(seq.parse().map_err(|_| expected())?);
        Ok(Self { seq, hash: hash.parse().map_err(|_| expected())? })
    }
}

/// Checks the log.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let history = super::history(args.common.settings).await?;
    let end = history.log().tip().await.context("cannot read the log")?.seq;
    let mut progress = Progress::new("verified", end.0);
    let archives = open(args.archive)?;
    let begun = match archives.first() {
        Some((_, first)) => Audit::begin_with(&history, first).await,
        None => Audit::begin(&history).await,
    };
    let mut audit = begun.context("the log does not verify")?;
    let start = audit.head.seq;
    let met = args.head.filter(|noted| noted.seq == start).map(|_| audit.head.event_hash);
    let mut met = met.filter(|_| start > Seq(0));
    let mut see = |head: &Head| {
        progress.at(head.seq.0);
        if args.head.is_some_and(|noted| noted.seq == head.seq) {
            met = Some(head.event_hash);
        }
    };
    let mut verified = Ok(());
    for (path, archive) in archives {
        let failed = || format!("{} does not verify", path.display());
        verified = verified.and_then(|()| audit.archive(archive, &mut see).with_context(failed));
    }
    if verified.is_ok() {
        verified = audit.rest(see).await.context("the log does not verify");
    }
    progress.end();
    verified?;
    if let Some(noted) = args.head {
        expect(&history, noted, met, audit.head.seq).await?;
    }
    tell(&audit.head, start, args.common.json)
}

/// An archive that is being read.
type Archive = Reader<Box<dyn BufRead + Send>>;

/// Opens archives, in the order of their events.
fn open(paths: Vec<PathBuf>) -> anyhow::Result<Vec<(PathBuf, Archive)>> {
    let open = |path: PathBuf| {
        let file = archive::open(&path).map_err(FileError::from).and_then(Reader::new);
        let file = file.with_context(|| format!("cannot read {}", path.display()))?;
        anyhow::Ok((path, file))
    };
    let mut archives = paths.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
    archives.sort_by_key(|(_, archive)| archive.header.start().seq);
    Ok(archives)
}

/// Checks that the log has an event that was noted; `met` is the hash at its position.
async fn expect(
    history: &History,
    noted: Noted,
    met: Option<EventHash>,
    end: Seq,
) -> anyhow::Result<()> {
    let Some(hash) = met else {
        if noted.seq < end {
            let moved = history.expect_events(Seq(noted.seq.0.saturating_sub(1))).await;
            moved.context("cannot check the event that was noted: give its --archive")?;
        }
        bail!(
            "the log does not verify: it ends at {end}, the event {} that was noted is cut off",
            noted.seq
        );
    };
    ensure!(
        noted.hash.matches(ConfigHash(hash.0)),
        "the log does not verify: event {} has the hash {hash}, not the one that was noted",
        noted.seq
    );
    Ok(())
}

fn tell(head: &Head, start: Seq, as_json: bool) -> anyhow::Result<()> {
    let (hash, config_hash) = (head.event_hash, head.config_hash);
    if as_json {
        let mut line = json!({"events": head.seq, "hash": hash, "config_hash": config_hash});
        if start > Seq(0) {
            line["after"] = start.0.into();
        }
        return print(&line.to_string());
    }
    let since = match start {
        Seq(0) => String::new(),
        start => format!(" from the checkpoint at event {start} on"),
    };
    let count = head.seq.0 - start.0;
    print(&format!("{count} events verified{since}; last hash {hash}, config {config_hash}"))
}

/// A line on the terminal that says how far something is; none when nobody looks.
pub(super) struct Progress {
    what: &'static str,
    total: u64,
    last: u64,
    shown: bool,
}

impl Progress {
    pub(super) fn new(what: &'static str, total: u64) -> Self {
        Self { what, total, last: 0, shown: std::io::stderr().is_terminal() }
    }

    /// Shows a position.
    pub(super) fn at(&mut self, position: u64) {
        if self.shown && position >= self.last.saturating_add(PROGRESS_EVENTS) {
            self.last = position;
            let percent = position.saturating_mul(100).checked_div(self.total).unwrap_or(100);
            let (what, total) = (self.what, self.total);
            // The terminal may be gone; the work goes on.
            let _ = write!(std::io::stderr(), "\r{position} of {total} events {what} ({percent}%)");
        }
    }

    /// Clears the line.
    pub(super) fn end(&self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noted_head_is_a_position_and_a_hash() {
        let noted: Noted = "17:0123abcd".parse().unwrap();
        assert_eq!((noted.seq, noted.hash.to_string()), (Seq(17), "0123abcd".to_owned()));
        for text in ["17", "17:", "17:0123", "x:0123abcd", ":0123abcd"] {
            assert!(text.parse::<Noted>().is_err(), "{text}");
        }
    }
}
