//! What the node tells of itself: `/`, `/endpoints`, `/plugins/enabled`
//! (reference gateway-2, section B.6).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Admin, VERSION, place};
use crate::domain::config::Config;
use crate::domain::kinds::plugin;
use crate::settings::KONG_VERSION;

/// Kong's scripts report an interpreter; tools that read the field expect a text.
const LUA_VERSION: &str = "none (hybridctl)";

/// Returns the answer of `GET /`.
pub(super) fn info(admin: &Admin) -> Value {
    let (node, head) = (&admin.0.node, admin.0.store.head());
    let available: Map<_, _> = admin
        .0
        .catalog
        .usable_plugins()
        .map(|plugin| {
            let about = json!({"version": plugin.version, "priority": plugin.priority});
            (plugin.name.to_owned(), about)
        })
        .collect();
    let mut configuration = node.configuration.clone();
    let loaded: Map<_, _> = available.keys().map(|name| (name.clone(), true.into())).collect();
    configuration.insert("loaded_plugins".into(), Value::Object(loaded));
    json!({
        "tagline": "Welcome to kong",
        "version": KONG_VERSION,
        "hybridctl_version": VERSION,
        "edition": "community",
        "hostname": node.hostname,
        "node_id": node.id,
        "lua_version": LUA_VERSION,
        "pids": {"master": node.pid, "workers": [node.pid]},
        "timers": {"running": 0, "pending": 0},
        "plugins": {
            "available_on_server": available,
            "enabled_in_cluster": plugins_in_use(head.snapshot.config()),
        },
        "configuration": configuration,
        "config_hash": head.config_hash,
        "seq": head.seq,
    })
}

/// Returns the names of the plugins that the config uses.
fn plugins_in_use(config: &Config) -> BTreeSet<String> {
    let plugins = config.of_kind(plugin::KIND, None);
    plugins.filter_map(|entity| Some(entity.document().get("name")?.as_str()?.to_owned())).collect()
}

/// Returns every path.
pub(super) fn endpoints(admin: &Admin) -> Value {
    json!({"data": place::patterns(&admin.0.catalog, admin.0.node.role)})
}

/// Returns the plugins that may be used.
pub(super) fn enabled_plugins(admin: &Admin) -> Value {
    let names: Vec<_> = admin.0.catalog.usable_plugins().map(|plugin| plugin.name).collect();
    json!({"enabled_plugins": names})
}
