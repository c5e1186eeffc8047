//! The database of a node, by its settings: opened for the planes and for commands beside them.

use std::sync::Arc;

use anyhow::Context as _;

use super::{listen, trust};
use crate::clock::Clock;
use crate::domain::catalog::Catalog;
use crate::log::memory::MemoryLog;
use crate::log::migrations::Migrations;
use crate::log::postgres::{PostgresLog, TlsFiles};
use crate::log::sqlite::SqliteLog;
use crate::log::{EventLog, LogDatabase, StorageError};
use crate::settings::{Database, Postgres, PostgresTls, Role, Settings};
use crate::writer::{Writer, WriterTask};

/// Opens what a control plane writes to: a log, and where it lasts what is beside it.
///
/// # Errors
/// Whatever keeps it from being used.
pub async fn open(
    settings: &Settings,
) -> anyhow::Result<(Arc<dyn EventLog>, Option<Arc<dyn LogDatabase>>)> {
    if settings.database == Database::Off {
        return Ok((Arc::new(MemoryLog::default()), None));
    }
    let log = open_stored(settings).await?;
    Ok((log.clone(), Some(log)))
}

/// Opens a log that lasts. A SQLite file is made if there is none and brought up to date; the
/// tables of a Postgres database must be there, as with Kong.
///
/// # Errors
/// Whatever keeps it from being used.
pub async fn open_stored(settings: &Settings) -> anyhow::Result<Arc<dyn LogDatabase>> {
    match &settings.database {
        Database::Sqlite(path) => {
            let log = SqliteLog::open(path).await;
            Ok(Arc::new(log.with_context(|| format!("cannot open the log {}", path.display()))?))
        }
        Database::Postgres(server) => {
            match PostgresLog::open(server, files(settings, server)?).await {
                Ok(log) => Ok(Arc::new(log)),
                // What is wrong with the tables is told as it is: scripts look for Kong's words.
                Err(StorageError::Schema(error)) => Err(error.into()),
                Err(error) => {
                    Err(error).with_context(|| format!("cannot open the database {server}"))
                }
            }
        }
        Database::Off => anyhow::bail!("a node with database = off has no log"),
    }
}

/// Opens a writer on a log. One of a control plane refuses what would not fit into a message to its
/// data planes.
///
/// # Errors
/// The log cannot be read.
pub async fn writer(
    settings: &Settings,
    log: Arc<dyn EventLog>,
    catalog: &Arc<Catalog>,
    clock: &Clock,
) -> anyhow::Result<(Writer, WriterTask)> {
    let opened = Writer::open(log, catalog.clone(), clock.clone()).await;
    let (writer, task) = opened.context("cannot read the log")?;
    Ok(match settings.role {
        Role::ControlPlane => (writer, task.with_payload_max(super::payload_bytes_max(settings))),
        Role::Traditional | Role::DataPlane => (writer, task),
    })
}

/// Returns what can be done with the tables; none without a database.
///
/// # Errors
/// Files that cannot be read.
pub fn migrations(settings: &Settings) -> anyhow::Result<Option<Box<dyn Migrations>>> {
    Ok(match &settings.database {
        Database::Sqlite(path) => Some(Box::new(SqliteLog::unprepared(path))),
        Database::Postgres(server) => {
            Some(Box::new(PostgresLog::unprepared(server, files(settings, server)?)))
        }
        Database::Off => None,
    })
}

fn files(settings: &Settings, server: &Postgres) -> anyhow::Result<TlsFiles> {
    let roots = match server.tls {
        PostgresTls::Verified => trust::pems(settings)?.join("\n").into_bytes(),
        _ => Vec::new(),
    };
    let client = match &server.client {
        Some(pair) => Some((listen::text(&pair.cert)?, listen::text(&pair.key)?)),
        None => None,
    };
    Ok(TlsFiles { roots, client })
}
