//! The load generator: one thread over keep-alive connections, closed loop or at a fixed rate.
//!
//! Closed loop: every connection sends the next request as soon as its answer is complete. At a
//! fixed rate a request is due at a scheduled instant, and its latency counts from then, so a
//! proxy that stalls is charged for the requests that had to wait.

mod schedule;

use std::io::ErrorKind;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::connection::{Connection, Received};
use crate::report::Percentiles;
use crate::response::{Response, ResponseReader};
use schedule::Schedule;

const WAKER: Token = Token(usize::MAX);
/// How long after the end answers are still waited for.
const DRAIN: Duration = Duration::from_secs(5);

/// Load one URL over keep-alive connections and print what came back
#[derive(clap::Args)]
pub(crate) struct Args {
    /// URL to load: http://ADDRESS:PORT/PATH
    pub(crate) url: String,
    /// Number of connections
    #[arg(long, default_value_t = 64)]
    pub(crate) connections: usize,
    /// Duration in seconds
    #[arg(long, default_value_t = 5.0)]
    pub(crate) seconds: f64,
    /// Requests per second at scheduled instants, instead of one after the other
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// Request header, as "Name: value"; may be given more than once
    #[arg(long = "header")]
    pub(crate) headers: Vec<String>,
}

/// Loads the URL and prints one `name value` line per figure.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let outcome = run_to_the_end(args)?;
    let latencies = outcome.samples.iter().map(|sample| sample.latency_ns);
    let percentiles = Percentiles::of(latencies.collect());
    println!("requests {}", outcome.requests);
    println!("errors {}", outcome.errors);
    println!("non_2xx {}", outcome.non_2xx);
    println!("reconnects {}", outcome.reconnects);
    println!("rps {:.0}", outcome.requests as f64 / outcome.elapsed.as_secs_f64());
    for (name, per_mille) in [("p50", 500), ("p90", 900), ("p99", 990), ("p99.9", 999)] {
        println!("{name}_us {:.1}", percentiles.at(per_mille) as f64 / 1e3);
    }
    Ok(())
}

/// Loads the URL on this thread and returns every answer.
pub(crate) fn run_to_the_end(args: &Args) -> anyhow::Result<Outcome> {
    Load::new(args)?.run()
}

/// One answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// When the request was sent, or at a fixed rate, when it was due.
    pub(crate) since: Instant,
    /// How long after that the answer was complete, in nanoseconds.
    pub(crate) latency_ns: u64,
}

/// What a load has seen.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Requests that were answered, whatever the status.
    pub(crate) requests: u64,
    /// Requests that were not answered.
    pub(crate) errors: u64,
    pub(crate) non_2xx: u64,
    /// Connections that the server ended between two requests, as servers may.
    reconnects: u64,
    pub(crate) samples: Vec<Sample>,
    elapsed: Duration,
}

struct Load {
    address: SocketAddr,
    request: Vec<u8>,
    poll: Poll,
    lanes: Vec<Lane>,
    /// Lanes without a request under way; used at a fixed rate only.
    idle: Vec<usize>,
    schedule: Option<Schedule>,
    ends: Instant,
    outcome: Outcome,
}

/// One connection and the request under way on it.
struct Lane {
    connection: Connection,
    reader: ResponseReader,
    /// When the request under way was sent, or was due.
    since: Option<Instant>,
}

impl Load {
    fn new(args: &Args) -> anyhow::Result<Self> {
        anyhow::ensure!(args.connections > 0, "--connections: expected at least 1");
        anyhow::ensure!(
            args.seconds > 0.0 && args.seconds <= 86_400.0,
            "--seconds: expected more than 0 and at most 86400"
        );
        let (authority, path) = split(&args.url)?;
        let address =
            authority
                .to_socket_addrs()
                .ok()
                .and_then(|mut addresses| addresses.next())
                .with_context(|| format!("url: expected ADDRESS:PORT, found {authority:?}"))?;
        let mut request = format!("GET {path} HTTP/1.1\r\n");
        let given = args.headers.iter().any(|line| line.to_lowercase().starts_with("host:"));
        let host = if given { None } else { Some(format!("Host: {authority}")) };
        for header in host.iter().chain(&args.headers) {
            request.push_str(header);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");

        let poll = Poll::new()?;
        let mut lanes = Vec::with_capacity(args.connections);
        for place in 0..args.connections {
            lanes.push(Lane::open(address, place, &poll)?);
        }
        let seconds = Duration::from_secs_f64(args.seconds);
        let schedule = match args.rate {
            Some(rate) => {
                Some(Schedule::start(rate, seconds, Waker::new(poll.registry(), WAKER)?)?)
            }
            None => None,
        };
        Ok(Self {
            address,
            request: request.into_bytes(),
            poll,
            idle: (0..args.connections).rev().collect(),
            lanes,
            schedule,
            ends: Instant::now() + seconds,
            outcome: Outcome::default(),
        })
    }

    fn run(mut self) -> anyhow::Result<Outcome> {
        let started = Instant::now();
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 256 * 1024];
        if self.schedule.is_none() {
            self.idle.clear();
            for place in 0..self.lanes.len() {
                self.send(place, Instant::now())?;
            }
        }
        loop {
            let now = Instant::now();
            if now >= self.ends + DRAIN || (now >= self.ends && self.is_quiet()) {
                break;
            }
            match self.poll.poll(&mut events, Some(Duration::from_millis(50))) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                outcome => outcome?,
            }
            for event in &events {
                if event.token() != WAKER {
                    self.turn(event.token().0, &mut buffer)?;
                }
            }
            self.send_due()?;
        }
        self.outcome.elapsed = started.elapsed().min(self.ends.duration_since(started));
        let unsent = self.schedule.as_ref().map_or(0, Schedule::due_count);
        let unanswered = self.lanes.iter().filter(|lane| lane.since.is_some()).count();
        self.outcome.errors += unsent + unanswered as u64;
        Ok(self.outcome)
    }

    /// Says whether nothing is under way.
    fn is_quiet(&self) -> bool {
        self.lanes.iter().all(|lane| lane.since.is_none())
            && self.schedule.as_ref().is_none_or(|schedule| schedule.due_count() == 0)
    }

    /// Sends what the schedule has due, as far as idle connections go.
    fn send_due(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        while let Some(place) = self.idle.pop() {
            let Some(due) = self.schedule.as_mut().and_then(|schedule| schedule.take_due(now))
            else {
                self.idle.push(place);
                break;
            };
            self.send(place, due)?;
        }
        Ok(())
    }

    fn send(&mut self, place: usize, since: Instant) -> anyhow::Result<()> {
        let lane = &mut self.lanes[place];
        lane.since = Some(since);
        if lane.connection.write(&self.request).is_err() {
            self.reopen(place)?;
        }
        Ok(())
    }

    /// Reads what has come for one connection and goes on from there.
    fn turn(&mut self, place: usize, buffer: &mut [u8]) -> anyhow::Result<()> {
        if self.lanes[place].connection.flush().is_err() {
            return self.reopen(place);
        }
        loop {
            let lane = &mut self.lanes[place];
            let count = match lane.connection.read(buffer) {
                Ok(Received::Bytes(count)) => count,
                Ok(Received::Nothing) => return Ok(()),
                Ok(Received::End) | Err(_) => return self.reopen(place),
            };
            match lane.reader.feed(&buffer[..count]) {
                Ok(Some(response)) => self.answered(place, &response)?,
                Ok(None) => {}
                Err(_) => return self.reopen(place),
            }
            // A short read has emptied the socket; edge-triggered epoll tells of more.
            if count < buffer.len() {
                return Ok(());
            }
        }
    }

    fn answered(&mut self, place: usize, response: &Response) -> anyhow::Result<()> {
        let now = Instant::now();
        let Some(since) = self.lanes[place].since.take() else { return self.reopen(place) };
        self.outcome.requests += 1;
        self.outcome.non_2xx += u64::from(!(200..300).contains(&response.status));
        let latency = now.saturating_duration_since(since);
        let latency_ns = latency.as_nanos().try_into().unwrap_or(u64::MAX);
        self.outcome.samples.push(Sample { since, latency_ns });
        if response.closes {
            self.outcome.reconnects += 1;
            self.lanes[place] = Lane::open(self.address, place, &self.poll)?;
        }
        self.next(place, now)
    }

    fn next(&mut self, place: usize, now: Instant) -> anyhow::Result<()> {
        if self.schedule.is_some() {
            self.idle.push(place);
        } else if now < self.ends {
            self.send(place, now)?;
        }
        Ok(())
    }

    /// Replaces a connection that broke or ended; a request under way on it has failed.
    fn reopen(&mut self, place: usize) -> anyhow::Result<()> {
        let failed = self.lanes[place].since.take().is_some();
        if failed {
            self.outcome.errors += 1;
        } else {
            self.outcome.reconnects += 1;
        }
        let now = Instant::now();
        let refused = || format!("cannot connect to {} again", self.address);
        self.lanes[place] = Lane::open(self.address, place, &self.poll).with_context(refused)?;
        if failed && now < self.ends {
            self.next(place, now)?;
        }
        Ok(())
    }
}

impl Lane {
    /// Connects blocking, so that a refused connection is an error here and not a busy loop.
    fn open(address: SocketAddr, place: usize, poll: &Poll) -> anyhow::Result<Self> {
        let stream = std::net::TcpStream::connect(address)
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut connection = Connection::new(TcpStream::from_std(stream));
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(connection.stream(), Token(place), interest)?;
        Ok(Self { connection, reader: ResponseReader::default(), since: None })
    }
}

/// Splits a URL into its authority and its path.
fn split(url: &str) -> anyhow::Result<(&str, &str)> {
    let rest = url
        .strip_prefix("http://")
        .with_context(|| format!("url: expected http://ADDRESS:PORT/PATH, found {url:?}"))?;
    Ok(rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash)))
}
