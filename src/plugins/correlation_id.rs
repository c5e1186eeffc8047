//! `correlation-id`: gives each request an id that the upstream, and the client if it is wanted,
//! can see (reference gateway-4, section F.4).

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderName, HeaderValue};
use serde::Deserialize;
use uuid::Uuid;

use super::exchange::Exchange;
use super::{BuildError, BuildInput, Handler, Phases, Plugin, PluginKind, Scope, Step};
use crate::clock::Clock;
use crate::domain::catalog::PluginSchema;
use crate::domain::kinds::typedef;
use crate::domain::schema::Field;

/// The plugin.
pub const KIND: PluginKind = PluginKind::new("correlation-id", 100_001, schema).handled(Handler {
    check: super::reads::<Config>,
    build,
    credentials: &[],
});

/// What a `correlation-id` plugin is told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The header that carries the id.
    pub header_name: Option<String>,
    /// How ids are made.
    pub generator: Generator,
    /// Whether the client sees the id.
    pub echo_downstream: bool,
}

/// How ids are made.
#[derive(Clone, Copy, Debug, Deserialize)]
pub enum Generator {
    /// A fresh UUID.
    #[serde(rename = "uuid")]
    Uuid,
    /// One UUID for the process and a number.
    #[serde(rename = "uuid#counter")]
    Counter,
    /// Address, port, process, connection, request and time.
    #[serde(rename = "tracker")]
    Tracker,
}

fn schema() -> PluginSchema {
    KIND.describe(Field::record([
        ("header_name", typedef::header_name().default("Kong-Request-ID")),
        (
            "generator",
            Field::string().required().default("uuid#counter").one_of([
                "uuid",
                "uuid#counter",
                "tracker",
            ]),
        ),
        ("echo_downstream", Field::boolean().required().default(false)),
    ]))
}

/// Numbers that go on when the configuration changes.
#[derive(Default)]
struct Counter(AtomicU64);

struct CorrelationId {
    instance: Uuid,
    header: HeaderName,
    generator: Generator,
    echo: bool,
    clock: Clock,
    /// What stands before `#` in ids with a number.
    process: Uuid,
    counter: Arc<Counter>,
}

fn build(input: BuildInput<'_>) -> Result<Arc<dyn Plugin>, BuildError> {
    let config: Config = input.config()?;
    let name = config.header_name.as_deref().unwrap_or("Kong-Request-ID");
    let header = name.parse().map_err(|_| BuildError::Field {
        field: "header_name",
        reason: format!("expected the name of a header, got '{name}'"),
    })?;
    Ok(Arc::new(CorrelationId {
        instance: input.entity.id,
        header,
        generator: config.generator,
        echo: config.echo_downstream,
        clock: input.clock.clone(),
        process: input.clock.id(),
        counter: input.state.of(),
    }))
}

impl CorrelationId {
    fn generate(&self, exchange: &Exchange) -> Option<HeaderValue> {
        let mut text = String::with_capacity(64);
        let connection = &exchange.connection;
        let written = match self.generator {
            Generator::Uuid => write!(text, "{}", self.clock.id()),
            Generator::Counter => {
                let number = self.counter.0.fetch_add(1, Ordering::Relaxed) + 1;
                write!(text, "{}#{number}", self.process)
            }
            Generator::Tracker => write!(
                text,
                "{}-{}-{}-{}-{}-{}.{:03}",
                connection.local.ip(),
                connection.local.port(),
                std::process::id(),
                connection.number,
                exchange.requests,
                exchange.times.started_ms / 1000,
                exchange.times.started_ms % 1000,
            ),
        };
        written.ok()?;
        HeaderValue::try_from(text).ok()
    }
}

impl Plugin for CorrelationId {
    fn phases(&self) -> Phases {
        if self.echo { Phases::ACCESS.with(Phases::HEADER_FILTER) } else { Phases::ACCESS }
    }

    fn access<'a>(&'a self, exchange: &'a mut Exchange, _: Scope<'a>) -> Step<'a> {
        let sent = exchange.request.headers.get(&self.header);
        let id = match sent.filter(|value| !value.is_empty()) {
            Some(value) => value.clone(),
            None => {
                let Some(id) = self.generate(exchange) else { return Step::NEXT };
                exchange.request.headers.insert(self.header.clone(), id.clone());
                id
            }
        };
        if self.echo {
            exchange.keep(self.instance, id);
        }
        Step::NEXT
    }

    fn header_filter(&self, exchange: &mut Exchange, _: Scope<'_>) {
        // A request that an earlier plugin answered has no id yet.
        let known = exchange.scratch(self.instance).cloned();
        let sent = || exchange.request.headers.get(&self.header).cloned();
        let id = known.or_else(sent).or_else(|| self.generate(exchange));
        if let (Some(id), Some(response)) = (id, &mut exchange.response) {
            response.headers.insert(self.header.clone(), id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::exchange::ResponseHead;
    use super::super::exchange::fixture::exchange;
    use super::super::tests::{build_plugin, run_access, scope};
    use super::*;
    use crate::headers::Headers;
    use crate::plugins::directory::Directory;
    use http::{Request, StatusCode};
    use serde_json::json;

    fn request(id: Option<&str>) -> Exchange {
        let mut request = Request::builder().uri("/");
        if let Some(id) = id {
            request = request.header("x-id", id);
        }
        exchange(request.body(super::super::body::RequestBody::Empty).unwrap())
    }

    fn id_of(generator: &str, sent: Option<&str>) -> (String, Option<String>) {
        let directory = Directory::default();
        let config =
            json!({"header_name": "X-Id", "generator": generator, "echo_downstream": true});
        let plugin = build_plugin(&KIND, &config);
        let mut exchange = request(sent);
        assert!(run_access(&*plugin, &mut exchange, scope(&directory)).is_none());
        let up = exchange.header("x-id").unwrap().to_owned();
        let headers = Headers::new();
        let status = StatusCode::OK;
        let head = ResponseHead { from_upstream: true, ..ResponseHead::own(status, headers) };
        exchange.response = Some(Box::new(head));
        plugin.header_filter(&mut exchange, scope(&directory));
        let down = exchange.response.unwrap().headers.get("x-id").cloned();
        (up, down.map(|value| value.to_str().unwrap().to_owned()))
    }

    #[test]
    fn ids_are_made_kept_and_echoed() {
        let (up, down) = id_of("uuid", None);
        assert_eq!(Some(&up), down.as_ref());
        assert_eq!(up.len(), 36);
        let (up, _) = id_of("uuid#counter", None);
        assert!(up.ends_with("#1") && up.len() == 38, "{up}");
        let (up, _) = id_of("tracker", None);
        let expected = format!("10.0.0.2-8000-{}-3-2-1700000000.000", std::process::id());
        assert_eq!(up, expected);
        assert_eq!(id_of("uuid", Some("mine")), ("mine".into(), Some("mine".into())));
        assert_eq!(id_of("uuid", Some("")).0.len(), 36);
    }
}
