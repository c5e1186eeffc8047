//! The product under measurement: a control plane and one data plane, as an operator starts them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::client::Client;
use crate::process::{OTHER_CORE, PROXY_CORE, Process, free_address, pinned};
use crate::yardstick::Certificate;

/// How long a configuration may take to reach the data plane.
const REACH_MAX: Duration = Duration::from_secs(120);

/// How many routes are created at once.
const BATCH: usize = 1000;

/// A control plane and its addresses.
pub(crate) struct ControlPlane {
    pub(crate) process: Process,
    pub(crate) admin: SocketAddr,
    pub(crate) cluster: SocketAddr,
}

impl ControlPlane {
    /// Starts a control plane on the given cores, as `taskset -c` takes them: on SQLite unless
    /// `more` settings say otherwise.
    pub(crate) fn start(
        hybridctl: &Path,
        folder: &Path,
        cores: &str,
        more: &[(String, String)],
    ) -> anyhow::Result<Self> {
        make_certificate(hybridctl, &folder.join(CERTIFICATE), &folder.join(KEY))?;
        let addresses = (free_address()?, free_address()?);
        Self::start_again(hybridctl, folder, cores, addresses, more)
    }

    /// Starts a control plane where one was, at the same addresses: Admin API and cluster listener.
    pub(crate) fn start_again(
        hybridctl: &Path,
        folder: &Path,
        cores: &str,
        (admin, cluster): (SocketAddr, SocketAddr),
        more: &[(String, String)],
    ) -> anyhow::Result<Self> {
        let (admin_listen, cluster_listen) = (admin.to_string(), cluster.to_string());
        let mut settings = vec![
            ("KONG_DATABASE", "sqlite"),
            ("KONG_ADMIN_LISTEN", admin_listen.as_str()),
            ("KONG_CLUSTER_LISTEN", cluster_listen.as_str()),
            ("KONG_ADMIN_ACCESS_LOG", "off"),
            ("KONG_STATUS_LISTEN", "off"),
            ("KONG_CLUSTER_TELEMETRY_LISTEN", "off"),
            ("KONG_ADMIN_GUI_LISTEN", "off"),
        ];
        settings.extend(more.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let mut process = start(hybridctl, folder, "control_plane", cores, &settings)?;
        process.wait_for(admin)?;
        process.wait_for(cluster)?;
        Ok(Self { process, admin, cluster })
    }
}

/// The pair of a cluster, in its folder.
pub(crate) const CERTIFICATE: &str = "cluster.crt";
pub(crate) const KEY: &str = "cluster.key";

fn start(
    hybridctl: &Path,
    folder: &Path,
    role: &str,
    cores: &str,
    settings: &[(&str, &str)],
) -> anyhow::Result<Process> {
    let mut command = pinned(cores, hybridctl);
    command
        .arg("run")
        .env("KONG_ROLE", role)
        .env("KONG_PREFIX", folder.join(role))
        .env("KONG_CLUSTER_CERT", folder.join(CERTIFICATE))
        .env("KONG_CLUSTER_CERT_KEY", folder.join(KEY))
        .env("KONG_NGINX_DAEMON", "off")
        .env("KONG_LOG_LEVEL", "warn")
        .envs(settings.iter().copied());
    Process::start(command, role, folder)
}

/// A control plane, a data plane, and their addresses. Dropped in this order.
pub(crate) struct Gateway {
    pub(crate) data_plane: Process,
    pub(crate) control_plane: Process,
    pub(crate) admin: SocketAddr,
    pub(crate) proxy: SocketAddr,
    /// Where the same is served over TLS, HTTP/2 included.
    pub(crate) tls: SocketAddr,
}

impl Gateway {
    /// Starts both planes; the data plane has one proxy core and no access log.
    pub(crate) fn start(hybridctl: &Path, folder: &Path) -> anyhow::Result<Self> {
        Self::start_with(hybridctl, folder, None)
    }

    /// Starts both planes with a certificate for clients, other than the data plane's own.
    pub(crate) fn start_with(
        hybridctl: &Path,
        folder: &Path,
        certificate: Option<&Certificate>,
    ) -> anyhow::Result<Self> {
        let ControlPlane { process, admin, cluster } =
            ControlPlane::start(hybridctl, folder, OTHER_CORE, &[])?;
        let (proxy, tls, status) = (free_address()?, free_address()?, free_address()?);
        let (cluster, status) = (cluster.to_string(), status.to_string());
        let listen = format!("{proxy}, {tls} http2 ssl");
        let mut settings = vec![
            ("KONG_DATABASE", "off"),
            ("KONG_CLUSTER_CONTROL_PLANE", cluster.as_str()),
            ("KONG_PROXY_LISTEN", listen.as_str()),
            ("KONG_STATUS_LISTEN", status.as_str()),
            ("KONG_NGINX_WORKER_PROCESSES", "1"),
            ("KONG_PROXY_ACCESS_LOG", "off"),
        ];
        let paths = certificate.map(|it| (it.certificate.display(), it.key.display()));
        let paths = paths.map(|(one, other)| (one.to_string(), other.to_string()));
        if let Some((certificate, key)) = &paths {
            settings.push(("KONG_SSL_CERT", certificate));
            settings.push(("KONG_SSL_CERT_KEY", key));
        }
        let mut data_plane = start(hybridctl, folder, "data_plane", PROXY_CORE, &settings)?;
        data_plane.wait_for(proxy)?;
        Ok(Self { data_plane, control_plane: process, admin, proxy, tls })
    }

    /// Returns a client of the Admin API.
    pub(crate) fn admin(&self) -> Client {
        Client::new(self.admin)
    }

    /// Creates the service `bench` for the upstream.
    pub(crate) fn create_service(&self, upstream: SocketAddr) -> anyhow::Result<()> {
        let body = format!(r#"{{"name":"bench","url":"http://{upstream}"}}"#);
        self.admin().write("POST", "/services", &body)
    }

    /// Creates so many routes that nobody asks for, in large writes.
    pub(crate) fn create_other_routes(&self, count: usize) -> anyhow::Result<()> {
        let mut admin = self.admin();
        for first in (0..count).step_by(BATCH) {
            let operations = (first..count.min(first + BATCH)).map(|number| {
                let body = json!({"paths": [format!("/other/{number}")], "strip_path": false});
                json!({"method": "POST", "path": "/services/bench/routes", "body": body})
            });
            let operations = Value::from_iter(operations);
            admin.write("POST", "/batch", &operations.to_string())?;
        }
        Ok(())
    }

    /// Waits until the data plane answers `path` with 200.
    pub(crate) fn wait_until_served(&self, path: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + REACH_MAX;
        let mut client = Client::new(self.proxy);
        loop {
            let status = client.send("GET", path, None)?.status;
            if status == 200 {
                return Ok(());
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "the data plane still answers {status} at {path}:\n{}",
                self.data_plane.printed()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Creates one route of the service `bench`.
pub(crate) fn create_route(admin: &mut Client, path: &str) -> anyhow::Result<()> {
    let body = format!(r#"{{"paths":["{path}"],"strip_path":false}}"#);
    admin.write("POST", "/services/bench/routes", &body)
}

/// Returns the given binary, or the one that was built beside this tool.
pub(crate) fn binary(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name("hybridctl");
    let path = given.map_or(beside, Path::to_path_buf);
    anyhow::ensure!(
        path.is_file(),
        "{} does not exist; build it with `cargo build --release`",
        path.display()
    );
    Ok(path)
}

fn make_certificate(hybridctl: &Path, certificate: &Path, key: &Path) -> anyhow::Result<()> {
    let output = Command::new(hybridctl)
        .args(["hybrid", "gen_cert"])
        .args([certificate, key])
        .output()
        .with_context(|| format!("cannot run {}", hybridctl.display()))?;
    anyhow::ensure!(
        output.status.success() && certificate.is_file() && key.is_file(),
        "`hybridctl hybrid gen_cert` made no certificate ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
