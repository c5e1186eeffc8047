//! The Postgres database of a control plane: `pg_*` (reference hybrid.md, section 1.2).

use std::fmt;
use std::time::Duration;

use super::build::Reader;
use super::pem::PemPair;

/// Connections when `pg_pool_size` does not say how many; memory answers reads, so few are needed.
const CONNECTIONS: u32 = 8;

/// A Postgres database and how to reach it.
#[derive(Clone, Eq, PartialEq)]
pub struct Postgres {
    /// A name, an address, or the directory of a Unix socket.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database.
    pub database: String,
    /// The schema in it, if not the user's first.
    pub schema: Option<String>,
    /// Who connects.
    pub user: String,
    /// The user's password.
    pub password: Option<String>,
    /// The longest that one step (to connect, or a statement) may take.
    pub timeout: Duration,
    /// Whether the connection is encrypted.
    pub tls: PostgresTls,
    /// Shown to a server that asks for a certificate.
    pub client: Option<PemPair>,
    /// The most connections, but for the one that listens.
    pub connections_max: usize,
    /// The longest wait for one of them.
    pub semaphore_timeout: Duration,
    /// How long an idle one is kept, if not for ever.
    pub keepalive_timeout: Option<Duration>,
}

/// How a connection to Postgres is encrypted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PostgresTls {
    /// Not at all.
    Off,
    /// If the server can.
    Preferred,
    /// Always, whoever the server is.
    Required,
    /// Always, and its certificate names it.
    Verified,
}

impl fmt::Debug for Postgres {
    /// Leaves the password out.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Postgres")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("database", &self.database)
            .field("schema", &self.schema)
            .field("user", &self.user)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Postgres {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} on {}:{}", self.database, self.host, self.port)
    }
}

impl Reader<'_> {
    /// Reads the database of a control plane; the certificate is read elsewhere.
    pub(super) fn postgres(&self, client: Option<PemPair>) -> Postgres {
        let values = self.values;
        let optional = |name: &str| values.text(name).map(str::to_owned);
        let tls = match (values.flag("pg_ssl"), values.flag("pg_ssl_verify")) {
            (false, _) => PostgresTls::Off,
            (true, true) => PostgresTls::Verified,
            (true, false) if values.flag("pg_ssl_required") => PostgresTls::Required,
            (true, false) => PostgresTls::Preferred,
        };
        // Zero queries at once means any number of them.
        let at_once = Some(self.whole_u32("pg_max_concurrent_queries")).filter(|most| *most > 0);
        let pooled = values.number("pg_pool_size").map(|_| self.whole_u32("pg_pool_size"));
        let connections = at_once.unwrap_or(u32::MAX).min(pooled.unwrap_or(CONNECTIONS)).max(1);
        let keepalive = values.number("pg_keepalive_timeout").filter(|length| *length > 0.0);
        Postgres {
            host: self.owned("pg_host"),
            port: u16::try_from(self.whole("pg_port")).unwrap_or_default(),
            database: self.owned("pg_database"),
            schema: optional("pg_schema"),
            user: self.owned("pg_user"),
            password: optional("pg_password"),
            timeout: self.milliseconds("pg_timeout"),
            tls,
            client,
            connections_max: usize::try_from(connections).unwrap_or(usize::MAX),
            semaphore_timeout: self.milliseconds("pg_semaphore_timeout"),
            keepalive_timeout: keepalive.map(|_| self.milliseconds("pg_keepalive_timeout")),
        }
    }

    fn milliseconds(&self, name: &str) -> Duration {
        Duration::from_millis(self.whole(name).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Database, Settings, SettingsError, Sources};

    fn load(more: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let env = [("KONG_DATABASE", "postgres")].iter().chain(more);
        let env = env.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Settings::load(&Sources { conf: None, env, prefix: None })
    }

    fn postgres(more: &[(&str, &str)]) -> Postgres {
        match load(more).unwrap().database {
            Database::Postgres(postgres) => *postgres,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn defaults_are_kongs() {
        let found = postgres(&[]);
        assert_eq!(found.to_string(), "kong on 127.0.0.1:5432");
        assert_eq!((found.user.as_str(), found.password, found.schema), ("kong", None, None));
        assert_eq!((found.timeout, found.tls), (Duration::from_secs(5), PostgresTls::Off));
        assert_eq!(found.semaphore_timeout, Duration::from_secs(60));
        assert_eq!((found.connections_max, found.keepalive_timeout), (8, None));
    }

    #[test]
    fn every_setting_is_heard() {
        let found = postgres(&[
            ("KONG_PG_HOST", "db"),
            ("KONG_PG_PORT", "5433"),
            ("KONG_PG_DATABASE", "gateway"),
            ("KONG_PG_SCHEMA", "cp"),
            ("KONG_PG_USER", "ann"),
            ("KONG_PG_PASSWORD", "{vault://env/pg-secret}"),
            ("PG_SECRET", "hunter2"),
            ("KONG_PG_TIMEOUT", "250"),
            ("KONG_PG_POOL_SIZE", "30"),
            ("KONG_PG_MAX_CONCURRENT_QUERIES", "3"),
            ("KONG_PG_SEMAPHORE_TIMEOUT", "100"),
            ("KONG_PG_KEEPALIVE_TIMEOUT", "9000"),
        ]);
        assert_eq!(found.to_string(), "gateway on db:5433");
        assert_eq!((found.schema.as_deref(), found.user.as_str()), (Some("cp"), "ann"));
        assert_eq!(found.password.as_deref(), Some("hunter2"));
        assert!(!format!("{found:?}").contains("hunter2"));
        assert_eq!((found.timeout.as_millis(), found.connections_max), (250, 3));
        assert_eq!(found.semaphore_timeout.as_millis(), 100);
        assert_eq!(found.keepalive_timeout, Some(Duration::from_secs(9)));
    }

    #[test]
    fn tls_is_asked_for_step_by_step() {
        let on = ("KONG_PG_SSL", "on");
        for (more, tls) in [
            (&[][..], PostgresTls::Required),
            (&[("KONG_PG_SSL_REQUIRED", "off")], PostgresTls::Preferred),
            (&[("KONG_PG_SSL_VERIFY", "on")], PostgresTls::Verified),
        ] {
            assert_eq!(postgres(&[&[on], more].concat()).tls, tls);
        }
        let halves = load(&[on, ("KONG_PG_SSL_CERT", "/none")]).unwrap_err().messages();
        assert_eq!(halves[0], "pg_ssl_cert_key must be specified");
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused_in_kongs_words() {
        for (name, value, message) in [
            ("KONG_PG_BACKLOG", "-1", "pg_backlog must be greater than 0"),
            ("KONG_PG_POOL_SIZE", "1.5", "pg_pool_size must be an integer greater than 0"),
            (
                "KONG_PG_RO_KEEPALIVE_TIMEOUT",
                "-1",
                "pg_ro_keepalive_timeout must be greater than 0",
            ),
            ("KONG_PG_PORT", "0", "pg_port must be an integer from 1 to 65535"),
        ] {
            assert_eq!(load(&[(name, value)]).unwrap_err().messages(), [message]);
        }
    }

    #[test]
    fn what_does_nothing_is_warned_of() {
        let warnings = load(&[("KONG_PG_RO_HOST", "replica")]).unwrap().warnings;
        assert_eq!(warnings, ["pg_ro_host is not supported by this release: it is ignored"]);
    }
}
