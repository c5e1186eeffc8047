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
