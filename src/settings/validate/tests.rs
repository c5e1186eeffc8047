//! The rules of hybrid mode, row by row (reference hybrid.md, sections 1.2, 1.4 and 1.5).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::super::{ClusterMtls, Pem, Settings, Sources};

const CERT: &str = "-----BEGIN CERTIFICATE-----\nMAMBAQA=\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMAMBAQA=\n-----END PRIVATE KEY-----\n";

type Env<'a> = &'a [(&'a str, &'a str)];

/// What makes a node of a role valid.
fn base(role: &str) -> Vec<(&str, &str)> {
    let pair = [("cluster_cert", CERT), ("cluster_cert_key", KEY)];
    match role {
        "control_plane" => [&pair[..], &[("role", role)]].concat(),
        "data_plane" => [&pair[..], &[("role", role), ("database", "off")]].concat(),
        _ => vec![("role", role)],
    }
}

fn load(role: &str, more: Env<'_>) -> Result<Settings, Vec<String>> {
    let mut env = BTreeMap::new();
    for (name, value) in base(role).iter().chain(more) {
        env.insert(format!("KONG_{}", name.to_uppercase()), (*value).to_owned());
    }
    Settings::load(&Sources { conf: None, env, prefix: None }).map_err(|error| error.messages())
}

fn messages(role: &str, more: Env<'_>) -> Vec<String> {
    load(role, more).err().unwrap_or_default()
}

const ROLES: [&str; 3] = ["control_plane", "data_plane", "traditional"];

#[test]
fn each_role_is_valid_with_what_it_needs() {
    for role in ROLES {
        assert_eq!(messages(role, &[]), [""; 0], "{role}");
    }
}

/// The rows that hold for every role.
#[test]
fn rules_of_every_role() {
    let rows: &[(Env<'_>, &str)] = &[
        (&[("proxy_server", "cp.test")], "proxy_server missing scheme"),
        (
            &[("proxy_server", "ftp://proxy.test")],
            "proxy_server only supports \"http\" and \"https\", got ftp",
        ),
        (&[("proxy_server", "http://")], "proxy_server missing host"),
        (&[("proxy_server", "http://:8080")], "proxy_server missing host"),
        (&[("proxy_server", "http://?x")], "proxy_server missing host"),
        (
            &[("proxy_server", "http://proxy.test?x")],
            "fragments, query strings or parameters are meaningless in proxy configuration",
        ),
        (
            &[("proxy_server", "http://proxy.test/#x")],
            "fragments, query strings or parameters are meaningless in proxy configuration",
        ),
        (
            &[("cluster_data_plane_purge_delay", "59")],
            "cluster_data_plane_purge_delay must be 60 or greater",
        ),
        (
            &[("cluster_max_payload", "4194303")],
            "cluster_max_payload must be 4194304 (4MB) or greater",
        ),
        (
            &[("cluster_mtls", "pki_check_cn")],
            "cluster_mtls has an invalid value: 'pki_check_cn' (shared, pki)",
        ),
        (
            &[("cluster_ocsp", "yes")],
            "cluster_ocsp has an invalid value: 'yes' (on, off, optional)",
        ),
        (
            &[("role", "both")],
            "role has an invalid value: 'both' (data_plane, control_plane, traditional)",
        ),
    ];
    for role in ROLES {
        for (env, text) in rows {
            assert_eq!(messages(role, env), [*text], "{role} {env:?}");
        }
    }
    for role in ROLES {
        let least: Env<'_> = &[
            ("cluster_data_plane_purge_delay", "60"),
            ("cluster_max_payload", "4194304"),
            ("proxy_server", "https://user:p%40ss@proxy.test:8443/"),
        ];
        assert_eq!(messages(role, least), [""; 0], "{role}");
    }
}

/// The certificates of nodes in hybrid mode; a traditional node has none to check.
#[test]
fn rules_of_certificates() {
    let both = "cluster certificate and key must be provided to use Hybrid mode";
    let rows: &[(Env<'_>, &str)] = &[
        (&[("cluster_cert", "")], both),
        (&[("cluster_cert_key", "")], both),
        (&[("cluster_cert", "/none")], "cluster_cert: failed loading certificate from /none"),
        (&[("cluster_cert_key", "/none")], "cluster_cert_key: failed loading key from /none"),
        (&[("cluster_ca_cert", "/none")], "cluster_ca_cert: failed loading certificate from /none"),
        (
            &[("cluster_trusted_cert", "/none")],
            "cluster_trusted_cert: failed loading certificate from /none",
        ),
        (
            &[("lua_ssl_trusted_certificate", "/none")],
            "lua_ssl_trusted_certificate: failed loading certificate from /none",
        ),
    ];
    for (env, text) in rows {
        for role in ["control_plane", "data_plane"] {
            assert_eq!(messages(role, env), [*text], "{role} {env:?}");
        }
    }
    for name in ["cluster_cert", "cluster_cert_key", "cluster_ca_cert"] {
        assert_eq!(messages("traditional", &[(name, "/none")]), [""; 0], "{name}");
    }
}

#[test]
fn certificates_may_stand_in_the_setting_as_pem_or_base64() {
    let forms = [CERT.to_owned(), STANDARD.encode(CERT), URL_SAFE.encode(CERT)];
    for form in &forms {
        for role in ["control_plane", "data_plane"] {
            let env = [("cluster_cert", form.as_str()), ("cluster_ca_cert", form.as_str())];
            let cluster = load(role, &env).unwrap().cluster;
            let inline = Some(Pem::Inline(CERT.to_owned()));
            assert_eq!((&cluster.cert, &cluster.ca_cert), (&inline, &inline), "{role}");
        }
        let env = [("cluster_trusted_cert", format!("{form}, {form}"))];
        let env = env.each_ref().map(|(name, value)| (*name, value.as_str()));
        let trusted = load("control_plane", &env).unwrap().cluster.trusted_certs;
        assert_eq!(trusted.len(), 2);
        for pem in trusted {
            assert_eq!(String::from_utf8(pem.read().unwrap()).unwrap().trim(), CERT.trim());
        }
    }
}

#[test]
fn rules_of_one_role() {
    let rows: &[(&str, Env<'_>, &str)] = &[
        (
            "control_plane",
            &[("admin_listen", "off")],
            "admin_listen must be specified when role = \"control_plane\"",
        ),
        (
            "control_plane",
            &[("cluster_mtls", "pki")],
            "cluster_ca_cert must be specified when cluster_mtls = \"pki\"",
        ),
        (
            "control_plane",
            &[("cluster_listen", "off")],
            "cluster_listen must be specified when role = \"control_plane\"",
        ),
        (
            "control_plane",
            &[("database", "off")],
            "in-memory storage can not be used when role = \"control_plane\"",
        ),
        (
            "control_plane",
            &[("cluster_use_proxy", "on")],
            "cluster_use_proxy can not be used when role = \"control_plane\"",
        ),
        (
            "control_plane",
            &[("cluster_dp_labels", "a:b")],
            "cluster_dp_labels can not be used when role = \"control_plane\"",
        ),
        (
            "data_plane",
            &[("proxy_listen", "off")],
            "proxy_listen must be specified when role = \"data_plane\"",
        ),
        (
            "data_plane",
            &[("database", "postgres")],
            "only in-memory storage can be used when role = \"data_plane\"\n\
             Hint: set database = off in your kong.conf",
        ),
        (
            "data_plane",
            &[("cluster_use_proxy", "on")],
            "cluster_use_proxy is turned on but no proxy_server is configured",
        ),
        (
            "data_plane",
            &[("cluster_dp_labels", "a:")],
            "label value validation failed:  must have between 1 and 63 characters",
        ),
        (
            "traditional",
            &[("cluster_dp_labels", "a:b")],
            "cluster_dp_labels can only be used when role = \"data_plane\"",
        ),
    ];
    for (role, env, text) in rows {
        assert_eq!(messages(role, env), [*text], "{role} {env:?}");
        // What one role refuses says nothing to the others, but for labels.
        for other in ROLES.iter().filter(|it| it != &role) {
            let found = messages(other, env);
            assert!(!found.contains(&(*text).to_owned()), "{other} {env:?} {found:?}");
        }
    }
    // A data plane in pki mode may trust lua_ssl_trusted_certificate alone.
    let plane = load("data_plane", &[("cluster_mtls", "pki")]).unwrap();
    assert_eq!(plane.cluster.mtls, ClusterMtls::Pki);
}

#[test]
fn everything_that_is_wrong_is_told_in_kongs_order() {
    let env: Env<'_> = &[
        ("cluster_max_payload", "1"),
        ("cluster_data_plane_purge_delay", "1"),
        ("cluster_listen", "off"),
        ("admin_listen", "off"),
        ("cluster_ca_cert", "/none"),
        ("cluster_cert_key", "/none"),
        ("cluster_cert", "/none"),
        ("proxy_server", "x"),
        ("status_listen", "nowhere"),
    ];
    let found = messages("control_plane", env);
    let begins = [
        "proxy_server ",
        "cluster_cert: ",
        "cluster_cert_key: ",
        "cluster_ca_cert: ",
        "admin_listen ",
        "cluster_listen ",
        "cluster_data_plane_purge_delay ",
        "cluster_max_payload ",
        "status_listen must be of form: ",
    ];
    assert_eq!(found.len(), begins.len(), "{found:#?}");
    for (text, begin) in found.iter().zip(begins) {
        assert!(text.starts_with(begin), "{found:#?}");
    }
}

#[test]
fn listeners_of_every_role_have_one_grammar() {
    for role in ROLES {
        for name in ["proxy_listen", "admin_listen", "status_listen", "cluster_listen"] {
            for good in [
                "127.0.0.1:1",
                "127.0.0.1:0 ssl http2 proxy_protocol deferred bind reuseport backlog=1",
                "[::1]:8005 ipv6only=on so_keepalive=on",
                "127.0.0.1:1 so_keepalive=30m::10, [::1]:2 ipv6only=off so_keepalive=off",
            ] {
                assert_eq!(messages(role, &[(name, good)]), [""; 0], "{role} {name} {good}");
            }
            for bad in ["127.0.0.1", "8005", "::1:8005", "127.0.0.1:1 tls", "127.0.0.1:1, off"] {
                let expected = format!(
                    "{name} must be of form: [off] | <ip>:<port> [ssl] [http2] [proxy_protocol] \
                     [deferred] [bind] [reuseport] [backlog=%d+] [ipv6only=on] [ipv6only=off] \
                     [so_keepalive=on] [so_keepalive=off] [so_keepalive=%w*:%w*:%d*], \
                     [... next entry ...]"
                );
                assert_eq!(messages(role, &[(name, bad)]), [expected], "{role} {bad}");
            }
        }
    }
}

#[test]
fn what_is_set_without_effect_is_warned_about() {
    let warnings = |role, env: Env<'_>| load(role, env).unwrap().warnings;
    let disabled =
        "Cluster incremental sync has been forcibly disabled, please enable cluster RPC.";
    let found = warnings("data_plane", &[("cluster_incremental_sync", "on")]);
    assert!(found.contains(&disabled.to_owned()), "{found:?}");
    let pki: Env<'_> =
        &[("cluster_mtls", "pki"), ("cluster_ca_cert", CERT), ("cluster_trusted_cert", CERT)];
    let found = warnings("control_plane", pki);
    assert!(found.iter().any(|it| it.starts_with("cluster_trusted_cert has no effect")));
}

#[test]
fn a_data_plane_trusts_those_of_its_cluster_beyond_what_is_listed() {
    let folder = std::env::temp_dir().join(format!("hybridctl-trust-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| {
        let path = folder.join(name);
        std::fs::write(&path, CERT).unwrap();
        path.display().to_string()
    };
    let (own, ca) = (path("own.crt"), path("ca.crt"));
    let shared: Env<'_> = &[("cluster_cert", &own), ("cluster_ca_cert", &ca)];
    let pki = [shared, &[("cluster_mtls", "pki")]].concat();
    let listed = [shared, &[("lua_ssl_trusted_certificate", &own)]].concat();
    let rows: [(&str, Env<'_>, &[Option<&str>]); 4] = [
        ("data_plane", shared, &[None, Some(&own)]),
        ("data_plane", &pki, &[None, Some(&ca)]),
        ("data_plane", &listed, &[Some(&own)]),
        ("control_plane", &pki, &[None]),
    ];
    for (role, env, wanted) in rows {
        let wanted: Vec<_> =
            wanted.iter().map(|file| file.map(|it| Pem::File(it.into()))).collect();
        assert_eq!(load(role, env).unwrap().tls.trusted, wanted, "{role} {env:?}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}
