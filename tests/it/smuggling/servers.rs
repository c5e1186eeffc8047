//! nginx and HAProxy as upstreams that log what they read.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::{Directory, own_address, poll};

/// A line of a server's log.
#[derive(Clone, Debug)]
pub(super) struct Logged {
    pub(super) request: String,
    /// Shown when something is wrong.
    pub(super) status: String,
}

/// A server; it ends with this value.
pub(super) struct Server {
    process: Child,
    pub(super) address: SocketAddr,
    log: PathBuf,
    /// How much of the log has been read, in bytes.
    read: AtomicUsize,
    _directory: Directory,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// Starts a program; the error says that it is not there.
    fn start(
        program: &str,
        arguments: &[&str],
        config: impl Fn(&str, SocketAddr) -> String,
    ) -> Result<Self, String> {
        let path = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"]
            .map(|folder| PathBuf::from(folder).join(program));
        let found = path.iter().find(|path| path.exists());
        let found = found.ok_or_else(|| format!("{program} is not installed"))?;
        let (directory, address) = (Directory::new(), own_address());
        let folder = directory.path().display().to_string();
        let (file, log) = (directory.path().join("server.conf"), directory.path().join("log"));
        fs::write(&file, config(&folder, address)).unwrap();
        let output = fs::File::create(&log).unwrap();
        let mut command = Command::new(found);
        command.args(arguments).arg(&file).stdin(Stdio::null());
        command.stdout(output).stderr(fs::File::create(directory.path().join("errors")).unwrap());
        Ok(Self {
            process: command.spawn().unwrap(),
            address,
            log,
            read: AtomicUsize::new(0),
            _directory: directory,
        })
    }

    /// Waits until a request for this target is logged, and returns the lines before it since the
    /// last time.
    pub(super) async fn logged_until(&self, target: &str) -> Vec<Logged> {
        let wanted = format!("GET {target}");
        let lines = poll(async || {
            let text = fs::read(&self.log).ok()?;
            let read = self.read.load(Ordering::Relaxed);
            let fresh = text.get(read..).unwrap_or_default();
            // The last line may not be whole yet.
            let whole = fresh.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let fresh = String::from_utf8_lossy(&fresh[..whole]).into_owned();
            let lines: Vec<_> = fresh.lines().filter_map(parse).collect();
            let end = lines.iter().rposition(|line| line.request == wanted)?;
            self.read.store(read + whole, Ordering::Relaxed);
            Some(
                lines.into_iter().enumerate().filter(|(at, _)| *at != end).map(|it| it.1).collect(),
            )
        });
        lines.await.unwrap_or_else(|| panic!("{target} is never logged"))
    }
}

fn parse(line: &str) -> Option<Logged> {
    let (status, request) = line.strip_prefix("seen ")?.split_once(' ')?;
    let mut words = request.split(' ');
    let request = [words.next()?, words.next().unwrap_or_default()].join(" ");
    Some(Logged { request, status: status.to_owned() })
}

/// Starts nginx, which answers with the request line once it has read the body.
pub(super) fn nginx() -> Result<Server, String> {
    let config = |folder: &str, address: SocketAddr| {
        format!(
            "daemon off; master_process off; pid {folder}/pid; error_log {folder}/errors;\n\
             events {{}}\n\
             http {{\n\
               client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;\n\
               fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n\
               log_format seen 'seen $status $request'; access_log {folder}/log seen;\n\
               large_client_header_buffers 8 64k; client_max_body_size 0;\n\
               server {{\n\
                 listen {address}; server_name _;\n\
                 location / {{\n\
                   proxy_pass http://unix:{folder}/answers:/; proxy_method GET;\n\
                   proxy_pass_request_body off; proxy_pass_request_headers off;\n\
                   proxy_set_header X-Seen '$request_method $request_uri';\n\
                 }}\n\
               }}\n\
               server {{\n\
                 listen unix:{folder}/answers; access_log off;\n\
                 location / {{ return 200 '$http_x_seen'; }}\n\
               }}\n\
             }}\n"
        )
    };
    Server::start("nginx", &["-p", "/", "-c"], config)
}

/// Starts HAProxy, which answers with the request line once it has read the body.
pub(super) fn haproxy() -> Result<Server, String> {
    let config = |_: &str, address: SocketAddr| {
        format!(
            "global\n  log stdout len 16384 format raw local0\n  tune.bufsize 65536\n  tune.http.maxhdr 300\n\
             defaults\n  mode http\n  log global\n  timeout client 20s\n  timeout server 20s\n\
               timeout connect 5s\n  option http-buffer-request\n\
             frontend seen\n  bind {address}\n  log-format \"seen %ST %HM %HU\"\n\
               http-request return status 200 content-type text/plain \
               lf-string \"%HM %HU\"\n"
        )
    };
    Server::start("haproxy", &["-db", "-f"], config)
}
