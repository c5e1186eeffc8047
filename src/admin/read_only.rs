//! Writes of entities on a node without a database: each is checked, and then refused
//! (reference gateway-2, sections B.2 and B.3, code 12).

use http::Method;

use super::error::ApiError;
use super::place::{Named, Place, put_creates};
use crate::domain::catalog::Catalog;
use crate::domain::decide::Target;
use crate::domain::entity::Kind;
use crate::domain::rejection::Rejection;

/// Kong's code of an operation that is not supported.
const CODE: u8 = 12;

/// Returns the refusal of any write.
pub(super) fn refusal() -> ApiError {
    unsupported("cannot write entities when not using a database".into())
}

/// Returns the refusal of a write to a place.
pub(super) fn refusal_of(
    catalog: &Catalog,
    method: &Method,
    place: &Place,
    kind: Kind,
) -> ApiError {
    let verb = match *method {
        Method::POST => "create",
        Method::PUT if put_creates(kind) => "create or update",
        Method::DELETE => "remove",
        _ => "update",
    };
    let named = match place {
        Place::Entity(named) | Place::NestedEntity { child: named, .. } => by(catalog, named),
        _ => None,
    };
    let by = named.map(|field| format!(" by '{field}'")).unwrap_or_default();
    unsupported(format!("cannot {verb} '{kind}' entities{by} when not using a database"))
}

/// Returns whether a rejection would not be noticed before the write itself.
pub(super) fn comes_late(rejection: &Rejection) -> bool {
    match rejection {
        Rejection::Exists(_)
        | Rejection::DanglingReference { .. }
        | Rejection::Referenced { .. }
        | Rejection::Listed { .. }
        | Rejection::NotUnique(_) => true,
        Rejection::InvalidKey
        | Rejection::Schema(_)
        | Rejection::NotFound(_)
        | Rejection::Unresolved(_)
        | Rejection::Option { .. }
        | Rejection::Declarative(_) => false,
    }
}

fn by(catalog: &Catalog, named: &Named) -> Option<&'static str> {
    match Target::parse(catalog.schema(named.kind), &named.text) {
        Ok(Target::Name(field, _)) => Some(field),
        _ => None,
    }
}

fn unsupported(message: String) -> ApiError {
    ApiError::Unsupported { message, code: Some(CODE) }
}
