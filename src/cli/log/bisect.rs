//! `log bisect`: the event that broke something, found by trying configs on a data plane.

use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use serde_json::json;

use super::line::{json_line, print, text};
use crate::cli::JsonArgs;
use crate::cli::database::Target;
use crate::clock::Clock;
use crate::domain::bisect::{Bisection, Next, Verdict};
use crate::domain::event::{Event, Seq};
use crate::log::moment::Moment;
use crate::planes::trial::{Trial, TrialSettings};
use crate::writer::Head;
use crate::writer::explain::Explainer;
use crate::writer::history::History;

/// The exit code of a command that cannot say, as of `git bisect run`.
const SKIP: i32 = 125;

/// The greatest exit code that says bad; a greater one ends the search.
const BAD_MAX: i32 = 127;

/// Find the event that broke something
///
/// Starts a data plane, on ports of its own, with the config of a position between a good and a
/// bad one, runs the command against it, and goes on with the half that its exit code says: 0 is
/// good, 125 is "cannot say", any other up to 127 is bad, and what is above ends the search.
///
/// The command finds the data plane by these variables: HYBRIDCTL_PROXY (such as
/// http://127.0.0.1:41234), HYBRIDCTL_STATUS, HYBRIDCTL_SEQ, HYBRIDCTL_CONFIG_HASH. Upstreams are
/// the real ones.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Position, first characters of a config hash, or time at which all was well
    #[arg(long, value_name = "SEQ|HASH|TIME")]
    good: Moment,
    /// Position, hash or time at which it was not [default: the newest]
    #[arg(long, value_name = "SEQ|HASH|TIME")]
    bad: Option<Moment>,
    /// Command for the shell, such as 'curl -fs "$HYBRIDCTL_PROXY/shop"'
    #[arg(long, value_name = "CMD")]
    run: String,
    #[command(flatten)]
    common: JsonArgs,
}

/// Searches.
pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let target = Target::find(args.common.settings.clone())?;
    let history = History::new(target.open().await?, target.catalog.clone());
    let good = history.resolve(args.good).await.context("cannot find the good moment")?;
    let bad = match args.bad {
        Some(moment) => history.resolve(moment).await.context("cannot find the bad moment")?,
        None => history.log().tip().await.context("cannot read the log")?.seq,
    };
    history.expect_events(good).await.context("cannot try every config after the good moment")?;
    let Some(mut bisection) = Bisection::new(good, bad) else {
        bail!("the good position ({good}) has to be before the bad one ({bad})")
    };
    let mut tries = Tries { args: &args, history: &history, settings: target.trial(), near: None };
    // A command that is wrong about the ends would find an innocent event.
    for (seq, wanted, name) in [(good, Verdict::Good, "good"), (bad, Verdict::Bad, "bad")] {
        let found = tries.judge(seq).await?;
        ensure!(
            found == wanted,
            "the command says {} of {seq}, which should be {name}",
            word(found)
        );
    }
    loop {
        match bisection.ask() {
            Next::Judge(seq) => {
                let left = bisection.steps_left();
                let verdict = tries.judge(seq).await?;
                eprintln!("{seq}: {} ({left} left at the most)", word(verdict));
                bisection.judge(seq, verdict);
            }
            Next::Guilty(seq) => return tell(&args, &history, &[seq]).await,
            Next::Among(seqs) => return tell(&args, &history, &seqs).await,
        }
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "good",
        Verdict::Bad => "bad",
        Verdict::Skip => "cannot say",
    }
}

/// Tries of the command.
struct Tries<'a> {
    args: &'a Args,
    history: &'a History,
    settings: TrialSettings,
    near: Option<Arc<Head>>,
}

impl Tries<'_> {
    async fn judge(&mut self, seq: Seq) -> anyhow::Result<Verdict> {
        let head = self.history.rebuild(seq, self.near.take()).await;
        let head = head.with_context(|| format!("cannot rebuild the config of {seq}"))?;
        self.near = Some(head.clone());
        let catalog = self.history.catalog();
        let trial = Trial::start(&self.settings, catalog, &head.snapshot, Clock::System).await;
        let trial = trial.with_context(|| format!("cannot start a data plane for {seq}"))?;
        if !trial.serves(head.config_hash) {
            trial.stop().await;
            eprintln!("{seq}: a data plane cannot serve this config");
            return Ok(Verdict::Bad);
        }
        let code = self.command(&trial, &head).await;
        trial.stop().await;
        match code? {
            Some(0) => Ok(Verdict::Good),
            Some(SKIP) => Ok(Verdict::Skip),
            Some(code) if (1..=BAD_MAX).contains(&code) => Ok(Verdict::Bad),
            Some(code) => bail!("the command ended the search at {seq} with exit code {code}"),
            None => bail!("the command was killed at {seq}"),
        }
    }

    async fn command(&self, trial: &Trial, head: &Head) -> anyhow::Result<Option<i32>> {
        let mut command = Command::new("sh");
        command
            .args(["-c", &self.args.run])
            .stdin(Stdio::null())
            .env("HYBRIDCTL_PROXY", format!("http://{}", trial.proxy()))
            .env("HYBRIDCTL_STATUS", format!("http://{}", trial.status()))
            .env("HYBRIDCTL_SEQ", head.seq.to_string())
            .env("HYBRIDCTL_CONFIG_HASH", head.config_hash.to_hex());
        if self.args.common.json {
            // What is printed here is one object; the command may say what it likes.
            command.stdout(Stdio::null());
        }
        let ended = tokio::task::spawn_blocking(move || command.status()).await?;
        Ok(ended.context("cannot run the command")?.code())
    }
}

async fn tell(args: &Args, history: &History, seqs: &[Seq]) -> anyhow::Result<()> {
    let mut explainer = Explainer::new(history.clone());
    let mut shown = Vec::new();
    for seq in seqs {
        let event = event(history, *seq).await?;
        let differences = explainer.explain(&event).await.context("cannot rebuild a config")?;
        match args.common.json {
            true => shown.push(json_line(&event, &differences, false)),
            false => shown.push(text(&event, &differences, false).into()),
        }
    }
    if args.common.json {
        return print(&json!({"guilty": seqs.len() == 1, "events": shown}).to_string());
    }
    print(match seqs.len() {
        1 => "The first bad event:",
        _ => "One of these events is the first bad one; those between could not be tried:",
    })?;
    shown.iter().filter_map(|text| text.as_str()).try_for_each(print)
}

async fn event(history: &History, seq: Seq) -> anyhow::Result<Event> {
    let rows = history.log().read(Seq(seq.0.saturating_sub(1)), 1).await;
    let rows = rows.context("cannot read the log")?;
    let row = rows.first().with_context(|| format!("there is no event {seq}"))?;
    Ok(row.event(history.catalog())?)
}
