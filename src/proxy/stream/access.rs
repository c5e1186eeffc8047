//! Lines of the access log of streams: Kong's format `basic`, or JSON.

use std::cell::RefCell;
use std::io::Write as _;

use chrono::{DateTime, Local, SecondsFormat, Utc};

use super::session::Session;
use crate::settings::StreamFormat;
use crate::telemetry::access::AccessLog;

/// The access log as one core writes it.
pub(super) struct Lines {
    log: AccessLog,
    format: StreamFormat,
    scratch: RefCell<Vec<u8>>,
}

impl Lines {
    pub(super) fn new(log: AccessLog, format: StreamFormat) -> Self {
        Self { log, format, scratch: RefCell::default() }
    }

    /// Logs a session that ends now.
    pub(super) fn write(&self, session: &Session, now: DateTime<Utc>) {
        let line = &mut *self.scratch.borrow_mut();
        line.clear();
        // Writing to memory cannot fail.
        let _ = match self.format {
            StreamFormat::Basic => basic(line, session, now),
            StreamFormat::Json => json(line, session, now),
        };
        self.log.line(line);
    }
}

fn protocol(session: &Session) -> &'static str {
    if session.udp { "UDP" } else { "TCP" }
}

/// Address, time, protocol, status, bytes to the client, bytes from it, seconds.
fn basic(line: &mut Vec<u8>, session: &Session, now: DateTime<Utc>) -> std::io::Result<()> {
    let stamp = now.with_timezone(&Local).format("%d/%b/%Y:%H:%M:%S %z");
    let (sent, received) = (session.moved.outward.get(), session.moved.inward.get());
    let (client, protocol, status) = (session.client.ip(), protocol(session), session.status);
    let seconds = session.started.elapsed().as_secs_f64();
    write!(line, "{client} [{stamp}] {protocol} {status} {sent} {received} {seconds:.3}")
}

fn json(line: &mut Vec<u8>, session: &Session, now: DateTime<Utc>) -> std::io::Result<()> {
    let took = session.started.elapsed();
    let began = now - chrono::TimeDelta::from_std(took).unwrap_or_default();
    let began = began.to_rfc3339_opts(SecondsFormat::Millis, true);
    let (client, local) = (session.client.ip(), session.local.port());
    write!(line, "{{\"time\":\"{began}\",\"remote_addr\":\"{client}\",\"server_port\":{local}")?;
    write!(line, ",\"protocol\":\"{}\",\"tls\":{}", protocol(session), session.tls)?;
    if let Some(sni) = &session.sni {
        write!(line, ",\"sni\":")?;
        serde_json::to_writer(&mut *line, sni).map_err(std::io::Error::from)?;
    }
    let (sent, received) = (session.moved.outward.get(), session.moved.inward.get());
    write!(line, ",\"status\":{},\"bytes_sent\":{sent}", session.status)?;
    write!(line, ",\"bytes_received\":{received},\"session_time_ms\":{}", took.as_millis())?;
    write!(line, ",\"tries\":{}", session.tries)?;
    if let Some(upstream) = session.upstream {
        write!(line, ",\"upstream_addr\":\"{upstream}\"")?;
    }
    if let Some(target) = &session.target {
        let (route, service) = (target.route.id, target.service.service.id);
        write!(line, ",\"route_id\":\"{route}\",\"service_id\":\"{service}\"")?;
    }
    if let Some(hash) = session.config_hash {
        write!(line, ",\"config_hash\":\"{hash}\"")?;
    }
    line.push(b'}');
    Ok(())
}
