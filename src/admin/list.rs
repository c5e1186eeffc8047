//! Lists: pages, offsets and the filter by tags (reference gateway-2, section B.5).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use serde_json::{Value, json};
use uuid::Uuid;

use super::call::Call;
use super::error::ApiError;
use crate::domain::catalog::Catalog;
use crate::domain::config::Config;
use crate::domain::entity::{Entity, Kind};

const SIZE: usize = 100;
const SIZE_MAX: usize = 1000;
const TAGS_MAX: usize = 5;

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
        let Some(offset) = self.offset else { return json!({"data": data, "next": null}) };
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("offset", &offset).extend_pairs(carried);
        json!({"data": data, "next": format!("{path}?{}", query.finish()), "offset": offset})
    }
}

/// Returns the page size that a call asks for.
pub(super) fn size(call: &Call) -> Result<usize, ApiError> {
    let Some(text) = call.argument("size") else { return Ok(SIZE) };
    let number: f64 = text.trim().parse().map_err(|_| ApiError::size("size must be a number"))?;
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

/// A filter by tags.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tags {
    /// All of these.
    All(Vec<String>),
    /// One or more of these.
    Any(Vec<String>),
}

impl Tags {
    /// Reads the filter of a call; a kind without tags ignores it.
    pub(super) fn read(
        catalog: &Catalog,
        kind: Kind,
        call: &Call,
    ) -> Result<Option<Self>, ApiError> {
        if catalog.schema(kind).fields.find("tags").is_none() {
            return Ok(None);
        }
        call.argument("tags").map(Self::parse).transpose()
    }

    fn parse(text: &str) -> Result<Self, ApiError> {
        let wrong = |why| Err(ApiError::option("tags", why));
        if text.is_empty() {
            return wrong("cannot be null");
        }
        let (all, any) = (text.contains(','), text.contains('/'));
        if all && any {
            return wrong("invalid filter syntax");
        }
        let tags: Vec<_> = text.split([',', '/']).map(str::to_owned).collect();
        if tags.iter().any(String::is_empty) {
            return wrong("invalid filter syntax");
        }
        if tags.len() > TAGS_MAX {
            return wrong("cannot query more than 5 tags");
        }
        Ok(if any { Self::Any(tags) } else { Self::All(tags) })
    }

    /// Returns the entities of a kind that the filter lets through, after an id, in id order.
    pub(super) fn select<'c>(
        &self,
        config: &'c Config,
        kind: Kind,
        after: Option<Uuid>,
    ) -> impl Iterator<Item = &'c Entity> + use<'c> {
        let (Self::All(tags) | Self::Any(tags)) = self;
        let wanted = match self {
            Self::All(_) => tags.iter().collect::<std::collections::BTreeSet<_>>().len(),
            Self::Any(_) => 1,
        };
        let mut hits: BTreeMap<Uuid, (usize, &Entity)> = BTreeMap::new();
        let mut seen: Vec<&String> = Vec::new();
        for tag in tags {
            if seen.contains(&tag) {
                continue;
            }
            seen.push(tag);
            for entity in config.tagged(tag).filter(|entity| entity.kind() == kind) {
                hits.entry(entity.id()).or_insert((0, entity)).0 += 1;
            }
        }
        let hits = hits.into_iter().filter(move |(id, _)| after.is_none_or(|after| *id > after));
        hits.filter(move |(_, (count, _))| *count >= wanted).map(|(_, (_, entity))| entity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_filters_are_read_as_kong_reads_them() {
        let owned = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect();
        let parse = |text| Tags::parse(text).map_err(|error| error.to_string());
        assert_eq!(parse("a"), Ok(Tags::All(owned(&["a"]))));
        assert_eq!(parse("a,b"), Ok(Tags::All(owned(&["a", "b"]))));
        assert_eq!(parse("a/b"), Ok(Tags::Any(owned(&["a", "b"]))));
        for (text, why) in [
            ("", "cannot be null"),
            ("a,b/c", "invalid filter syntax"),
            ("a,,b", "invalid filter syntax"),
            ("a,b,c,d,e,f", "cannot query more than 5 tags"),
        ] {
            assert_eq!(parse(text), Err(format!("invalid option (tags: {why})")), "{text}");
        }
    }

    #[test]
    fn a_page_says_where_the_next_one_starts() {
        let page = Page::take(1..=5, 2, ToString::to_string);
        assert_eq!((page.items, page.offset), (vec![1, 2], Some("2".to_owned())));
        let page = Page::take(4..=5, 2, ToString::to_string);
        assert_eq!((page.items, page.offset), (vec![4, 5], None));
    }
}
