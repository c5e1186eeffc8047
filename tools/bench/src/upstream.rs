//! The upstream of the benchmarks: one thread, edge-triggered epoll, two prepared answers.

use std::io::{ErrorKind, Write as _};
use std::net::SocketAddr;

use anyhow::Context as _;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};

use crate::connection::{Connection, Received};

const LISTENER: Token = Token(usize::MAX);
/// Largest request head accepted.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Serve 100 bytes at every path, 1 MiB below /1m, until stopped
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Address to listen on; port 0 takes a free one, and it is printed
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// Serves until the process is stopped.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut listener = TcpListener::bind(args.listen)
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    println!("listening {}", listener.local_addr()?);
    std::io::stdout().flush()?;

    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut server = Server::new();
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome?,
        }
        for event in &events {
            if event.token() == LISTENER {
                server.accept(&listener, &poll)?;
            } else {
                server.serve(event.token().0);
            }
        }
    }
}

struct Server {
    /// Connections by token; the place of one that ended is taken by a later one.
    clients: Vec<Option<Client>>,
    small: Vec<u8>,
    large: Vec<u8>,
}

struct Client {
    connection: Connection,
    /// Bytes of a request head that is not complete yet.
    pending: Vec<u8>,
    /// Bytes of a request body still to be skipped.
    body_left: usize,
}

impl Server {
    fn new() -> Self {
        Self { clients: Vec::new(), small: answer(100), large: answer(1024 * 1024) }
    }

    fn accept(&mut self, listener: &TcpListener, poll: &Poll) -> anyhow::Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("cannot accept"),
            };
            stream.set_nodelay(true)?;
            let free = self.clients.iter().position(Option::is_none);
            let place = free.unwrap_or(self.clients.len());
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(place), interest)?;
            let connection = Connection::new(stream);
            let client = Some(Client { connection, pending: Vec::new(), body_left: 0 });
            match free {
                Some(_) => self.clients[place] = client,
                None => self.clients.push(client),
            }
        }
    }

    fn serve(&mut self, place: usize) {
        let Some(mut client) = self.clients.get_mut(place).and_then(Option::take) else { return };
        if self.turn(&mut client).unwrap_or(false) {
            self.clients[place] = Some(client);
        }
    }

    /// Answers what has come in; returns false when the connection is at its end.
    fn turn(&self, client: &mut Client) -> anyhow::Result<bool> {
        client.connection.flush()?;
        let mut buffer = [0; 4 * 1024];
        loop {
            match client.connection.read(&mut buffer)? {
                Received::End => return Ok(false),
                Received::Nothing => return Ok(true),
                Received::Bytes(count) => {
                    self.answer(client, &buffer[..count])?;
                    // A short read has emptied the socket; edge-triggered epoll tells of more.
                    if count < buffer.len() {
                        return Ok(true);
                    }
                }
            }
        }
    }

    fn answer(&self, client: &mut Client, bytes: &[u8]) -> anyhow::Result<()> {
        client.pending.extend_from_slice(bytes);
        loop {
            let skipped = client.body_left.min(client.pending.len());
            client.pending.drain(..skipped);
            client.body_left -= skipped;
            let Some(request) = parse(&client.pending)? else {
                anyhow::ensure!(client.pending.len() <= HEAD_BYTES_MAX, "head too large");
                return Ok(());
            };
            client.pending.drain(..request.head_length);
            client.body_left = request.body_length;
            client.connection.write(if request.wants_large { &self.large } else { &self.small })?;
        }
    }
}

struct Request {
    head_length: usize,
    body_length: usize,
    wants_large: bool,
}

/// Parses a request head; a chunked body is refused, since no benchmark sends one.
fn parse(bytes: &[u8]) -> anyhow::Result<Option<Request>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head_length) = request.parse(bytes)? else { return Ok(None) };
    let mut body_length = 0;
    for header in request.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            body_length = std::str::from_utf8(header.value)?.trim().parse()?;
        }
        let chunked = header.name.eq_ignore_ascii_case("transfer-encoding");
        anyhow::ensure!(!chunked, "chunked request bodies are not served");
    }
    let wants_large = request.path.is_some_and(|path| path.starts_with("/1m"));
    Ok(Some(Request { head_length, body_length, wants_large }))
}

fn answer(body_length: usize) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nServer: upstream\r\nContent-Type: text/plain\r\n\
         Content-Length: {body_length}\r\n\r\n"
    )
    .into_bytes();
    answer.resize(answer.len() + body_length, b'x');
    answer
}
