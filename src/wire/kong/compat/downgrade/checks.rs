//! The rules that look further than one field, in their order (reference hybrid.md, section 6.4).

use serde_json::{Value, json};

use super::{Says, record, remove_at, text};
use crate::domain::canonical::Document;

/// One rule over the entities of a kind.
pub(super) struct Checker {
    /// Data planes below this version.
    pub(super) below: u64,
    /// The kind.
    pub(super) kind: &'static str,
    /// The values of `name` that it is about; all if there are none.
    names: &'static [&'static str],
    change: Change,
}

/// What a rule does.
enum Change {
    /// Removes fields of the entity.
    Drop { fields: &'static [&'static str], hint: &'static str },
    /// Replaces a text at a dotted path. In texts `{name}` stands for the entity's.
    Replace {
        path: &'static str,
        from: &'static [&'static str],
        to: &'static str,
        hint: &'static str,
        action: &'static str,
    },
    /// Something else.
    Run(fn(&mut Document, &mut Says<'_>)),
}

const fn drops(
    below: u64,
    kind: &'static str,
    field: &'static [&'static str; 1],
    hint: &'static str,
) -> Checker {
    Checker { below, kind, names: &[], change: Change::Drop { fields: field, hint } }
}

const fn runs(
    below: u64,
    kind: &'static str,
    names: &'static [&'static str],
    run: fn(&mut Document, &mut Says<'_>),
) -> Checker {
    Checker { below, kind, names, change: Change::Run(run) }
}

const V3_9: u64 = 3_009_000_000;
const V3_8: u64 = 3_008_000_000;
const V3_7: u64 = 3_007_000_000;
const V3_6: u64 = 3_006_000_000;
const V3_5: u64 = 3_005_000_000;
const V3_4: u64 = 3_004_000_000;
const V3_3: u64 = 3_003_000_000;
const V3_2: u64 = 3_002_000_000;
const V3_1: u64 = 3_001_000_000;

const PLUGINS: &str = "plugins";
const AI: &[&str] = &["ai-proxy", "ai-request-transformer", "ai-response-transformer"];
const TRACERS: &[&str] = &["opentelemetry", "zipkin"];
const ZIPKIN: &[&str] = &["zipkin"];
const UPDATED_AT: &[&str; 1] = &["updated_at"];

/// The rules, in the order in which they run.
pub(super) const CHECKERS: &[Checker] = &[
    runs(V3_9, PLUGINS, AI, |row, says| fall_back(row, &["huggingface"], says)),
    runs(V3_8, PLUGINS, &["acme"], acme_username),
    runs(V3_8, PLUGINS, &["aws-lambda"], sts_endpoint),
    runs(V3_8, PLUGINS, AI, |row, says| fall_back(row, &["gemini", "bedrock"], says)),
    runs(V3_8, PLUGINS, &["ai-proxy"], mistral_url),
    Checker {
        below: V3_7,
        kind: PLUGINS,
        names: &["ai-proxy"],
        change: Change::Replace {
            path: "config.route_type",
            from: &["preserve"],
            to: "llm/v1/chat",
            hint: "configures {name} plugin with route_type == \"llm/v1/chat\", because preserve \
                   mode is not supported in this release",
            action: "fall back to 'llm/v1/chat'",
        },
    },
    runs(V3_6, PLUGINS, &["acme"], acme_redis),
    runs(V3_6, PLUGINS, &["rate-limiting", "response-ratelimiting"], flat_redis),
    header_type(
        V3_5,
        TRACERS,
        ["config.header_type", "preserve"],
        &["gcp"],
        "configures {name} plugin with: header_type == gcp",
    ),
    header_type(
        V3_5,
        ZIPKIN,
        ["config.default_header_type", "b3"],
        &["gcp"],
        "configures {name} plugin with: default_header_type == gcp",
    ),
    header_type(
        V3_4,
        TRACERS,
        ["config.header_type", "preserve"],
        &["aws"],
        "configures {name} plugin with: header_type == aws",
    ),
    header_type(
        V3_4,
        ZIPKIN,
        ["config.default_header_type", "b3"],
        &["aws"],
        "configures {name} plugin with: default_header_type == aws",
    ),
    runs(V3_3, PLUGINS, &["statsd", "datadog"], |row, says| {
        let old = [
            ("retry_count", None, 10),
            ("queue_size", Some("max_batch_size"), 1),
            ("flush_timeout", Some("max_coalescing_delay"), 2),
        ];
        queue_forerunners(row, old, says);
    }),
    runs(V3_3, PLUGINS, &["opentelemetry"], |row, says| {
        let old = [
            ("batch_span_count", Some("max_batch_size"), 200),
            ("batch_flush_delay", Some("max_coalescing_delay"), 3),
        ];
        queue_forerunners(row, old, says);
    }),
    runs(V3_3, "vaults", &["env"], env_prefix),
    drops(
        V3_3,
        "ca_certificates",
        UPDATED_AT,
        "contains configuration 'ca_certificates.updated_at'",
    ),
    drops(V3_3, "certificates", UPDATED_AT, "contains configuration 'certificates.updated_at'"),
    drops(V3_3, "consumers", UPDATED_AT, "contains configuration 'consumers.updated_at'"),
    drops(V3_3, "targets", UPDATED_AT, "contains configuration 'targets.updated_at'"),
    drops(V3_3, "upstreams", UPDATED_AT, "contains configuration 'upstreams.updated_at'"),
    drops(V3_3, PLUGINS, UPDATED_AT, "contains configuration 'plugins.updated_at'"),
    drops(V3_3, "workspaces", UPDATED_AT, "contains configuration 'workspaces.updated_at'"),
    drops(V3_3, "snis", UPDATED_AT, "contains configuration 'snis.updated_at'"),
    runs(V3_2, "services", &[], tls_service),
    Checker {
        below: V3_2,
        kind: "upstreams",
        names: &[],
        change: Change::Replace {
            path: "algorithm",
            from: &["latency"],
            to: "round-robin",
            hint: "configuration 'upstream.algorithm' contains 'latency' option",
            action: "fall back to 'round-robin'",
        },
    },
    drops(V3_2, PLUGINS, &["instance_name"], "contains configuration 'plugin.instance_name'"),
    drops(V3_1, "upstreams", &["use_srv_name"], "contains configuration 'upstream.use_srv_name'"),
];

/// A header type that came with a version.
const fn header_type(
    below: u64,
    names: &'static [&'static str],
    [path, to]: [&'static str; 2],
    from: &'static [&'static str; 1],
    hint: &'static str,
) -> Checker {
    let action = match names.len() {
        1 => "overwritten with default value `b3`",
        _ => "overwritten with default value `preserve`",
    };
    let change = Change::Replace { path, from, to, hint, action };
    Checker { below, kind: PLUGINS, names, change }
}

impl Checker {
    /// Runs the rule on one entity.
    pub(super) fn run(&self, row: &mut Document, says: &mut Says<'_>) {
        let name = text(row, "name").unwrap_or_default();
        if !self.names.is_empty() && !self.names.contains(&name) {
            return;
        }
        match &self.change {
            Change::Drop { fields, hint } => {
                for field in *fields {
                    match row.remove(*field) {
                        None => continue,
                        Some(Value::Null) => {}
                        Some(_) => says.gateway(hint, "be removed"),
                    }
                    says.changed = true;
                }
            }
            Change::Replace { path, from, to, hint, action } => {
                let hint = hint.replace("{name}", name);
                let (above, field) = path.rsplit_once('.').unwrap_or(("", path));
                let holder = if above.is_empty() { Some(row) } else { record(row, above) };
                let Some(holder) = holder else { return };
                if text(holder, field).is_some_and(|value| from.contains(&value)) {
                    holder.insert(field.to_owned(), (*to).into());
                    says.gateway(&hint, action);
                    says.changed = true;
                }
            }
            Change::Run(run) => run(row, says),
        }
    }
}

fn plugin_name(row: &Document) -> String {
    text(row, "name").unwrap_or_default().to_owned()
}

/// A provider that came later is spoken to as one that everybody knows.
fn fall_back(row: &mut Document, providers: &[&str], says: &mut Says<'_>) {
    let name = plugin_name(row);
    let (is_proxy, model) = match name.as_str() {
        "ai-proxy" => (true, "config.model"),
        _ => (false, "config.llm.model"),
    };
    let Some(model) = record(row, model) else { return };
    let Some(provider) = text(model, "provider").filter(|it| providers.contains(it)) else {
        return;
    };
    let provider = provider.to_owned();
    model.insert("provider".into(), "openai".into());
    // Those of the others are removed with a line of their own.
    if provider == "huggingface" {
        remove_at(model, "options.huggingface");
    }
    if is_proxy && let Some(config) = record(row, "config") {
        config.insert("route_type".into(), "preserve".into());
    }
    let hint = format!(
        "configures {name} plugin with \"openai preserve mode\", because {provider} provider  is \
         not supported in this release"
    );
    says.gateway(&hint, "fall back to 'openai'");
    says.changed = true;
}

fn acme_username(row: &mut Document, says: &mut Says<'_>) {
    let redis = record(row, "config.storage_config.redis");
    if redis.is_some_and(|redis| redis.get("username").is_some_and(|value| !value.is_null())) {
        says.gateway("configures acme plugin with redis username", "not work in this release");
    }
}

fn sts_endpoint(row: &mut Document, says: &mut Says<'_>) {
    match remove_at(row, "config.aws_sts_endpoint_url") {
        None => return,
        Some(Value::Null) => {}
        Some(_) => {
            says.gateway("configures aws-lambda plugin with aws_sts_endpoint_url", "be removed");
        }
    }
    says.changed = true;
}

fn mistral_url(row: &mut Document, says: &mut Says<'_>) {
    const URL: &str = "https://api.mistral.ai:443";
    let Some(model) = record(row, "config.model") else { return };
    if text(model, "provider") != Some("mistral") {
        return;
    }
    match model.get_mut("options") {
        Some(Value::Object(options)) => {
            if options.get("upstream_url").is_some_and(|url| !url.is_null()) {
                return;
            }
            options.insert("upstream_url".into(), URL.into());
        }
        _ => drop(model.insert("options".into(), json!({"upstream_url": URL}))),
    }
    let hint = "configures ai-proxy plugin with mistral provider uses fallback upstream_url for \
                managed serivice";
    says.gateway(hint, &format!("use {URL}"));
    says.changed = true;
}

/// Says that a Redis is written as it was before it was a record of its own.
fn reverted(name: &str, says: &mut Says<'_>) {
    let hint = format!("adapts {name} plugin redis configuration to older version");
    says.gateway(&hint, "revert to older schema");
    says.changed = true;
}

fn acme_redis(row: &mut Document, says: &mut Says<'_>) {
    let Some(redis) = record(row, "config.storage_config.redis") else { return };
    if !redis.contains_key("extra_options") {
        return;
    }
    let mut new = std::mem::take(redis);
    let extra = new.remove("extra_options");
    let mut extra = match extra {
        Some(Value::Object(extra)) => extra,
        _ => Document::new(),
    };
    for (name, older) in [
        ("host", "host"),
        ("port", "port"),
        ("password", "auth"),
        ("database", "database"),
        ("ssl", "ssl"),
        ("ssl_verify", "ssl_verify"),
        ("server_name", "ssl_server_name"),
    ] {
        redis.insert(older.to_owned(), new.remove(name).unwrap_or_default());
    }
    for name in ["namespace", "scan_count"] {
        redis.insert(name.to_owned(), extra.remove(name).unwrap_or_default());
    }
    reverted("acme", says);
}

fn flat_redis(row: &mut Document, says: &mut Says<'_>) {
    let name = plugin_name(row);
    let Some(config) = record(row, "config") else { return };
    let Some(redis) = config.remove("redis") else { return };
    let mut redis = match redis {
        Value::Object(redis) => redis,
        _ => Document::new(),
    };
    for field in [
        "host",
        "port",
        "username",
        "password",
        "database",
        "timeout",
        "ssl",
        "ssl_verify",
        "server_name",
    ] {
        config.insert(format!("redis_{field}"), redis.remove(field).unwrap_or_default());
    }
    reverted(&name, says);
}

/// Fills in what stood in the place of a queue: the older field, where the queue has its value,
/// and the value otherwise.
fn queue_forerunners<const N: usize>(
    row: &mut Document,
    old: [(&str, Option<&str>, i64); N],
    says: &mut Says<'_>,
) {
    let Some(config) = record(row, "config") else { return };
    for (older, in_queue, otherwise) in old {
        if config.get(older).is_some_and(Value::is_number) {
            continue;
        }
        let held = in_queue.and_then(|name| config.get("queue")?.get(name));
        let value = held.filter(|value| value.is_number()).cloned();
        config.insert(older.to_owned(), value.unwrap_or_else(|| otherwise.into()));
        says.changed = true;
    }
}

fn env_prefix(row: &mut Document, says: &mut Says<'_>) {
    let Some(config) = record(row, "config") else { return };
    if let Some(prefix) = text(config, "prefix").filter(|prefix| prefix.contains('-')) {
        let prefix = prefix.replace('-', "_");
        config.insert("prefix".into(), prefix.into());
        says.changed = true;
    }
}

fn tls_service(row: &mut Document, says: &mut Says<'_>) {
    if text(row, "protocol") != Some("tls") {
        return;
    }
    let fields = ["client_certificate", "tls_verify", "tls_verify_depth", "ca_certificates"];
    let removed: Vec<_> = fields.iter().filter_map(|field| row.remove(*field)).collect();
    says.changed |= !removed.is_empty();
    if removed.iter().any(|value| !value.is_null()) {
        says.gateway(
            "tls protocol service contains configuration 'service.client_certificate'or \
             'service.tls_verify' or 'service.tls_verify_depth' or 'service.ca_certificates'",
            "be removed",
        );
    }
}
