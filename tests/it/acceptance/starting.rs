//! The commands of the documentation, as they stand there: a pair, a control plane, data planes, and
//! what each of them opens, ignores and refuses.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::{Value, json};

use super::node::{Node, Site};
use crate::harness::own_address;
use crate::http::{self, Upstream};
use crate::openssl::MISSING;

/// "This will generate cluster.crt and cluster.key files and save them to the current directory. By
/// default it is valid for 3 years, but can be set longer or shorter with the --days option."
#[test]
fn by_default_it_is_valid_for_3_years_but_can_be_set_longer_or_shorter_with_the_days_option() {
    let site = Site::new();
    let made = site.run("hybrid gen_cert --days 10 short.crt short.key", &[]);
    assert!(made.status.success(), "{made:?}");
    for (name, days) in [("cluster", 3 * 365), ("short", 10)] {
        let holds = |days: u32| {
            let seconds = (days * 24 * 60 * 60).to_string();
            let mut openssl = Command::new("openssl");
            openssl.args(["x509", "-noout", "-checkend", &seconds, "-in"]);
            openssl.arg(site.path().join(format!("{name}.crt"))).output().expect(MISSING).status
        };
        assert!(holds(days - 1).success() && !holds(days + 1).success(), "{name}");
        let mode = |file: &str| {
            let metadata = std::fs::metadata(site.path().join(format!("{name}.{file}")));
            metadata.unwrap().permissions().mode() & 0o777
        };
        assert_eq!((mode("crt"), mode("key")), (0o644, 0o600), "{name}");
    }
}

/// "To start the data plane, all we need to do is to specify the role to data_plane, give it the
/// address and port of where the control plane can be reached and the node automatically connects and
/// syncs itself up with the current configuration." By variables, and "or in kong.conf".
///
/// "Remember control plane nodes can not be used for proxying"; what is "ignored on data plane nodes"
/// and "ignored on control plane nodes"; and "an attacker won't be able to affect other nodes".
#[tokio::test(flavor = "multi_thread")]
async fn the_node_automatically_connects_and_syncs_itself_up_with_the_current_configuration() {
    let blue = Upstream::start("blue").await;
    let site = Site::new();
    let unused = [(); 4].map(|()| own_address());
    let [of_control, admin, cluster, proxy] = unused.map(|address| address.to_string());
    let control = site.control(&[
        ("KONG_PROXY_LISTEN", &of_control),
        ("KONG_CLUSTER_CONTROL_PLANE", "no such place"),
    ]);
    control.route("/a", &blue).await;

    let by_variables = site.data(
        "dp1",
        &control,
        &[
            ("KONG_ADMIN_LISTEN", &admin),
            ("KONG_CLUSTER_LISTEN", &cluster),
            // In shared mode both are ignored.
            ("KONG_CLUSTER_SERVER_NAME", "elsewhere.test"),
            ("KONG_CLUSTER_OCSP", "on"),
        ],
    );
    let conf = format!(
        "role = data_plane\ncluster_control_plane = {}  # where it is\ndatabase = off\n\
         cluster_cert = cluster.crt\ncluster_cert_key = cluster.key\n\
         prefix = dp2\nproxy_listen = {proxy}\nstatus_listen = off\n",
        control.text("KONG_CLUSTER_LISTEN"),
    );
    std::fs::write(site.path().join("kong.conf"), conf).unwrap();
    let started = site.run("start -c kong.conf", &[]);
    assert_eq!(String::from_utf8_lossy(&started.stdout), "Kong started\n", "{started:?}");
    let by_file = Node::found(&site, "dp2", &[("KONG_PROXY_LISTEN", &proxy)]);

    for node in [&by_variables, &by_file] {
        node.serves("/a", "blue").await;
    }
    let hosts: Vec<_> = control.rows().await.iter().map(|row| row["hostname"].clone()).collect();
    assert!(hosts.len() == 2 && hosts[0] == hosts[1], "{hosts:?}");
    let opened = |address: &str| TcpStream::connect(address).is_ok();
    assert!(!opened(&of_control), "control planes proxy nothing");
    assert!(!opened(&admin) && !opened(&cluster), "data planes have neither listener");
}

/// "Note this port is always protected with Mutual TLS (mTLS) encryption."
#[tokio::test(flavor = "multi_thread")]
async fn this_port_is_always_protected_with_mutual_tls() {
    let site = Site::new();
    let control = site.control(&[]);
    let cluster = control.address("KONG_CLUSTER_LISTEN");
    let plain = http::get(cluster, "/").await;
    assert!(plain.is_err(), "{plain:?}");
    control.says(&["TLS handshake failed"]).await;
    // It is there, and still takes in whom it knows.
    let data = site.data("dp", &control, &[]);
    data.says(&["connected to control plane"]).await;
}

/// What either role cannot be started without or with.
#[test]
fn a_node_that_cannot_be_what_its_role_says_does_not_start() {
    let site = Site::new();
    let pair = [("KONG_CLUSTER_CERT", "cluster.crt"), ("KONG_CLUSTER_CERT_KEY", "cluster.key")];
    let control = [&pair[..], &[("KONG_ROLE", "control_plane")]].concat();
    let data = [&pair[..], &[("KONG_ROLE", "data_plane"), ("KONG_DATABASE", "off")]].concat();
    let no_pair = "cluster certificate and key must be provided to use Hybrid mode";
    type Env<'a> = &'a [(&'a str, &'a str)];
    let rows: [(Env<'_>, Env<'_>, &str); 10] = [
        (
            &control,
            &[("KONG_ADMIN_LISTEN", "off")],
            "admin_listen must be specified when role = \"control_plane\"",
        ),
        (
            &control,
            &[("KONG_CLUSTER_LISTEN", "off")],
            "cluster_listen must be specified when role = \"control_plane\"",
        ),
        (
            &control,
            &[("KONG_DATABASE", "off")],
            "in-memory storage can not be used when role = \"control_plane\"",
        ),
        (
            &control,
            &[("KONG_CLUSTER_MTLS", "pki")],
            "cluster_ca_cert must be specified when cluster_mtls = \"pki\"",
        ),
        (
            &data,
            &[("KONG_PROXY_LISTEN", "off")],
            "proxy_listen must be specified when role = \"data_plane\"",
        ),
        (
            &data,
            &[("KONG_DATABASE", "postgres")],
            "only in-memory storage can be used when role = \"data_plane\"",
        ),
        (
            &data,
            &[("KONG_CLUSTER_DP_LABELS", "-a:b")],
            "label key validation failed: -a is invalid.",
        ),
        (&control, &[("KONG_CLUSTER_CERT", "")], no_pair),
        (&data, &[("KONG_CLUSTER_CERT_KEY", "")], no_pair),
        (
            &data,
            &[("KONG_CLUSTER_CERT", "none.crt")],
            "cluster_cert: failed loading certificate from ",
        ),
    ];
    for (role, more, text) in rows {
        let env = [role, more, &[("KONG_PREFIX", "never")]].concat();
        let output = site.run("start", &env);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{more:?}: {error}");
        assert!(error.starts_with(&format!("Error: {text}")), "{more:?}: {error}");
    }
    assert!(!site.path().join("never/pids/nginx.pid").exists());
}

/// A data plane has no Admin API to ask, and of a node that is no control plane there is no cluster.
#[tokio::test(flavor = "multi_thread")]
async fn this_endpoint_is_only_available_when_kong_is_configured_to_run_as_control_plane() {
    let site = Site::new();
    let addresses = [(); 2].map(|()| own_address().to_string());
    let env = [("KONG_ADMIN_LISTEN", &*addresses[0]), ("KONG_PROXY_LISTEN", &*addresses[1])];
    let alone = Node::start(&site, "alone", &env);
    for path in ["/clustering/data-planes", "/clustering/status"] {
        let answer = alone.admin("GET", path, &Value::Null).await;
        let message = "this endpoint is only available when Kong is configured to run as Control \
                       Plane for the cluster";
        assert_eq!((answer.status, answer.json()), (400, json!({"message": message})), "{path}");
    }
}

/// `restart -p PREFIX` from a shell without the node's variables, as one does by mistake.
#[test]
fn a_node_that_becomes_another_one_says_so() {
    let site = Site::new();
    let control = site.control(&[]);
    let proxy = own_address().to_string();
    let env = [
        ("KONG_ADMIN_LISTEN", control.text("KONG_ADMIN_LISTEN")),
        ("KONG_PROXY_LISTEN", &*proxy),
        ("KONG_STATUS_LISTEN", "off"),
    ];
    let restarted = site.run("restart -p cp", &env);
    let said = String::from_utf8_lossy(&restarted.stderr).into_owned();
    assert!(restarted.status.success(), "{said}");
    assert!(said.contains("/cp was a control_plane and becomes a traditional: its"), "{said}");
    control.does("stop");
    control.again();
    control.does("stop");
    let again = control.run("start");
    assert!(again.status.success() && again.stderr.is_empty(), "{again:?}");
}
