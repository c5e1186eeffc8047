//! What the product is compared with: nginx and HAProxy, one worker each, set to do what the
//! product's proxy does by default.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::process::{PROXY_CORE, Process, free_address, pinned};

/// Where a proxy listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    /// HTTP/1.1 in clear.
    pub(crate) plain: SocketAddr,
    /// HTTP/1.1 and HTTP/2 over TLS.
    pub(crate) tls: SocketAddr,
}

impl Addresses {
    /// Returns addresses that were free a moment ago.
    pub(crate) fn free() -> anyhow::Result<Self> {
        Ok(Self { plain: free_address()?, tls: free_address()? })
    }
}

/// The certificate that all proxies show: ECDSA P-256, self-signed.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificate {
    /// Makes one in the folder.
    pub(crate) fn make(folder: &Path) -> anyhow::Result<Self> {
        let made = Self { certificate: folder.join("tls.crt"), key: folder.join("tls.key") };
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        command.args(["-nodes", "-days", "30", "-subj", "/CN=bench.test"]);
        command.arg("-keyout").arg(&made.key).arg("-out").arg(&made.certificate);
        let output = command.output().context("cannot run openssl")?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "openssl made no certificate: {said}");
        Ok(made)
    }
}

/// Starts nginx as a proxy of `upstream` and returns it with its addresses.
pub(crate) fn nginx(
    upstream: SocketAddr,
    certificate: &Certificate,
    folder: &Path,
) -> anyhow::Result<(Process, Addresses)> {
    let version = Command::new("nginx").arg("-v").stderr(Stdio::piped()).output().context(
        "nginx is not installed; it is what the proxy is compared with (apt-get install nginx-light)",
    )?;
    print!("{}", String::from_utf8_lossy(&version.stderr));

    let addresses = Addresses::free()?;
    let conf = folder.join("nginx.conf");
    fs::write(&conf, nginx_settings(addresses, upstream, certificate, folder))?;
    let mut command = pinned(PROXY_CORE, "nginx");
    command.arg("-p").arg(folder).arg("-c").arg(&conf).arg("-e").arg(folder.join("error.log"));
    let mut nginx = Process::start(command, "nginx", folder)?;
    nginx.wait_for(addresses.plain)?;
    Ok((nginx, addresses))
}

/// Starts HAProxy likewise.
pub(crate) fn haproxy(
    upstream: SocketAddr,
    certificate: &Certificate,
    folder: &Path,
) -> anyhow::Result<(Process, Addresses)> {
    let version = Command::new("haproxy").arg("-v").output().context(
        "haproxy is not installed; leave --haproxy out or install it (apt-get install haproxy)",
    )?;
    let version = String::from_utf8_lossy(&version.stdout);
    println!("{}", version.lines().next().unwrap_or_default());

    let addresses = Addresses::free()?;
    let both = [fs::read(&certificate.certificate)?, fs::read(&certificate.key)?].concat();
    let pem = folder.join("haproxy.pem");
    fs::write(&pem, both)?;
    let conf = folder.join("haproxy.cfg");
    fs::write(&conf, haproxy_settings(addresses, upstream, &pem))?;
    let mut command = pinned(PROXY_CORE, "haproxy");
    command.arg("-db").arg("-f").arg(&conf);
    let mut haproxy = Process::start(command, "haproxy", folder)?;
    haproxy.wait_for(addresses.plain)?;
    Ok((haproxy, addresses))
}

fn haproxy_settings(addresses: Addresses, upstream: SocketAddr, pem: &Path) -> String {
    let (Addresses { plain, tls }, pem) = (addresses, pem.display());
    format!(
        r#"global
  nbthread 1
  maxconn 8000
defaults
  mode http
  timeout connect 60s
  timeout client 65s
  timeout server 60s
  http-reuse always
frontend bench
  bind {plain}
  bind {tls} ssl crt {pem} alpn h2,http/1.1
  http-request set-header X-Real-IP %[src]
  http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Port %[dst_port]
  http-request set-header Via "1.1 haproxy"
  http-response set-header Via "1.1 haproxy"
  option forwardfor
  default_backend upstream
backend upstream
  http-request set-header Host {upstream}
  server one {upstream}
"#
    )
}

/// Writes what the product does by default in nginx's words: upstream keep-alive, forwarding
/// headers, `Via` both ways, bodies streamed. Kept-alive connections live as long on both.
fn nginx_settings(
    addresses: Addresses,
    upstream: SocketAddr,
    certificate: &Certificate,
    folder: &Path,
) -> String {
    let (Addresses { plain, tls }, folder) = (addresses, folder.display());
    let (certificate, key) = (certificate.certificate.display(), certificate.key.display());
    format!(
        r#"daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log error;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  server_tokens off;
  keepalive_requests 10000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream bench {{
    server {upstream};
    keepalive 512;
    keepalive_requests 10000;
  }}
  server {{
    listen {plain};
    listen {tls} ssl http2;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;
    location / {{
      proxy_pass http://bench;
      proxy_http_version 1.1;
      proxy_request_buffering off;
      proxy_set_header Connection "";
      proxy_set_header Host {upstream};
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $host;
      proxy_set_header X-Forwarded-Port $server_port;
      proxy_set_header Via "1.1 nginx";
      add_header Via "1.1 nginx";
    }}
  }}
}}
"#
    )
}
