//! `rate-limiting`: how many requests a client may make in fixed windows of UTC time
//! (reference gateway-4, section F.3).
//!
//! Each data plane counts by itself, in memory: policy `local`.

pub mod config;
mod counters;

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode, header};
use uuid::Uuid;

use super::exchange::Exchange;
use super::reply::Reply;
use super::{BuildError, BuildInput, Handler, Phases, Plugin, PluginKind, Scope, Step};
use config::{Config, LimitBy};
use counters::{ByPeriod, CounterKey, Counters, Identifier, PERIODS, Usage};

const NAME: &str = "rate-limiting";

/// The plugin.
pub const KIND: PluginKind = PluginKind::new(NAME, 910, config::schema).handled(Handler {
    check: super::reads::<Config>,
    build,
    credentials: &[],
});

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// The headers of each period: limit, remaining.
const PERIOD_HEADERS: ByPeriod<(HeaderName, HeaderName)> = [
    named("x-ratelimit-limit-second", "x-ratelimit-remaining-second"),
    named("x-ratelimit-limit-minute", "x-ratelimit-remaining-minute"),
    named("x-ratelimit-limit-hour", "x-ratelimit-remaining-hour"),
    named("x-ratelimit-limit-day", "x-ratelimit-remaining-day"),
    named("x-ratelimit-limit-month", "x-ratelimit-remaining-month"),
    named("x-ratelimit-limit-year", "x-ratelimit-remaining-year"),
];

const fn named(limit: &'static str, remaining: &'static str) -> (HeaderName, HeaderName) {
    (HeaderName::from_static(limit), HeaderName::from_static(remaining))
}

struct RateLimiting {
    route: Uuid,
    service: Uuid,
    limits: ByPeriod<Option<f64>>,
    /// The values of the limit headers, which are the same in every answer.
    limit_values: ByPeriod<Option<HeaderValue>>,
    limit_by: LimitBy,
    header: Option<HeaderName>,
    path: Option<String>,
    hide: bool,
    status: StatusCode,
    message: String,
    counters: Arc<Counters>,
}

fn build(input: BuildInput<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = input.config()?;
    let invalid = |field, reason: &str| BuildError::Field { field, reason: reason.into() };
    if let Some("redis" | "cluster") = config.policy.as_deref() {
        return Err(invalid("policy", "expected 'local': each data plane counts by itself"));
    }
    let header = config.header_name.as_deref().map(HeaderName::try_from).transpose();
    let header = header.map_err(|_| invalid("header_name", "expected the name of a header"))?;
    let status = StatusCode::from_u16(config.error_code.unwrap_or(429.0) as u16);
    let limits = config.limits();
    Ok(Arc::new(RateLimiting {
        route: input.entity.route.map_or(Uuid::nil(), |route| route.id),
        service: input.entity.service.map_or(Uuid::nil(), |service| service.id),
        limits,
        limit_values: limits.map(|limit| limit.map(number)),
        limit_by: config.limit_by.unwrap_or(LimitBy::Consumer),
        header,
        path: config.path,
        hide: config.hide_client_headers,
        status: status.map_err(|_| invalid("error_code", "expected a status"))?,
        message: config.error_message.unwrap_or_else(|| "API rate limit exceeded".into()),
        counters: input.state.of(),
    }))
}

impl Plugin for RateLimiting {
    fn phases(&self) -> Phases {
        Phases::ACCESS
    }

    fn access<'a>(&'a self, exchange: &'a mut Exchange, scope: Scope<'a>) -> Step<'a> {
        let identifier = self.identifier(exchange, scope);
        let key = CounterKey { route: self.route, service: self.service, identifier };
        let now_ms = exchange.times.started_ms;
        let usage = self.counters.count(key, &self.limits, now_ms);
        if !self.hide {
            self.tell(exchange, &usage, now_ms);
        }
        if usage.exceeded {
            return Step::respond(Reply::error(self.status, self.message.clone()));
        }
        Step::NEXT
    }
}

impl RateLimiting {
    fn identifier(&self, exchange: &Exchange, scope: Scope<'_>) -> Identifier {
        let credential = exchange.credential.as_ref().map(|credential| credential.id);
        let text = |text: &str| Identifier::Text(text.into());
        let found = match self.limit_by {
            LimitBy::Ip => None,
            LimitBy::Consumer => {
                let consumer = exchange.caller.as_ref().map(|caller| caller.consumer.id);
                consumer.or(credential).map(Identifier::Entity)
            }
            LimitBy::Credential => credential.map(Identifier::Entity),
            LimitBy::Service => scope.service.map(|service| Identifier::Entity(service.id)),
            LimitBy::Header => self.header.as_ref().and_then(|h| exchange.header(h)).map(text),
            LimitBy::Path => self.path.as_deref().filter(|path| *path == exchange.path()).map(text),
        };
        found.unwrap_or(Identifier::Address(exchange.forwarded.client))
    }

    /// Tells the client where it stands: each limit, and the one with the least left, the longer
    /// one of two.
    fn tell(&self, exchange: &mut Exchange, usage: &Usage, now_ms: i64) {
        let mut tightest: Option<(f64, i64, &HeaderValue)> = None;
        let each = PERIODS.iter().zip(&usage.remaining).zip(&self.limit_values);
        for (((period, left), limit), (limit_name, left_name)) in each.zip(PERIOD_HEADERS) {
            let (Some(left), Some(limit)) = (left, limit) else { continue };
            exchange.added.push((limit_name, limit.clone()));
            exchange.added.push((left_name, number(*left)));
            if tightest.is_none_or(|(least, ..)| *left <= least) {
                let passed = (now_ms - period.window_start(now_ms)) / 1000;
                tightest = Some((*left, (period.seconds() - passed).max(1), limit));
            }
        }
        let Some((left, reset, limit)) = tightest else { return };
        exchange.added.push((LIMIT, limit.clone()));
        exchange.added.push((REMAINING, number(left)));
        exchange.added.push((RESET, HeaderValue::from(reset)));
        if usage.exceeded {
            exchange.added.push((header::RETRY_AFTER, HeaderValue::from(reset)));
        }
    }
}

fn number(value: f64) -> HeaderValue {
    if value.fract() == 0.0 && (0.0..9e15).contains(&value) {
        return HeaderValue::from(value as u64);
    }
    HeaderValue::from_str(&value.to_string()).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

#[cfg(test)]
mod tests;
