//! `log verify`: every hash of the log and every config, computed again.

use std::io::{IsTerminal as _, Write as _};
use std::str::FromStr;

use anyhow::{Context as _, bail, ensure};
use serde_json::json;

use super::line::print;
use crate::cli::JsonArgs;
use crate::domain::event::Seq;
use crate::domain::hash::ConfigHash;
use crate::log::moment::HashPrefix;
use crate::writer::Head;
use crate::writer::audit;

/// Events between two looks of the progress.
const PROGRESS_EVENTS: u64 = 500;

/// Check every hash of the log and rebuild every config
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Check that the log still has this event: a position and the first characters of its hash,
    /// as an earlier `log verify` printed them. Finds a log that was cut off at its end
    #[arg(long, value_name = "SEQ:HASH")]
    head: Option<Noted>,
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
    let mut met = None;
    let verified = audit::verify_all(&history, |head: &Head| {
        progress.at(head.seq.0);
        if args.head.is_some_and(|noted| noted.seq == head.seq) {
            met = Some(head.event_hash);
        }
    });
    let head = verified.await;
    progress.end();
    let head = head.context("the log does not verify")?;
    if let Some(noted) = args.head {
        match met {
            None => bail!(
                "the log does not verify: it ends at {}, the event {} that was noted is cut off",
                head.seq,
                noted.seq
            ),
            Some(hash) => ensure!(
                noted.hash.matches(ConfigHash(hash.0)),
                "the log does not verify: event {} has the hash {hash}, not the one that was noted",
                noted.seq
            ),
        }
    }
    let (hash, config_hash) = (head.event_hash, head.config_hash);
    if args.common.json {
        let line = json!({"events": head.seq, "hash": hash, "config_hash": config_hash});
        return print(&line.to_string());
    }
    print(&format!("{} events verified; last hash {hash}, config {config_hash}", head.seq))
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
