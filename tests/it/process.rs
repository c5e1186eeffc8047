//! The binary as a process: Kong's verbs against a node that really runs.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A prefix of its own; whatever still runs in it ends with the test.
struct Node {
    prefix: PathBuf,
}

impl Node {
    fn new(name: &str) -> Self {
        let folder = format!("hybridctl-it-{name}-{}", std::process::id());
        let prefix = std::env::temp_dir().join(folder);
        std::fs::create_dir_all(&prefix).unwrap();
        Self { prefix }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hybridctl"));
        command.env_clear().env("KONG_PREFIX", &self.prefix);
        for name in ["PROXY", "ADMIN", "STATUS"] {
            command.env(format!("KONG_{name}_LISTEN"), "127.0.0.1:0");
        }
        command
    }

    fn run(&self, line: &str) -> Answer {
        self.run_with(line, &[])
    }

    fn run_with(&self, line: &str, env: &[(&str, &str)]) -> Answer {
        let mut command = self.command();
        command.args(line.split_whitespace()).envs(env.iter().copied());
        Answer::of(command.output().unwrap())
    }

    fn pid(&self) -> Option<String> {
        std::fs::read_to_string(self.prefix.join("pids/nginx.pid")).ok()
    }

    /// Waits for a word in the log and returns all of it.
    fn until_logged(&self, word: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let log = std::fs::read_to_string(self.prefix.join("logs/error.log")).unwrap();
            if log.contains(word) {
                return log;
            }
            assert!(Instant::now() < deadline, "{log}");
            std::thread::yield_now();
        }
    }

    fn at(&self) -> String {
        self.prefix.display().to_string()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.command().arg("stop").output();
        let _ = std::fs::remove_dir_all(&self.prefix);
    }
}

#[derive(Debug)]
struct Answer {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Answer {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    fn says(&self, text: &str) {
        assert_eq!((self.code, self.out.as_str()), (Some(0), text), "{self:?}");
    }

    #[track_caller]
    fn fails(&self, text: &str) {
        assert_eq!(self.code, Some(1), "{self:?}");
        let hint = "Run with --v (verbose) or --vv (debug) for more details";
        assert_eq!(self.err, format!("Error: {text}\n\n  {hint}\n"), "{self:?}");
    }
}

#[test]
fn a_node_starts_reloads_and_stops_as_kongs_does() {
    let node = Node::new("start");
    let at = node.at();
    node.run("health").fails(&format!("Kong is not running at {at}"));
    node.run("start").says("Kong started\n");
    let pid = node.pid();
    node.run("start").fails(&format!("Kong is already running in {at}"));
    node.run("health").says(&format!("nginx.......running\n\nKong is healthy at {at}\n"));
    let more = [("KONG_LOG_LEVEL", "debug"), ("KONG_PLUGINS", "off"), ("KONG_HEADERS", "via")];
    node.run_with("reload", &more).says("Kong reloaded\n");
    let told = node.until_logged("reloaded");
    let waits = "has changed: it takes effect at a restart or an upgrade";
    assert!(told.contains(&format!("plugins {waits}")), "{told}");
    assert_eq!(told.matches(waits).count(), 1, "{told}");
    let env = std::fs::read_to_string(node.prefix.join(".kong_env")).unwrap();
    assert!(env.contains("log_level = debug"), "{env}");
    assert_eq!(node.pid(), pid, "a reload keeps the process");
    node.run("restart").says("Kong started\n");
    assert_ne!(node.pid(), pid);
    node.run("stop").says("Kong stopped\n");
    assert_eq!(node.pid(), None);
    node.run("stop").fails(&format!("nginx not running in prefix: {at}"));
}

/// Shells and service managers grant few unless asked, and a thousand data planes are more.
#[test]
fn a_node_opens_as_many_files_as_it_is_let() {
    let node = Node::new("files");
    let program = node.command();
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -S -n 256 && exec \"$0\" start"]).arg(program.get_program());
    let env = program.get_envs().filter_map(|(name, value)| Some((name, value?)));
    Answer::of(shell.env_clear().envs(env).output().unwrap()).says("Kong started\n");
    let pid = node.pid().unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", pid.trim())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let limits: Vec<_> = line.split_whitespace().skip(3).take(2).collect();
    assert!(limits[0] == limits[1] && limits[0] != "256", "{line}");
}

#[test]
fn quit_ends_a_node_gracefully() {
    let node = Node::new("quit");
    node.run("start").says("Kong started\n");
    node.run("quit -t 10").says("Kong stopped (gracefully)\n");
    assert_eq!(node.pid(), None);
}

#[test]
fn a_pid_file_that_a_crash_left_is_not_a_running_node() {
    let node = Node::new("stale");
    node.run("prepare").says("");
    // This very process lives, but is no node.
    let pid_file = node.prefix.join("pids/nginx.pid");
    std::fs::write(&pid_file, std::process::id().to_string()).unwrap();
    node.run("start").says("Kong started\n");
    node.run("stop").says("Kong stopped\n");
}

#[test]
fn start_prints_the_first_error_and_check_all_of_them() {
    let node = Node::new("errors");
    let wrong = [("KONG_CLUSTER_MAX_PAYLOAD", "1"), ("KONG_HEADERS", "nope")];
    node.run_with("start", &wrong).fails("headers: invalid entry 'nope'");
    assert_eq!(node.pid(), None);

    let conf = node.prefix.join("kong.conf");
    std::fs::write(&conf, "log_level = warn\n").unwrap();
    let line = format!("check {}", conf.display());
    node.run(&line).says(&format!("configuration at {} is valid\n", conf.display()));
    let answer = node.run_with(&line, &wrong);
    assert_eq!((answer.code, answer.out.as_str()), (Some(1), ""));
    let lines: Vec<_> = answer.err.lines().map(|it| &it["YYYY/MM/DD HH:MM:SS".len()..]).collect();
    assert_eq!(
        lines,
        [
            " [error] headers: invalid entry 'nope'",
            " [error] cluster_max_payload must be 4194304 (4MB) or greater",
        ]
    );
}

#[test]
fn with_the_daemon_off_the_node_stays_in_the_foreground() {
    let node = Node::new("foreground");
    for (verb, daemon) in [("start", "off"), ("run", "on")] {
        let mut command = node.command();
        let mut child = command.arg(verb).env("KONG_NGINX_DAEMON", daemon).spawn().unwrap();
        while !node.run("health").out.contains("nginx.......running") {
            assert!(child.try_wait().unwrap().is_none(), "{verb} ended");
        }
        assert_eq!(node.pid(), Some(format!("{}\n", child.id())));
        let refused = node.run("upgrade");
        assert!(refused.err.contains("gives its place to nobody"), "{refused:?}");
        node.run("stop").says("Kong stopped\n");
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn a_prefix_that_is_a_file_is_refused() {
    let node = Node::new("file");
    let file = node.prefix.join("file");
    std::fs::write(&file, "").unwrap();
    let at = file.display().to_string();
    node.run(&format!("start -p {at}")).fails(&format!("{at} is not a directory"));
}

#[test]
fn the_debug_dump_masks_secrets_and_unknown_commands_are_named() {
    let node = Node::new("dump");
    let answer = node.run_with("--vv prepare", &[("KONG_PG_PASSWORD", "hunter2")]);
    assert!(answer.out.contains("[debug] pg_password = \"******\""), "{answer:?}");
    assert!(!answer.out.contains("hunter2") && !answer.err.contains("hunter2"), "{answer:?}");

    let answer = node.run("frobnicate");
    assert_eq!((answer.code, answer.err.as_str()), (Some(2), "No such command: frobnicate\n"));
    let mut as_kong = Command::new(Path::new(env!("CARGO_BIN_EXE_hybridctl")));
    let help = Answer::of(as_kong.arg0("kong").arg("--help").output().unwrap());
    assert!(help.out.contains("Usage: kong "), "{help:?}");
}
