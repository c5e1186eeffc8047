//! Lists: pages, their sizes and offsets (reference gateway-2, section B.5).

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use serde_json::{Value, json};
use uuid::Uuid;

use super::call::Call;
use super::error::ApiError;
use super::infer;

const SIZE: usize = 100;
const SIZE_MAX: usize = 1000;

/// Kong writes offsets without padding and reads them with or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One page of a list.
pub(super) struct Page<T> {
    /// The items.
    pub(super) items: Vec<T>,
    /// Where the next page starts; none on the last.
    pub(super) offset: Option<String>,
}

impl<T> Page<T> {
    /// Takes `size` items of those left; `mark` names the last one as the next page's offset.
    pub(super) fn take(
        left: impl Iterator<Item = T>,
        size: usize,
        mark: impl FnOnce(&T) -> String,
    ) -> Self {
        let mut items: Vec<T> = left.take(size.saturating_add(1)).collect();
        let more = items.len() > size;
        items.truncate(size);
        let offset = items.last().filter(|_| more).map(mark);
        Self { items, offset }
    }

    /// Returns the answer; `path` leads back to the list, `carried` are its other arguments.
    pub(super) fn answer(
        self,
        path: &str,
        carried: &[(&str, &str)],
        show: impl FnMut(T) -> Value,
    ) -> Value {
        let data: Vec<Value> = self.items.into_iter().map(show).collect();
        match self.offset {
            Some(offset) => {
                json!({"data": data, "next": next(path, carried, &offset), "offset": offset})
            }
            None => json!({"data": data, "next": null}),
        }
    }

    /// Writes the answer item by item, as [`Page::answer`].
    pub(super) fn write(self, way: &Way<'_>, mut show: impl FnMut(T) -> Value) -> String {
        let mut body = String::from("{\"data\":[");
        for (at, item) in self.items.into_iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            // Writing to a string cannot fail.
            let _ = write!(body, "{comma}{}", show(item));
        }
        body.push_str("],\"next\":");
        match self.offset {
            Some(offset) => {
                let next = Value::from(next(&way.path, &way.carried, &offset));
                let _ = write!(body, "{next},\"offset\":{}}}", Value::from(offset));
            }
            None => body.push_str("null}"),
        }
        body
    }
}

/// The way back to a list: its path, and its arguments but for the offset.
#[derive(Default)]
pub(super) struct Way<'a> {
    /// The path.
    pub(super) path: String,
    /// The arguments.
    pub(super) carried: Vec<(&'static str, &'a str)>,
}

fn next(path: &str, carried: &[(&str, &str)], offset: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("offset", offset).extend_pairs(carried);
    // Kong writes a space so; both are read.
    format!("{path}?{}", query.finish().replace('+', "%20"))
}

/// Returns the page size that a call asks for.
pub(super) fn size(call: &Call) -> Result<usize, ApiError> {
    let mut texts = call.query.iter().filter(|(name, _)| name == "size");
    let Some((_, text)) = texts.next() else { return Ok(SIZE) };
    let number = infer::number(text).filter(|_| texts.next().is_none());
    let number = number.ok_or_else(|| ApiError::size("size must be a number"))?;
    if number.fract() == 0.0 && (1.0..=SIZE_MAX as f64).contains(&number) {
        return Ok(number as usize);
    }
    Err(ApiError::size("size must be an integer between 1 and 1000"))
}

/// Returns the id after which a page starts.
pub(super) fn after(call: &Call) -> Result<Option<Uuid>, ApiError> {
    let Some(offset) = call.argument("offset") else { return Ok(None) };
    match decode(offset)?.as_array().map(Vec::as_slice) {
        Some([Value::String(id)]) => id.parse().ok(),
        _ => None,
    }
    .map(Some)
    .ok_or_else(|| ApiError::offset(offset, "expected the id of an entity"))
}

/// Returns the value that an offset stands for.
pub(super) fn decode(offset: &str) -> Result<Value, ApiError> {
    let bytes =
        BASE64.decode(offset).map_err(|_| ApiError::offset(offset, "bad base64 encoding"))?;
    serde_json::from_slice(&bytes).map_err(|_| ApiError::offset(offset, "bad json encoding"))
}

/// Returns the offset that stands for a value.
pub(super) fn encode(value: &Value) -> String {
    BASE64.encode(value.to_string())
}

/// Returns how many entities a decimal offset skips.
pub(super) fn skip(call: &Call) -> Result<usize, ApiError> {
    let Some(offset) = call.argument("offset") else { return Ok(0) };
    offset.parse().map_err(|_| ApiError::offset(offset, "expected a whole number"))
}

/// Returns the offset that starts a page after an id.
pub(super) fn mark(id: Uuid) -> String {
    encode(&json!([id]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_where_the_next_one_starts() {
        let page = Page::take(1..=5, 2, ToString::to_string);
        assert_eq!((page.items, page.offset), (vec![1, 2], Some("2".to_owned())));
        let page = Page::take(4..=5, 2, ToString::to_string);
        assert_eq!((page.items, page.offset), (vec![4, 5], None));
    }
}
