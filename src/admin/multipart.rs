//! `multipart/form-data`: the parts of a body as form fields (reference gateway-2, section B.4).

use serde_json::Value;

/// The longest boundary that RFC 2046 admits; it also bounds the search for it.
const BOUNDARY_LEN_MAX: usize = 70;

/// Reads the boundary out of a content type.
pub(super) fn boundary(content_type: &str) -> Option<&str> {
    let (_, rest) = content_type.split_once("boundary=")?;
    let quote = rest.chars().next().filter(|first| ['"', '\''].contains(first));
    let boundary = match quote {
        Some(quote) => rest.split(quote).nth(1)?,
        None => rest.split([';', ' ']).next()?,
    };
    (1..=BOUNDARY_LEN_MAX).contains(&boundary.len()).then_some(boundary)
}

/// Splits a body into its named parts. A part with a JSON type is read as JSON, others as text.
/// Returns `None` when the body does not keep the format.
pub(super) fn decode(body: &[u8], boundary: &str) -> Option<Vec<(String, Value)>> {
    let delimiter = format!("--{boundary}");
    let opening = find(body, delimiter.as_bytes())?;
    let mut rest = body.get(opening + delimiter.len()..)?;
    let delimiter = format!("\r\n{delimiter}");
    let mut fields = Vec::new();
    while !rest.starts_with(b"--") {
        rest = rest.strip_prefix(b"\r\n")?;
        let end = find(rest, delimiter.as_bytes())?;
        fields.push(part(rest.get(..end)?)?);
        rest = rest.get(end + delimiter.len()..)?;
    }
    Some(fields)
}

fn part(bytes: &[u8]) -> Option<(String, Value)> {
    let split = find(bytes, b"\r\n\r\n")?;
    let head = std::str::from_utf8(bytes.get(..split)?).ok()?;
    let content = bytes.get(split + 4..)?;
    let header = |name: &str| {
        head.split("\r\n").find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let name = field_name(header("content-disposition")?)?;
    let is_json = header("content-type").is_some_and(|ty| ty.starts_with("application/json"));
    let value = match is_json {
        true => serde_json::from_slice(content).ok()?,
        false => Value::from(std::str::from_utf8(content).ok()?),
    };
    Some((name, value))
}

fn field_name(disposition: &str) -> Option<String> {
    disposition.split(';').map(str::trim).find_map(|parameter| {
        let value = parameter.strip_prefix("name=")?;
        Some(value.trim_matches('"').to_owned())
    })
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    loop {
        let at = from + haystack.get(from..)?.iter().position(|byte| *byte == first)?;
        if haystack.get(at..)?.starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn parts_become_fields() {
        let body = "--x\r\nContent-Disposition: form-data; name=\"host\"\r\n\r\na\r\nb\r\n\
                    --x\r\ncontent-disposition: form-data; name=\"cert\"; filename=\"c.pem\"\r\n\
                    Content-Type: text/plain\r\n\r\nPEM\r\n\
                    --x\r\nContent-Disposition: form-data; name=\"tags\"\r\n\
                    Content-Type: application/json\r\n\r\n[\"t\"]\r\n--x--\r\n";
        let fields = decode(body.as_bytes(), "x").unwrap();
        let expected = [("host", json!("a\r\nb")), ("cert", json!("PEM")), ("tags", json!(["t"]))];
        let expected: Vec<_> = expected.map(|(name, value)| (name.to_owned(), value)).into();
        assert_eq!(fields, expected);
    }

    #[test]
    fn boundaries_are_found() {
        assert_eq!(boundary("multipart/form-data; boundary=x-1"), Some("x-1"));
        assert_eq!(boundary("multipart/form-data; boundary=\"x 1\"; a=b"), Some("x 1"));
        assert_eq!(boundary("multipart/form-data"), None);
    }

    proptest! {
        #[test]
        fn no_body_panics(body in r#"(--x|\r\n|name="a"|Content-Disposition: |;|-|.){0,30}"#) {
            decode(body.as_bytes(), "x");
        }
    }
}
