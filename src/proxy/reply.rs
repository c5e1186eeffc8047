//! Answers of our own: messages in the form that the client accepts
//! (reference gateway-3, section D.3).

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::plugins::exchange::RequestId;
use crate::plugins::reply::{Reply, ReplyBody};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The forms of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Plain,
    Html,
    Xml,
    Grpc,
}

/// What the form of a message is chosen by.
#[derive(Clone, Copy)]
pub struct Wish<'a> {
    /// `Accept` of the request.
    pub accept: Option<&'a str>,
    /// `Content-Type` of the request.
    pub content_type: Option<&'a str>,
    /// The setting `error_default_type`.
    pub default_type: &'a str,
}

/// An answer ready to be sent.
pub struct Rendered {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Puts an answer into the form that the client wants.
pub fn render(reply: Reply, wish: Wish<'_>, id: &RequestId) -> Rendered {
    let mut headers = HeaderMap::with_capacity(8);
    let body = match reply.body {
        ReplyBody::Empty => Bytes::new(),
        ReplyBody::Content { mime, bytes } => {
            headers.insert(header::CONTENT_TYPE, mime);
            bytes
        }
        ReplyBody::Error(message) => {
            let form = form_of(wish, None);
            message_body(form, &message, reply.status, id, &mut headers)
        }
        ReplyBody::Gateway(message) => {
            let form = form_of(wish, Some(wish.default_type));
            message_body(form, &message, reply.status, id, &mut headers)
        }
    };
    headers.extend(reply.headers);
    Rendered { status: reply.status, headers, body }
}

fn form_of(wish: Wish<'_>, gateway_default: Option<&str>) -> Form {
    if wish.content_type.is_some_and(|mime| mime.starts_with("application/grpc")) {
        return Form::Grpc;
    }
    if let Some(accept) = wish.accept {
        return negotiate(accept);
    }
    match gateway_default {
        None => Form::Json,
        Some(default) => wish
            .content_type
            .and_then(form_named)
            .or_else(|| form_named(default))
            .unwrap_or(Form::Plain),
    }
}

/// Returns the form that an `Accept` prefers; JSON when it names none that there is.
fn negotiate(accept: &str) -> Form {
    let mut best = (0, Form::Json);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let Some(form) = parts.next().and_then(form_named) else { continue };
        let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
        // Thousandths, as HTTP counts them.
        let quality = (quality.unwrap_or(1.0).clamp(0.0, 1.0) * 1000.0) as u32;
        if quality > best.0 {
            best = (quality, form);
        }
    }
    best.1
}

fn form_named(mime: &str) -> Option<Form> {
    match mime.split(';').next().unwrap_or_default().trim() {
        "application/json" | "application/*" | "*/*" => Some(Form::Json),
        "text/plain" | "text/*" => Some(Form::Plain),
        "text/html" => Some(Form::Html),
        "application/xml" => Some(Form::Xml),
        mime if mime.starts_with("application/grpc") => Some(Form::Grpc),
        _ => None,
    }
}

fn message_body(
    form: Form,
    message: &str,
    status: StatusCode,
    id: &RequestId,
    headers: &mut HeaderMap,
) -> Bytes {
    let id = id.as_str();
    let (mime, body) = match form {
        Form::Json => {
            let message = serde_json::to_string(message).unwrap_or_default();
            let body = format!("{{\n  \"message\":{message},\n  \"request_id\":\"{id}\"\n}}");
            ("application/json; charset=utf-8", body)
        }
        Form::Plain => ("text/plain; charset=utf-8", format!("{message}\nrequest_id: {id}\n")),
        Form::Html => {
            let message = escaped(message);
            let body = format!(
                "<!doctype html>\n<html>\n<head><meta charset=\"utf-8\"><title>Error</title></head>\n\
                 <body>\n<h1>Error</h1>\n<p>{message}.</p>\n<p>request_id: {id}</p>\n</body>\n</html>\n"
            );
            ("text/html; charset=utf-8", body)
        }
        Form::Xml => {
            let message = escaped(message);
            let body = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<error>\n<message>{message}</message>\n\
                 <requestid>{id}</requestid>\n</error>\n"
            );
            ("application/xml; charset=utf-8", body)
        }
        Form::Grpc => {
            headers.insert(GRPC_STATUS, HeaderValue::from(grpc_status(status)));
            if let Ok(message) = HeaderValue::from_str(message) {
                headers.insert(GRPC_MESSAGE, message);
            }
            ("application/grpc", String::new())
        }
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(mime));
    Bytes::from(body)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn grpc_status(status: StatusCode) -> u16 {
    match status.as_u16() {
        401 => 16,
        403 => 7,
        404 => 5,
        409 => 6,
        429 => 8,
        499 => 1,
        501 => 12,
        503 => 14,
        504 => 4,
        200..=299 => 0,
        400..=499 => 3,
        500..=599 => 13,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(
        reply: Reply,
        accept: Option<&str>,
        content_type: Option<&str>,
    ) -> (String, String) {
        let wish = Wish { accept, content_type, default_type: "text/plain" };
        let rendered = render(reply, wish, &RequestId::new(1));
        let mime =
            rendered.headers.get(header::CONTENT_TYPE).map(|v| v.to_str().unwrap().to_owned());
        (mime.unwrap_or_default(), String::from_utf8(rendered.body.to_vec()).unwrap())
    }

    fn error() -> Reply {
        Reply::error(StatusCode::NOT_FOUND, "no <route>")
    }

    #[test]
    fn errors_are_json_unless_the_client_wants_something_else() {
        let (mime, body) = rendered(error(), None, None);
        assert_eq!(mime, "application/json; charset=utf-8");
        let id = "00000000000000000000000000000001";
        assert_eq!(
            body,
            format!("{{\n  \"message\":\"no <route>\",\n  \"request_id\":\"{id}\"\n}}")
        );
        for (accept, mime) in [
            ("*/*", "application/json; charset=utf-8"),
            ("image/png", "application/json; charset=utf-8"),
            ("text/*", "text/plain; charset=utf-8"),
            ("text/html;q=0.5, application/xml;q=0.9", "application/xml; charset=utf-8"),
            ("text/html, application/json;q=0.5", "text/html; charset=utf-8"),
        ] {
            assert_eq!(rendered(error(), Some(accept), None).0, mime, "{accept}");
        }
        assert!(rendered(error(), Some("text/html"), None).1.contains("no &lt;route&gt;."));
    }

    #[test]
    fn gateway_errors_take_the_form_of_the_requests_body() {
        let gateway = || Reply::gateway(StatusCode::BAD_GATEWAY, "m");
        assert_eq!(rendered(gateway(), None, None).0, "text/plain; charset=utf-8");
        let json = rendered(gateway(), None, Some("application/json; charset=x"));
        assert_eq!(json.0, "application/json; charset=utf-8");
        assert_eq!(rendered(gateway(), Some("text/html"), None).0, "text/html; charset=utf-8");
    }

    #[test]
    fn grpc_clients_get_grpc_statuses() {
        let wish =
            Wish { accept: None, content_type: Some("application/grpc+proto"), default_type: "" };
        let rendered = render(error(), wish, &RequestId::new(1));
        assert_eq!(rendered.headers.get(GRPC_STATUS).unwrap(), "5");
        assert_eq!(rendered.headers.get(GRPC_MESSAGE).unwrap(), "no <route>");
        assert!(rendered.body.is_empty());
    }
}
