//! `migrations`: the tables of the database, as Kong's subcommand of that name.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::json;
use tokio::runtime::Runtime;

use super::database;
use super::output::Output;
use super::{Exit, SettingsArgs, Told};
use crate::log::migrations::{Migrations, SchemaError, SchemaState};
use crate::planes;
use crate::settings::{Database, Settings};

/// Manage the tables of the database
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
    /// Answer every question with yes
    #[arg(short, long, global = true)]
    yes: bool,
    /// Print nothing
    #[arg(short, long, global = true)]
    quiet: bool,
    #[arg(short, long, global = true, hide = true)]
    force: bool,
    /// Longest that one step of the database may take
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 60)]
    db_timeout: u64,
    #[arg(long, global = true, hide = true, value_name = "SECONDS")]
    lock_timeout: Option<u64>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make the tables in a fresh database
    Bootstrap(SettingsArgs),
    /// Bring the tables up to this version
    Up(SettingsArgs),
    /// Finish what `up` has left; nothing here leaves anything
    Finish(SettingsArgs),
    /// List what was carried out and what was not
    List(SettingsArgs),
    /// Drop all tables, with everything that is stored
    Reset(SettingsArgs),
    /// Print what `list` tells as JSON
    Status(SettingsArgs),
}

pub(super) fn run(args: Args, out: &Output) -> anyhow::Result<()> {
    let out = &out.muted(args.quiet);
    let (verb, sources) = match args.verb {
        Verb::Bootstrap(settings) => (bootstrap as Work, settings),
        Verb::Up(settings) => (up as Work, settings),
        Verb::Finish(settings) => (finish as Work, settings),
        Verb::List(settings) => (list as Work, settings),
        Verb::Status(settings) => (status as Work, settings),
        Verb::Reset(settings) => {
            if !args.yes && !confirm(out)? {
                return Ok(());
            }
            (reset as Work, settings)
        }
    };
    let mut settings = Settings::load(&sources.sources())?;
    if let Database::Postgres(server) = &mut settings.database {
        server.timeout = Duration::from_secs(args.db_timeout.max(1));
    }
    verb(&Known::ask(&settings)?, out)
}

/// Makes the tables, or brings them up to date, as `start --run-migrations` asks.
pub(super) fn prepare(settings: &Settings, out: &Output) -> anyhow::Result<()> {
    let known = Known::ask(settings)?;
    if known.needs_bootstrap() { bootstrap(&known, out) } else { up(&known, out) }
}

/// The tables and what is known of them. Without a database there are none, and none are missing.
struct Known {
    runtime: Runtime,
    tables: Option<Box<dyn Migrations>>,
    state: SchemaState,
}

type Work = fn(&Known, &Output) -> anyhow::Result<()>;

impl Known {
    fn ask(settings: &Settings) -> anyhow::Result<Self> {
        let runtime = database::runtime()?;
        let entered = runtime.enter();
        let tables = planes::database::migrations(settings)?;
        drop(entered);
        let state = match &tables {
            Some(tables) => runtime
                .block_on(tables.state())
                .with_context(|| format!("cannot read the database {}", tables.name()))?,
            None => SchemaState::default(),
        };
        Ok(Self { runtime, tables, state })
    }

    fn needs_bootstrap(&self) -> bool {
        self.tables.is_some() && self.state.needs_bootstrap()
    }

    /// Carries out what is new, and tells in Kong's words what was.
    fn migrate(&self, out: &Output) -> anyhow::Result<()> {
        let Some(tables) = &self.tables else { return Ok(()) };
        let name = tables.name();
        out.say(&format!("migrating log on database '{name}'..."));
        let done = self.runtime.block_on(tables.migrate());
        done.with_context(|| format!("cannot migrate the database {name}"))?;
        for migration in &self.state.new {
            out.say(&format!("log migrated up to: {migration} (executed)"));
        }
        let count = self.state.new.len();
        let plural = if count == 1 { "" } else { "s" };
        out.say(&format!("{count} migration{plural} processed\n{count} executed"));
        Ok(())
    }
}

fn bootstrap(known: &Known, out: &Output) -> anyhow::Result<()> {
    if !known.needs_bootstrap() {
        out.say("Database already bootstrapped");
        return Ok(());
    }
    out.say("Bootstrapping database...");
    known.migrate(out)?;
    out.say("Database is up-to-date");
    Ok(())
}

fn up(known: &Known, out: &Output) -> anyhow::Result<()> {
    ensure!(
        !known.needs_bootstrap(),
        "Cannot run migrations: database needs bootstrapping; run 'kong migrations bootstrap'"
    );
    if known.state.new.is_empty() {
        out.say("Database is already up-to-date");
        return Ok(());
    }
    known.migrate(out)?;
    out.say("Database is up-to-date");
    Ok(())
}

fn finish(known: &Known, out: &Output) -> anyhow::Result<()> {
    ensure!(
        !known.needs_bootstrap(),
        "Cannot run migrations: database needs bootstrapping; run 'kong migrations bootstrap'"
    );
    match known.state.new.is_empty() {
        true => out.say("No pending migrations to finish"),
        false => out.say(&format!("\n{}", SchemaError::New)),
    }
    Ok(())
}

fn list(known: &Known, out: &Output) -> anyhow::Result<()> {
    if known.needs_bootstrap() {
        out.say(&SchemaError::NeedsBootstrap.to_string());
        return Err(Exit(3).into());
    }
    let state = &known.state;
    if !state.executed.is_empty() {
        out.say(&format!("Executed migrations:\n  log: {}", state.executed.join(", ")));
    }
    if state.new.is_empty() {
        return Ok(());
    }
    out.say(&format!("\nNew migrations available:\n  log: {}", state.new.join(", ")));
    out.say("\nRun 'kong migrations up' to proceed");
    Err(Exit(5).into())
}

fn status(known: &Known, out: &Output) -> anyhow::Result<()> {
    let shown = json!({
        "needs_bootstrap": known.needs_bootstrap(),
        "executed_migrations": known.state.executed,
        "pending_migrations": [],
        "new_migrations": known.state.new,
    });
    out.say(&shown.to_string());
    Ok(())
}

fn reset(known: &Known, out: &Output) -> anyhow::Result<()> {
    let Some(tables) = known.tables.as_ref().filter(|_| !known.needs_bootstrap()) else {
        out.say("Database not bootstrapped, nothing to reset");
        return Err(Told.into());
    };
    out.say("Resetting database...");
    let done = known.runtime.block_on(tables.reset());
    done.with_context(|| format!("cannot reset the database {}", tables.name()))?;
    out.say("Database successfully reset");
    Ok(())
}

/// Asks whether everything is to be lost.
fn confirm(out: &Output) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("not a tty: invoke 'reset' non-interactively with the --yes flag");
    }
    for _ in 0..3 {
        eprint!("> Are you sure? This operation is irreversible. [Y/n] ");
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        match answer.trim() {
            "y" | "Y" | "yes" | "YES" => return Ok(true),
            "n" | "N" | "no" | "NO" => break,
            _ => {}
        }
    }
    out.say("cancelled");
    Ok(false)
}
