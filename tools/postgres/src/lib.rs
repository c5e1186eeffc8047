//! Postgres servers for tests and benchmarks, which leave nothing behind.
//!
//! A server lives as long as its [`Server`] or, if nobody drops that, as the process: a shell waits
//! on a pipe, and when the pipe closes it ends the server and removes its folder. As root the
//! server runs under another user, since it refuses to be root.

mod programs;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{OpenOptionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub use programs::{find, find_or_install};

/// Who may do everything on the server; no password is asked for.
pub const USER: &str = "hybridctl";

/// The database that every server begins with.
pub const DATABASE: &str = "postgres";

/// How long a server may take to start on a busy machine.
const START_MAX: Duration = Duration::from_secs(60);

/// What a server says last.
const IS_DOWN: &str = "database system is shut down";

/// The first port that a server may have.
const PORTS_BEGIN: u16 = 12_000;

/// How far apart the ports of two processes begin, and those that a server tries.
const PORTS_APART: u32 = 61;

/// How many ports a server tries.
const PORTS_TRIED: u32 = 8;

/// Runs a server until a line or the end of the input comes, then ends it as a crash would: it
/// recovers at its next start. Without a line there is none.
const KEEP: &str = r#"
folder=$1
shift
"$@" </dev/null >>"$folder/log" 2>&1 &
server=$!
read -r word
kill -QUIT $server
wait $server
[ "$word" = keep ] || rm -rf "$folder"
"#;

/// What a server is to be like.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Settings of the server, as `postgresql.conf` has them.
    pub settings: Vec<(String, String)>,
    /// Files to lie in the server's folder, by name, readable by the server alone.
    pub files: Vec<(String, Vec<u8>)>,
}

/// A server on a port of this machine.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    port: u16,
    programs: PathBuf,
    owner: Option<(u32, u32)>,
    settings: Vec<(String, String)>,
    /// The shell that keeps the server; none while it is stopped.
    keeper: Option<Child>,
}

impl Server {
    /// Makes and starts a server.
    ///
    /// # Errors
    /// A sentence for the developer.
    pub fn start(options: Options) -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir()
            .join(format!("hybridctl-postgres-{}-{number}", std::process::id()));
        let mut server = Self {
            folder,
            port: 0,
            programs: find()?,
            owner: programs::owner()?,
            settings: options.settings,
            keeper: None,
        };
        server.make(&options.files)?;
        for first in (0..PORTS_TRIED).map(|round| number + round * PORTS_APART) {
            server.port = free_port(first)?;
            match server.resume() {
                // Somebody was quicker.
                Err(why) if why.contains("Address already in use") => server.end("keep\n"),
                outcome => return outcome.map(|()| server),
            }
        }
        Err(format!("no port stays free: {PORTS_TRIED} were tried"))
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the server's folder, where its files lie; it is also that of its Unix socket.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Ends the server as a crash would, and keeps what it stored.
    pub fn crash(&mut self) {
        self.end("keep\n");
    }

    /// Starts the server again on the same port.
    ///
    /// # Errors
    /// A sentence for the developer.
    pub fn resume(&mut self) -> Result<(), String> {
        let said = self.log().len();
        let mut command = self.command("sh");
        command
            .args(["-c", KEEP, "sh"])
            .arg(&self.folder)
            .arg(self.programs.join("postgres"))
            .arg("-D")
            .arg(self.folder.join("data"))
            .arg("-k")
            .arg(&self.folder)
            .args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "max_connections=300", "-c", "shared_buffers=32MB"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // What a terminal sends to stop us is not for it: our end of the pipe tells it.
            .process_group(0);
        for (name, value) in &self.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let keeper = command.spawn().map_err(|error| format!("cannot start a shell: {error}"))?;
        self.keeper = Some(keeper);
        self.wait_until_ready(said)
    }

    fn make(&self, files: &[(String, Vec<u8>)]) -> Result<(), String> {
        let cannot = |error| format!("cannot make {}: {error}", self.folder.display());
        fs::create_dir_all(&self.folder).map_err(cannot)?;
        self.hand_over(&self.folder).map_err(cannot)?;
        for (name, contents) in files {
            let path = self.folder.join(name);
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            file.and_then(|mut file| file.write_all(contents)).map_err(cannot)?;
            self.hand_over(&path).map_err(cannot)?;
        }
        let made = self
            .command(self.programs.join("initdb"))
            .arg("-D")
            .arg(self.folder.join("data"))
            .args(["-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"])
            .output()
            .map_err(|error| format!("cannot run initdb: {error}"))?;
        match made.status.success() {
            true => Ok(()),
            false => Err(format!("initdb failed: {}", String::from_utf8_lossy(&made.stderr))),
        }
    }

    /// Gives a path to the user that the server runs under.
    fn hand_over(&self, path: &Path) -> std::io::Result<()> {
        match self.owner {
            Some((user, group)) => chown(path, Some(user), Some(group)),
            None => Ok(()),
        }
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder);
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }

    /// Waits for an answer, or for the end of the server; what it said before stands in front in its log.
    fn wait_until_ready(&mut self, said: usize) -> Result<(), String> {
        let deadline = Instant::now() + START_MAX;
        let port = self.port.to_string();
        let folder = self.folder.clone();
        loop {
            let mut ask = self.command(self.programs.join("pg_isready"));
            let ask = ask.args(["-q", "-U", USER, "-d", DATABASE, "-p", &port, "-h"]).arg(&folder);
            if ask.status().is_ok_and(|status| status.success()) {
                return Ok(());
            }
            let ended = self.keeper.as_mut().is_none_or(|it| !matches!(it.try_wait(), Ok(None)));
            let log = self.log();
            let log = log.get(said..).unwrap_or_default();
            if ended || log.contains(IS_DOWN) || Instant::now() > deadline {
                return Err(format!("the server does not start: {log}"));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Returns what the server has said.
    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn end(&mut self, word: &str) {
        let Some(mut keeper) = self.keeper.take() else { return };
        if let Some(mut pipe) = keeper.stdin.take() {
            // A shell that is gone has ended the server already.
            let _ = pipe.write_all(word.as_bytes());
        }
        let _ = keeper.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end("");
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Finds a free port, beginning with the one of that number of this process. It is none of those that
/// the system gives to connections, or one of them could take it before the server does.
fn free_port(number: u32) -> Result<u16, String> {
    let given = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let end = given.split_whitespace().next().and_then(|least| least.parse().ok());
    let count = end.map_or(0, |end: u16| end.saturating_sub(PORTS_BEGIN));
    let first = std::process::id().wrapping_mul(PORTS_APART).wrapping_add(number);
    let own = (0..u32::from(count)).map(|step| first.wrapping_add(step) % u32::from(count));
    let own = own.filter_map(|place| PORTS_BEGIN.checked_add(place.try_into().ok()?));
    // Any one where the system leaves none.
    let free = own.chain([0]).find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    let address = free.and_then(|listener| listener.local_addr().ok());
    address.map(|address| address.port()).ok_or_else(|| "no port is free".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_somebody_took_is_told_at_once_and_served_when_it_is_free() {
        let mut server = Server::start(Options::default()).unwrap();
        server.crash();
        let taken = TcpListener::bind(("127.0.0.1", server.port())).unwrap();
        let begun = Instant::now();
        let why = server.resume().unwrap_err();
        assert!(why.contains("Address already in use"), "{why}");
        assert!(begun.elapsed() < START_MAX, "it was waited for to the end");
        server.crash();
        drop(taken);
        server.resume().unwrap();
    }

    #[test]
    fn ports_are_not_those_of_connections() {
        let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
        let least: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
        let ports: Vec<_> = (0..3).map(|number| free_port(number).unwrap()).collect();
        let own = |port: &u16| least <= PORTS_BEGIN || (PORTS_BEGIN..least).contains(port);
        assert!(ports.iter().all(own), "{ports:?}");
    }
}
