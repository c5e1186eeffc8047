//! Child processes pinned to a core, stopped when their value is dropped, and their folder.

use std::ffi::OsStr;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

/// The core that the measured proxy runs on.
pub(crate) const PROXY_CORE: &str = "0";
/// The core that everything else runs on: load, upstream, control plane.
pub(crate) const OTHER_CORE: &str = "1";

/// How long a process may take to listen, and then to end.
const START_MAX: Duration = Duration::from_secs(20);
const STOP_MAX: Duration = Duration::from_secs(10);
const POLL_EVERY: Duration = Duration::from_millis(10);

/// A running child; dropping it ends it.
pub(crate) struct Process {
    child: Child,
    name: String,
    output: Option<PathBuf>,
}

impl Process {
    /// Starts the command; what it prints goes to `<folder>/<name>.log`.
    pub(crate) fn start(mut command: Command, name: &str, folder: &Path) -> anyhow::Result<Self> {
        let output = folder.join(format!("{name}.log"));
        let file = fs::File::create(&output)
            .with_context(|| format!("cannot create {}", output.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child, name: name.to_owned(), output: Some(output) })
    }

    /// Returns the process id; `taskset` has replaced itself, so it is the program's own.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the process accepts connections at `address`.
    pub(crate) fn wait_for(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_MAX;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("{} ended ({status}):\n{}", self.name, self.printed());
            }
            let late = Instant::now() > deadline;
            anyhow::ensure!(
                !late,
                "{} does not listen on {address}:\n{}",
                self.name,
                self.printed()
            );
            thread::sleep(POLL_EVERY);
        }
        Ok(())
    }

    /// Waits until the process has ended by itself.
    pub(crate) fn wait_for_end(&mut self) -> anyhow::Result<()> {
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "{} failed ({status}):\n{}", self.name, self.printed());
        Ok(())
    }

    /// Ends the process as a crash of the machine would.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Returns what the process has printed so far.
    pub(crate) fn printed(&self) -> String {
        let output = self.output.as_ref().and_then(|path| fs::read_to_string(path).ok());
        output.unwrap_or_default()
    }
}

impl Drop for Process {
    /// Asks the process to end and, when it does not, ends it.
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
            && matches!(self.child.try_wait(), Ok(None))
        {
            // Fails only when the process has ended by itself.
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + STOP_MAX;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
            }
            thread::sleep(POLL_EVERY);
        }
    }
}

/// A folder for one benchmark, removed when dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Creates the folder among the machine's temporary ones.
    pub(crate) fn create() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("hybridctl-bench-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }

    /// Returns the folder's path.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns a command that runs the program on one core.
pub(crate) fn pinned(core: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}

/// Returns a command that runs a subcommand of this tool on the core of everything else.
pub(crate) fn own(subcommand: &str) -> anyhow::Result<Command> {
    let mut command = pinned(OTHER_CORE, std::env::current_exe()?);
    command.arg(subcommand);
    Ok(command)
}

/// Returns an address that was free a moment ago.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Starts the upstream and returns it with its address.
pub(crate) fn start_upstream(folder: &Path) -> anyhow::Result<(Process, SocketAddr)> {
    let address = free_address()?;
    let mut command = own("upstream")?;
    command.args(["--listen", &address.to_string()]);
    let mut upstream = Process::start(command, "upstream", folder)?;
    upstream.wait_for(address)?;
    Ok((upstream, address))
}
