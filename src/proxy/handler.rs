//! One request from its head to its answer: route, plugins, upstream, plugins
//! (order and texts: reference gateway-3, sections C.5 and D).

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Limited};
use tokio::sync::oneshot;

use super::access::Lines;
use super::debug::{self, Phase};
use super::forward::{self, Forwarding, Transport};
use super::headers;
use super::ids::Ids;
use super::listener::{ClientRequest, ClientResponse, ConnectionInfo, ProxyBody, UpgradedClient};
use super::reply::{Rendered, Wish, render};
use super::settings::ProxySettings;
use super::tail::{Awaited, Tail, Watched};
use super::upstream::{Buffers, Moved, UpstreamResponse, splice};
use crate::clock::{Clock, turn};
use crate::domain::kinds::typedef::normalise_path;
use crate::plugins::exchange::{
    Exchange, RequestBody, ResponseHead, Times, split_port, without_port,
};
use crate::plugins::reply::Reply;
use crate::plugins::{Flow, Phases, Plugin, Scope, Step};
use crate::router::{Matched, NetView, Protocol, RequestView};
use crate::runtime::{Chain, Destination, Handle, Held, Reader, RouteProtocols, Runtime};

/// What one proxy core serves with.
pub struct Core {
    runtime: Reader,
    transport: Transport,
    pub(super) settings: ProxySettings,
    pub(super) access: Option<Lines>,
    pub(super) clock: Clock,
    buffers: Buffers,
    ids: Ids,
}

/// What a request is served with.
struct Plan<'r> {
    runtime: &'r Runtime,
    destination: Option<&'r Destination>,
    slot: Option<usize>,
    chain: &'r Chain,
    prefix_len: usize,
    matched: Option<Matched<'r>>,
}

impl<'r> Plan<'r> {
    /// Enters a plugin where the request is debugged; tells whether it is to be left.
    fn enter(&self, exchange: &mut Exchange, plugin: &Arc<dyn Plugin>, phase: Phases) -> bool {
        exchange.timing.is_some()
            && debug::enter_plugin(exchange, self.runtime, self.scope(), plugin, phase)
    }

    fn scope(&self) -> Scope<'r> {
        Scope {
            directory: &self.runtime.directory,
            route: self.destination.map(|destination| &*destination.route),
            service: self
                .destination
                .and_then(|destination| destination.service.as_ref())
                .map(|target| &target.service),
        }
    }
}

impl Core {
    /// Builds the core that runs on this thread.
    pub fn new(
        handle: &Handle,
        settings: ProxySettings,
        transport: Transport,
        clock: Clock,
    ) -> Self {
        let ids = Ids::new(&clock);
        let log = settings.access_log.clone();
        let access = log.map(|log| Lines::new(log, settings.access_format));
        let (runtime, buffers) = (handle.reader(), Buffers::default());
        Self { runtime, transport, settings, access, clock, buffers, ids }
    }

    /// Answers a request.
    pub async fn handle(
        self: Rc<Self>,
        request: ClientRequest,
        info: Rc<ConnectionInfo>,
    ) -> Box<ClientResponse> {
        let runtime = self.runtime.load();
        let upgrade = headers::upgrade(&request.head).and_then(|_| request.on_upgrade());
        let mut exchange = match self.exchange(request, &info) {
            Ok(exchange) => exchange,
            Err(exchange) => {
                let reply = Reply::gateway(StatusCode::PAYLOAD_TOO_LARGE, "Payload too large");
                let plan = global(&runtime);
                return self.own(exchange, &plan, reply, &runtime);
            }
        };
        let plan = self.plan(&runtime, &exchange);
        let mut awaited = Awaited::begin(&self, &runtime, plan.slot, &mut exchange);
        let answer = self.answer(&plan, awaited.exchange(), upgrade, info).await;
        awaited.end();
        match answer {
            Ok((head, body)) => self.finish(exchange, &plan, head, body, &runtime),
            Err(reply) => self.own(exchange, &plan, *reply, &runtime),
        }
    }

    /// Makes the exchange of a request; the error is one whose body is too large.
    fn exchange(
        &self,
        request: ClientRequest,
        info: &ConnectionInfo,
    ) -> Result<Box<Exchange>, Box<Exchange>> {
        let ClientRequest { head: mut parts, body, .. } = request;
        headers::strip_request(&mut parts);
        let connection = info.connection.clone();
        let forwarded = headers::forwarded(&self.settings, &parts.headers, &connection);
        let times = Times {
            started: turn::now(),
            started_ms: self.clock.now_ms(),
            sent: None,
            answered: None,
        };
        let normal = match normalise_path(parts.uri.path()) {
            std::borrow::Cow::Borrowed(_) => None,
            std::borrow::Cow::Owned(path) => Some(path),
        };
        let body_max = self.settings.body_bytes_max;
        let too_large = body_max > 0 && body.size_hint().lower() > body_max;
        let body = match (body.is_end_stream(), usize::try_from(body_max)) {
            (true, _) => RequestBody::Empty,
            (_, Ok(max)) if max > 0 => RequestBody::stream(Limited::new(body, max)),
            _ => RequestBody::stream(body),
        };
        let id = self.ids.next();
        // Boxed once: it is handed on from phase to phase, and copying it costs more.
        let mut exchange =
            Box::new(Exchange::new(id, connection, parts, body, forwarded, times, normal));
        exchange.requests = info.count_request();
        if too_large {
            return Err(exchange);
        }
        if exchange.request.noted.debug
            && let Some(token) = &self.settings.request_debug
        {
            debug::begin(token, &mut exchange);
        }
        Ok(exchange)
    }

    fn plan<'r>(&self, runtime: &'r Runtime, exchange: &Exchange) -> Plan<'r> {
        let request_headers = &exchange.request.headers;
        let headers = |name: &str, visit: &mut dyn FnMut(&str)| {
            let values = request_headers.get_all(name);
            values.filter_map(|value| value.to_str().ok()).for_each(visit);
        };
        let (host, host_port) = split_port(exchange.authority());
        let view = RequestView {
            method: exchange.request.method.as_str(),
            host,
            host_port,
            path: exchange.path(),
            query: exchange.request.uri.query(),
            headers: &headers,
            net: self.net(exchange),
        };
        let Some(matched) = runtime.router.matched(&view) else { return global(runtime) };
        match runtime.destination(matched.slot) {
            Some(destination) => Plan {
                runtime,
                destination: Some(destination),
                slot: Some(matched.slot),
                chain: &destination.chain,
                prefix_len: matched.prefix_len,
                matched: Some(matched),
            },
            None => global(runtime),
        }
    }

    fn net<'e>(&self, exchange: &'e Exchange) -> NetView<'e> {
        let connection = &exchange.connection;
        let seen = self.settings.outside_port(connection.local.port());
        NetView {
            protocol: if connection.tls { Protocol::Https } else { Protocol::Http },
            sni: connection.sni.as_deref(),
            source: SocketAddr::new(exchange.forwarded.client, connection.peer.port()),
            destination: SocketAddr::new(connection.local.ip(), seen),
        }
    }

    /// Runs what comes before the upstream; the error is an answer of our own.
    async fn decide<'r>(
        &self,
        plan: &Plan<'r>,
        exchange: &mut Exchange,
    ) -> Result<Forwarding<'r>, Box<Reply>> {
        debug::turn_to(exchange, Phase::Rewrite);
        let global = &plan.runtime.global;
        run(global, Phases::REWRITE, exchange, plan, |p, x, s| p.rewrite(x, s)).await?;
        debug::turn_to(exchange, Phase::Access);
        let Some(destination) = plan.destination else {
            let message = "no Route matched with those values";
            return Err(Reply::error(StatusCode::NOT_FOUND, message).into());
        };
        if let Some(reply) = wrong_protocol(destination, exchange) {
            return Err(reply.into());
        }
        run(plan.chain, Phases::ACCESS, exchange, plan, |p, x, s| p.access(x, s)).await?;
        let Some(service) = destination.service.as_deref() else {
            let message = "no Service found with those values";
            return Err(Reply::error(StatusCode::SERVICE_UNAVAILABLE, message).into());
        };
        let route = &destination.route;
        let path_handling = plan.runtime.router.path_handling(route);
        let (prefix_len, matched) = (plan.prefix_len, plan.matched);
        Ok(Forwarding { route, service, matched, prefix_len, path_handling })
    }

    /// Sends the request upstream and returns what comes back; the error is an answer of our own.
    async fn answer(
        &self,
        plan: &Plan<'_>,
        exchange: &mut Exchange,
        upgrade: Option<oneshot::Receiver<UpgradedClient>>,
        info: Rc<ConnectionInfo>,
    ) -> Result<(Box<ResponseHead>, ProxyBody), Box<Reply>> {
        let forwarding = self.decide(plan, exchange).await?;
        let Self { transport, settings, .. } = self;
        let mut answer =
            forward::send(transport, settings, exchange, &forwarding, &info.timer).await?;
        exchange.times.answered = Some(turn::now());
        let upgraded = answer.take_upgraded();
        let UpstreamResponse { mut head, body, hop_by_hop, .. } = answer;
        if hop_by_hop {
            let takes_trailers = headers::takes_trailers(&exchange.request.headers);
            headers::strip_response(&mut head.headers, upgraded.is_some(), takes_trailers);
        }
        let body = ProxyBody::from(body);
        if let (Some(stream), Some(upgrade)) = (upgraded, upgrade) {
            let (idle, held) = (forwarding.read_timeout(), exchange.held.take());
            let (buffers, moved) = (self.buffers.clone(), Moved::default());
            head.headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            tokio::task::spawn_local(async move {
                if let Ok(client) = upgrade.await
                    && let Err(error) = splice(client, stream, idle, &buffers, &moved).await
                {
                    tracing::debug!(%error, "upgraded connection ended");
                }
                // Held until here, so that a drain waits for the connection.
                drop((info, held));
            });
        }
        match plan.chain.has(Phases::RESPONSE) {
            true => {
                head.list();
                Box::pin(self.respond(exchange, plan, head, body)).await
            }
            false => Ok((head, body)),
        }
    }

    /// Reads the answer into memory and runs the plugins that want to see it whole.
    async fn respond(
        &self,
        exchange: &mut Exchange,
        plan: &Plan<'_>,
        head: Box<ResponseHead>,
        body: ProxyBody,
    ) -> Result<(Box<ResponseHead>, ProxyBody), Box<Reply>> {
        let invalid = "An invalid response was received from the upstream server";
        let mut bytes: Bytes = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => return Err(Reply::gateway(StatusCode::BAD_GATEWAY, invalid).into()),
        };
        debug::turn_to(exchange, Phase::Response);
        exchange.response = Some(head);
        for slot in plan.chain.in_phase(Phases::RESPONSE) {
            let Some(plugin) = slot.select(caller(exchange)).cloned() else { continue };
            let timed = plan.enter(exchange, &plugin, Phases::RESPONSE);
            let flow = match plugin.response(exchange, plan.scope(), &mut bytes) {
                Step::Done(flow) => flow,
                Step::Later(flow) => flow.await,
            };
            if timed {
                debug::leave_plugin(exchange);
            }
            if let Flow::Respond(reply) = flow {
                return Err(reply);
            }
        }
        let head = exchange.response.take();
        let mut head =
            head.ok_or_else(|| Box::new(Reply::gateway(StatusCode::BAD_GATEWAY, invalid)))?;
        head.headers.remove(header::CONTENT_LENGTH);
        Ok((head, ProxyBody::from(bytes)))
    }

    /// Answers without an upstream.
    fn own(
        self: &Rc<Self>,
        exchange: Box<Exchange>,
        plan: &Plan<'_>,
        reply: Reply,
        runtime: &Held,
    ) -> Box<ClientResponse> {
        let wish = Wish {
            accept: exchange.header(header::ACCEPT),
            content_type: exchange.header(header::CONTENT_TYPE),
            default_type: &self.settings.error_default_type,
            templates: &self.settings.error_templates,
        };
        let Rendered { status, headers, body } = render(reply, wish, &exchange.id);
        let head = Box::new(ResponseHead::own(status, headers));
        self.finish(exchange, plan, head, ProxyBody::from(body), runtime)
    }

    /// Runs what comes after the head of the answer is known, and hands out the answer.
    fn finish(
        self: &Rc<Self>,
        mut exchange: Box<Exchange>,
        plan: &Plan<'_>,
        mut head: Box<ResponseHead>,
        body: ProxyBody,
        runtime: &Held,
    ) -> Box<ClientResponse> {
        let is_debugged = debug::answered(&mut exchange, &head);
        let (own, chain) = (self.settings.headers, plan.chain);
        let mut additions = headers::additions(own, &exchange, &head, &runtime.config_hash);
        // What nobody looks at or changes before it is written need not be listed.
        let is_listed = chain
            .has(Phases::HEADER_FILTER.with(Phases::BODY_FILTER).with(Phases::LOG))
            || own.upstream_status
            || self.settings.debug_header
            || is_debugged
            || !exchange.added.is_empty()
            || additions.may_meet(&head);
        if is_listed {
            head.list();
            std::mem::take(&mut additions).list(&mut head.headers);
            self.add(&mut exchange, plan, &mut head);
        }
        exchange.response = Some(head);
        for slot in chain.in_phase(Phases::HEADER_FILTER) {
            if let Some(plugin) = slot.select(caller(&exchange)).cloned() {
                let timed = plan.enter(&mut exchange, &plugin, Phases::HEADER_FILTER);
                plugin.header_filter(&mut exchange, plan.scope());
                if timed {
                    debug::leave_plugin(&mut exchange);
                }
            }
        }
        let filters = chain.has(Phases::BODY_FILTER);
        let Some(head) = &mut exchange.response else {
            return ClientResponse::new(StatusCode::INTERNAL_SERVER_ERROR, body).into();
        };
        if let Some(charset) = &self.settings.charset {
            match &mut head.raw {
                Some(raw) => additions.content_type = charset.complete_raw(raw),
                None => charset.complete(&mut head.headers),
            }
        }
        if filters {
            head.headers.remove(header::CONTENT_LENGTH);
        }
        if is_debugged && let Some(timing) = &mut exchange.timing {
            debug::add_output(timing, head);
        }
        let (status, reason, raw) = (head.status, head.reason.take(), head.raw.take());
        let headers = match filters || chain.has(Phases::LOG) {
            true => head.headers.clone(),
            false => std::mem::take(&mut head.headers),
        };
        let is_logged = chain.has(Phases::LOG) || self.access.is_some() || is_debugged;
        let watched = filters || is_logged || exchange.held.is_some();
        let body = match watched {
            false => body,
            true => {
                let tail = Tail::new(self.clone(), runtime.clone(), plan.slot, exchange);
                ProxyBody::Filtered(Box::pin(Watched::new(body, tail, filters)))
            }
        };
        Box::new(ClientResponse { status, reason, raw, headers, additions, body })
    }

    /// Adds what plugins and settings want in the answer.
    fn add(&self, exchange: &mut Exchange, plan: &Plan<'_>, head: &mut ResponseHead) {
        if self.settings.headers.upstream_status && head.from_upstream {
            let status = HeaderValue::from(head.status.as_u16());
            head.headers.insert(headers::X_KONG_UPSTREAM_STATUS, status);
        }
        for (name, value) in exchange.added.drain(..) {
            match name == header::SET_COOKIE {
                true => head.headers.append(name, value),
                false => head.headers.insert(name, value),
            }
        }
        if self.settings.debug_header {
            debug::add_matched(exchange, plan.destination, head);
        }
    }
}

fn global(runtime: &Runtime) -> Plan<'_> {
    let chain = &runtime.global;
    Plan { runtime, destination: None, slot: None, chain, prefix_len: 0, matched: None }
}

/// Returns the consumer that an exchange was found to be of.
pub(super) fn caller(exchange: &Exchange) -> Option<uuid::Uuid> {
    exchange.caller.as_ref().map(|caller| caller.consumer.id)
}

/// Runs one phase of a chain; the error is the answer that a plugin gave.
async fn run(
    chain: &Chain,
    phase: Phases,
    exchange: &mut Exchange,
    plan: &Plan<'_>,
    call: impl for<'a> Fn(&'a dyn Plugin, &'a mut Exchange, Scope<'a>) -> Step<'a>,
) -> Result<(), Box<Reply>> {
    for slot in chain.in_phase(phase) {
        let Some(plugin) = slot.select(caller(exchange)) else { continue };
        if !plugin.phases().has(phase) {
            continue;
        }
        let timed = plan.enter(exchange, plugin, phase);
        let flow = match call(&**plugin, exchange, plan.scope()) {
            Step::Done(flow) => flow,
            Step::Later(flow) => flow.await,
        };
        if timed {
            debug::leave_plugin(exchange);
        }
        if let Flow::Respond(reply) = flow {
            return Err(reply);
        }
    }
    Ok(())
}

/// Answers a request whose protocol its route does not have.
fn wrong_protocol(destination: &Destination, exchange: &Exchange) -> Option<Reply> {
    let RouteProtocols { http, https, grpc, grpcs } = destination.protocols;
    if https && !http && !exchange.forwarded.https {
        let status = StatusCode::from_u16(destination.route.https_redirect_status_code).ok()?;
        if status == StatusCode::UPGRADE_REQUIRED {
            let reply = Reply::error(status, "Please use HTTPS protocol");
            let reply = reply.header(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            let upgrade = HeaderValue::from_static("TLS/1.2, HTTP/1.1");
            return Some(reply.header(header::UPGRADE, upgrade));
        }
        let uri = exchange.request.uri.path_and_query().map_or("/", |uri| uri.as_str());
        let host = without_port(exchange.authority());
        let location = HeaderValue::try_from(format!("https://{host}{uri}")).ok()?;
        return Some(Reply::empty(status).header(header::LOCATION, location));
    }
    if !(grpc || grpcs) {
        return None;
    }
    if !exchange.is_grpc() {
        let message = "Non-gRPC request matched gRPC route";
        return Some(Reply::error(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    if !exchange.is_http2() {
        let reply = Reply::error(StatusCode::UPGRADE_REQUIRED, "Please use HTTP2 protocol");
        let reply = reply.header(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        return Some(reply.header(header::UPGRADE, HeaderValue::from_static("HTTP/2")));
    }
    if !grpc && !exchange.forwarded.https {
        let reply = Reply::empty(StatusCode::OK);
        let message = HeaderValue::from_static("gRPC request matched gRPCs route");
        let reply = reply
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
            .header(HeaderName::from_static("grpc-status"), HeaderValue::from_static("1"))
            .header(HeaderName::from_static("grpc-message"), message);
        return Some(reply);
    }
    None
}
