//! The traffic by which the shipped binary is optimised: `cargo xtask release` compiles a binary that
//! counts which ways it goes, sends it through this, and compiles it again by what was counted.
//!
//! What is not met here is taken for rare and made small instead of fast, so this has something of
//! all that operators and clients do often. It is no measurement: nothing waits for an exact moment, and
//! a figure is nowhere printed. An answer other than the expected one is a failure, as a binary that refuses
//! everything would be optimised for that.

mod client;
mod configuration;
mod planes;
mod scenes;
mod upstream;

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::client::Addresses;
use crate::planes::{Database, Planes};
use crate::upstream::Upstreams;

const USAGE: &str = "usage: training BINARY (a hybridctl that counts: see `cargo xtask release`)";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args_os().skip(1);
    let (Some(binary), None) = (args.next(), args.next()) else { anyhow::bail!(USAGE) };
    let binary = PathBuf::from(binary);
    let folder = Folder::create()?;
    let upstreams = Upstreams::start().await?;

    eprintln!("training: a cluster on SQLite");
    stage(&binary, &folder.0.join("sqlite"), Database::Sqlite, false, &upstreams).await?;
    match throwaway_postgres::find() {
        Ok(_) => {
            eprintln!("training: a cluster on Postgres, with an access log");
            let server = throwaway_postgres::Server::start(throwaway_postgres::Options::default())
                .map_err(anyhow::Error::msg)?;
            let database = Database::Postgres(&server);
            stage(&binary, &folder.0.join("postgres"), database, true, &upstreams).await?;
        }
        Err(why) => {
            eprintln!("training: a second cluster on SQLite, with an access log; {why}");
            stage(&binary, &folder.0.join("again"), Database::Sqlite, true, &upstreams).await?;
        }
    }
    Ok(())
}

/// Starts a cluster, configures it, and sends all scenes through it while the configuration changes.
async fn stage(
    binary: &Path,
    folder: &Path,
    database: Database<'_>,
    access_log: bool,
    upstreams: &Upstreams,
) -> anyhow::Result<()> {
    let planes = Planes::start(binary, folder, database, access_log).await?;
    configuration::write(planes.admin, upstreams).await?;
    let addresses: Addresses = planes.addresses;
    client::until_served(addresses, scenes::last_configured()).await?;
    let changing = tokio::spawn(configuration::change(planes.admin));
    for scene in scenes::all() {
        eprintln!("training: {}", scene.name);
        client::play(&scene, addresses).await.with_context(|| format!("scene {:?}", scene.name))?;
    }
    changing.abort();
    if let Err(error) = changing.await
        && !error.is_cancelled()
    {
        return Err(error.into());
    }
    planes.end()
}

/// A folder that goes with its value.
struct Folder(PathBuf);

impl Folder {
    fn create() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("hybridctl-training-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
