//! nginx as the yardstick: one worker that does what the product's proxy does by default.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::process::{PROXY_CORE, Process, free_address, pinned};

/// Starts nginx as a proxy of `upstream` and returns it with its address.
pub(crate) fn start(upstream: SocketAddr, folder: &Path) -> anyhow::Result<(Process, SocketAddr)> {
    let version = Command::new("nginx").arg("-v").stderr(Stdio::piped()).output().context(
        "nginx is not installed; it is what the proxy is compared with (apt-get install nginx-light)",
    )?;
    print!("{}", String::from_utf8_lossy(&version.stderr));

    let address = free_address()?;
    let conf = folder.join("nginx.conf");
    fs::write(&conf, settings(address, upstream, folder))?;
    let mut command = pinned(PROXY_CORE, "nginx");
    command.arg("-p").arg(folder).arg("-c").arg(&conf).arg("-e").arg(folder.join("error.log"));
    let mut nginx = Process::start(command, "nginx", folder)?;
    nginx.wait_for(address)?;
    Ok((nginx, address))
}

/// Writes what the product does by default in nginx's words: upstream keep-alive, forwarding
/// headers, `Via` both ways, bodies streamed. Kept-alive connections live as long on both.
fn settings(address: SocketAddr, upstream: SocketAddr, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log error;
events {{ worker_connections 4096; }}
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
    listen {address};
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
