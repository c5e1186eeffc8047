//! What stands in a chain for a plugin that this version describes but has no handler for: it
//! refuses every request that the plugin would apply to, because a route is never live without
//! its whole chain.

use std::sync::Arc;

use http::StatusCode;

use super::exchange::Exchange;
use super::reply::Reply;
use super::{Phases, Plugin, Scope, Step};

/// What clients are told: not which plugin, which is the operator's to know.
const MESSAGE: &str = "a plugin of this route is not available";

/// Below the priority of every plugin that authenticates.
const AFTER_AUTHENTICATION: i32 = 1000;

struct Unhandled;

/// Returns the instance.
pub fn instance() -> Arc<dyn Plugin> {
    Arc::new(Unhandled)
}

/// Returns when it runs. For one consumer that is not before it is known who calls: a plugin that
/// runs earlier, as `zipkin`, still sees the answers to that consumer.
pub fn priority(priority: i32, for_consumer: bool) -> i32 {
    if for_consumer { priority.min(AFTER_AUTHENTICATION) } else { priority }
}

impl Plugin for Unhandled {
    fn phases(&self) -> Phases {
        Phases::ACCESS
    }

    fn access<'a>(&'a self, _: &'a mut Exchange, _: Scope<'a>) -> Step<'a> {
        Step::respond(Reply::error(StatusCode::SERVICE_UNAVAILABLE, MESSAGE))
    }
}

#[cfg(test)]
mod tests {
    use super::priority;
    use crate::plugins::ALL;

    #[test]
    fn for_one_consumer_it_runs_when_the_consumer_is_known() {
        let authenticating =
            |name: &str| name.ends_with("-auth") || ["jwt", "oauth2"].contains(&name);
        for kind in ALL {
            assert_eq!(priority(kind.priority, false), kind.priority);
            for other in ALL.iter().filter(|other| authenticating(other.name)) {
                assert!(priority(kind.priority, true) < other.priority, "{}", kind.name);
            }
        }
    }
}
