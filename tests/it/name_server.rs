//! A name server that says what it is told to say, and counts what it is asked.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;

const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;

/// What is said of a name.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// Addresses.
    A { ttl: u32, ips: Vec<[u8; 4]> },
    /// An address of IPv6.
    Aaaa { ttl: u32, ip: Ipv6Addr },
    /// Priority, weight, port and name of services.
    Srv { ttl: u32, services: Vec<(u16, u16, u16, &'static str)> },
    /// That the server cannot say.
    Failure,
    /// Nothing at all.
    Silence,
}

/// A running server. It says of names that it was not told of that there are none.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    said: HashMap<String, Said>,
    asked: HashMap<(String, u16), usize>,
}

impl NameServer {
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let answers = state.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let answer = answers.lock().unwrap().answer(&buffer[..length]);
                if let Some(answer) = answer {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        Self { address, state }
    }

    /// Says something else of a name from now on.
    pub(crate) fn say(&self, name: &str, said: Said) {
        self.state.lock().unwrap().said.insert(name.to_owned(), said);
    }

    /// Says that there is no such name from now on.
    pub(crate) fn deny(&self, name: &str) {
        self.state.lock().unwrap().said.remove(name);
    }

    /// Returns how often the addresses of a name were asked for.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.state.lock().unwrap().asked.get(&(name.to_owned(), A)).copied().unwrap_or(0)
    }
}

impl State {
    fn answer(&mut self, query: &[u8]) -> Option<Vec<u8>> {
        let (name, end) = name(query)?;
        let kind = u16::from_be_bytes([*query.get(end)?, *query.get(end + 1)?]);
        *self.asked.entry((name.clone(), kind)).or_default() += 1;
        let (code, records) = match (self.said.get(&name), kind) {
            (None, _) => (3, Vec::new()),
            (Some(Said::Silence), _) => return None,
            (Some(Said::Failure), _) => (2, Vec::new()),
            (Some(Said::A { ttl, ips }), A) => {
                (0, ips.iter().map(|ip| record(A, *ttl, &Ipv4Addr::from(*ip).octets())).collect())
            }
            (Some(Said::Aaaa { ttl, ip }), AAAA) => (0, vec![record(AAAA, *ttl, &ip.octets())]),
            (Some(Said::Srv { ttl, services }), SRV) => {
                let service = |(priority, weight, port, name): &(u16, u16, u16, &str)| {
                    let numbers = [priority, weight, port].map(|number| number.to_be_bytes());
                    let mut data = numbers.concat();
                    for label in name.split('.') {
                        data.push(label.len() as u8);
                        data.extend_from_slice(label.as_bytes());
                    }
                    data.push(0);
                    record(SRV, *ttl, &data)
                };
                (0, services.iter().map(service).collect())
            }
            _ => (0, Vec::new()),
        };
        let mut answer = query[..2].to_vec();
        answer.extend_from_slice(&[0x85, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
        answer.extend_from_slice(&query[12..end + 4]);
        answer.extend(records.concat());
        Some(answer)
    }
}

/// Returns the name that a query asks for, and where it ends.
fn name(query: &[u8]) -> Option<(String, usize)> {
    let (mut labels, mut at) = (Vec::new(), 12);
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        let label = std::str::from_utf8(query.get(at..at + length)?).ok()?;
        labels.push(label.to_ascii_lowercase());
        at += length;
    }
}

/// Writes a record of the name that was asked for.
fn record(kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut record = vec![0xc0, 12];
    record.extend_from_slice(&kind.to_be_bytes());
    record.extend_from_slice(&1_u16.to_be_bytes());
    record.extend_from_slice(&ttl.to_be_bytes());
    record.extend_from_slice(&(data.len() as u16).to_be_bytes());
    record.extend_from_slice(data);
    record
}
