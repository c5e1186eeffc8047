//! The way of every Admin request: read it, resolve its path, answer, add the common headers.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use http::{Method, StatusCode};

use super::auth::tokens::{self, TokenPlace};
use super::auth::{self, Caller, Denied, Shown};
use super::call::{self, Call};
use super::error::ApiError;
use super::metrics;
use super::place::{Fixed, Place};
use super::serve::Peer;
use super::{
    Admin, batch, clustering, cors, entities, etag, events, info, node, place, promotion, reply,
    rollback, schemas, snapshots, status,
};
use crate::domain::role::AdminRole;

/// Answers one request. Whatever fails, the answer carries the headers that a browser needs.
pub(super) async fn dispatch(State(admin): State<Admin>, request: Request) -> Response {
    let started = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path());
    let path = place::loggable(&admin.0.catalog, path);
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    let origin = cors::origin(request.headers());
    let request_id = call::client_request_id(request.headers())
        .unwrap_or_else(|| admin.0.clock.id().simple().to_string());

    let caller = admin.0.auth.admit(Shown::of(&request, &admin.0.options.gui_origins)).await;
    let actor = caller.as_ref().ok().map(|caller| caller.actor.clone());
    let is_admitted = caller.is_ok();

    let answered = answer(&admin, request, caller, request_id.clone());
    // A bug in one request must not take the connection's other requests with it.
    let mut response = match AssertUnwindSafe(answered).catch_unwind().await {
        Ok(answered) => answered.unwrap_or_else(ApiError::into_response),
        Err(_) => ApiError::Unexpected.into_response(),
    };

    let latency_ms = started.elapsed().as_millis();
    // Strangers need not know which configuration is in force.
    if is_admitted {
        etag::tag_if_bare(&mut response, admin.0.store.head().config_hash);
    }
    cors::admit(&mut response, &admin.0.options.gui_origins, origin);
    reply::sign(&mut response, &request_id, admin.0.options.tells, latency_ms);
    if method == Method::HEAD {
        reply::behead(&mut response);
    }
    // The query stays out: clients put values into it.
    let (status, peer) = (response.status().as_u16(), peer.map(tracing::field::display));
    tracing::info!(
        target: "admin_access", peer, actor, %method, path, status, latency_ms, request_id
    );
    response
}

async fn answer(
    admin: &Admin,
    mut request: Request,
    caller: Result<Caller, Denied>,
    request_id: String,
) -> Result<Response, ApiError> {
    let caller = caller?;
    request.extensions_mut().insert(caller.clone());
    let path = request.uri().path();
    if path.contains("%00") {
        return Err(ApiError::BadRequest("a path must not contain a zero byte".into()));
    }
    if let Some(place) = TokenPlace::resolve(path) {
        return answer_tokens(admin, request, place, &caller, request_id).await;
    }
    let place = Place::resolve(&admin.0.catalog, path).ok_or(ApiError::NotFound)?;
    if let Place::Info(info) = &place
        && !info.is_there(admin.0.node.role)
    {
        return Err(ApiError::NotFound);
    }
    let methods = place.methods();
    if request.method() == Method::OPTIONS {
        return Ok(cors::options(methods, request.headers()));
    }
    if !methods.split(", ").any(|method| method == request.method().as_str()) {
        return Err(ApiError::MethodNotAllowed);
    }
    caller.require(auth::needed(&admin.0.catalog, request.method(), path))?;
    let call = Call::read(request, request_id, admin.0.options.body_bytes_max).await?;
    match place {
        Place::Fixed(fixed) => answer_fixed(admin, &call, fixed).await,
        Place::Event(seq) => Ok(reply::json(StatusCode::OK, &events::one(admin, &seq).await?)),
        Place::Pin(pin) if call.method == Method::DELETE => {
            promotion::remove(admin, &call, &pin).await
        }
        Place::Pin(pin) => Ok(reply::json(StatusCode::OK, &promotion::one(admin, &pin)?)),
        Place::Quarantined(hash) if call.method == Method::DELETE => {
            promotion::release(admin, &call, &hash).await
        }
        Place::Quarantined(hash) => {
            Ok(reply::json(StatusCode::OK, &promotion::quarantined(admin, &hash)?))
        }
        Place::Snapshot(moment) => snapshots::one(admin, &call, &moment).await,
        Place::Difference(from, to) => snapshots::diff(admin, &call, &from, &to).await,
        Place::Info(info) => info::answer(admin, &call, &info).await,
        Place::Schema(schema) => schemas::answer(admin, &call, &schema),
        place => entities::answer(admin, &call, place).await,
    }
}

async fn answer_tokens(
    admin: &Admin,
    request: Request,
    place: TokenPlace,
    caller: &Caller,
    request_id: String,
) -> Result<Response, ApiError> {
    if request.method() == Method::OPTIONS {
        return Ok(cors::options(place.methods(), request.headers()));
    }
    if !place.methods().split(", ").any(|method| method == request.method().as_str()) {
        return Err(ApiError::MethodNotAllowed);
    }
    caller.require(AdminRole::Admin)?;
    let call = Call::read(request, request_id, admin.0.options.body_bytes_max).await?;
    tokens::answer(admin, &call, place).await
}

async fn answer_fixed(admin: &Admin, call: &Call, fixed: Fixed) -> Result<Response, ApiError> {
    let body = match fixed {
        Fixed::Root => node::info(admin),
        Fixed::Robots => {
            let text = "User-agent: *\nDisallow: /".to_owned();
            return Ok(reply::text(StatusCode::OK, text, "text/plain"));
        }
        Fixed::Status => status::report(&admin.0.status, call)?,
        Fixed::Metrics => return Ok(metrics::answer(&admin.0.status)),
        Fixed::Endpoints => node::endpoints(admin),
        Fixed::PluginsEnabled => node::enabled_plugins(admin),
        Fixed::DataPlanes => clustering::data_planes(admin, call)?,
        Fixed::ClusteringStatus => return clustering::status(admin),
        Fixed::FilterChains => {
            let text = "this endpoint is only available when wasm is enabled";
            return Err(ApiError::BadRequest(text.into()));
        }
        Fixed::Events if events::follow::is_asked(call) => {
            return events::follow::answer(admin, call).await;
        }
        Fixed::Events => events::list(admin, call).await?,
        Fixed::Snapshots => snapshots::list(admin, call).await?,
        Fixed::Batch => return batch::answer(admin, call).await,
        Fixed::Rollback => return rollback::answer(admin, call).await,
        Fixed::Freeze if call.method == Method::POST => {
            return promotion::freeze(admin, call).await;
        }
        Fixed::Freeze => promotion::frozen(admin)?,
        Fixed::Unfreeze => return promotion::unfreeze(admin, call).await,
        Fixed::Pins if call.method == Method::POST => return promotion::set(admin, call).await,
        Fixed::Pins => promotion::list(admin)?,
        Fixed::Quarantine => promotion::quarantine(admin)?,
        Fixed::Rollout => match call.method {
            Method::PUT => return promotion::plan(admin, call).await,
            Method::DELETE => return promotion::unplan(admin, call).await,
            _ => promotion::rollout(admin)?,
        },
    };
    Ok(reply::json(StatusCode::OK, &body))
}
