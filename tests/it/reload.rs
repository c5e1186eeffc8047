//! New settings for a data plane that runs: what takes effect, and that nobody's connection ends for it.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Cluster, own_address, poll};
use crate::http::{self, Answer, Upstream};

/// A cluster whose data plane serves `/a`.
struct Place {
    cluster: Cluster,
    /// What its settings were started with.
    env: Vec<(&'static str, String)>,
    _upstream: Upstream,
}

impl Place {
    async fn start(listen: &str, more: &[(&'static str, &str)]) -> Self {
        let mut cluster = Cluster::without_data().await;
        let upstream = Upstream::start("a").await;
        cluster.route("a", "/a", &upstream).await;
        let own = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let mut env = vec![
            ("KONG_ROLE", "data_plane".to_owned()),
            ("KONG_DATABASE", "off".to_owned()),
            ("KONG_CLUSTER_CONTROL_PLANE", control(&cluster).to_string()),
            ("KONG_PROXY_LISTEN", listen.to_owned()),
            ("KONG_STATUS_LISTEN", "off".to_owned()),
            ("KONG_NGINX_WORKER_PROCESSES", "1".to_owned()),
            ("KONG_PROXY_ACCESS_LOG", "off".to_owned()),
        ];
        env.extend(own);
        let wanted: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        cluster.start_data_in("dp", &wanted).await;
        cluster.converge().await;
        Self { cluster, env, _upstream: upstream }
    }

    fn reload(&mut self, more: &[(&'static str, &str)]) {
        for (name, value) in more {
            self.env.retain(|(known, _)| known != name);
            self.env.push((name, (*value).to_owned()));
        }
        let wanted: Vec<_> = self.env.iter().map(|(name, it)| (*name, it.as_str())).collect();
        let settings = self.cluster.settings("dp", &wanted);
        self.cluster.data.as_mut().unwrap().reload(&settings);
    }

    /// Asks until the answer is as wanted: for a moment, the proxy before accepts connections, too.
    async fn until(&self, path: &str, wanted: impl Fn(&Answer) -> bool) {
        let address = self.cluster.proxy();
        let found = poll(async || http::get(address, path).await.ok().filter(&wanted));
        assert!(found.await.is_some(), "{path}");
    }
}

fn control(cluster: &Cluster) -> SocketAddr {
    cluster.control.as_ref().unwrap().cluster[0]
}

/// Asks on a connection and returns its head in lower case; the connection stays.
async fn ask(stream: &mut TcpStream) -> String {
    try_ask(stream).await.expect("the connection ended")
}

/// The same of a connection that may end before it is answered.
async fn try_ask(stream: &mut TcpStream) -> Option<String> {
    stream.write_all(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n").await.ok()?;
    let mut read = Vec::new();
    while !read.ends_with(b"}") {
        stream.read_buf(&mut read).await.ok().filter(|length| *length > 0)?;
    }
    Some(String::from_utf8(read).unwrap().to_ascii_lowercase())
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_the_proxy_take_effect_and_connections_go_on() {
    let mut place = Place::start("127.0.0.1:0", &[("KONG_NGINX_WORKER_PROCESSES", "2")]).await;
    let address = place.cluster.proxy();
    place.until("/a", |it| it.header("via").is_some()).await;
    let mut kept = TcpStream::connect(address).await.unwrap();
    assert!(!ask(&mut kept).await.contains("connection: close"));

    let shown = [("KONG_HEADERS", "X-Kong-Request-Id"), ("KONG_NGINX_WORKER_PROCESSES", "1")];
    place.reload(&shown);
    assert_eq!(place.cluster.proxy(), address);
    place.until("/a", |it| (it.status, it.header("via")) == (200, None)).await;
    let last = ask(&mut kept).await;
    assert!(last.contains("server: kong") && last.contains("connection: close"), "{last}");

    // What stays the same is left alone. The connection is one of the proxy in force, once the one before
    // has stopped listening.
    let in_force = poll(async || {
        let mut stream = TcpStream::connect(address).await.ok()?;
        (!try_ask(&mut stream).await?.contains("connection: close")).then_some(stream)
    });
    let mut kept = in_force.await.expect("the proxy before stops listening");
    place.reload(&[("KONG_LOG_LEVEL", "warn")]);
    assert!(!ask(&mut kept).await.contains("connection: close"));
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_come_and_go_with_proxy_listen() {
    let (first, second) = (own_address(), own_address());
    let mut place = Place::start(&first.to_string(), &[]).await;
    place.reload(&[("KONG_PROXY_LISTEN", &format!("{first}, {second} proxy_protocol"))]);
    assert_eq!(place.cluster.data.as_ref().unwrap().proxy, [first, second]);
    assert_eq!(http::get(first, "/a").await.unwrap().status, 200);
    let mut stream = TcpStream::connect(second).await.unwrap();
    stream.write_all(b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n").await.unwrap();
    assert_eq!(http::send_over(stream, second, "GET", "/a", &[], "").await.unwrap().status, 200);

    // What another holds cannot be had, and all stays as it is.
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("{first}, {}", holder.local_addr().unwrap());
    place.reload(&[("KONG_PROXY_LISTEN", &taken)]);
    assert_eq!(place.cluster.data.as_ref().unwrap().proxy, [first, second]);
    place.until("/a", |it| it.status == 200).await;

    place.reload(&[("KONG_PROXY_LISTEN", &second.to_string())]);
    place.until("/a", |it| it.status == 200).await;
    let gone = poll(async || TcpStream::connect(first).await.err());
    assert!(gone.await.is_some(), "nobody listens there any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_and_a_log_file_that_were_replaced_are_read_and_opened_again() {
    let directory = crate::harness::Directory::new();
    let (template, log) = (directory.path().join("error.json"), directory.path().join("access"));
    std::fs::write(&template, r#"{"old": "%s"}"#).unwrap();
    let wanted = [
        ("KONG_ERROR_TEMPLATE_JSON", template.display().to_string()),
        ("KONG_PROXY_ACCESS_LOG", log.display().to_string()),
    ];
    let wanted: Vec<_> = wanted.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut place = Place::start("127.0.0.1:0", &wanted).await;
    let mut kept = TcpStream::connect(place.cluster.proxy()).await.unwrap();
    assert!(ask(&mut kept).await.contains(r#"{"old""#));

    let written = std::fs::metadata(&template).unwrap().modified().unwrap();
    std::fs::write(&template, r#"{"new": "%s"}"#).unwrap();
    let later = written + std::time::Duration::from_secs(1);
    std::fs::File::options().append(true).open(&template).unwrap().set_modified(later).unwrap();
    std::fs::rename(&log, directory.path().join("access.1")).unwrap();
    place.reload(&[]);
    place.until("/none", |it| it.body.contains(r#"{"new""#)).await;
    assert!(ask(&mut kept).await.contains(r#"{"old""#), "a request is answered as it was begun");
    let lines = async || std::fs::read_to_string(&log).ok().filter(|it| it.lines().count() >= 2);
    assert!(poll(lines).await.is_some(), "both proxies write to the new file");
}

#[tokio::test(flavor = "multi_thread")]
async fn request_debugging_is_turned_off_and_its_token_stays_that_of_the_process() {
    let trusts = [("KONG_TRUSTED_IPS", "127.0.0.1")];
    let mut place = Place::start("127.0.0.1:0", &trusts).await;
    let file = place.cluster.prefix("dp").join(".request_debug_token");
    let token = std::fs::read_to_string(&file).unwrap();
    let headers = [
        ("X-Kong-Request-Debug", "*"),
        ("X-Real-IP", "192.0.2.1"),
        ("X-Kong-Request-Debug-Token", token.as_str()),
    ];
    let is_told = async |address| {
        let answer = http::send(address, "GET", "/a", &headers, "").await.ok()?;
        Some(answer.header("x-kong-request-debug-output").is_some())
    };
    std::fs::remove_file(&file).unwrap();
    for (setting, wanted) in [("on", true), ("off", false), ("on", true)] {
        place.reload(&[("KONG_REQUEST_DEBUG", setting)]);
        let address = place.cluster.proxy();
        let found = poll(async || is_told(address).await.filter(|told| *told == wanted));
        assert!(found.await.is_some(), "{setting}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), token);
    }
}
