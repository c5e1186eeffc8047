//! Version compatibility, row by row: data planes of other versions, with other plugins, at a control
//! plane that runs as a process; the bytes are those of a Kong data plane.

use hybridctl::clock::Clock;
use serde_json::{Value, json};

use super::node::{Node, Site};
use crate::harness::{PATIENCE, poll};
use crate::kong_wire::{BINARY, CLOSE, PING, PONG, dial};

/// The version that the control plane speaks of, and that of all of its plugins.
const OWN: &str = "3.9.1";

/// A data plane: what it says, and what its row says then.
struct Case {
    what: &'static str,
    version: &'static str,
    /// Its plugins; a version that is null is absent.
    plugins: Vec<(&'static str, Option<&'static str>)>,
    status: &'static str,
    /// What a line about it holds.
    line: &'static str,
}

fn with(
    what: &'static str,
    version: &'static str,
    plugins: &[(&'static str, &'static str)],
) -> Case {
    let plugins = plugins.iter().map(|(name, version)| (*name, Some(*version))).collect();
    Case { what, version, plugins, status: "normal", line: "" }
}

fn blocked(case: Case, status: &'static str, line: &'static str) -> Case {
    Case { status, line, ..case }
}

/// key-auth is configured, correlation-id is not.
fn cases() -> Vec<Case> {
    let both = [("correlation-id", OWN), ("key-auth", OWN)];
    let of = |what, key_auth| with(what, OWN, &[("correlation-id", OWN), ("key-auth", key_auth)]);
    let set =
        "CP and DP does not have same set of plugins installed or their versions might differ";
    let version = |what, dp| with(what, dp, &both);
    let another = "plugin_version_incompatible";
    let kong = "kong_version_incompatible";
    vec![
        with("the same", OWN, &both),
        with("only the configured plugin", OWN, &[("key-auth", OWN)]),
        with("more plugins", OWN, &[("correlation-id", OWN), ("key-auth", OWN), ("more", "9.8.1")]),
        of("an older minor version of the plugin", "3.0.1"),
        of("a newer patch version of the plugin", "3.9.9"),
        of("a plugin version that is its major", "3"),
        of("a plugin version that is its major and minor", "3.9"),
        Case { plugins: vec![("key-auth", None)], ..with("a plugin without version", OWN, &[]) },
        version("an older minor version", "3.2.0"),
        version("an older patch version", "3.9.0"),
        version("a newer patch version", "3.9.77"),
        version("a suffix", "3.9.1-rc.1"),
        blocked(
            with("the configured plugin missing", OWN, &[("correlation-id", OWN)]),
            "plugin_set_incompatible",
            set,
        ),
        blocked(of("an older major version of the plugin", "2.9.1"), another, set),
        blocked(of("a newer major version of the plugin", "4.0.0"), another, set),
        blocked(of("a newer minor version of the plugin", "3.10.0"), another, set),
        blocked(
            version("an older major version", "2.8.5"),
            kong,
            "version mismatches, CP version: 3.9 DP version: 2.8; cluster_legacy_data_planes = on \
             lets data planes of Kong 2.8 in",
        ),
        blocked(
            version("a newer major version", "4.9.1"),
            kong,
            "version mismatches, CP version: 3.9 DP version: 4.9",
        ),
        blocked(
            version("a newer minor version", "3.10.0"),
            kong,
            "version mismatches, CP version: 3.9 DP version: 3.10",
        ),
    ]
}

/// Attaches the data plane and returns whether it gets a configuration; it leaves then.
async fn gets(site: &Site, control: &Node<'_>, id: &str, case: &Case) -> bool {
    let mut wire = dial(control.address("KONG_CLUSTER_LISTEN"), site.path()).await;
    wire.write(
        format!(
            "GET /v1/outlet?node_id={id}&node_hostname=vm&node_version={} HTTP/1.1\r\n\
             Upgrade: websocket\r\nHost: cp\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Version: 13\r\nConnection: Upgrade\r\n\r\n",
            case.version
        )
        .as_bytes(),
    )
    .await;
    let head = wire.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{}: {head}", case.what);
    let plugin = |(name, version): &(&str, Option<&str>)| match version {
        Some(version) => json!({"name": name, "version": version}),
        None => json!({"name": name}),
    };
    let plugins: Vec<_> = case.plugins.iter().map(plugin).collect();
    let info = json!({"type": "basic_info", "plugins": plugins, "labels": {"what": "dp"},
        "process_conf": {"role": "data_plane"}, "filters": {}});
    wire.send(BINARY, info.to_string().as_bytes()).await;
    if case.status != "kong_version_incompatible" {
        wire.send(PING, &[b'0'; 32]).await;
    }
    // A configuration comes before the answer to the ping, if it comes.
    let mut got = false;
    loop {
        match wire.receive().await {
            Some((BINARY, _)) => got = true,
            Some((PONG, _)) => return got,
            Some((CLOSE, _)) | None => {
                assert_eq!(case.status, "kong_version_incompatible", "{}", case.what);
                return got;
            }
            frame => panic!("{}: {frame:?}", case.what),
        }
    }
}

/// "Control planes only allow connections from data planes with the same major version. Control
/// planes won't allow connections from data planes with newer minor versions. For every plugin that is
/// configured, new configs are only pushed to data planes that have those configured plugins installed
/// and loaded. The major version must be the same; the minor versions of the plugins on the data
/// planes could not be newer. Plugin patch versions are also ignored." And "If a config can not be
/// pushed to a data plane due to failure of the compatibility checks, the control plane will contain
/// warn level lines in the error.log"; "in addition, the /clustering/data-planes Admin API endpoint
/// will return the version of the data plane node".
#[tokio::test(flavor = "multi_thread")]
async fn new_configs_are_only_pushed_to_data_planes_that_have_those_configured_plugins_installed() {
    let site = Site::new();
    let control = site.control(&[]);
    let plugin = control.admin("POST", "/plugins", &json!({"name": "key-auth"})).await;
    assert_eq!(plugin.status, 201, "{}", plugin.body);
    let mut expected = Vec::new();
    for case in cases() {
        let id = Clock::System.id().to_string();
        let got = tokio::time::timeout(PATIENCE, gets(&site, &control, &id, &case)).await;
        assert_eq!(got.unwrap(), case.status == "normal", "{}", case.what);
        if !case.line.is_empty() {
            let level = if case.status.starts_with("kong") { "ERROR" } else { "WARN" };
            control.says(&[level, case.line, &id, "host: vm, ip: 127.0.0.1"]).await;
        }
        expected.push((id, case));
    }
    let rows = poll(async || {
        let rows = control.admin("GET", "/clustering/data-planes", &Value::Null).await.json();
        let rows = rows["data"].as_array()?.clone();
        (rows.len() == expected.len()).then_some(rows)
    });
    let rows = rows.await.expect("a row for each");
    for (id, case) in expected {
        let row = rows.iter().find(|row| row["id"] == id).unwrap();
        let seen = (&row["sync_status"], &row["version"]);
        assert_eq!(seen, (&json!(case.status), &json!(case.version)), "{}", case.what);
    }
}
