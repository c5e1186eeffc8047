//! Upstreams that break off, dribble, lie or say nothing: what the client gets, what is tried
//! again, and that no answer ever reaches another request (reference gateway-3, section D.4).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Cluster, PATIENCE, own_address, poll};
use crate::http;

/// What an upstream does once it has read a request head.
#[derive(Clone, Debug)]
enum Act {
    Send(String),
    /// Sends one byte of a text after the other.
    Dribble(&'static str),
    /// Says that it sends no more, and goes on listening.
    HalfClose,
    Reset,
    /// Keeps the connection and says nothing.
    Hang,
}
use Act::{Dribble, HalfClose, Hang, Reset};

fn send(text: &str) -> Act {
    Act::Send(text.to_owned())
}

/// What a client gets.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    Whole(u16, String),
    /// A head and less than the body that it announced.
    Cut(u16),
}

/// Starts an upstream that acts so for each request, and closes after the last act; returns how
/// many requests it got.
async fn upstream(acts: Vec<Act>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = requests.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(play(stream, acts.clone(), counter.clone()));
        }
    });
    (address, requests)
}

async fn play(mut stream: TcpStream, acts: Vec<Act>, counter: Arc<AtomicUsize>) -> Option<()> {
    let mut read = Vec::new();
    while !read.windows(4).any(|end| end == b"\r\n\r\n") {
        stream.read_buf(&mut read).await.ok().filter(|length| *length > 0)?;
    }
    counter.fetch_add(1, Ordering::SeqCst);
    for act in acts {
        match act {
            Act::Send(text) => stream.write_all(text.as_bytes()).await.ok()?,
            Dribble(text) => {
                for byte in text.as_bytes() {
                    stream.write_all(&[*byte]).await.ok()?;
                    tokio::task::yield_now().await;
                }
            }
            HalfClose => {
                stream.shutdown().await.ok()?;
                while stream.read_buf(&mut read).await.is_ok_and(|length| length > 0) {}
            }
            Reset => {
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).ok()?;
                return None;
            }
            Hang => while stream.read_buf(&mut read).await.is_ok_and(|length| length > 0) {},
        }
    }
    Some(())
}

/// Makes a service for an address, with more fields, and a route to it.
async fn service(cluster: &Cluster, name: &str, address: SocketAddr, fields: Value) {
    let mut service = json!({"url": format!("http://{address}")});
    service.as_object_mut().unwrap().extend(fields.as_object().cloned().unwrap());
    cluster.put(&format!("/services/{name}"), service).await;
    let route = json!({"paths": [format!("/{name}/")], "service": {"name": name}});
    cluster.put(&format!("/routes/{name}"), route).await;
}

/// Reads one answer to its end, or to where it breaks off.
async fn answer(stream: &mut TcpStream) -> Got {
    let mut read = Vec::new();
    let end = loop {
        if let Some(end) = read.windows(4).position(|it| it == b"\r\n\r\n") {
            break end + 4;
        }
        assert!(stream.read_buf(&mut read).await.unwrap_or(0) > 0, "no answer: {read:?}");
    };
    let head = String::from_utf8(read[..end].to_vec()).unwrap().to_ascii_lowercase();
    let status = head[9..12].parse().unwrap();
    let length = head.split("content-length: ").nth(1);
    let length: Option<usize> = length.map(|it| it.lines().next().unwrap().parse().unwrap());
    let chunked = head.contains("transfer-encoding: chunked");
    let is_whole = |body: &[u8]| match length {
        Some(length) => body.len() >= length,
        None if chunked => body == b"0\r\n\r\n" || body.ends_with(b"\r\n0\r\n\r\n"),
        None => true,
    };
    while !is_whole(&read[end..]) {
        if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
            return Got::Cut(status);
        }
    }
    let body = String::from_utf8(read[end..].to_vec()).unwrap();
    let body = match chunked {
        true => body.split("\r\n").skip(1).step_by(2).collect(),
        false => body,
    };
    Got::Whole(status, body)
}

async fn ask(stream: &mut TcpStream, path: &str) -> Got {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    tokio::time::timeout(PATIENCE, answer(stream)).await.unwrap()
}

fn rows() -> Vec<(&'static str, Vec<Act>, Got)> {
    let gone = || Got::Whole(502, String::new());
    let late = || Got::Whole(504, String::new());
    let whole = |body: &str| Got::Whole(200, body.to_owned());
    let ok = "HTTP/1.1 200 OK\r\n";
    let length = |rest: &str| send(&format!("{ok}Content-Length: 9\r\n\r\n{rest}"));
    let chunks = |rest: &str| send(&format!("{ok}Transfer-Encoding: chunked\r\n\r\n{rest}"));
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
    vec![
        ("reset", vec![Reset], gone()),
        ("closed", vec![], gone()),
        ("half-closed", vec![HalfClose], gone()),
        ("silent", vec![Hang], late()),
        ("reset-in-head", vec![send(ok), Reset], gone()),
        ("slow-head", vec![send(ok), Hang], late()),
        ("no-http", vec![send("SSH-2.0-OpenSSH_9\r\n\r\n")], gone()),
        ("no-status", vec![send("HTTP/1.1 OK\r\n\r\n")], gone()),
        ("low-status", vec![send("HTTP/1.1 042 Low\r\n\r\n")], gone()),
        ("unasked-switch", vec![send("HTTP/1.1 101 Switching Protocols\r\n\r\n")], gone()),
        ("interims", vec![send(&interim.repeat(3)), length("unharmed.")], whole("unharmed.")),
        ("interim-storm", vec![send(&interim.repeat(2_000)), length("unharmed.")], gone()),
        ("interims-only", vec![send(interim), Hang], late()),
        ("long-head", vec![send(&format!("{ok}X: {}\r\n\r\n", "x".repeat(99_999)))], gone()),
        (
            "two-lengths",
            vec![send(&format!("{ok}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"))],
            gone(),
        ),
        (
            "gzip-coding",
            vec![send(&format!("{ok}Transfer-Encoding: gzip, chunked\r\n\r\n"))],
            gone(),
        ),
        ("reset-in-body", vec![length("four"), Reset], Got::Cut(200)),
        ("closed-in-body", vec![length("four")], Got::Cut(200)),
        ("half-closed-in-body", vec![length("four"), HalfClose], Got::Cut(200)),
        ("slow-body", vec![length("four"), Hang], Got::Cut(200)),
        ("reset-in-chunk", vec![chunks("9\r\nfour"), Reset], Got::Cut(200)),
        ("closed-between-chunks", vec![chunks("4\r\nfour\r\n")], Got::Cut(200)),
        ("bad-chunk", vec![chunks("4\r\nfour\r\nzz\r\n"), Hang], Got::Cut(200)),
        ("slow-chunks", vec![chunks("4\r\nfour\r\n"), Hang], Got::Cut(200)),
        (
            "dribbled",
            vec![Dribble(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n0\r\n\r\n",
            )],
            whole("four"),
        ),
        (
            "trailers",
            vec![chunks(
                "4\r\nfour\r\n0\r\nContent-Length: 99\r\nHost: evil\r\nTransfer-Encoding: x\r\n\r\n",
            )],
            whole("four"),
        ),
        (
            "trailer-storm",
            vec![chunks(&format!("4\r\nfour\r\n0\r\n{}\r\n", "X: y\r\n".repeat(5_000))), Hang],
            Got::Cut(200),
        ),
        (
            "surplus",
            vec![length("unharmed.HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"), Hang],
            whole("unharmed."),
        ),
        (
            "bodiless-surplus",
            vec![send("HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n\r\nwrong"), Hang],
            Got::Whole(204, String::new()),
        ),
    ]
}

/// Returns how long an upstream may be silent, in milliseconds: where that is not what a row is about,
/// longer than any machine is busy.
fn patience(row: &str) -> u64 {
    match row {
        "silent" | "slow-head" | "interims-only" => 250,
        // The head has to be on time.
        "slow-body" | "slow-chunks" => 1000,
        _ => 60_000,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_upstream_gives_502_or_504_or_a_cut_answer() {
    let cluster = Cluster::start().await;
    let rows = rows();
    let mut requests = Vec::new();
    for (name, acts, _) in &rows {
        let (address, count) = upstream(acts.clone()).await;
        service(&cluster, name, address, json!({"retries": 0, "read_timeout": patience(name)}))
            .await;
        requests.push(count);
    }
    let (good, _) = upstream(vec![send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")]).await;
    service(&cluster, "good", good, json!({})).await;
    cluster.converge().await;

    // All at once, since some wait for a timeout.
    let asked = rows.iter().map(async |(name, _, wanted)| {
        let mut stream = TcpStream::connect(cluster.proxy()).await.unwrap();
        let path = format!("/{name}/");
        let got = match ask(&mut stream, &path).await {
            Got::Whole(status @ (502 | 504), _) => Got::Whole(status, String::new()),
            got => got,
        };
        assert_eq!(&got, wanted, "{name}");
        if let Got::Whole(..) = got {
            // What the upstream did is no fault of the client: its connection goes on, in step.
            let next = ask(&mut stream, "/good/").await;
            assert_eq!(next, Got::Whole(200, "good".to_owned()), "after {name}");
        }
    });
    futures_util::future::join_all(asked).await;
    for ((name, ..), count) in rows.iter().zip(requests) {
        assert_eq!(count.load(Ordering::SeqCst), 1, "{name} was sent once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_cannot_do_its_work_twice_is_tried_again() {
    let cluster = Cluster::start().await;
    let long = "x".repeat(20_000);
    let rows = [
        ("GET", "", Reset, 4),
        ("DELETE", "", Reset, 4),
        ("PUT", "short", Reset, 4),
        // A body that is longer than the buffer has gone for good.
        ("PUT", &long, Reset, 1),
        ("POST", "", Reset, 1),
        ("POST", "short", Reset, 1),
        ("PATCH", "short", Reset, 1),
        ("GET", "", send("no http\r\n\r\n"), 4),
        ("GET", "", Hang, 4),
        ("POST", "short", Hang, 1),
        // An answer is an answer.
        ("GET", "", send("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"), 1),
    ];
    let mut requests = Vec::new();
    for (index, (_, _, act, _)) in rows.iter().enumerate() {
        let (address, count) = upstream(vec![act.clone()]).await;
        let patience = if matches!(act, Hang) { 100 } else { 60_000 };
        let fields = json!({"retries": 3, "read_timeout": patience});
        service(&cluster, &format!("s{index}"), address, fields).await;
        requests.push(count);
    }
    cluster.converge().await;
    let asked = rows.iter().enumerate().map(async |(index, (method, body, act, tries))| {
        let path = format!("/s{index}/");
        let answer = http::send(cluster.proxy(), method, &path, &[], body).await.unwrap();
        let status = match act {
            Hang => 504,
            Act::Send(text) if text.starts_with("HTTP") => 503,
            _ => 502,
        };
        assert_eq!(answer.status, status, "{method} {act:?}");
        // The upstream may come to read a request when it has been given up.
        let count = || requests[index].load(Ordering::SeqCst);
        let all = poll(async || (count() >= *tries).then_some(())).await;
        let what = format!("{method} of {} bytes, {act:?}", body.len());
        assert!(all.is_some() && count() == *tries, "{what}: {} and not {tries}", count());
    });
    futures_util::future::join_all(asked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_sent_goes_to_the_next_target_whatever_its_method() {
    let cluster = Cluster::start().await;
    let good = http::Upstream::start("good").await;
    let refused = own_address();
    service(&cluster, "a", refused, json!({"retries": 1})).await;
    cluster.call("PATCH", "/services/a", &json!({"host": "u"})).await;
    cluster.put("/upstreams/u", json!({})).await;
    for target in [refused, good.address] {
        let target = json!({"target": target.to_string()});
        cluster.call("POST", "/upstreams/u/targets", &target).await;
    }
    cluster.converge().await;
    for _ in 0..4 {
        let answer = http::send(cluster.proxy(), "POST", "/a/", &[], "body").await.unwrap();
        assert_eq!((answer.status, &answer.json()["body"]), (200, &json!("body")));
    }
}

/// What an upstream makes of a path: a text that tells paths apart, of one to some thousand bytes.
fn content(path: &str) -> String {
    let seed = path.bytes().fold(7_usize, |sum, byte| sum.wrapping_mul(31) + usize::from(byte));
    path.repeat(1 + seed % 400)
}

/// Serves requests one after the other, as the name of each says.
async fn serve_faulty(mut stream: TcpStream) -> Option<()> {
    let mut read = Vec::new();
    loop {
        while !read.ends_with(b"\r\n\r\n") {
            stream.read_buf(&mut read).await.ok().filter(|length| *length > 0)?;
        }
        let path = String::from_utf8(read.split_off(0)).unwrap().split(' ').nth(1)?.to_owned();
        let body = content(&path);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let chunks: String = body
            .as_bytes()
            .chunks(997)
            .map(|it| format!("{:x}\r\n{}\r\n", it.len(), String::from_utf8_lossy(it)))
            .collect();
        let chunked = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let (text, ends) = match path.len() % 7 {
            0 => (format!("{head}{}", &body[..body.len() / 2]), true),
            1 => (format!("{head}{body}HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!"), false),
            2 => (format!("HTTP/1.1 100 Continue\r\n\r\n{head}{body}"), false),
            3 => (chunked, true),
            4 => (format!("{chunked}0\r\nContent-Length: 3\r\n\r\n"), false),
            // Closed behind the answer, without saying so.
            5 => (format!("{head}{body}"), true),
            _ => (format!("{head}{body}"), false),
        };
        stream.write_all(text.as_bytes()).await.ok()?;
        if ends {
            return None;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_reaches_another_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_faulty(stream));
        }
    });
    let cluster = Cluster::start().await;
    service(&cluster, "a", address, json!({})).await;
    cluster.converge().await;
    let clients = (0..8).map(async |client: usize| {
        let mut whole = 0;
        let mut stream = TcpStream::connect(cluster.proxy()).await.unwrap();
        for turn in 0..100 {
            let name = format!("{client}x{turn}{}/", "y".repeat((client * turn) % 13));
            match ask(&mut stream, &format!("/a/{name}")).await {
                Got::Whole(status, body) => {
                    assert_eq!(status, 200, "{name}");
                    assert!(body == content(&format!("/{name}")), "{name} got {body}");
                    whole += 1;
                }
                Got::Cut(_) => stream = TcpStream::connect(cluster.proxy()).await.unwrap(),
            }
        }
        whole
    });
    let whole: usize = futures_util::future::join_all(clients).await.into_iter().sum();
    assert!((400..800).contains(&whole), "{whole} of 800 answers were whole");
}
