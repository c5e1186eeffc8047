//! Nodes as their operator runs them: a folder with the pair, and commands that are given in it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Directory, own_address, poll};
use crate::http::{self, Answer, Upstream};

/// A folder in which commands are given.
pub(super) struct Site(Directory);

impl Site {
    /// Makes a folder, and the pair in it.
    pub(super) fn new() -> Self {
        let site = Self(Directory::new());
        let made = site.run("hybrid gen_cert", &[]);
        assert!(made.status.success(), "{made:?}");
        site
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Gives a command with these variables and no others.
    pub(super) fn run(&self, line: &str, env: &[(&str, &str)]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hybridctl"));
        command.current_dir(self.path()).env_clear().envs(env.iter().copied());
        command.args(line.split_whitespace()).output().unwrap()
    }

    /// Starts a control plane as the documentation says, at addresses of its own.
    pub(super) fn control(&self, more: &[(&str, &str)]) -> Node<'_> {
        let (admin, cluster) = (own_address().to_string(), own_address().to_string());
        let env = [
            ("KONG_ROLE", "control_plane"),
            ("KONG_ADMIN_LISTEN", &admin),
            ("KONG_CLUSTER_LISTEN", &cluster),
        ];
        Node::start(self, "cp", &[&env, more].concat())
    }

    /// Starts a data plane in a prefix of this name as the documentation says.
    pub(super) fn data(&self, name: &str, control: &Node<'_>, more: &[(&str, &str)]) -> Node<'_> {
        let (proxy, cluster) = (own_address().to_string(), control.text("KONG_CLUSTER_LISTEN"));
        let env = [
            ("KONG_ROLE", "data_plane"),
            ("KONG_CLUSTER_CONTROL_PLANE", cluster),
            ("KONG_DATABASE", "off"),
            ("KONG_PROXY_LISTEN", &proxy),
        ];
        Node::start(self, name, &[&env, more].concat())
    }
}

/// A node that runs as a process, and ends with this value.
pub(super) struct Node<'a> {
    site: &'a Site,
    name: String,
    env: Vec<(String, String)>,
}

impl<'a> Node<'a> {
    /// Starts a node with these variables; the pair's names are those that `gen_cert` gave.
    pub(super) fn start(site: &'a Site, name: &str, env: &[(&str, &str)]) -> Self {
        let node = Self::found(site, name, env);
        node.again();
        node
    }

    /// Takes a node over that was started otherwise.
    pub(super) fn found(site: &'a Site, name: &str, env: &[(&str, &str)]) -> Self {
        let always = [
            ("KONG_PREFIX", name),
            ("KONG_CLUSTER_CERT", "cluster.crt"),
            ("KONG_CLUSTER_CERT_KEY", "cluster.key"),
            ("KONG_STATUS_LISTEN", "off"),
            ("KONG_NGINX_WORKER_PROCESSES", "1"),
        ];
        let env =
            always.iter().chain(env).map(|(name, value)| (name.to_string(), value.to_string()));
        Self { site, name: name.to_owned(), env: env.collect() }
    }

    /// Gives a command with the node's variables.
    pub(super) fn run(&self, line: &str) -> Output {
        let env: Vec<_> = self.env.iter().map(|(name, value)| (&**name, &**value)).collect();
        self.site.run(line, &env)
    }

    /// Gives a command that succeeds.
    #[track_caller]
    pub(super) fn does(&self, line: &str) {
        let output = self.run(line);
        assert!(output.status.success(), "{line} {}: {output:?}", self.name);
    }

    /// Starts it in its prefix once more.
    #[track_caller]
    pub(super) fn again(&self) {
        self.does("start");
    }

    /// Ends it as a power cut would.
    pub(super) async fn kill(&self) {
        let file = self.prefix().join("pids/nginx.pid");
        let text = std::fs::read_to_string(&file).unwrap();
        let pid = Pid::from_raw(text.trim().parse().unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        let gone = poll(async || (!self.run("health").status.success()).then_some(())).await;
        assert!(gone.is_some(), "{} lives on", self.name);
    }

    pub(super) fn prefix(&self) -> PathBuf {
        self.site.path().join(&self.name)
    }

    /// Returns what a variable says, that of the last one of a name.
    pub(super) fn text(&self, name: &str) -> &str {
        let found = self.env.iter().rev().find(|(known, _)| known == name);
        &found.unwrap_or_else(|| panic!("{name} of {}", self.name)).1
    }

    /// Returns the address that a variable says.
    pub(super) fn address(&self, name: &str) -> SocketAddr {
        self.text(name).parse().unwrap()
    }

    /// Asks the Admin API.
    pub(super) async fn admin(&self, method: &str, path: &str, body: &Value) -> Answer {
        let json = [("Content-Type", "application/json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let address = self.address("KONG_ADMIN_LISTEN");
        http::send(address, method, path, &json, &body).await.unwrap()
    }

    /// Makes or moves a route to an upstream.
    pub(super) async fn route(&self, path: &str, upstream: &Upstream) {
        let url = format!("http://{}", upstream.address);
        let service = self.admin("PUT", "/services/s", &serde_json::json!({"url": url})).await;
        let route = serde_json::json!({"paths": [path], "service": {"name": "s"}});
        let route = self.admin("PUT", "/routes/r", &route).await;
        assert_eq!((service.status, route.status), (200, 200), "{} {}", service.body, route.body);
    }

    /// Asks the proxy; the status and who answered.
    pub(super) async fn get(&self, path: &str) -> (u16, String) {
        let answer = http::get(self.address("KONG_PROXY_LISTEN"), path).await.unwrap();
        (answer.status, answer.json()["name"].as_str().unwrap_or_default().to_owned())
    }

    /// Asks the proxy until this upstream answers.
    pub(super) async fn serves(&self, path: &str, upstream: &str) {
        let mut last = None;
        let found = poll(async || {
            let answer = self.get(path).await;
            let done = answer == (200, upstream.to_owned());
            last = Some(answer);
            done.then_some(())
        });
        assert!(found.await.is_some(), "{} answers {last:?}\n{}", self.name, self.log());
    }

    /// Returns the rows of `/clustering/data-planes`.
    pub(super) async fn rows(&self) -> Vec<Value> {
        let answer = self.admin("GET", "/clustering/data-planes", &Value::Null).await;
        answer.json()["data"].as_array().unwrap().clone()
    }

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.prefix().join("logs/error.log")).unwrap_or_default()
    }

    /// Waits for a line of the log that has all of this.
    pub(super) async fn says(&self, parts: &[&str]) {
        let has = |line: &str| parts.iter().all(|part| line.contains(part));
        let found = poll(async || self.log().lines().any(has).then_some(())).await;
        assert!(found.is_some(), "wanted {parts:?} in the log of {}:\n{}", self.name, self.log());
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        let _ = self.run("stop");
    }
}
