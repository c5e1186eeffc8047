//! What a control plane tells of its data planes, and what that means.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::admin::client::{AdminClient, AdminClientError};

/// The data planes that were asked for, and the newest head.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The newest head, and whether it is kept back: as `GET /freeze` tells it.
    pub(super) head: Value,
    /// The rows of `GET /clustering/data-planes`.
    pub(super) planes: Vec<Plane>,
}

/// One row.
#[derive(Clone, Debug)]
pub(super) struct Plane(pub(super) Value);

/// How a data plane stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It serves the newest head.
    InSync,
    /// It serves what a freeze, a pin or a rollout holds it at.
    Held,
    /// It has yet to serve what it is to get.
    Behind,
    /// It refused what it is to get.
    Rejected,
    /// It cannot be served.
    Incompatible,
    /// It is not connected.
    Away,
}

impl Standing {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::InSync => "in sync",
            Self::Held => "held",
            Self::Behind => "behind",
            Self::Rejected => "rejected",
            Self::Incompatible => "incompatible",
            Self::Away => "away",
        }
    }
}

impl Seen {
    /// Asks for all pages; keeps the data planes that have every one of the labels.
    pub(super) async fn ask(
        client: &AdminClient,
        labels: &BTreeMap<String, String>,
    ) -> Result<Self, AdminClientError> {
        let head = client.get("/freeze").await?;
        let mut planes = Vec::new();
        let mut next = Some("/clustering/data-planes?size=1000".to_owned());
        while let Some(path) = next {
            let page = client.get(&path).await?;
            planes.extend(page["data"].as_array().into_iter().flatten().cloned().map(Plane));
            next = page["next"].as_str().map(str::to_owned);
        }
        planes.retain(|plane| plane.has(labels));
        Ok(Self { head, planes })
    }

    pub(super) fn to_json(&self) -> Value {
        let planes = self.planes.iter().map(|plane| {
            let mut row = plane.0.clone();
            row["standing"] = plane.standing().word().into();
            row
        });
        json!({
            "head": {
                "seq": self.head["newest_seq"],
                "config_hash": self.head["newest_hash"],
                "frozen": self.head["frozen"],
            },
            "data_planes": planes.collect::<Vec<_>>(),
        })
    }

    /// Returns those that are connected.
    pub(super) fn connected(&self) -> impl Iterator<Item = &Plane> {
        self.planes.iter().filter(|plane| plane.is_connected())
    }
}

impl Plane {
    pub(super) fn text(&self, column: &str) -> Option<&str> {
        self.0[column].as_str()
    }

    pub(super) fn is_connected(&self) -> bool {
        self.0["connected"] == true
    }

    fn has(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.iter().all(|(name, value)| self.0["labels"][name] == value.as_str())
    }

    /// Returns the config that it refuses now, and why.
    pub(super) fn rejected(&self) -> Option<(&str, String)> {
        let rejected = &self.0["rejected"];
        let part = |name: &str| rejected[name].as_str();
        let why: Vec<_> =
            ["phase", "entity", "pointer", "reason"].into_iter().filter_map(part).collect();
        Some((part("hash")?, why.join(": ")))
    }

    pub(super) fn standing(&self) -> Standing {
        let applied = self.text("applied_hash");
        let assigned = self.text("assigned_hash");
        let is_refused = self.rejected().is_some_and(|(hash, _)| Some(hash) == assigned);
        let is_compatible = !self.text("sync_status").unwrap_or_default().ends_with("incompatible");
        match () {
            () if !self.is_connected() => Standing::Away,
            () if !is_compatible => Standing::Incompatible,
            () if applied.is_some() && applied == assigned => match self.0["held_by"].is_null() {
                true => Standing::InSync,
                false => Standing::Held,
            },
            () if is_refused => Standing::Rejected,
            () => Standing::Behind,
        }
    }
}
