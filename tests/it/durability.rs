//! Real processes that are killed: no acknowledged write is lost, and the quick start works.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::harness::{Directory, own_address, poll};
use crate::http;

/// A control plane that can be killed.
pub(crate) struct ControlProcess(Child);

impl ControlProcess {
    pub(crate) async fn start(
        directory: &Directory,
        pair: &(String, String),
        admin: SocketAddr,
        more: &[(String, String)],
    ) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_hybridctl"))
            .arg("run")
            .env("KONG_ROLE", "control_plane")
            .env("KONG_PREFIX", directory.path().join("cp"))
            .env("KONG_CLUSTER_CERT", &pair.0)
            .env("KONG_CLUSTER_CERT_KEY", &pair.1)
            .env("KONG_CLUSTER_LISTEN", "127.0.0.1:0")
            .env("KONG_STATUS_LISTEN", "off")
            .env("KONG_ADMIN_LISTEN", admin.to_string())
            .envs(more.iter().cloned())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let up = poll(async || http::get(admin, "/status").await.ok()).await;
        assert!(up.is_some(), "the control plane does not answer");
        Self(child)
    }

    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for ControlProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_control_plane_has_kept_every_acknowledged_write() {
    let directory = Directory::new();
    let pair = directory.pair("cluster");
    let admin = own_address();
    let mut acknowledged = 0;
    for _ in 0..3 {
        let control = ControlProcess::start(&directory, &pair, admin, &[]).await;
        // Writers go on while the process dies under them.
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..4 {
            writers.spawn(async move {
                let mut acknowledged = 0;
                for number in 0.. {
                    let name =
                        format!("{writer}-{number}-{}", hybridctl::clock::Clock::System.id());
                    let body = json!({"username": name}).to_string();
                    let json = [("Content-Type", "application/json")];
                    match http::send(admin, "POST", "/consumers", &json, &body).await {
                        Ok(answer) if answer.status == 201 => acknowledged += 1,
                        _ => break,
                    }
                }
                acknowledged
            });
        }
        let started = poll(async || {
            let list = http::get(admin, "/consumers?size=1000").await.ok()?.json();
            (list["data"].as_array()?.len() > acknowledged + 20).then_some(())
        });
        assert!(started.await.is_some(), "the writers do not get on");
        control.kill();
        while let Some(count) = writers.join_next().await {
            acknowledged += count.unwrap();
        }
    }
    let control = ControlProcess::start(&directory, &pair, admin, &[]).await;
    let mut kept = 0;
    let mut path = Some("/consumers?size=1000".to_owned());
    while let Some(page) = path {
        let list = http::get(admin, &page).await.unwrap().json();
        kept += list["data"].as_array().unwrap().len();
        path = list["next"].as_str().map(|next| format!("{next}&size=1000"));
    }
    assert!(kept >= acknowledged, "{acknowledged} were acknowledged, {kept} are there");
    assert!(kept <= acknowledged + 12, "at most one write of each writer was under way");
    control.kill();
    let prefix = directory.path().join("cp").display().to_string();
    let verify = Command::new(env!("CARGO_BIN_EXE_hybridctl"))
        .args(["log", "verify", "-p", &prefix])
        .output()
        .unwrap();
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stderr));
}

#[test]
fn the_quick_start_checks_itself_and_runs_again() {
    let directory = Directory::new();
    let quickstart = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_hybridctl"))
            .args(["quickstart", "--once", "--dir"])
            .arg(directory.path())
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    };
    let said = quickstart(&[]);
    assert!(said.contains("from the demo upstream"), "{said}");

    let said: serde_json::Value = serde_json::from_str(&quickstart(&["--json"])).unwrap();
    for name in ["admin", "cluster", "proxy", "status", "upstream", "directory"] {
        assert!(said[name].is_string(), "{said}");
    }
}
