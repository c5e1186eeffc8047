//! The task that asks for names: for cores that want an answer, and for balancers that follow the
//! names of their targets as long as they live.

use std::collections::{BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::client::{Client, Found};
use super::{Answer, Kind, Options, Records, ResolveError};
use crate::balancer::Balancer;
use crate::settings::Dns;

/// How often a name that is followed is asked for at the most; Kong looks at them so often too.
const FOLLOW_MIN: Duration = Duration::from_secs(1);

/// How long a failure of a name that is followed is left alone at the most (reference gateway-3,
/// section E.1).
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Asks the task; clones ask the same one.
#[derive(Clone, Debug)]
pub struct Resolver {
    messages: mpsc::UnboundedSender<Message>,
    names_max: usize,
}

#[derive(Debug)]
enum Message {
    Resolve(Arc<str>, oneshot::Sender<Answer>),
    Follow(Weak<Balancer>, Vec<Arc<str>>),
}

/// What [`Resolver`]s ask.
pub struct ResolverTask {
    inbox: mpsc::UnboundedReceiver<Message>,
    options: Options,
    client: Arc<Client>,
    names: HashMap<Arc<str>, Name>,
    /// When which name that is followed is asked for again.
    due: BTreeSet<(Instant, Arc<str>)>,
    lookups: JoinSet<(Arc<str>, Result<Found, ResolveError>)>,
}

/// What is known of a name.
#[derive(Default)]
struct Name {
    answer: Option<Answer>,
    /// The last addresses, and until when they stand in for an answer that cannot be had.
    good: Option<(Records, Instant)>,
    kind: Option<Kind>,
    is_asked: bool,
    failures: u32,
    waiting: Vec<oneshot::Sender<Answer>>,
    followers: Vec<Weak<Balancer>>,
    due: Option<Instant>,
}

/// Makes a resolver and the task that it asks.
pub fn resolver(settings: &Dns) -> (Resolver, ResolverTask) {
    let (messages, inbox) = mpsc::unbounded_channel();
    let options = Options::new(settings);
    let client = Arc::new(Client::new(options.clone()));
    let (names, due) = (HashMap::new(), BTreeSet::new());
    let task = ResolverTask { inbox, options, client, names, due, lookups: JoinSet::new() };
    (Resolver { messages, names_max: settings.cache_size }, task)
}

impl Resolver {
    /// Returns a resolver that knows no name, for a runtime that is compiled and not served.
    pub fn nowhere() -> Self {
        Self { messages: mpsc::unbounded_channel().0, names_max: 1 }
    }

    /// Asks for a name; the answer may be an old one if no new one can be had.
    pub(super) fn ask(&self, host: Arc<str>) -> oneshot::Receiver<Answer> {
        let (reply, answer) = oneshot::channel();
        // Without a task the reply is dropped, and the asker hears of it.
        let _ = self.messages.send(Message::Resolve(host, reply));
        answer
    }

    /// Tells a balancer what the names of its targets stand for, now and as long as it lives.
    pub fn follow(&self, balancer: &Arc<Balancer>) {
        let names = balancer.names();
        if !names.is_empty() {
            let _ = self.messages.send(Message::Follow(Arc::downgrade(balancer), names));
        }
    }

    /// Returns how many names are remembered (`dns_cache_size`).
    pub(super) fn names_max(&self) -> usize {
        self.names_max
    }
}

impl ResolverTask {
    /// Answers until it is told to stop or nobody can ask any more.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            let next = self.due.first().map(|(due, _)| *due);
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                message = self.inbox.recv() => match message {
                    Some(message) => self.receive(message),
                    None => return,
                },
                Some(done) = self.lookups.join_next() => {
                    if let Ok((host, found)) = done {
                        self.finish(&host, found);
                    }
                }
                () = sleep_until(next.unwrap_or_else(far)), if next.is_some() => self.renew(),
            }
        }
    }

    fn receive(&mut self, message: Message) {
        let now = Instant::now();
        match message {
            Message::Resolve(host, reply) => {
                let name = self.name(&host);
                match &name.answer {
                    Some(answer) if answer.fresh_until > now => drop(reply.send(answer.clone())),
                    _ => {
                        name.waiting.push(reply);
                        self.ask(&host);
                    }
                }
            }
            Message::Follow(balancer, hosts) => {
                for host in hosts {
                    let name = self.name(&host);
                    name.followers.retain(|it| it.strong_count() > 0);
                    name.followers.push(balancer.clone());
                    if let (Some((records, _)), Some(balancer)) = (&name.good, balancer.upgrade()) {
                        balancer.publish(&host, records.clone());
                    }
                    match &name.answer {
                        Some(answer) if answer.fresh_until > now && answer.result.is_ok() => {
                            let due = answer.fresh_until.max(now + FOLLOW_MIN);
                            self.schedule(&host, due);
                        }
                        _ => self.ask(&host),
                    }
                }
            }
        }
    }

    fn name(&mut self, host: &Arc<str>) -> &mut Name {
        if self.names.len() >= self.options.settings.cache_size && !self.names.contains_key(host) {
            self.forget();
        }
        self.names.entry(host.clone()).or_default()
    }

    /// Makes room for a name: those that are no longer used go, or else any that nobody follows.
    fn forget(&mut self) {
        let now = Instant::now();
        let is_free = |name: &Name| !name.is_asked && name.due.is_none();
        let is_used = |name: &Name| name.answer.as_ref().is_some_and(|it| it.stale_until > now);
        let before = self.names.len();
        self.names.retain(|_, name| !is_free(name) || is_used(name));
        if self.names.len() == before {
            let any =
                self.names.iter().find(|(_, name)| is_free(name)).map(|(host, _)| host.clone());
            any.map(|host| self.names.remove(&host));
        }
    }

    /// Asks for a name unless it is being asked for.
    fn ask(&mut self, host: &Arc<str>) {
        let Some(name) = self.names.get_mut(host) else { return };
        if std::mem::replace(&mut name.is_asked, true) {
            return;
        }
        let (client, host, kind) = (self.client.clone(), host.clone(), name.kind);
        self.lookups.spawn(async move {
            // A panic within would leave the name asked for, for ever.
            let found = AssertUnwindSafe(client.resolve(&host, kind)).catch_unwind().await;
            let reason = || Arc::from("asking for it panicked");
            let failed =
                || ResolveError { host: host.clone(), reason: reason(), is_certain: false };
            let found = found.unwrap_or_else(|_| Err(failed()));
            (host, found)
        });
    }

    fn schedule(&mut self, host: &Arc<str>, due: Instant) {
        let Some(name) = self.names.get_mut(host) else { return };
        if let Some(old) = name.due.replace(due) {
            self.due.remove(&(old, host.clone()));
        }
        self.due.insert((due, host.clone()));
    }

    /// Asks for the names whose time has come.
    fn renew(&mut self) {
        let now = Instant::now();
        while let Some((due, host)) = self.due.first().cloned().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, host.clone()));
            if let Some(name) = self.names.get_mut(&host) {
                name.due = None;
                name.followers.retain(|it| it.strong_count() > 0);
                if !name.followers.is_empty() {
                    self.ask(&host);
                }
            }
        }
    }

    fn finish(&mut self, host: &Arc<str>, found: Result<Found, ResolveError>) {
        let now = Instant::now();
        let Some(name) = self.names.get_mut(host) else { return };
        name.is_asked = false;
        let (answer, published, due) = match found {
            Ok(found) => name.succeed(host, found, &self.options, now),
            Err(error) => name.fail(error, &self.options, now),
        };
        for reply in name.waiting.drain(..) {
            // Who has gone needs no answer.
            let _ = reply.send(answer.clone());
        }
        name.answer = Some(answer);
        name.followers.retain(|follower| match follower.upgrade() {
            Some(balancer) => {
                balancer.publish(host, published.clone());
                true
            }
            None => false,
        });
        if !name.followers.is_empty() {
            self.schedule(host, due);
        }
    }
}

impl Name {
    /// Takes an answer; returns it with what followers are told, and when to ask again for them.
    fn succeed(
        &mut self,
        host: &str,
        found: Found,
        options: &Options,
        now: Instant,
    ) -> (Answer, Records, Instant) {
        if std::mem::take(&mut self.failures) > 0 {
            tracing::info!(host, "the name resolves again");
        }
        self.kind = found.kind;
        let mut list = found.records;
        // Name servers turn their lists around; who follows should see no change in that.
        list.sort_by(|a, b| (a.ip, &a.srv_name, a.port).cmp(&(b.ip, &b.srv_name, b.port)));
        let records: Records = list.into();
        let ttl = options.ttl(found.ttl);
        let fresh_until = now + ttl;
        let good_until = fresh_until + options.settings.stale_ttl;
        // What may not be kept at all is not used while it is renewed either.
        let stale_until = if ttl.is_zero() { now } else { good_until };
        self.good = Some((records.clone(), good_until));
        let answer = Answer { result: Ok(records.clone()), fresh_until, stale_until };
        (answer, records, now + ttl.max(FOLLOW_MIN))
    }

    /// Takes a failure: the old addresses stand in as long as they are good. Followers keep them
    /// for as long as nobody says that there are none.
    fn fail(
        &mut self,
        error: ResolveError,
        options: &Options,
        now: Instant,
    ) -> (Answer, Records, Instant) {
        if self.failures == 0 {
            tracing::warn!(%error, "a name does not resolve");
        }
        self.failures = self.failures.saturating_add(1);
        let good = self.good.as_ref().filter(|(_, until)| *until > now || !error.is_certain);
        let published = good.map_or_else(|| Records::from([]), |(records, _)| records.clone());
        let backoff = FOLLOW_MIN * 2_u32.saturating_pow(self.failures.min(6) - 1);
        let due = now + options.failure_ttl(&error).max(backoff).min(RETRY_MAX);
        let answer = match self.good.as_ref().filter(|(_, until)| *until > now) {
            Some((records, until)) => Answer {
                result: Ok(records.clone()),
                fresh_until: now + options.failure_ttl(&error),
                stale_until: *until,
            },
            None => Answer::failed(error, options, now),
        };
        (answer, published, due)
    }
}

/// A moment that nobody waits for.
fn far() -> Instant {
    Instant::now() + RETRY_MAX
}
