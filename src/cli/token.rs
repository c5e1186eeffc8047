//! `token`: the Admin API's tokens, in the database itself: the first one is made before a start.

use anyhow::{Context as _, ensure};

use super::JsonArgs;
use super::database::{self, Target};
use super::output::Output;
use crate::admin::auth::describe;
use crate::clock::Clock;
use crate::domain::role::AdminRole;
use crate::log::tokens::{self, Expiry, Token, TokenName, Wanted};

/// Create, list and revoke the Admin API's tokens
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a token and print it, this once
    Create {
        /// What its holder may do: viewer, editor or admin
        #[arg(long)]
        role: AdminRole,
        /// What it is called, in the log too
        #[arg(long)]
        name: TokenName,
        /// When it ends: a length such as 90d, or a time [default: never]
        #[arg(long, value_name = "LENGTH|TIME")]
        expires: Option<Expiry>,
        #[command(flatten)]
        common: JsonArgs,
    },
    /// List all tokens, oldest first
    List {
        #[command(flatten)]
        common: JsonArgs,
    },
    /// Revoke a token, for good and within a second everywhere
    Revoke {
        /// Its id or name
        #[arg(value_name = "ID")]
        token: String,
        #[command(flatten)]
        common: JsonArgs,
    },
}

pub(super) fn run(args: Args, out: &Output) -> anyhow::Result<()> {
    database::block_on(async {
        match args.verb {
            Verb::Create { role, name, expires, common } => {
                create(role, name, expires, common).await
            }
            Verb::List { common } => list(common).await,
            Verb::Revoke { token, common } => revoke(&token, common, out).await,
        }
    })
}

async fn create(
    role: AdminRole,
    name: TokenName,
    expires: Option<Expiry>,
    common: JsonArgs,
) -> anyhow::Result<()> {
    let now = Clock::System.now();
    let expires_at = expires
        .map(|expiry| expiry.from(now).context("--expires must be in the future"))
        .transpose()?;
    let log = Target::find(common.settings)?.create().await?;
    let wanted = Wanted { name, role, expires_at };
    let (token, secret) = wanted.make(Clock::System.id(), now, database::actor())?;
    log.create_token(&token).await.context("cannot create the token")?;
    log.close().await;
    if common.json {
        let mut shown = describe(&token);
        shown.insert("token".to_owned(), secret.reveal().into());
        println!("{}", serde_json::Value::Object(shown));
        return Ok(());
    }
    // Alone on its line and on this stream, so that a script can take it.
    println!("{}", secret.reveal());
    let until = token.expires_at.map(|at| format!(", until {at}")).unwrap_or_default();
    eprintln!(
        "Token {} with the role {}{until}; its id is {}. Keep it now: it is shown this once.",
        token.name, token.role, token.id
    );
    Ok(())
}

async fn list(common: JsonArgs) -> anyhow::Result<()> {
    let log = Target::find(common.settings)?.open().await?;
    let tokens = log.tokens().await.context("cannot read the tokens")?;
    let now = Clock::System.now();
    for token in tokens {
        if common.json {
            println!("{}", serde_json::Value::Object(describe(&token)));
            continue;
        }
        println!(
            "{}  {:<6}  {}  made {} by {}{}",
            token.id,
            token.role.name(),
            token.name,
            token.created_at.format("%Y-%m-%d"),
            token.created_by,
            end(&token, now),
        );
    }
    Ok(())
}

fn end(token: &Token, now: chrono::DateTime<chrono::Utc>) -> String {
    match (&token.revoked, token.expires_at) {
        (Some((at, by)), _) => format!(", revoked {} by {by}", at.format("%Y-%m-%d")),
        (None, Some(at)) if at <= now => format!(", expired {}", at.format("%Y-%m-%d")),
        (None, Some(at)) => format!(", expires {}", at.format("%Y-%m-%d")),
        (None, None) => String::new(),
    }
}

async fn revoke(named: &str, common: JsonArgs, out: &Output) -> anyhow::Result<()> {
    let log = Target::find(common.settings)?.open().await?;
    let tokens = log.tokens().await.context("cannot read the tokens")?;
    let token = tokens::find(tokens, named);
    let token = token.with_context(|| format!("there is no token {named}"))?;
    let (now, actor) = (Clock::System.now(), database::actor());
    let found = log.revoke_token(token.id, now, &actor).await;
    ensure!(found.context("cannot revoke the token")?, "there is no token {named}");
    log.close().await;
    if common.json {
        let revoked = Token { revoked: token.revoked.or(Some((now, actor))), ..token };
        println!("{}", serde_json::Value::Object(describe(&revoked)));
    } else {
        out.say(&format!("Token {} ({}) is revoked.", token.name, token.id));
    }
    Ok(())
}
