//! Answers of our own: messages in the form that the client accepts
//! (reference gateway-3, section D.3).

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::template::Templates;
use crate::headers::Headers;
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
    /// The operator's own texts.
    pub templates: &'a Templates,
}

/// An answer ready to be sent.
pub struct Rendered {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub body: Bytes,
}

/// Puts an answer into the form that the client wants.
pub fn render(reply: Reply, wish: Wish<'_>, id: &RequestId) -> Rendered {
    let mut headers = Headers::with_capacity(8);
    let body = match reply.body {
        ReplyBody::Empty => Bytes::new(),
        ReplyBody::Content { mime, bytes } => {
            headers.insert(header::CONTENT_TYPE, mime);
            bytes
        }
        ReplyBody::Error(message) => {
            let form = form_of(wish, None);
            message_body(form, &message, reply.status, id, wish.templates, &mut headers)
        }
        ReplyBody::Gateway(message) => {
            let form = form_of(wish, Some(wish.default_type));
            message_body(form, &message, reply.status, id, wish.templates, &mut headers)
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
        Some(default) => negotiate(wish.content_type.unwrap_or(default)),
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
    let mime = mime.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match mime.as_str() {
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
    templates: &Templates,
    headers: &mut Headers,
) -> Bytes {
    let (mime, template, message, default): (_, _, _, fn(&str, &str) -> String) = match form {
        Form::Json => {
            let quoted = serde_json::to_string(message).unwrap_or_default();
            let inner = quoted.trim_start_matches('"').strip_suffix('"').unwrap_or_default();
            ("application/json; charset=utf-8", &templates.json, inner.to_owned(), json)
        }
        Form::Plain => {
            ("text/plain; charset=utf-8", &templates.plain, message.to_owned(), |message, id| {
                format!("{message}\nrequest_id: {id}\n")
            })
        }
        Form::Html => ("text/html; charset=utf-8", &templates.html, escaped(message), html),
        Form::Xml => ("application/xml; charset=utf-8", &templates.xml, escaped(message), xml),
        Form::Grpc => {
            headers.insert(GRPC_STATUS, HeaderValue::from(grpc_status(status)));
            if let Ok(message) = HeaderValue::from_str(message) {
                headers.insert(GRPC_MESSAGE, message);
            }
            ("application/grpc", &None, String::new(), |_, _| String::new())
        }
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(mime));
    Bytes::from(match template {
        Some(template) => template.fill(&message, id.as_str()),
        None => default(&message, id.as_str()),
    })
}

fn json(message: &str, id: &str) -> String {
    format!("{{\n  \"message\":\"{message}\",\n  \"request_id\":\"{id}\"\n}}")
}

fn html(message: &str, id: &str) -> String {
    format!(
        "<!doctype html>\n<html>\n<head><meta charset=\"utf-8\"><title>Error</title></head>\n\
         <body>\n<h1>Error</h1>\n<p>{message}.</p>\n<p>request_id: {id}</p>\n</body>\n</html>\n"
    )
}

fn xml(message: &str, id: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<error>\n<message>{message}</message>\n\
         <requestid>{id}</requestid>\n</error>\n"
    )
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
    use super::super::template::Template;
    use super::*;

    const ID: &str = "00000000000000000000000000000001";
    const JSON: &str = "application/json; charset=utf-8";
    const PLAIN: &str = "text/plain; charset=utf-8";
    const HTML: &str = "text/html; charset=utf-8";
    const XML: &str = "application/xml; charset=utf-8";
    const GRPC: &str = "application/grpc";

    fn rendered_with(templates: &Templates, reply: Reply, wish: [Option<&str>; 2]) -> Rendered {
        let [accept, content_type] = wish;
        let wish = Wish { accept, content_type, default_type: "text/plain", templates };
        render(reply, wish, &RequestId::new(1))
    }

    fn mime(rendered: &Rendered) -> &str {
        rendered.headers.get(header::CONTENT_TYPE).map_or("", |it| it.to_str().unwrap())
    }

    fn error() -> Reply {
        Reply::error(StatusCode::NOT_FOUND, "no \"<route>\"")
    }

    fn gateway() -> Reply {
        Reply::gateway(StatusCode::BAD_GATEWAY, "m")
    }

    /// Accept and Content-Type of a request; the form of an error of the gateway's own making, and
    /// of one about an upstream or a request that is none.
    #[test]
    fn the_form_follows_accept_then_what_the_request_is_then_the_default() {
        for (accept, content_type, of_error, of_gateway) in [
            (None, None, JSON, PLAIN),
            (Some("*/*"), None, JSON, JSON),
            (Some("image/png"), None, JSON, JSON),
            (Some("text/*"), None, PLAIN, PLAIN),
            (Some("application/*"), None, JSON, JSON),
            (Some("Text/HTML"), None, HTML, HTML),
            (Some("text/html;q=0.5, application/xml;q=0.9"), None, XML, XML),
            (Some("text/html, application/json;q=0.5"), None, HTML, HTML),
            (Some("text/html; q=0, text/plain; q=0.1"), None, PLAIN, PLAIN),
            (Some("text/plain;charset=x;q=0.2,application/xml;q=0.3"), None, XML, XML),
            (Some("application/grpc"), None, GRPC, GRPC),
            (Some("text/html"), Some("application/json"), HTML, HTML),
            (None, Some("application/json; charset=x"), JSON, JSON),
            (None, Some("text/html"), JSON, HTML),
            (None, Some("application/x-www-form-urlencoded"), JSON, JSON),
            (None, Some("application/grpc+proto"), GRPC, GRPC),
            (Some("text/html"), Some("application/grpc"), GRPC, GRPC),
        ] {
            let none = Templates::default();
            for (reply, expected) in [(error(), of_error), (gateway(), of_gateway)] {
                let rendered = rendered_with(&none, reply, [accept, content_type]);
                assert_eq!(mime(&rendered), expected, "{accept:?} {content_type:?}");
            }
        }
    }

    #[test]
    fn bodies_are_kongs_and_templates_replace_them() {
        let own = |text: &str| Some(Template::parse(text).unwrap());
        let templates = Templates {
            json: own("{\"m\":\"%s\",\"i\":\"%s\"}"),
            plain: own("%s (%s)"),
            html: own("<b>%s</b>"),
            xml: own("<e>%s</e>%s"),
        };
        for (accept, body, replaced) in [
            (
                "application/json",
                format!("{{\n  \"message\":\"no \\\"<route>\\\"\",\n  \"request_id\":\"{ID}\"\n}}"),
                format!("{{\"m\":\"no \\\"<route>\\\"\",\"i\":\"{ID}\"}}"),
            ),
            (
                "text/plain",
                format!("no \"<route>\"\nrequest_id: {ID}\n"),
                format!("no \"<route>\" ({ID})"),
            ),
            ("text/html", String::new(), "<b>no \"&lt;route&gt;\"</b>".to_owned()),
            ("application/xml", String::new(), format!("<e>no \"&lt;route&gt;\"</e>{ID}")),
            ("application/grpc", String::new(), String::new()),
        ] {
            let rendered = rendered_with(&Templates::default(), error(), [Some(accept), None]);
            let text = String::from_utf8(rendered.body.to_vec()).unwrap();
            match body.is_empty() && accept != GRPC {
                true => {
                    assert!(text.contains("no \"&lt;route&gt;\"") && text.contains(ID), "{text}")
                }
                false => assert_eq!(text, body),
            }
            let rendered = rendered_with(&templates, error(), [Some(accept), None]);
            assert_eq!(rendered.body, replaced.as_bytes(), "{accept}");
        }
    }

    #[test]
    fn grpc_clients_get_grpc_statuses() {
        for (status, expected) in [
            (400, "3"),
            (401, "16"),
            (403, "7"),
            (404, "5"),
            (409, "6"),
            (418, "3"),
            (429, "8"),
            (499, "1"),
            (500, "13"),
            (501, "12"),
            (502, "13"),
            (503, "14"),
            (504, "4"),
            (302, "2"),
        ] {
            let reply = Reply::error(StatusCode::from_u16(status).unwrap(), "text");
            let rendered = rendered_with(&Templates::default(), reply, [None, Some(GRPC)]);
            assert_eq!(rendered.headers.get(GRPC_STATUS).unwrap(), expected, "{status}");
            assert_eq!(rendered.headers.get(GRPC_MESSAGE).unwrap(), "text");
            assert_eq!(rendered.status.as_u16(), status);
            assert!(rendered.body.is_empty());
        }
    }
}
