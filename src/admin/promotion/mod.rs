//! Promotion over HTTP: the frozen head, pins, rollouts, and what is in quarantine.

mod freeze;
mod pins;
mod quarantine;
mod rollout;
mod show;

pub(super) use self::freeze::{freeze, frozen, unfreeze};
pub(super) use self::pins::{list, one, remove, set};
pub(super) use self::quarantine::{quarantine, quarantined, release};
pub(super) use self::rollout::{plan, rollout, unplan};
pub(super) use self::show::of_data_plane;
pub use self::show::{describe_freeze, describe_pin, describe_quarantine, describe_rollout};

use std::sync::Arc;

use serde_json::Value;

use super::Admin;
use super::body::Body;
use super::call::Call;
use super::error::ApiError;
use super::reason;
use super::rollback::moment;
use super::store::StoreError;
use crate::domain::event::EventKind;
use crate::domain::rejection::FieldErrors;
use crate::promotion::decision::{Decision, Position};
use crate::promotion::keeper::{DecideError, Keeper, Who};
use crate::promotion::order::Refusal;
use crate::promotion::state::State;
use crate::promotion::view::View;

fn keeper(admin: &Admin) -> Result<&Arc<Keeper>, ApiError> {
    admin.0.promotion.as_ref().ok_or_else(super::clustering::no_cluster)
}

/// Decides for a caller; `reason` is what the body says beside the headers.
async fn decide(
    admin: &Admin,
    call: &Call,
    reason: Option<String>,
    order: impl Fn(&State, Position) -> Result<Option<Decision>, Refusal> + Send + Sync,
) -> Result<(bool, Arc<View>), ApiError> {
    let origin = call.origin(EventKind::Written)?;
    let reason = reason.or(origin.reason);
    let who = Who { actor: origin.actor, source: "admin-api", reason };
    keeper(admin)?.decide(&who, order).await.map_err(|error| match error {
        DecideError::Refused(Refusal::NoPin(_) | Refusal::NotQuarantined(_)) => ApiError::NotFound,
        DecideError::Refused(refusal) => {
            FieldErrors::one(field(&refusal), refusal.to_string()).into()
        }
        DecideError::Storage(error) => StoreError::from(error).into(),
    })
}

/// Returns which member of the body a refusal is about.
fn field(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::FreezeBack { .. } | Refusal::FreezeAhead { .. } => "at",
        Refusal::NoLabel => "labels",
        Refusal::Plan(_) => "waves",
        Refusal::NoPin(_) | Refusal::TooManyPins | Refusal::NotQuarantined(_) => "id",
    }
}

/// Returns the position that a member of the body names.
async fn position(admin: &Admin, field: &'static str, to: &Value) -> Result<Position, ApiError> {
    let moment = moment(field, Some(to))?;
    Ok(Position::of(&*admin.0.store.at(moment).await?))
}

/// Reads a body and the reason in it.
fn body(call: &Call) -> Result<(crate::domain::canonical::Document, Option<String>), ApiError> {
    let body = Body::read(call)?.into_plain();
    let reason = reason::of_body(&body)?;
    Ok((body, reason))
}
