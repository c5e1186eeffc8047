//! How a data plane compares with its control plane: whether it may stay, and which configs it can
//! run (reference hybrid.md, section 6).

use std::sync::Arc;

use super::publisher::Action;
use crate::domain::hash::ConfigHash;
use crate::promotion::view::Offer;
use crate::wire::frame::Hello;
use crate::wire::kong::compat::plugins::{Blocked, PluginSet, Unmet, presence};
use crate::wire::kong::compat::{Line, Ours, SyncStatus, version};

/// What a session knows of it. Nothing is compared without something to compare with.
#[derive(Debug)]
pub(super) struct Compared {
    ours: Option<Arc<Ours>>,
    /// The plugins that the data plane cannot run.
    unmet: Unmet,
    status: SyncStatus,
    withheld: Option<Withheld>,
}

/// A config that is not sent to a data plane, which stays with what it serves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Withheld {
    /// The config.
    pub config_hash: ConfigHash,
    /// The revision under which the data plane was to get it.
    pub revision: u64,
    /// Why.
    pub why: Blocked,
}

impl Compared {
    pub(super) fn with(ours: Arc<Ours>) -> Self {
        Self { ours: Some(ours), ..Self::default() }
    }

    /// Compares a data plane that says who it is; returns what there is to be said.
    ///
    /// # Errors
    ///
    /// It is to be closed, with this line.
    pub(super) fn hello(&mut self, hello: &Hello) -> Result<Vec<Line>, Line> {
        let Some(ours) = &self.ours else { return Ok(Vec::new()) };
        let line = version::check(&ours.version, &hello.version)?;
        let plugins = hello.plugins.iter().map(|(name, text)| (name.as_str(), Some(text.as_str())));
        let theirs = PluginSet::of(plugins);
        self.unmet = Unmet::of(&ours.plugins, &theirs);
        Ok(line.into_iter().chain(presence(&ours.plugins, &theirs)).collect())
    }

    /// Says whether a head may be sent, and what is to be done if that has changed.
    pub(super) fn judge(&mut self, offer: &Offer) -> (bool, Vec<Action>) {
        let Some(ours) = &self.ours else { return (true, Vec::new()) };
        let config_hash = offer.head.config_hash;
        let why = ours.check(&self.unmet, &offer.head.snapshot).err();
        let status = why.as_ref().map_or(SyncStatus::Normal, |why| why.status);
        let withheld = why.map(|why| Withheld { config_hash, revision: offer.revision, why });
        let mut actions = Vec::new();
        if let Some(now) = withheld.as_ref().filter(|_| withheld != self.withheld) {
            let said =
                |before: &Withheld| before.config_hash == config_hash && before.why == now.why;
            if !self.withheld.as_ref().is_some_and(said) {
                actions.push(Action::Say(now.why.line()));
            }
            actions.push(Action::Withheld(now.clone()));
        }
        if status != self.status {
            actions.push(Action::Judged(status));
        }
        let may = withheld.is_none();
        (self.withheld, self.status) = (withheld, status);
        (may, actions)
    }
}

impl Default for Compared {
    fn default() -> Self {
        Self { ours: None, unmet: Unmet::default(), status: SyncStatus::Normal, withheld: None }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;
    use std::time::Instant;

    use serde_json::json;
    use uuid::Uuid;

    use super::super::CloseReason;
    use super::super::publisher::{Publisher, Timing};
    use super::*;
    use crate::domain::catalog::{Catalog, UnsupportedPlugins};
    use crate::domain::config::Config;
    use crate::domain::decide::{Fresh, make};
    use crate::domain::event::Seq;
    use crate::domain::kinds::plugin;
    use crate::plugins;
    use crate::snapshot::Snapshot;
    use crate::wire::frame::{FromData, PROTOCOL};
    use crate::wire::kong::compat::Level;
    use crate::writer::Head;

    static CATALOG: LazyLock<Catalog> =
        LazyLock::new(|| plugins::catalog(|_| true).unsupported_plugins(UnsupportedPlugins::Store));

    fn ours() -> Arc<Ours> {
        Arc::new(Ours::of(&CATALOG))
    }

    /// A head whose config has these plugins.
    fn offer(seq: u64, names: &[&str]) -> Offer {
        let at = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let made = names.iter().zip(1..).map(|(name, n)| {
            let mut fresh = Fresh { at, id: &mut || Uuid::from_u128(n) };
            let body = json!({"name": name}).as_object().unwrap().clone();
            make(&CATALOG, plugin::KIND, body, &mut fresh).unwrap()
        });
        let snapshot = Snapshot::of(Config::of(&CATALOG, made));
        let config_hash = snapshot.hash();
        let head =
            Head { seq: Seq(seq), config_hash, snapshot: Arc::new(snapshot), ..Head::empty() };
        Offer { revision: 0, head: Arc::new(head), hold: None }
    }

    fn hello(version: &str, plugins: &[(&str, &str)]) -> FromData {
        let plugins = plugins.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        FromData::Hello(Box::new(Hello {
            protocol: PROTOCOL,
            node_id: Uuid::nil(),
            hostname: String::new(),
            version: version.to_owned(),
            program_version: String::new(),
            labels: Default::default(),
            plugins: plugins.collect(),
            applied: None,
            rejected: Vec::new(),
        }))
    }

    /// Returns what a session does, in short.
    fn short(actions: &[Action]) -> Vec<String> {
        let is_grave = |line: &&Line| matches!(line.level, Level::Error | Level::Warn);
        let short = |action: &Action| match action {
            Action::Joined(_, status) => Some(format!("joined {}", status.text())),
            Action::Withheld(withheld) => Some(format!("withheld {}", withheld.revision)),
            Action::Judged(status) => Some(format!("judged {}", status.text())),
            Action::Say(line) => Some(line).filter(is_grave).map(|line| line.text.clone()),
            Action::Announce { offer, .. } => Some(format!("announce {}", offer.head.seq)),
            Action::Close(CloseReason::Incompatible(_)) => Some("close".to_owned()),
            _ => None,
        };
        actions.iter().filter_map(short).collect()
    }

    #[test]
    fn a_data_plane_of_a_newer_minor_is_closed_and_its_row_says_why() {
        let now = Instant::now();
        let cases = [("3.10.0", true), ("4.0.0", true), ("3.9", true), ("garbage", false)];
        for (version, has_row) in cases {
            let mut publisher = Publisher::new(Timing::default(), now).comparing(ours());
            publisher.offer(offer(1, &[]), now);
            let done = short(&publisher.frame(hello(version, &[]), now));
            assert_eq!(done[0] == "joined kong_version_incompatible", has_row, "{done:?}");
            assert_eq!(done.last().unwrap(), "close", "{done:?}");
            let says = done.iter().any(|text| text.contains("version mismatches, CP version: 3.9"));
            assert!(says, "{done:?}");
            assert!(!done.iter().any(|text| text.starts_with("announce")), "{done:?}");
        }
    }

    #[test]
    fn new_configs_are_only_pushed_to_data_planes_that_have_those_configured_plugins_installed() {
        let now = Instant::now();
        let ours = ours();
        let mut theirs = CATALOG.plugins().map(|it| (it.name, it.version)).collect::<Vec<_>>();
        theirs.retain(|(name, _)| *name != "cors");
        let mut publisher = Publisher::new(Timing::default(), now).comparing(ours);
        publisher.offer(offer(1, &["cors"]), now);
        let why = "unable to send updated configuration to data plane: configured cors plugin 3.9.1 \
                   is missing from data plane: CP and DP does not have same set of plugins \
                   installed or their versions might differ";
        assert_eq!(
            short(&publisher.frame(hello("3.9.0", &theirs), now)),
            [
                "joined normal",
                "cors plugin 3.9.1 is missing from data plane",
                why,
                "withheld 0",
                "judged plugin_set_incompatible"
            ]
        );
        let heartbeat = || FromData::Heartbeat { applied: None };
        assert!(short(&publisher.frame(heartbeat(), now)).is_empty(), "it is said once");
        assert_eq!(
            short(&publisher.offer(offer(2, &["cors", "key-auth"]), now)),
            [why, "withheld 0"]
        );
        let again = Offer { revision: 1, ..offer(2, &["cors", "key-auth"]) };
        assert_eq!(short(&publisher.offer(again, now)), ["withheld 1"]);
        let repaired = short(&publisher.offer(offer(3, &["key-auth"]), now));
        assert_eq!(repaired, ["judged normal", "announce 3"], "the status is refreshed at once");
    }

    #[test]
    fn a_plugin_of_a_newer_minor_blocks_too() {
        let now = Instant::now();
        let mut publisher = Publisher::new(Timing::default(), now).comparing(ours());
        publisher.offer(offer(1, &["cors"]), now);
        let theirs = CATALOG.plugins().map(|it| (it.name, "3.10.0")).collect::<Vec<_>>();
        let done = short(&publisher.frame(hello("3.9.1", &theirs), now));
        assert_eq!(done.last().unwrap(), "judged plugin_version_incompatible", "{done:?}");
    }
}
