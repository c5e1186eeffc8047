//! Limits for each period of time, which `rate-limiting` and `response-ratelimiting` share
//! (reference gateway-4, section F.3).

use serde_json::Value;

use crate::domain::catalog::PluginSchema;
use crate::domain::schema::{Check, Field, Match};

/// The periods, shorter ones first, as the fields of their limits are called.
pub(super) const PERIODS: [&str; 6] = ["second", "minute", "hour", "day", "month", "year"];

/// Returns a limit for each period.
pub(super) fn fields() -> [(&'static str, Field); 6] {
    PERIODS.map(|period| (period, Field::number().gt(0.0)))
}

/// Checks that no longer period has a lower limit; `the` begins the sentence.
pub(super) fn ascending(limits: &Value, the: &str) -> Result<(), String> {
    let set = |period| Some((period, limits.get(period)?.as_f64()?));
    let set: Vec<(&str, f64)> = PERIODS.into_iter().filter_map(set).collect();
    for (i, (shorter, bound)) in set.iter().enumerate() {
        if let Some((longer, limit)) = set.iter().skip(i + 1).find(|(_, limit)| limit < bound) {
            return Err(format!(
                "{the} limit for {longer}({limit:.1}) cannot be lower than the limit for \
                 {shorter}({bound:.1})"
            ));
        }
    }
    Ok(())
}

/// Returns where counts are kept: by each node, in the database, or in Redis.
pub(super) fn policy() -> Field {
    Field::string().default("local").one_of(["local", "cluster", "redis"])
}

/// Adds what a redis policy cannot do without.
pub(super) fn with_redis_checks(plugin: PluginSchema) -> PluginSchema {
    ["config.redis.host", "config.redis.port", "config.redis.timeout"].into_iter().fold(
        plugin,
        |plugin, field| {
            let redis = Match::eq("redis");
            plugin.check(Check::conditional("config.policy", redis, field, Match::required()))
        },
    )
}
