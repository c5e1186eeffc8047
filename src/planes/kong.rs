//! Kong's dialect as the settings ask for it, on either plane.

use std::collections::BTreeMap;

use crate::domain::catalog::Catalog;
use crate::settings::{ClusterProtocol, Settings};
use crate::snapshot::Snapshot;
use crate::wire::kong::attach::{ApplyUnsigned, Attachment};
use crate::wire::kong::compat::legacy::LegacyDataPlanes;
use crate::wire::kong::dialect::{Dialects, Protocol};
use crate::wire::kong::introduction::basic_info;
use crate::wire::kong::serve::Terms;
use crate::wire::kong::session::Timing;
use crate::wire::kong::table::{ZERO_HASH, config_hash};

/// The shortest and the longest pause before a control plane of Kong is tried again, in seconds.
const RETRY_SECONDS: (u64, u64) = (5, 10);

/// Returns how a control plane serves data planes of Kong.
pub(super) fn terms(settings: &Settings) -> Terms {
    let push_interval = settings.cluster.db_update_frequency;
    let timing = Timing { push_interval, ..Timing::default() };
    let legacy = match settings.cluster.legacy_data_planes {
        true => LegacyDataPlanes::Admitted,
        false => LegacyDataPlanes::Refused,
    };
    Terms { timing, payload_len_max: super::payload_bytes_max(settings), legacy }
}

/// Returns how a data plane attaches to a control plane of Kong; `hash` is what it serves.
pub(super) fn attachment(
    settings: &Settings,
    (catalog, labels): (&Catalog, &BTreeMap<String, String>),
    hash: String,
    apply: ApplyUnsigned,
) -> Attachment {
    let protocol = match settings.cluster.protocol {
        ClusterProtocol::Auto => Protocol::Auto,
        ClusterProtocol::Native => Protocol::Native,
        ClusterProtocol::Kong => Protocol::Kong,
    };
    // A control plane of Kong sends nothing with a plugin that is not among these, so that what
    // cannot run here leaves the last good configuration where it is.
    let plugins = catalog.usable_plugins();
    let plugins = plugins.map(|plugin| (plugin.name.to_owned(), plugin.version.to_owned()));
    Attachment {
        dialects: Dialects::new(protocol),
        basic_info: basic_info(&plugins.collect(), &settings.to_json(), labels).into(),
        hash,
        payload_len_max: super::payload_bytes_max(settings),
        apply,
        timing: Timing::default(),
        retry_seconds: RETRY_SECONDS,
    }
}

/// Returns the hash of what a data plane starts with, unless a control plane of Kong gave it one.
pub(super) fn hash(snapshot: &Snapshot) -> String {
    match snapshot.config().is_empty() {
        true => ZERO_HASH.to_owned(),
        false => config_hash(snapshot.hash()),
    }
}
