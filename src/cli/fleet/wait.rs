//! `fleet wait`: until all connected data planes serve a config.

use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::AskArgs;
use super::seen::{Plane, Seen, Standing};
use crate::admin::client::AdminClient;
use crate::cli::Exit;
use crate::cli::output::Output;
use crate::log::moment::Moment;

/// The exit code when the time is over.
const LATE: u8 = 3;

/// The exit code when a data plane refuses the config.
const REFUSED: u8 = 4;

/// The pause between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Wait until all connected data planes serve a configuration
///
/// Exits with 0 when they do, with 3 when the time is over, and with 4 as soon as one of them
/// refuses it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// First characters of a config hash (8 at least), position, or time [default: what each is to
    /// get, which is the newest head unless a freeze, a pin or a rollout holds it]
    #[arg(value_name = "HASH|SEQ|TIME")]
    moment: Option<Moment>,
    /// How long to wait, such as 60s or 5m
    #[arg(long, value_name = "LENGTH", default_value = "60s")]
    timeout: Length,
    /// How many data planes have to be connected at least
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    min: usize,
    #[command(flatten)]
    asking: AskArgs,
}

/// A length of time as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Length(Duration);

impl FromStr for Length {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "expected a length such as 60s, 5m or 1h";
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let seconds = match &text[digits.len()..] {
            "" | "s" => 1,
            "m" => 60,
            "h" => 3_600,
            _ => return Err(wrong),
        };
        let number: u32 = digits.parse().map_err(|_| wrong)?;
        Ok(Self(Duration::from_secs(u64::from(number) * seconds)))
    }
}

/// How a fleet stands to what is waited for.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Done,
    Waits(String),
    Refused(String),
}

pub(super) async fn run(args: Args, out: &Output) -> anyhow::Result<()> {
    let out = out.muted(args.asking.common.json);
    let client = args.asking.client()?;
    let labels = args.asking.labels.clone().unwrap_or_default();
    let deadline = Instant::now() + args.timeout.0;
    let wanted = match args.moment {
        Some(moment) => Some(find(&client, moment).await?),
        None => None,
    };
    loop {
        let (progress, seen) = match Seen::ask(&client, &labels).await {
            Ok(seen) => (judge(&seen, wanted.as_deref(), args.min), Some(seen)),
            Err(error) if error.may_pass() => {
                (Progress::Waits(format!("{:#}", anyhow::Error::new(error))), None)
            }
            Err(error) => return Err(error).context("cannot ask the control plane"),
        };
        let (code, text) = match progress {
            Progress::Done => (0, done(seen.as_ref())),
            Progress::Refused(why) => (REFUSED, why),
            Progress::Waits(why) if Instant::now() >= deadline => (LATE, why),
            Progress::Waits(why) => {
                out.step(&why);
                tokio::time::sleep(LOOK_INTERVAL).await;
                continue;
            }
        };
        if args.asking.common.json {
            let shown = seen.map(|seen| seen.to_json());
            println!("{}", json!({"done": code == 0, "why": text, "fleet": shown}));
        } else if code == 0 {
            out.say(&text);
        } else {
            out.error(&text);
        }
        ensure!(code == 0, Exit(code));
        return Ok(());
    }
}

fn done(seen: Option<&Seen>) -> String {
    match seen.map_or(0, |seen| seen.connected().count()) {
        1 => "1 data plane serves it.".to_owned(),
        count => format!("{count} data planes serve it."),
    }
}

/// Returns the config of a moment.
async fn find(client: &AdminClient, moment: Moment) -> anyhow::Result<String> {
    let snapshot = client.get(&format!("/snapshots/{moment}")).await;
    let snapshot = snapshot.with_context(|| format!("cannot find {moment}"))?;
    let hash = snapshot["config_hash"].as_str();
    Ok(hash.context("the control plane does not tell the hash of that config")?.to_owned())
}

fn judge(seen: &Seen, wanted: Option<&str>, min: usize) -> Progress {
    let target = |plane: &Plane| wanted.or(plane.text("assigned_hash")).map(str::to_owned);
    for plane in seen.connected() {
        if let Some((hash, why)) = plane.rejected()
            && target(plane).as_deref() == Some(hash)
        {
            return Progress::Refused(format!("data plane {} refused it: {why}", name(plane)));
        }
    }
    let late: Vec<_> = seen.connected().filter(|plane| !serves(plane, target(plane))).collect();
    if let Some(first) = late.first() {
        let (count, total) = (late.len(), seen.connected().count());
        let held = first.text("held_by").map(|by| format!(", held by {by}")).unwrap_or_default();
        return Progress::Waits(format!(
            "{count} of {total} connected data planes do not serve it, {}{held} among them",
            name(first)
        ));
    }
    match seen.connected().count() {
        count if count < min => {
            Progress::Waits(format!("{count} data planes are connected, of {min}"))
        }
        _ => Progress::Done,
    }
}

fn serves(plane: &Plane, target: Option<String>) -> bool {
    let applied = plane.text("applied_hash");
    plane.standing() != Standing::Incompatible && applied.is_some() && applied == target.as_deref()
}

fn name(plane: &Plane) -> String {
    let (id, host) = (plane.text("id").unwrap_or("-"), plane.text("hostname").unwrap_or("-"));
    crate::cli::log::plain(&format!("{id} ({host})"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn plane(connected: bool, applied: &str, assigned: &str, rejected: Option<&str>) -> Plane {
        let rejected = rejected.map(|hash| json!({"hash": hash, "reason": "no"}));
        Plane(json!({
            "id": "x", "hostname": "h", "connected": connected, "applied_hash": applied,
            "assigned_hash": assigned, "rejected": rejected, "sync_status": "normal",
            "held_by": if assigned == "new" { Value::Null } else { "pin".into() },
        }))
    }

    #[test]
    fn connected_data_planes_count_and_a_refusal_ends_the_wait() {
        let judged = |planes: Vec<Plane>, wanted, min| match judge(
            &Seen { head: Value::Null, planes },
            wanted,
            min,
        ) {
            Progress::Done => "done",
            Progress::Waits(_) => "waits",
            Progress::Refused(_) => "refused",
        };
        let new = || plane(true, "new", "new", None);
        let pinned = || plane(true, "old", "old", None);
        let away = || plane(false, "old", "new", None);
        for (planes, wanted, min, progress) in [
            (vec![], None, 1, "waits"),
            (vec![], None, 0, "done"),
            (vec![new(), away()], None, 1, "done"),
            (vec![new(), away()], None, 2, "waits"),
            (vec![new(), pinned()], None, 1, "done"),
            (vec![new(), pinned()], Some("new"), 1, "waits"),
            (vec![plane(true, "old", "new", None)], None, 1, "waits"),
            (vec![new(), plane(true, "old", "new", Some("new"))], None, 1, "refused"),
            (vec![plane(true, "old", "old", Some("new"))], None, 1, "done"),
            (vec![plane(true, "old", "old", Some("new"))], Some("new"), 1, "refused"),
        ] {
            assert_eq!(judged(planes.clone(), wanted, min), progress, "{planes:?} {wanted:?}");
        }
    }

    #[test]
    fn lengths_have_units() {
        for (text, seconds) in [("60s", 60), ("5m", 300), ("1h", 3_600), ("7", 7)] {
            assert_eq!(text.parse(), Ok(Length(Duration::from_secs(seconds))));
        }
        for text in ["", "s", "1d", "-1s", "1.5s", "1 s", "99999999999s", "ä"] {
            assert!(text.parse::<Length>().is_err(), "{text}");
        }
    }
}
