//! Tests of loading and checking whole settings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

const CERT: &str = "-----BEGIN CERTIFICATE-----\nMAMBAQA=\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMAMBAQA=\n-----END PRIVATE KEY-----\n";

fn load(env: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let env = env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Settings::load(&Sources { conf: None, env: env.collect(), prefix: None })
}

fn load_file(text: &str, env: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let folder = folder();
    let conf = folder.join("kong.conf");
    std::fs::write(&conf, text).unwrap();
    let env = env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let loaded = Settings::load(&Sources { conf: Some(conf), env: env.collect(), prefix: None });
    std::fs::remove_dir_all(folder).unwrap();
    loaded
}

fn folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(format!("hybridctl-settings-{process}-{count}"));
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn hybrid<'a>(role: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut env = vec![("KONG_ROLE", role), ("KONG_CLUSTER_CERT", CERT)];
    env.push(("KONG_CLUSTER_CERT_KEY", KEY));
    env.extend_from_slice(more);
    env
}

fn messages(env: &[(&str, &str)]) -> Vec<String> {
    load(env).map_or_else(|error| error.messages(), |_| Vec::new())
}

#[test]
fn defaults_are_those_of_the_reference() {
    let settings = load(&[]).unwrap();
    assert_eq!(settings.role, Role::Traditional);
    assert_eq!(settings.prefix.path(), Path::new("/usr/local/kong"));
    assert_eq!(settings.database, Database::Sqlite("/usr/local/kong/hybrid.db".into()));
    assert_eq!(settings.proxy.listen.len(), 2);
    assert_eq!(settings.proxy.upstream_keepalive.pool_size, 512);
    assert_eq!(settings.cluster.max_payload, 16_777_216);
    assert_eq!(settings.cluster.control_planes, ["127.0.0.1:8005"]);
    assert!(settings.daemon);
    assert_eq!(settings.warnings, [""; 0]);
    assert_eq!(settings.admin.client_max_body_size, 10 << 20);
    assert_eq!(settings.tls.trusted, [None]);
}

#[test]
fn environment_beats_file_beats_default() {
    let text = "log_level = info\ndb_update_frequency = 7\n";
    let settings = load_file(text, &[("KONG_LOG_LEVEL", "debug")]).unwrap();
    assert_eq!(settings.log_level, LogLevel::Debug);
    assert_eq!(settings.cluster.db_update_frequency.as_secs(), 7);
}

#[test]
fn an_empty_variable_unsets_file_and_default() {
    let text = "proxy_listen = 0.0.0.0:80\n";
    assert!(load_file(text, &[("KONG_PROXY_LISTEN", "")]).unwrap().proxy.listen.is_empty());
    let found = messages(&[("KONG_ROLE", "")]);
    assert_eq!(
        found,
        ["role has an invalid value: 'nil' (data_plane, control_plane, traditional)"]
    );
}

#[test]
fn unknown_properties_are_dropped_and_missing_ones_warn_once() {
    let text = "no_such_thing = 1\ncluster_telemetry_listen = x\nwasm = on\nnginx_http_gzip = on\n";
    let settings = load_file(text, &[("KONG_CLUSTER_RPC", "on")]).unwrap();
    let warned = |name: &str| settings.warnings.iter().filter(|it| it.starts_with(name)).count();
    assert_eq!(settings.warnings.len(), 3, "{:?}", settings.warnings);
    assert_eq!((warned("wasm "), warned("nginx_http_gzip "), warned("cluster_rpc ")), (1, 1, 1));
}

#[test]
fn a_value_equal_to_the_default_does_not_warn() {
    let settings = load(&[("KONG_STREAM_LISTEN", "off"), ("KONG_MEM_CACHE_SIZE", "256m")]);
    assert_eq!(settings.unwrap().warnings, [""; 0]);
}

#[test]
fn flags_that_are_neither_on_nor_off_are_off_with_a_warning() {
    let settings = load(&[("KONG_ALLOW_DEBUG_HEADER", "yes")]).unwrap();
    assert!(!settings.proxy.allow_debug_header);
    assert_eq!(settings.warnings.len(), 1);
}

#[test]
fn a_number_that_is_none_is_refused_by_name() {
    let found = messages(&[("KONG_DB_UPDATE_FREQUENCY", "often")]);
    assert_eq!(found, ["db_update_frequency is not a number: 'often'"]);
}

#[test]
fn aliases_reach_what_they_stand_for() {
    let env = [("KONG_NGINX_DAEMON", "off"), ("KONG_CLIENT_MAX_BODY_SIZE", "8m")];
    let settings = load(&env).unwrap();
    assert!(!settings.daemon);
    assert_eq!(settings.proxy.client_max_body_size, 8 << 20);
    let both = [("KONG_NGINX_DAEMON", "off"), ("KONG_NGINX_MAIN_DAEMON", "on")];
    assert!(load(&both).unwrap().daemon);
}

#[test]
fn hybrid_mode_needs_its_certificate() {
    for role in ["control_plane", "data_plane"] {
        let found = messages(&[("KONG_ROLE", role), ("KONG_DATABASE", "off")]);
        assert_eq!(found[0], "cluster certificate and key must be provided to use Hybrid mode");
    }
    let found = messages(&hybrid("control_plane", &[("KONG_CLUSTER_CA_CERT", "/none")]));
    assert_eq!(found, ["cluster_ca_cert: failed loading certificate from /none"]);
}

#[test]
fn control_planes_are_checked_in_kongs_order() {
    let found = messages(&hybrid(
        "control_plane",
        &[
            ("KONG_ADMIN_LISTEN", "off"),
            ("KONG_CLUSTER_MTLS", "pki"),
            ("KONG_CLUSTER_LISTEN", "off"),
            ("KONG_DATABASE", "off"),
            ("KONG_CLUSTER_USE_PROXY", "on"),
            ("KONG_CLUSTER_DP_LABELS", "a:b"),
            ("KONG_CLUSTER_DATA_PLANE_PURGE_DELAY", "59"),
            ("KONG_CLUSTER_MAX_PAYLOAD", "4194303"),
        ],
    ));
    assert_eq!(
        found,
        [
            "admin_listen must be specified when role = \"control_plane\"",
            "cluster_ca_cert must be specified when cluster_mtls = \"pki\"",
            "cluster_listen must be specified when role = \"control_plane\"",
            "in-memory storage can not be used when role = \"control_plane\"",
            "cluster_use_proxy can not be used when role = \"control_plane\"",
            "cluster_dp_labels can not be used when role = \"control_plane\"",
            "cluster_data_plane_purge_delay must be 60 or greater",
            "cluster_max_payload must be 4194304 (4MB) or greater",
        ]
    );
}

#[test]
fn data_planes_are_checked_in_kongs_order() {
    let found = messages(&hybrid(
        "data_plane",
        &[("KONG_PROXY_LISTEN", "off"), ("KONG_CLUSTER_USE_PROXY", "on")],
    ));
    assert_eq!(
        found,
        [
            "proxy_listen must be specified when role = \"data_plane\"",
            "only in-memory storage can be used when role = \"data_plane\"\n\
         Hint: set database = off in your kong.conf",
            "cluster_use_proxy is turned on but no proxy_server is configured",
        ]
    );
}

#[test]
fn labels_have_bounds_and_a_shape() {
    let with = |labels: &str| {
        messages(&hybrid(
            "data_plane",
            &[("KONG_DATABASE", "off"), ("KONG_CLUSTER_DP_LABELS", labels)],
        ))
    };
    assert_eq!(with("deployment:blue,region:us-east-1:a"), [""; 0]);
    let many: Vec<String> = (0..11).map(|it| format!("k{it}:v")).collect();
    assert_eq!(with(&many.join(",")), ["labels validation failed: count exceeded 10 max elements"]);
    assert_eq!(
        with("key:"),
        ["label value validation failed:  must have between 1 and 63 characters"]
    );
    for label in ["kong-x:v", "MESH:v", "_a:v", "a-:v", "k\u{e9}:v"] {
        let found = with(label);
        assert!(found[0].contains("is invalid. Must match pattern: "), "{label}: {found:?}");
    }
    let found = messages(&[("KONG_CLUSTER_DP_LABELS", "a:b")]);
    assert_eq!(found, ["cluster_dp_labels can only be used when role = \"data_plane\""]);
}

#[test]
fn the_admin_api_knows_the_origins_of_its_pages() {
    let origins = |urls: &str| load(&[("KONG_ADMIN_GUI_URL", urls)]).unwrap().admin.gui_origins;
    assert_eq!(load(&[]).unwrap().admin.gui_origins, Vec::<String>::new());
    assert_eq!(origins("http://localhost:8002"), ["http://localhost:8002"]);
    let urls = "https://a.example/manager/?x#y, http://[::1]:8002/";
    assert_eq!(origins(urls), ["https://a.example", "http://[::1]:8002"]);
    let found = messages(&[("KONG_ADMIN_GUI_URL", "localhost:8002")]);
    assert_eq!(found, ["admin_gui_url: expected scheme and host in 'localhost:8002'"]);
}

#[test]
fn proxy_servers_are_plain_urls() {
    let with = |url: &str| messages(&[("KONG_PROXY_SERVER", url)]).pop().unwrap_or_default();
    assert_eq!(with("http://user:pass@proxy:3128"), "");
    assert_eq!(with("proxy:3128"), "proxy_server missing scheme");
    assert_eq!(with("ftp://proxy"), "proxy_server only supports \"http\" and \"https\", got ftp");
    assert_eq!(with("http://:80"), "proxy_server missing host");
    assert!(with("http://proxy/?a=b").starts_with("fragments, query strings or parameters"));
}

#[test]
fn databases_of_earlier_releases_and_others_are_refused() {
    assert!(messages(&[("KONG_DATABASE", "cassandra")])[0].starts_with("Cassandra as a datastore"));
    let found = messages(&[("KONG_DATABASE", "mysql")]);
    assert_eq!(found, ["database has an invalid value: 'mysql' (sqlite, postgres, off)"]);
}

#[test]
fn other_settings_are_refused_in_kongs_words() {
    for (name, value, message) in [
        ("KONG_HEADERS", "x-nope", "headers: invalid entry 'x-nope'"),
        ("KONG_HEADERS_UPSTREAM", "via", "headers_upstream: invalid entry 'via'"),
        ("KONG_PORT_MAPS", "80", "invalid port mapping (`port_maps`): 80"),
        ("KONG_NODE_ID", "x", "node_id must be a valid UUID"),
        ("KONG_SSL_CERT", CERT, "ssl_cert_key must be specified"),
        (
            "KONG_UPSTREAM_KEEPALIVE_POOL_SIZE",
            "-1",
            "upstream_keepalive_pool_size must be 0 or greater",
        ),
    ] {
        assert_eq!(messages(&[(name, value)]), [message]);
    }
    assert!(messages(&[("KONG_TRUSTED_IPS", "x")])[0].ends_with("or 'unix:', got 'x'"));
    let flavors = "traditional, traditional_compatible, expressions";
    let invalid = format!("router_flavor has an invalid value: 'other' ({flavors})");
    assert_eq!(messages(&[("KONG_ROUTER_FLAVOR", "other")]), [invalid]);
}

#[test]
fn references_are_resolved_and_never_written() {
    let folder = folder();
    let prefix = folder.display().to_string();
    let env = [
        ("KONG_PREFIX", prefix.as_str()),
        ("KONG_DECLARATIVE_CONFIG_STRING", "{vault://env/my-secret}"),
        ("MY_SECRET", "_format_version: '3.0'"),
    ];
    let mut settings = load(&env).unwrap();
    assert_eq!(settings.declarative.text.as_deref(), Some("_format_version: '3.0'"));
    settings.prepare().unwrap();
    let written = std::fs::read_to_string(settings.prefix.kong_env()).unwrap();
    assert!(written.contains("declarative_config_string = {vault://env/my-secret}"), "{written}");
    assert!(!written.contains("_format_version"));
    std::fs::remove_dir_all(folder).unwrap();

    let found = messages(&[("KONG_PG_HOST", "{vault://env/none}")]);
    let expected = "failed to dereference '{vault://env/none}': unable to load value (NONE) \
                    from vault (env): not found for config option 'pg_host'";
    assert_eq!(found, [expected]);
}

#[test]
fn a_node_reads_back_what_its_start_wrote() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    let prefix = folder.display().to_string();
    let env = hybrid(
        "data_plane",
        &[
            ("KONG_PREFIX", &prefix),
            ("KONG_DATABASE", "off"),
            ("KONG_NGINX_DAEMON", "off"),
            ("KONG_STATUS_LISTEN", ""),
            ("KONG_DECLARATIVE_CONFIG_STRING", "a: 1 # one\nb: 2\n"),
        ],
    );
    let mut settings = load(&env).unwrap();
    settings.prepare().unwrap();
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(settings.prefix.kong_env()), 0o640);
    assert_eq!(mode(settings.prefix.join("ssl/cluster.key")), 0o600);

    let again = Settings::of_node(&settings.prefix, &BTreeMap::new()).unwrap();
    assert_eq!(again.role, Role::DataPlane);
    assert_eq!(again.database, Database::Off);
    assert!(!again.daemon);
    assert!(again.status.listen.is_empty());
    assert_eq!(again.declarative.text.as_deref(), Some("a: 1 # one\nb: 2\n"));
    assert_eq!(again.cluster.cert, Some(Pem::File(folder.join("ssl/cluster.crt"))));
    assert_eq!(again.cluster.cert_key.unwrap().read().unwrap(), KEY.as_bytes());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn relative_paths_become_absolute_for_whoever_reads_them_later() {
    let folder = folder();
    let prefix = folder.display().to_string();
    let env = [("KONG_PREFIX", prefix.as_str()), ("KONG_DECLARATIVE_CONFIG", "kong.yml")];
    let mut settings = load(&env).unwrap();
    settings.prepare().unwrap();
    let written = std::fs::read_to_string(settings.prefix.kong_env()).unwrap();
    let expected = std::path::absolute("kong.yml").unwrap();
    assert!(written.contains(&format!("declarative_config = {}", expected.display())), "{written}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_node_keeps_its_id_and_mends_a_broken_file() {
    let folder = folder();
    let prefix = Prefix::new(&folder.display().to_string());
    let ids = [1, 2, 3].map(uuid::Uuid::from_u128);
    assert_eq!(prefix.node_id(ids[0]), (ids[0], None));
    assert_eq!(prefix.node_id(ids[1]), (ids[0], None));
    std::fs::write(prefix.join("kong.id"), "garbage").unwrap();
    let (id, warning) = prefix.node_id(ids[2]);
    assert_eq!(id, ids[2]);
    assert!(warning.unwrap().ends_with("contains invalid uuid: garbage"));
    assert_eq!(prefix.node_id(ids[0]), (ids[2], None));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn nothing_that_is_shown_holds_a_secret() {
    let settings = load(&hybrid(
        "control_plane",
        &[
            ("KONG_PROXY_SERVER", "http://user:hunter2@proxy"),
            ("KONG_PG_PASSWORD", "hunter2"),
            ("KONG_REQUEST_DEBUG_TOKEN", "hunter2"),
            ("KONG_DECLARATIVE_CONFIG_STRING", "hunter2"),
        ],
    ))
    .unwrap();
    let json = serde_json::to_string(&settings.to_json()).unwrap();
    for shown in [json, format!("{settings:?}"), settings.dump().join("\n")] {
        assert!(!shown.contains("hunter2") && !shown.contains("PRIVATE KEY"), "{shown}");
        assert!(shown.contains("******"));
    }
    assert_eq!(settings.to_json()["pg_port"], 5432);
    assert_eq!(settings.to_json()["role"], "control_plane");
    assert_eq!(settings.to_json()["cluster_cert_key"], "******");
}

#[test]
fn files_that_are_named_must_exist() {
    let sources = Sources { conf: Some("/no/such.conf".into()), ..Sources::default() };
    let message = Settings::load(&sources).unwrap_err().to_string();
    assert_eq!(message, "no file at: /no/such.conf");
    let sources = Sources { conf: Some(std::env::temp_dir()), ..Sources::default() };
    let message = Settings::load(&sources).unwrap_err().to_string();
    assert!(message.starts_with("could not load config file: "), "{message}");
}

#[test]
fn the_table_names_each_property_once() {
    let mut names: Vec<_> = PROPERTIES.iter().map(|it| it.name).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
    for (alias, targets) in table::ALIASES {
        assert!(table::find(alias).is_some(), "{alias}");
        assert!(targets.iter().all(|it| table::find(it).is_some()), "{targets:?}");
    }
}

#[test]
fn a_prefix_that_was_copied_is_a_place_of_its_own() {
    let base = std::env::temp_dir().join(format!("hybridctl-moved-{}", std::process::id()));
    let place = |name: &str| base.join(name).display().to_string();
    let env = BTreeMap::new();
    let sources = Sources { conf: None, env: env.clone(), prefix: Some(place("old")) };
    let mut settings = Settings::load(&sources).unwrap();
    settings.prepare().unwrap();
    let moved = Prefix::new(&place("new"));
    moved.create().unwrap();
    std::fs::copy(settings.prefix.kong_env(), moved.kong_env()).unwrap();

    let seen = Settings::of_node(&moved, &env).unwrap();

    assert_eq!(seen.prefix.path(), moved.path());
    let Database::Sqlite(path) = &seen.database else { panic!("sqlite is the default") };
    assert!(path.starts_with(moved.path()), "{}", path.display());
    std::fs::remove_dir_all(base).unwrap();
}

#[test]
fn an_admin_api_that_others_reach_must_say_who_may_call() {
    let both_ways = ["KONG_ADMIN_AUTH=on", "hybridctl token create", "KONG_ADMIN_INSECURE=on"];
    for listen in
        ["0.0.0.0:8001", "127.0.0.1:8001, 10.0.0.1:80 ssl", "[::]:8001", "[::1]:1, [::2]:1"]
    {
        let open = ("KONG_ADMIN_LISTEN", listen);
        let found = messages(&[open]);
        assert_eq!(found.len(), 1, "{listen}: {found:?}");
        assert!(both_ways.iter().all(|way| found[0].contains(way)), "{found:?}");
        let insecure = load(&[open, ("KONG_ADMIN_INSECURE", "on")]).unwrap();
        assert_eq!(insecure.warnings.len(), 1, "{:?}", insecure.warnings);
        assert!(insecure.warnings[0].starts_with("admin_insecure is on"));
        let asks = load(&[open, ("KONG_ADMIN_AUTH", "on")]).unwrap();
        assert!(asks.admin.auth);
        assert_eq!(asks.warnings.is_empty(), listen.contains("ssl"), "{:?}", asks.warnings);
    }
    for listen in
        ["127.0.0.1:1", "localhost:1", "[::1]:1", "127.9.9.9:1 ssl", "[::ffff:127.0.0.1]:1"]
    {
        assert_eq!(messages(&[("KONG_ADMIN_LISTEN", listen)]), [""; 0], "{listen}");
    }
    let data_plane = [("KONG_DATABASE", "off"), ("KONG_ADMIN_LISTEN", "0.0.0.0:8001")];
    assert_eq!(messages(&hybrid("data_plane", &data_plane)), [""; 0], "it has no Admin API");
}

#[test]
fn client_certificates_of_the_admin_api_need_an_authority_and_roles_that_exist() {
    let asks = [("KONG_ADMIN_AUTH", "on"), ("KONG_ADMIN_SSL_VERIFY_CLIENT", "optional")];
    let (ca, roles) = ("KONG_ADMIN_SSL_CLIENT_CERTIFICATE", "KONG_ADMIN_SSL_CLIENT_ROLES");
    let with = |more: &[(&'static str, &'static str)]| [&asks[..], more].concat();
    let good =
        load(&with(&[(ca, CERT), (roles, "ann:admin, ci bot : editor, a:b:viewer")])).unwrap();
    let clients = good.admin.clients.unwrap();
    assert!(!clients.required);
    let listed: Vec<_> =
        clients.roles.iter().map(|(name, role)| (name.as_str(), role.name())).collect();
    assert_eq!(listed, [("ann", "admin"), ("ci bot", "editor"), ("a:b", "viewer")]);

    let missing = "admin_ssl_client_certificate must be specified with admin_ssl_verify_client";
    assert_eq!(messages(&asks), [missing]);
    for entry in ["ann", "ann:boss", ":admin", "*"] {
        let found = messages(&with(&[(ca, CERT), (roles, entry)]));
        assert!(found[0].contains(&format!("invalid entry '{entry}'")), "{found:?}");
    }
    let alone = messages(&[("KONG_ADMIN_SSL_VERIFY_CLIENT", "on"), (ca, CERT)]);
    assert!(alone[0].starts_with("admin_auth = on is needed"), "{alone:?}");
    let without = [("KONG_DATABASE", "off"), ("KONG_ADMIN_AUTH", "on")];
    assert!(messages(&without)[0].starts_with("admin_auth = on needs a database"));
    let certified = with(&[(ca, CERT), ("KONG_DATABASE", "off")]);
    assert_eq!(messages(&certified), [""; 0]);
    let off = load(&[("KONG_ADMIN_SSL_CLIENT_ROLES", "ann:admin")]).unwrap();
    assert_eq!((off.admin.clients, off.warnings.len()), (None, 1));
}

#[test]
fn an_inline_client_authority_becomes_a_file() {
    let folder = folder();
    let prefix = folder.display().to_string();
    let mut settings = load(&[
        ("KONG_PREFIX", prefix.as_str()),
        ("KONG_ADMIN_AUTH", "on"),
        ("KONG_ADMIN_SSL_VERIFY_CLIENT", "on"),
        ("KONG_ADMIN_SSL_CLIENT_CERTIFICATE", CERT),
    ])
    .unwrap();
    settings.prepare().unwrap();
    let again = Settings::of_node(&settings.prefix, &BTreeMap::new()).unwrap();
    let ca = again.admin.clients.unwrap().ca;
    assert_eq!(std::fs::read_to_string(ca.path().unwrap()).unwrap(), CERT);
    std::fs::remove_dir_all(folder).unwrap();
}
