//! Compiling a config: what changed since the old runtime is decoded, joined and built, or the entity at
//! fault named.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::certificates::NamedCertificates;
use super::changes::Changes;
use super::channel::{ChannelMaker, Channels};
use super::destinations::Destinations;
use super::instances::Instances;
use super::services::{Services, Upstreams};
use super::{CompileError, Handle, Runtime, Tools, people};
use crate::domain::config::Config;
use crate::domain::hash::ConfigHash;
use crate::domain::kinds::route::Flavour;
use crate::domain::kinds::{certificate, sni};
use crate::failpoint;
use crate::plugins::directory::Directory;
use crate::router::Router;

/// Compiles a config and puts it in force. A panic on the way is a bug here, yet it ends as a
/// refusal: the last good runtime stays.
///
/// # Errors
///
/// The first entity that cannot be served.
pub fn apply(
    handle: &Handle,
    config: &Config,
    config_hash: ConfigHash,
    tools: &Tools,
) -> Result<(), CompileError> {
    let old = handle.load();
    let compiled =
        catch_unwind(AssertUnwindSafe(|| Runtime::compile(config, config_hash, Some(&old), tools)));
    drop(old);
    let runtime = compiled.unwrap_or_else(|_| {
        Err(CompileError { entity: None, reason: "compiling it panicked".to_owned() })
    })?;
    failpoint::hit("runtime.compiled");
    handle.swap(Arc::new(runtime));
    failpoint::hit("runtime.swapped");
    Ok(())
}

impl Runtime {
    /// Returns the runtime of an empty config.
    pub fn empty(config_hash: ConfigHash) -> Self {
        Self::nothing(config_hash, Flavour::default())
    }

    fn nothing(config_hash: ConfigHash, flavour: Flavour) -> Self {
        let mut instances = Instances::default();
        Self {
            config_hash,
            router: Router::new(flavour),
            directory: Directory::default(),
            global: instances.chain(None, None),
            config: Config::default(),
            node: Arc::default(),
            instances,
            upstreams: Upstreams::default(),
            services: Services::default(),
            channels: Channels::default(),
            certificates: Arc::default(),
            destinations: Destinations::default(),
        }
    }

    /// Compiles a config, taking over from `old` what did not change. What it costs is about what
    /// changed, if the config shares its structure with the one of `old`.
    ///
    /// # Errors
    ///
    /// The first entity that cannot be served.
    pub fn compile(
        config: &Config,
        config_hash: ConfigHash,
        old: Option<&Self>,
        tools: &Tools,
    ) -> Result<Self, CompileError> {
        let mut next = match old.filter(|old| old.router.flavour() == tools.flavour) {
            Some(old) => old.clone(),
            None => Self::nothing(config_hash, tools.flavour),
        };
        let before = std::mem::replace(&mut next.config, config.clone());
        next.config_hash = config_hash;
        let node = tools.tls.current();
        let has_other_node = !Arc::ptr_eq(&node, &next.node);
        next.node = node.clone();
        if has_other_node {
            next.channels.forget_node();
        }
        let changes = Changes::between(&before, config, (&node, has_other_node));
        let scopes = next.instances.follow(&changes, tools)?;
        let names = next.upstreams.follow(&changes, tools)?;
        let channels = &mut next.channels;
        let mut maker = ChannelMaker { config, node: &node, clock: &tools.clock, channels };
        let services = next.services.follow(&changes, &next.upstreams, &names, &mut maker)?;
        next.destinations.follow(
            &changes,
            (&next.services, &services),
            (&mut next.instances, &scopes),
            &mut next.router,
        )?;
        people::follow(&mut next.directory, &changes)?;
        if !(changes.of(certificate::KIND).is_empty() && changes.of(sni::KIND).is_empty()) {
            let read = NamedCertificates::compile(config, Some(&next.certificates))?;
            next.certificates = Arc::new(read);
        }
        next.global = next.instances.chain(None, None);
        Ok(next)
    }
}
