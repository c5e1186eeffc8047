//! Debugging of single requests: where the time of one went (`X-Kong-Request-Debug`), and what it
//! matched (`Kong-Debug`).
//!
//! Invariant: a request that asks for nothing has no tree, and reads no clock for one.

mod matched;
mod output;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use http::HeaderValue;

pub(super) use self::matched::add_matched;
pub(super) use self::output::{add_output, log};
use crate::balancer::dns::core::CoreResolver;
use crate::headers::debug::{LOG, TOKEN, WANTED};
use crate::plugins::exchange::{Exchange, ResponseHead};
use crate::plugins::timing::Timing;
use crate::plugins::{Phases, Plugin, Scope};
use crate::runtime::{Host, Runtime};

/// What clients elsewhere show to be told where the time of a request went.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl Token {
    /// Makes a text the token.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the text.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Compares in a time that does not tell how much of it was right.
    fn is(&self, given: &HeaderValue) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.0.as_bytes(), given.as_bytes())
            .is_ok()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(******)")
    }
}

/// Phases of a request, by the names that Kong has for them.
#[derive(Clone, Copy)]
pub(super) enum Phase {
    Rewrite,
    Access,
    Balancer,
    Upstream,
    Response,
    HeaderFilter,
    BodyFilter,
    Log,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::Rewrite => "rewrite",
            Self::Access => "access",
            Self::Balancer => "balancer",
            Self::Upstream => "upstream",
            Self::Response => "response",
            Self::HeaderFilter => "header_filter",
            Self::BodyFilter => "body_filter",
            Self::Log => "log",
        }
    }
}

/// Takes the headers about debugging away, which are nobody else's business, and begins a tree where
/// the client may have one: it is on this machine, or has the token. The next thing is the router.
pub(super) fn begin(token: &Token, exchange: &mut Exchange) {
    let headers = &mut exchange.request.headers;
    let is_wanted = headers.get(WANTED).is_some_and(|value| value == "*");
    let is_logged = headers.get(LOG).is_some_and(|value| value == "true");
    let is_local = exchange.forwarded.client.is_loopback();
    let may = is_local || headers.get(TOKEN).is_some_and(|given| token.is(given));
    headers.retain(|name, _| ![WANTED, LOG, TOKEN].contains(&name.as_str()));
    if is_wanted && may {
        let now = Instant::now();
        let mut timing = Timing::new(exchange.id, is_local, is_logged, now);
        timing.enter(Phase::Access.name(), now);
        timing.enter("router", now);
        exchange.timing = Some(Box::new(timing));
    }
}

/// Ends what was going on, and begins a phase.
pub(super) fn turn_to(exchange: &mut Exchange, phase: Phase) {
    if let Some(timing) = &mut exchange.timing {
        timing.turn_to(phase.name(), Instant::now());
    }
}

/// Ends what was going on when there is an answer, and begins what becomes of its head; tells whether
/// the request is debugged.
pub(super) fn answered(exchange: &mut Exchange, head: &ResponseHead) -> bool {
    let Some(timing) = &mut exchange.timing else { return false };
    let now = Instant::now();
    if head.from_upstream {
        timing.note_answer(now);
    }
    timing.turn_to(Phase::HeaderFilter.name(), now);
    true
}

/// Begins to wait for the addresses of a host, if it is a name. (Those of an upstream's targets are
/// looked up before anyone asks.)
pub(super) fn enter_dns(exchange: &mut Exchange, host: &Host, resolver: &CoreResolver) {
    let (Some(timing), Host::Peer(peer)) = (&mut exchange.timing, host) else { return };
    if peer.ip.is_none() {
        let now = Instant::now();
        for name in ["dns", &*peer.host, "resolve"] {
            timing.enter(name, now);
        }
        timing.note_cache_hit(resolver.knows(&peer.host));
    }
}

/// Ends what was going on.
pub(super) fn leave_all(exchange: &mut Exchange) {
    if let Some(timing) = &mut exchange.timing {
        timing.leave_all(Instant::now());
    }
}

/// Ends what was going on when the last byte has gone to the client.
pub(super) fn ended(exchange: &mut Exchange) {
    if let Some(timing) = &mut exchange.timing {
        let now = Instant::now();
        timing.note_end(now);
        timing.enter(Phase::Log.name(), now);
    }
}

/// Ends the innermost of what is going on, `depth` times.
fn leave(exchange: &mut Exchange, depth: usize) {
    if let Some(timing) = &mut exchange.timing {
        let now = Instant::now();
        (0..depth).for_each(|_| timing.leave(now));
    }
}

/// What a plugin is entered as: the list of them, its name and its id.
const PLUGIN_DEPTH: usize = 3;

/// Enters a plugin of a phase; tells whether it is to be left.
pub(super) fn enter_plugin(
    exchange: &mut Exchange,
    runtime: &Runtime,
    scope: Scope<'_>,
    plugin: &Arc<dyn Plugin>,
    phase: Phases,
) -> bool {
    let Some(timing) = &mut exchange.timing else { return false };
    let (route, service) = (scope.route.map(|it| it.id), scope.service.map(|it| it.id));
    let found = runtime.plugin(route, service, plugin).filter(|_| plugin.phases().has(phase));
    let Some((name, id)) = found else { return false };
    let id = id.to_string();
    let now = Instant::now();
    for name in ["plugins", name, &id] {
        timing.enter(name, now);
    }
    true
}

/// Leaves a plugin.
pub(super) fn leave_plugin(exchange: &mut Exchange) {
    leave(exchange, PLUGIN_DEPTH);
}
