//! Where the time of one request went: a tree of contexts, each with the time that was spent in it
//! (names and form: Kong's `timing/context.lua`).

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::exchange::RequestId;

/// The tree of a request that is debugged. Contexts are entered and left as calls are; what is
/// entered once more goes on where it was left.
#[derive(Debug)]
pub struct Timing {
    /// Whether it is logged when the exchange is over.
    pub is_logged: bool,
    /// Whether the client is on this machine.
    pub is_local: bool,
    request_id: RequestId,
    /// The root comes first, and parents before their children.
    contexts: Vec<Context>,
    /// Where we are, by its place in the list.
    inside: usize,
    /// When the head of the upstream's answer was there.
    answered: Option<Instant>,
}

#[derive(Debug)]
struct Context {
    name: Box<str>,
    parent: usize,
    entered: Instant,
    /// All the time that was spent in it, and the last part of it.
    total: Duration,
    last: Duration,
    cache_hit: Option<bool>,
}

const ROOT: usize = 0;
const UPSTREAM: &str = "upstream";

impl Timing {
    /// Begins the tree of a request.
    pub fn new(request_id: RequestId, is_local: bool, is_logged: bool, now: Instant) -> Self {
        let contexts = vec![Context::new("", ROOT, now)];
        Self { is_logged, is_local, request_id, contexts, inside: ROOT, answered: None }
    }

    /// Enters a context of the one that we are in.
    pub fn enter(&mut self, name: &str, now: Instant) {
        let found = self.child(self.inside, name);
        let place = found.unwrap_or_else(|| self.add(self.inside, name, now));
        if let Some(context) = self.contexts.get_mut(place) {
            context.entered = now;
        }
        self.inside = place;
    }

    /// Leaves the context that we are in.
    pub fn leave(&mut self, now: Instant) {
        if self.inside == ROOT {
            return;
        }
        if let Some(context) = self.contexts.get_mut(self.inside) {
            context.last = now.saturating_duration_since(context.entered);
            context.total += context.last;
            self.inside = context.parent;
        }
    }

    /// Leaves all contexts, and enters a phase.
    pub fn turn_to(&mut self, phase: &str, now: Instant) {
        self.leave_all(now);
        self.enter(phase, now);
    }

    /// Leaves all contexts.
    pub fn leave_all(&mut self, now: Instant) {
        while self.inside != ROOT {
            self.leave(now);
        }
    }

    /// Says of the context that we are in whether a cache had what was looked for.
    pub fn note_cache_hit(&mut self, hit: bool) {
        if let Some(context) = self.contexts.get_mut(self.inside) {
            context.cache_hit = Some(hit);
        }
    }

    /// Says that the upstream has answered: what follows of it is its body.
    pub fn note_answer(&mut self, now: Instant) {
        self.leave_all(now);
        let Some(upstream) = self.child(ROOT, UPSTREAM) else { return };
        let waited = self.contexts.get(upstream).map_or(Duration::ZERO, |it| it.last);
        self.spend(upstream, "time_to_first_byte", waited, now);
        self.answered = Some(now);
    }

    /// Says that the exchange is over.
    pub fn note_end(&mut self, now: Instant) {
        self.leave_all(now);
        let (Some(upstream), Some(answered)) = (self.child(ROOT, UPSTREAM), self.answered.take())
        else {
            return;
        };
        let streamed = now.saturating_duration_since(answered);
        self.spend(upstream, "streaming", streamed, now);
        if let Some(context) = self.contexts.get_mut(upstream) {
            context.total += streamed;
        }
    }

    fn spend(&mut self, parent: usize, name: &str, spent: Duration, now: Instant) {
        let place = self.add(parent, name, now);
        if let Some(context) = self.contexts.get_mut(place) {
            context.total = spent;
        }
    }

    fn add(&mut self, parent: usize, name: &str, now: Instant) -> usize {
        self.contexts.push(Context::new(name, parent, now));
        self.contexts.len() - 1
    }

    fn child(&self, parent: usize, name: &str) -> Option<usize> {
        self.children(parent).find(|(_, context)| &*context.name == name).map(|(place, _)| place)
    }

    fn children(&self, parent: usize) -> impl Iterator<Item = (usize, &Context)> {
        let all = self.contexts.iter().enumerate().skip(parent + 1);
        all.filter(move |(_, context)| context.parent == parent)
    }

    /// Returns the id of the request.
    pub fn request_id(&self) -> &RequestId {
        &self.request_id
    }

    /// Writes the tree as JSON; times are in milliseconds, hundredths of them at the finest.
    pub fn to_json(&self) -> String {
        let mut json = format!("{{\"request_id\":\"{}\"", self.request_id.as_str());
        self.write_children(ROOT, &mut json);
        let ours = self.children(ROOT).filter(|(_, context)| &*context.name != UPSTREAM);
        let ours: u128 = ours.map(|(_, context)| hundredths(context.total)).sum();
        json.push_str(",\"total_time_without_upstream\":");
        write_ms(ours, &mut json);
        json.push('}');
        json
    }

    fn write_children(&self, parent: usize, json: &mut String) {
        let mut before = ",\"child\":{";
        for (place, context) in self.children(parent) {
            let name = serde_json::Value::from(&*context.name);
            let _ = write!(json, "{before}{name}:{{\"total_time\":");
            before = ",";
            write_ms(hundredths(context.total), json);
            if let Some(hit) = context.cache_hit {
                let _ = write!(json, ",\"cache_hit\":{hit}");
            }
            self.write_children(place, json);
            json.push('}');
        }
        if before == "," {
            json.push('}');
        }
    }
}

impl Context {
    fn new(name: &str, parent: usize, entered: Instant) -> Self {
        let (total, last) = (Duration::ZERO, Duration::ZERO);
        Self { name: name.into(), parent, entered, total, last, cache_hit: None }
    }
}

/// Returns whole hundredths of milliseconds, rounded down.
fn hundredths(time: Duration) -> u128 {
    time.as_micros() / 10
}

/// Writes hundredths of milliseconds as milliseconds.
fn write_ms(hundredths: u128, json: &mut String) {
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    let _ = match (rest % 10, rest) {
        (_, 0) => write!(json, "{whole}"),
        (0, _) => write!(json, "{whole}.{}", rest / 10),
        _ => write!(json, "{whole}.{rest:02}"),
    };
}

#[cfg(test)]
mod tests;
