//! A Postgres server for the whole run, and a schema in it for each test.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use hybridctl::clock::Clock;
use hybridctl::log::LogDatabase;
use hybridctl::planes::database;
use hybridctl::settings::{Settings, Sources};
use throwaway_postgres::{DATABASE, Options, Server, USER};

/// Starts a server for a test that does more to it than to use it.
pub(crate) fn start(settings: &[(&str, &str)], files: &[(&str, &str)]) -> Server {
    let mut options = Options::default();
    // No test pulls the plug of this machine, and a killed server loses nothing without it.
    for (name, value) in [("fsync", "off")].iter().chain(settings) {
        options.settings.push(((*name).to_owned(), (*value).to_owned()));
    }
    for (name, text) in files {
        options.files.push(((*name).to_owned(), text.as_bytes().to_vec()));
    }
    Server::start(options).unwrap_or_else(|why| panic!("{why}"))
}

/// Returns the server that tests share; it ends with this process.
fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(|| start(&[], &[]))
}

/// A schema that nobody else uses.
pub(crate) struct Schema {
    name: String,
    port: u16,
}

impl Schema {
    pub(crate) fn new() -> Self {
        Self::on(shared())
    }

    pub(crate) fn on(server: &Server) -> Self {
        let name = format!("it \"{}\"", Clock::System.id());
        Self { name, port: server.port() }
    }

    /// Returns the variables that lead a control plane here.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        let port = self.port.to_string();
        [
            ("KONG_DATABASE", "postgres"),
            ("KONG_PG_HOST", "127.0.0.1"),
            ("KONG_PG_PORT", port.as_str()),
            ("KONG_PG_USER", USER),
            ("KONG_PG_DATABASE", DATABASE),
            ("KONG_PG_SCHEMA", self.name.as_str()),
            // A server that answers at all may do so, however busy the machine is.
            ("KONG_PG_TIMEOUT", "20000"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// Returns the name as SQL has it.
    pub(crate) fn quoted(&self) -> String {
        format!("\"{}\"", self.name.replace('"', "\"\""))
    }

    /// Returns settings with the database, and more.
    pub(crate) fn settings(&self, more: &[(&str, &str)]) -> Settings {
        let mut env: BTreeMap<String, String> = self.env().into_iter().collect();
        env.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let prefix = std::env::temp_dir().join("hybridctl-it-postgres").display().to_string();
        Settings::load(&Sources { conf: None, env, prefix: Some(prefix) }).unwrap()
    }

    /// Makes the tables, unless they are there.
    pub(crate) async fn migrate(&self) {
        let tables = database::migrations(&self.settings(&[])).unwrap().unwrap();
        tables.migrate().await.unwrap();
    }

    /// Opens the log; the tables are made if they are not there.
    pub(crate) async fn open(&self) -> Arc<dyn LogDatabase> {
        self.migrate().await;
        database::open_stored(&self.settings(&[])).await.unwrap()
    }
}
