//! `quickstart`: both planes and a demo upstream on this machine, and a request through them.

mod client;
mod demo;

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::output::Output;

/// Start a control plane, a data plane and a demo upstream, and send a request through them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory for certificates, prefixes and logs
    #[arg(long, value_name = "DIRECTORY", default_value = "quickstart")]
    dir: PathBuf,
    /// Stop after the self-check; ports are picked freely
    #[arg(long)]
    once: bool,
    /// Print one JSON object when everything runs, and no steps
    #[arg(long)]
    json: bool,
}

/// The demo configuration; its port is replaced by the demo upstream's.
const DEMO: &str = include_str!("../../../snapshots/demo.yml");

/// Ports below those that systems hand out to whoever wants any: what is free is still free when a node
/// gets there.
const SPARE_PORTS: std::ops::Range<u16> = 30_000..32_000;

/// The port that [`DEMO`] names.
const DEMO_PORT: &str = "9000";

/// How long a node may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long a node may take to end.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// How often a node is looked at while it starts or ends.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Where the nodes listen.
struct Ports {
    admin: SocketAddr,
    cluster: SocketAddr,
    proxy: SocketAddr,
    status: SocketAddr,
}

pub(super) fn run(args: &Args, out: &Output) -> anyhow::Result<()> {
    let steps = out.muted(args.json);
    let out = &steps;
    std::fs::create_dir_all(&args.dir)
        .with_context(|| format!("cannot create {}", args.dir.display()))?;
    let dir = args.dir.canonicalize()?;
    let ports = Ports::choose(args.once)?;
    let upstream = demo::start()?;
    out.say(&format!("1. A demo upstream answers on http://{upstream}."));
    certificates(&dir, out)?;
    let demo = dir.join("demo.yml");
    let text = DEMO.replace(DEMO_PORT, &upstream.port().to_string());
    std::fs::write(&demo, text).with_context(|| format!("cannot write {}", demo.display()))?;

    let mut control = Node::control(&dir, &ports);
    let demo_text = demo.display().to_string();
    control.tool(&["config", "db_import", &demo_text], out)?;
    control.start()?;
    control.wait_until(ports.admin, "/status")?;
    out.say(&format!(
        "3. The control plane runs: Admin API on http://{}, log of events in {}/cp/hybrid.db.",
        ports.admin,
        dir.display()
    ));
    let mut data = Node::data(&dir, &ports);
    data.start()?;
    data.wait_until(ports.status, "/status/ready")?;
    out.say(&format!(
        "4. The data plane runs: proxy on http://{}, configuration by mTLS from {}.",
        ports.proxy, ports.cluster
    ));
    self_check(&ports, out)?;
    if args.json {
        let shown = serde_json::json!({
            "admin": ports.admin, "cluster": ports.cluster, "proxy": ports.proxy,
            "status": ports.status, "upstream": upstream, "directory": dir,
        });
        println!("{shown}");
    }
    if args.once {
        return Ok(());
    }
    out.say(&advice(&ports, &control));
    wait_for_interrupt()
}

impl Ports {
    /// Kong's ports, as far as they are free; `free` asks for others from the start.
    fn choose(free: bool) -> anyhow::Result<Self> {
        // All are held until the last is known, so that none is given out twice.
        let mut held = Vec::new();
        let count = SPARE_PORTS.end - SPARE_PORTS.start;
        // Another run begins elsewhere.
        let start = (std::process::id() % 100) as u16 * (count / 100);
        let spare = |offset| SPARE_PORTS.start + (start + offset) % count;
        let mut pick = |port: u16| -> anyhow::Result<SocketAddr> {
            let kongs = (!free).then_some(port);
            let listener = kongs
                .into_iter()
                .chain((0..count).map(spare))
                .find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok())
                .context("cannot find a free port")?;
            let address = listener.local_addr()?;
            held.push(listener);
            Ok(address)
        };
        Ok(Self {
            admin: pick(8001)?,
            cluster: pick(8005)?,
            proxy: pick(8000)?,
            status: pick(8100)?,
        })
    }
}

fn certificates(dir: &Path, out: &Output) -> anyhow::Result<()> {
    let (certificate, key) = (dir.join("cluster.crt"), dir.join("cluster.key"));
    if !certificate.exists() {
        let status = this_program()?
            .args(["hybrid", "gen_cert"])
            .args([&certificate, &key])
            .stdout(Stdio::null())
            .status()?;
        ensure!(status.success(), "cannot generate the cluster's certificate");
    }
    out.say(&format!("2. The planes trust each other by {}.", certificate.display()));
    Ok(())
}

fn this_program() -> anyhow::Result<Command> {
    Ok(Command::new(std::env::current_exe().context("cannot find this program")?))
}

/// A node in a process of its own, ended when this value goes.
struct Node {
    name: &'static str,
    prefix: PathBuf,
    environment: Vec<(&'static str, String)>,
    process: Option<Child>,
}

impl Node {
    fn control(dir: &Path, ports: &Ports) -> Self {
        let environment = vec![
            ("KONG_ROLE", "control_plane".to_owned()),
            ("KONG_DATABASE", "sqlite".to_owned()),
            ("KONG_ADMIN_LISTEN", ports.admin.to_string()),
            ("KONG_ADMIN_AUTH", "off".to_owned()),
            ("KONG_CLUSTER_LISTEN", ports.cluster.to_string()),
            ("KONG_STATUS_LISTEN", "off".to_owned()),
        ];
        Self::of("cp", dir, environment)
    }

    fn data(dir: &Path, ports: &Ports) -> Self {
        let environment = vec![
            ("KONG_ROLE", "data_plane".to_owned()),
            ("KONG_DATABASE", "off".to_owned()),
            ("KONG_CLUSTER_CONTROL_PLANE", ports.cluster.to_string()),
            ("KONG_PROXY_LISTEN", ports.proxy.to_string()),
            ("KONG_STATUS_LISTEN", ports.status.to_string()),
        ];
        Self::of("dp", dir, environment)
    }

    fn of(name: &'static str, dir: &Path, mut environment: Vec<(&'static str, String)>) -> Self {
        let prefix = dir.join(name);
        let file = |name: &str| dir.join(name).display().to_string();
        environment.push(("KONG_PREFIX", prefix.display().to_string()));
        environment.push(("KONG_CLUSTER_CERT", file("cluster.crt")));
        environment.push(("KONG_CLUSTER_CERT_KEY", file("cluster.key")));
        Self { name, prefix, environment, process: None }
    }

    fn command(&self) -> anyhow::Result<Command> {
        let mut command = this_program()?;
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// Runs one of our commands with the node's settings.
    fn tool(&self, arguments: &[&str], out: &Output) -> anyhow::Result<()> {
        out.step(&format!("hybridctl {}", arguments.join(" ")));
        let output = self.command()?.args(arguments).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "hybridctl {}: {said}", arguments.join(" "));
        Ok(())
    }

    fn start(&mut self) -> anyhow::Result<()> {
        let log = self.log();
        std::fs::create_dir_all(&self.prefix)?;
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = self.command()?;
        command.arg("run").stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        self.process = Some(command.spawn()?);
        Ok(())
    }

    /// What the node's process prints; its own logs are under `logs/` of the prefix.
    fn log(&self) -> PathBuf {
        self.prefix.join("output.log")
    }

    /// Waits until the node answers 200.
    fn wait_until(&mut self, address: SocketAddr, path: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if client::get(address, path).is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            let ended = self.process.as_mut().map(Child::try_wait).transpose()?.flatten();
            if ended.is_some() || Instant::now() > deadline {
                let said = std::fs::read_to_string(self.log()).unwrap_or_default();
                bail!("the node {} does not get ready: {}", self.name, said.trim());
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let Some(process) = &mut self.process else { return };
        if let Some(pid) = i32::try_from(process.id()).ok().and_then(Pid::from_raw) {
            // It may have ended on the same ctrl-C.
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + GONE_WITHIN;
        while matches!(process.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = process.kill();
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }
}

fn self_check(ports: &Ports, out: &Output) -> anyhow::Result<()> {
    // A data plane that ran before serves its cache until the control plane has told it of this
    // run's upstream.
    let deadline = Instant::now() + READY_WITHIN;
    let mut answer = client::get(ports.proxy, "/demo/hello")?;
    while answer.status != 200 && Instant::now() < deadline {
        std::thread::sleep(LOOK_INTERVAL);
        answer = client::get(ports.proxy, "/demo/hello")?;
    }
    ensure!(answer.status == 200, "the proxy answers {}: {}", answer.status, answer.body);
    ensure!(answer.body.contains("from the demo upstream"), "unexpected body: {}", answer.body);
    let via = answer.head.lines().find(|line| line.to_ascii_lowercase().starts_with("via:"));
    out.say(&format!(
        "5. curl http://{}/demo/hello answers {} ({}):\n{}",
        ports.proxy,
        answer.status,
        via.unwrap_or("no Via"),
        answer.body.trim_end()
    ));
    Ok(())
}

fn advice(ports: &Ports, control: &Node) -> String {
    let Ports { admin, proxy, .. } = ports;
    let prefix = control.prefix.display();
    format!(
        "\nTry next, in another terminal:\n\
         \n  # a new route, served at once\
         \n  curl -X POST http://{admin}/services/demo/routes -d 'paths[]=/new'\
         \n  curl -i http://{proxy}/new/hello\
         \n\
         \n  # who changed what, and when\
         \n  hybridctl log show -p {prefix}\
         \n\
         \n  # back to the configuration of the first event: /new is gone\
         \n  hybridctl rollback 1 -p {prefix}\
         \n  curl -i http://{proxy}/new/hello\
         \n\
         \n  # which data plane runs what\
         \n  curl http://{admin}/clustering/data-planes\
         \n\
         \nCtrl-C ends it."
    )
}

fn wait_for_interrupt() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tokio::signal::ctrl_c()).context("cannot wait for ctrl-C")
}
