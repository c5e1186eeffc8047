//! A control plane and a data plane, as an operator starts them; they end as he ends them, since a
//! program writes down what it has counted when it ends by itself.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use throwaway_postgres::{DATABASE, Server, USER};

use crate::client::Addresses;

/// How long a plane may take to listen, and then to end. One that counts is slow.
const START_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(60);
const POLL_EVERY: Duration = Duration::from_millis(20);

/// What the control plane keeps its log in.
#[derive(Clone, Copy)]
pub(crate) enum Database<'a> {
    Sqlite,
    Postgres(&'a Server),
}

/// Both planes, and where they listen.
pub(crate) struct Planes {
    data_plane: Plane,
    control_plane: Plane,
    pub(crate) admin: SocketAddr,
    pub(crate) addresses: Addresses,
}

impl Planes {
    /// Starts them in a folder; the data plane has one proxy core.
    pub(crate) async fn start(
        binary: &Path,
        folder: &Path,
        database: Database<'_>,
        access_log: bool,
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let launcher = Launcher { binary, folder };
        let pair = ["cluster.crt", "cluster.key"].map(|name| folder.join(name));
        launcher.call(Command::new(binary).args(["hybrid", "gen_cert"]).args(&pair))?;
        let [certificate, key] = pair.map(|path| path.display().to_string());
        let of_both = [
            ("KONG_CLUSTER_CERT", certificate),
            ("KONG_CLUSTER_CERT_KEY", key),
            ("KONG_STATUS_LISTEN", "off".to_owned()),
            ("KONG_LOG_LEVEL", "warn".to_owned()),
        ];

        let (admin, cluster) = (free_address()?, free_address()?);
        let mut settings = vec![
            ("KONG_ROLE", "control_plane".to_owned()),
            ("KONG_ADMIN_LISTEN", admin.to_string()),
            ("KONG_CLUSTER_LISTEN", cluster.to_string()),
            ("KONG_CLUSTER_TELEMETRY_LISTEN", "off".to_owned()),
            ("KONG_ADMIN_GUI_LISTEN", "off".to_owned()),
        ];
        settings.extend(of_both.iter().cloned());
        match database {
            Database::Sqlite => settings.push(("KONG_DATABASE", "sqlite".to_owned())),
            Database::Postgres(server) => {
                settings.extend([
                    ("KONG_DATABASE", "postgres".to_owned()),
                    ("KONG_PG_PORT", server.port().to_string()),
                    ("KONG_PG_USER", USER.to_owned()),
                    ("KONG_PG_DATABASE", DATABASE.to_owned()),
                ]);
                let mut bootstrap = Command::new(binary);
                bootstrap.args(["migrations", "bootstrap"]).envs(settings.iter().cloned());
                launcher.call(bootstrap.env("KONG_PREFIX", folder.join("control_plane")))?;
            }
        }
        let control_plane = launcher.start("control_plane", &settings, admin).await?;

        let addresses = Addresses {
            plain: free_address()?,
            tls: free_address()?,
            clear_http2: free_address()?,
        };
        let Addresses { plain, tls, clear_http2 } = addresses;
        let log =
            if access_log { folder.join("access.log").display().to_string() } else { "off".into() };
        let mut settings = vec![
            ("KONG_ROLE", "data_plane".to_owned()),
            ("KONG_DATABASE", "off".to_owned()),
            ("KONG_CLUSTER_CONTROL_PLANE", cluster.to_string()),
            ("KONG_PROXY_LISTEN", format!("{plain}, {tls} http2 ssl, {clear_http2} http2")),
            ("KONG_PROXY_ACCESS_LOG", log),
            ("KONG_NGINX_WORKER_PROCESSES", "1".to_owned()),
        ];
        settings.extend(of_both);
        let data_plane = launcher.start("data_plane", &settings, plain).await?;
        Ok(Self { data_plane, control_plane, admin, addresses })
    }

    /// Ends both after the requests that they serve.
    pub(crate) fn end(self) -> anyhow::Result<()> {
        self.data_plane.end()?;
        self.control_plane.end()
    }
}

/// What all commands of a cluster have in common.
struct Launcher<'a> {
    binary: &'a Path,
    folder: &'a Path,
}

impl Launcher<'_> {
    /// Runs a command to its end.
    fn call(&self, command: &mut Command) -> anyhow::Result<()> {
        let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "{command:?} failed: {said}");
        Ok(())
    }

    async fn start(
        &self,
        role: &'static str,
        settings: &[(&str, String)],
        address: SocketAddr,
    ) -> anyhow::Result<Plane> {
        let (prefix, log) = (self.folder.join(role), self.folder.join(format!("{role}.log")));
        let file = fs::File::create(&log)?;
        let mut command = Command::new(self.binary);
        command.arg("run").arg("-p").arg(&prefix).stdin(Stdio::null());
        command.stdout(file.try_clone()?).stderr(file).envs(settings.iter().cloned());
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        let mut plane = Plane { binary: self.binary.to_owned(), child, role, prefix, log };
        let deadline = Instant::now() + START_MAX;
        while TcpStream::connect(address).is_err() {
            let is_late = Instant::now() > deadline;
            let ended = plane.child.try_wait()?;
            anyhow::ensure!(
                !is_late && ended.is_none(),
                "the {role} does not listen on {address}:\n{}",
                plane.printed()
            );
            tokio::time::sleep(POLL_EVERY).await;
        }
        Ok(plane)
    }
}

/// A running plane; it is killed if it is dropped before its end.
struct Plane {
    binary: PathBuf,
    child: Child,
    role: &'static str,
    prefix: PathBuf,
    log: PathBuf,
}

impl Plane {
    fn end(mut self) -> anyhow::Result<()> {
        let quit = Command::new(&self.binary).arg("quit").arg("-p").arg(&self.prefix).output()?;
        let said = String::from_utf8_lossy(&quit.stderr);
        anyhow::ensure!(quit.status.success(), "the {} did not quit: {said}", self.role);
        let deadline = Instant::now() + STOP_MAX;
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    anyhow::bail!("the {} failed: {status}\n{}", self.role, self.printed())
                }
                None => {
                    anyhow::ensure!(Instant::now() < deadline, "the {} does not end", self.role)
                }
            }
            std::thread::sleep(POLL_EVERY);
        }
    }

    fn printed(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        // Fails only when it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns an address that was free a moment ago.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
