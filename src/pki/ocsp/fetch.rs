//! Asks a responder: one POST over HTTP, as plain as OpenSSL's own.
//!
//! The URL is from a certificate that the cluster's authority has signed, so it is the operator's
//! word. Redirects are not followed, and answers are taken up to a size.

use http::Uri;
use httparse::Status;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::error::Unchecked;

/// The largest answer that is read, its head included.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024;

const HEADERS_MAX: usize = 64;

/// Sends a request in DER to the responder at `url` and returns its answer, which nobody has
/// looked at. The caller sets the deadline.
///
/// # Errors
/// The responder cannot be reached, or answers with something else than a body.
pub(super) async fn fetch(url: &str, request: &[u8]) -> Result<Vec<u8>, Unchecked> {
    let responder = Responder::read(url)?;
    let broken = |error: std::io::Error| Unchecked::Send(error.to_string());
    let address = (responder.host.as_str(), responder.port);
    let mut stream = TcpStream::connect(address).await.map_err(broken)?;
    let mut message = responder.head(request.len()).into_bytes();
    message.extend_from_slice(request);
    stream.write_all(&message).await.map_err(broken)?;
    let mut received = Vec::with_capacity(4096);
    let mut bounded = (&mut stream).take(ANSWER_BYTES_MAX as u64 + 1);
    loop {
        // A responder that keeps the connection open is done when it has sent what it announced.
        if let Some(body) = body_of(&received, false)? {
            return filled(body);
        }
        if bounded.read_buf(&mut received).await.map_err(broken)? == 0 {
            break;
        }
        if received.len() > ANSWER_BYTES_MAX {
            return Err(Unchecked::Send(format!("answer of more than {ANSWER_BYTES_MAX} bytes")));
        }
    }
    match body_of(&received, true)? {
        Some(body) => filled(body),
        None => Err(Unchecked::Send("closed".to_owned())),
    }
}

fn filled(body: &[u8]) -> Result<Vec<u8>, Unchecked> {
    if body.is_empty() { Err(Unchecked::EmptyBody) } else { Ok(body.to_vec()) }
}

/// Where a responder is.
#[derive(Debug, PartialEq, Eq)]
struct Responder {
    /// As the Host header has it.
    authority: String,
    host: String,
    port: u16,
    path: String,
}

impl Responder {
    fn read(url: &str) -> Result<Self, Unchecked> {
        let bad = |why: &str| Unchecked::Send(format!("{why}: {url:?}"));
        let uri: Uri = url.parse().map_err(|_| bad("bad URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(bad("only http:// is asked"));
        }
        let authority = uri.authority().ok_or_else(|| bad("bad URL"))?;
        if authority.as_str().contains('@') {
            return Err(bad("a URL with credentials"));
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            authority: authority.to_string(),
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(80),
            path: path.to_owned(),
        })
    }

    /// HTTP/1.0, so that nothing comes in chunks.
    fn head(&self, length: usize) -> String {
        format!(
            "POST {} HTTP/1.0\r\nHost: {}\r\nContent-Type: application/ocsp-request\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n",
            self.path, self.authority
        )
    }
}

/// Returns the body when all of it has been received: the announced length of it, or up to the end
/// of the connection; nothing while more has to come.
///
/// # Errors
/// It is no HTTP, or not a success with a body of a known end and an allowed length.
pub fn body_of(received: &[u8], has_ended: bool) -> Result<Option<&[u8]>, Unchecked> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let parsed = head.parse(received).map_err(|error| Unchecked::Send(error.to_string()))?;
    let Status::Complete(head_len) = parsed else { return Ok(None) };
    match head.code {
        Some(200) => {}
        status => return Err(Unchecked::Status(status.unwrap_or_default())),
    }
    let named = |name: &str| head.headers.iter().find(|it| it.name.eq_ignore_ascii_case(name));
    if named("transfer-encoding").is_some() {
        return Err(Unchecked::Send("an answer in chunks to HTTP/1.0".to_owned()));
    }
    let body = received.get(head_len..).unwrap_or_default();
    let Some(length) = named("content-length") else { return Ok(has_ended.then_some(body)) };
    let length = std::str::from_utf8(length.value).ok().and_then(|it| it.trim().parse().ok());
    let length: usize = length.ok_or_else(|| Unchecked::Send("bad Content-Length".to_owned()))?;
    if length > ANSWER_BYTES_MAX {
        return Err(Unchecked::Send(format!("answer of {length} bytes")));
    }
    Ok(body.get(..length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_responder_is_read_from_its_url() {
        let read = |url: &str| {
            let responder = Responder::read(url).unwrap();
            (responder.host, responder.port, responder.path, responder.authority)
        };
        let owned = |host: &str, port, path: &str, authority: &str| {
            (host.to_owned(), port, path.to_owned(), authority.to_owned())
        };
        assert_eq!(read("http://ocsp.test"), owned("ocsp.test", 80, "/", "ocsp.test"));
        assert_eq!(read("HTTP://a:88/b?c"), owned("a", 88, "/b?c", "a:88"));
        assert_eq!(read("http://[::1]:9/x"), owned("::1", 9, "/x", "[::1]:9"));
        for url in ["https://a/", "ldap://a", "/x", "", "http://", "http://u:p@a/", "http://a b/"] {
            assert!(matches!(Responder::read(url), Err(Unchecked::Send(_))), "{url}");
        }
    }

    #[test]
    fn a_body_ends_where_it_was_announced_or_with_the_connection() {
        let body = |text: &'static str, ended| body_of(text.as_bytes(), ended);
        let some = |text: &'static str| Ok(Some(text.as_bytes()));
        assert_eq!(body("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab", false), some("ab"));
        assert_eq!(body("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na", true), Ok(None));
        assert_eq!(body("HTTP/1.0 200 OK\r\n\r\nab", false), Ok(None));
        assert_eq!(body("HTTP/1.0 200 OK\r\n\r\nab", true), some("ab"));
        assert_eq!(body("HTTP/1.0 200 OK\r\nX", true), Ok(None));
        assert_eq!(body("HTTP/1.0 404 No\r\n\r\n", false), Err(Unchecked::Status(404)));
        assert_eq!(
            body("HTTP/1.0 302 No\r\nLocation: /\r\n\r\n", true),
            Err(Unchecked::Status(302))
        );
        for head in ["Transfer-Encoding: chunked", "Content-Length: x", "Content-Length: 65537"] {
            let text = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n");
            assert!(matches!(body_of(text.as_bytes(), true), Err(Unchecked::Send(_))), "{head}");
        }
        assert!(matches!(body("no HTTP\r\n\r\n", true), Err(Unchecked::Send(_))));
    }
}
