//! From settings to a connection: where it goes, how it is guarded, how its session is set up.

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::TlsFiles;
use crate::settings::{Postgres, PostgresTls};

/// Returns how to connect. Every property is set: what the library would take from variables of the
/// environment is not what the settings say.
pub(super) fn of(settings: &Postgres, files: TlsFiles) -> PgConnectOptions {
    let options = PgConnectOptions::new_without_pgpass()
        .host(&settings.host)
        .port(settings.port)
        .username(&settings.user)
        .password(settings.password.as_deref().unwrap_or_default())
        .database(&settings.database)
        .application_name("hybridctl")
        // Poolers in between refuse parameters that they do not know.
        .extra_float_digits(None)
        .disable_statement_logging();
    let options = match settings.tls {
        PostgresTls::Off => options.ssl_mode(PgSslMode::Disable),
        PostgresTls::Preferred => options.ssl_mode(PgSslMode::Prefer),
        PostgresTls::Required => options.ssl_mode(PgSslMode::Require),
        PostgresTls::Verified => {
            options.ssl_mode(PgSslMode::VerifyFull).ssl_root_cert_from_pem(files.roots)
        }
    };
    match &files.client {
        Some((certificate, key)) => {
            options.ssl_client_cert_from_pem(certificate).ssl_client_key_from_pem(key)
        }
        None => options,
    }
}

/// Returns what a new session is told. A commit waits for the disk whatever the server's default
/// is; what we have given up, the server ends.
pub(super) fn session(settings: &Postgres) -> String {
    let limit = settings.timeout.as_millis();
    format!(
        "SET statement_timeout = {limit}; SET lock_timeout = {limit}; \
         SET idle_in_transaction_session_timeout = {limit}; \
         SELECT set_config('synchronous_commit', 'on', false) \
         WHERE current_setting('synchronous_commit') = 'off'{}",
        search_path(settings)
    )
}

/// Returns what a session of migrations is told: they take the time they take.
pub(super) fn migration_session(settings: &Postgres) -> String {
    let schema = settings.schema.as_deref().map(quoted);
    let create = schema.map(|schema| format!("; CREATE SCHEMA IF NOT EXISTS {schema}"));
    format!(
        "SET statement_timeout = 0; SET lock_timeout = 0; \
         SET idle_in_transaction_session_timeout = 0{}",
        create.unwrap_or_default()
    )
}

fn search_path(settings: &Postgres) -> String {
    let schema = settings.schema.as_deref().map(quoted);
    schema.map(|schema| format!("; SET search_path = {schema}")).unwrap_or_default()
}

/// Returns a name as an identifier.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
