//! A data plane for a moment: one config, ports of its own, no control plane, nothing left behind.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::data::Data;
use crate::clock::Clock;
use crate::domain::catalog::{Catalog, UnsupportedPlugins};
use crate::domain::hash::ConfigHash;
use crate::domain::kinds::route::Flavour;
use crate::pki::file::{Access, write_new};
use crate::pki::generate::cluster_pair;
use crate::settings::{Settings, Sources};
use crate::snapshot::Snapshot;
use crate::snapshot::file::{self, Newest};

/// How long the certificate of a trial is valid, in days.
const CERTIFICATE_DAYS: i64 = 2;

/// Where no control plane is: the port that discards everything.
const NOBODY: &str = "127.0.0.1:9";

/// What a trial takes over from a node.
#[derive(Clone, Debug)]
pub struct TrialSettings {
    plugins: String,
    unsupported_plugins: UnsupportedPlugins,
    router_flavour: Flavour,
}

impl TrialSettings {
    /// Takes over what decides on how a config is served.
    pub fn of(settings: &Settings) -> Self {
        let unsupported_plugins = settings.unsupported_plugins;
        let router_flavour = settings.router_flavour;
        Self { plugins: settings.plugins.join(","), unsupported_plugins, router_flavour }
    }
}

/// A running trial; its directory goes with it.
pub struct Trial {
    data: Data,
    directory: Directory,
}

struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed is the system's to clean up.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Trial {
    /// Starts a data plane with a config.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from starting.
    pub async fn start(
        wanted: &TrialSettings,
        catalog: &Catalog,
        snapshot: &Snapshot,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let path = std::env::temp_dir().join(format!("hybridctl-trial-{}", clock.id()));
        // The config holds secrets.
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        let directory = Directory(path);
        let path = &directory.0;
        let pair = cluster_pair(CERTIFICATE_DAYS, &clock)?;
        let (certificate, key) = (path.join("cluster.crt"), path.join("cluster.key"));
        write_new(&certificate, &pair.certificate, Access::Private)?;
        write_new(&key, &pair.key, Access::Private)?;
        file::store(path, &file::encode(catalog, snapshot, None), Newest::Good)?;
        let unsupported = match wanted.unsupported_plugins {
            UnsupportedPlugins::Store => "store",
            UnsupportedPlugins::Refuse => "refuse",
        };
        let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
        let env = [
            ("KONG_ROLE", "data_plane"),
            ("KONG_DATABASE", "off"),
            ("KONG_CLUSTER_CONTROL_PLANE", NOBODY),
            ("KONG_CLUSTER_CERT", &certificate),
            ("KONG_CLUSTER_CERT_KEY", &key),
            ("KONG_PROXY_LISTEN", "127.0.0.1:0"),
            ("KONG_STATUS_LISTEN", "127.0.0.1:0"),
            ("KONG_NGINX_WORKER_PROCESSES", "1"),
            ("KONG_PROXY_ACCESS_LOG", "off"),
            ("KONG_PLUGINS", &wanted.plugins),
            ("KONG_UNSUPPORTED_PLUGINS", unsupported),
            ("KONG_ROUTER_FLAVOR", wanted.router_flavour.name()),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let prefix = Some(path.display().to_string());
        let mut settings = Settings::load(&Sources { conf: None, env, prefix })?;
        settings.prepare()?;
        let data = Data::start(&settings, clock).await?;
        Ok(Self { data, directory })
    }

    /// Returns whether it serves this config: one that does not compile is not served.
    pub fn serves(&self, hash: ConfigHash) -> bool {
        self.data.config_hash() == hash
    }

    /// Returns where its proxy listens.
    pub fn proxy(&self) -> SocketAddr {
        self.data.proxy[0]
    }

    /// Returns where its status API listens.
    pub fn status(&self) -> SocketAddr {
        self.data.status[0]
    }

    /// Returns where it lives.
    pub fn directory(&self) -> &Path {
        &self.directory.0
    }

    /// Stops it.
    pub async fn stop(self) {
        self.data.stop().await;
    }
}
