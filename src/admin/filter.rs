//! The filter of lists by tags (reference gateway-2, section B.5). Everything comes from the index
//! of tags, and no more of it is read than the page needs.

use std::iter::{from_fn, successors};
use std::sync::Arc;

use uuid::Uuid;

use super::call::Call;
use super::error::ApiError;
use crate::domain::catalog::Catalog;
use crate::domain::config::Config;
use crate::domain::entity::{Entity, Kind};

const TAGS_MAX: usize = 5;

/// A filter by tags.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tags {
    /// All of these.
    All(Vec<Arc<str>>),
    /// One or more of these.
    Any(Vec<Arc<str>>),
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
        argument(call).map(Self::parse).transpose()
    }

    fn parse(text: &str) -> Result<Self, ApiError> {
        let wrong = |why| Err(ApiError::option("tags", why));
        if text.is_empty() {
            return wrong("cannot be null");
        }
        let (all, any) = (text.contains(','), text.contains('/'));
        let separator = if any { '/' } else { ',' };
        let tags: Vec<Arc<str>> = text.split(separator).map(Arc::from).collect();
        // A separator may end the filter; Kong then asks for a tag without text, which nothing has.
        let listed = tags.len() - usize::from(text.ends_with(separator));
        if all && any
            || text.contains(|c: char| c.is_ascii_control())
            || tags.iter().take(listed).any(|tag| tag.is_empty())
        {
            return wrong("invalid filter syntax");
        }
        if tags.len() > TAGS_MAX {
            return wrong("cannot query more than 5 tags");
        }
        Ok(if any { Self::Any(tags) } else { Self::All(tags) })
    }

    /// Returns the entities of a kind that the filter lets through, after an id, in id order.
    pub(super) fn select<'c>(
        self,
        config: &'c Config,
        kind: Kind,
        after: Option<Uuid>,
    ) -> Box<dyn Iterator<Item = &'c Entity> + 'c> {
        match self {
            Self::All(tags) => match tags.as_slice() {
                [only] => Box::new(config.tagged_of(only, kind, after)),
                _ => Box::new(all(tags, config, kind, after)),
            },
            Self::Any(tags) => Box::new(any(tags, config, kind, after)),
        }
    }
}

/// Returns the text of the filter; of several, Kong reads the first.
pub(super) fn argument(call: &Call) -> Option<&str> {
    ["tags", "tags[]", "tags[1]"].into_iter().find_map(|name| call.argument(name))
}

/// Jumps from tag to tag to the next id that is not before any of theirs, so that a rare tag
/// spares the walk over a common one.
fn all<'c>(
    tags: Vec<Arc<str>>,
    config: &'c Config,
    kind: Kind,
    after: Option<Uuid>,
) -> impl Iterator<Item = &'c Entity> {
    let seek = move |mut after: Option<Uuid>| {
        let mut found: Option<&'c Entity> = None;
        let mut agreed = 0;
        for tag in tags.iter().cycle() {
            let next = config.tagged_of(tag, kind, after).next()?;
            agreed = if found == Some(next) { agreed + 1 } else { 1 };
            if agreed == tags.len() {
                return Some(next);
            }
            found = Some(next);
            // The next tag may have this very id, so the search starts just before it.
            after = next.id().as_u128().checked_sub(1).map(Uuid::from_u128);
        }
        None
    };
    successors(seek(after), move |last| seek(Some(last.id())))
}

/// Merges the tags' lists, which are sorted.
fn any(
    tags: Vec<Arc<str>>,
    config: &Config,
    kind: Kind,
    after: Option<Uuid>,
) -> impl Iterator<Item = &Entity> {
    let mut lists: Vec<_> =
        tags.iter().map(|tag| config.tagged_of(tag, kind, after).peekable()).collect();
    from_fn(move || {
        let least =
            lists.iter_mut().filter_map(|list| list.peek().copied()).min_by_key(|e| e.id())?;
        for list in &mut lists {
            list.next_if(|entity| entity.id() == least.id());
        }
        Some(least)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::kinds::{consumer, service};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn tag_filters_are_read_as_kong_reads_them() {
        let owned = |tags: &[&str]| tags.iter().map(|tag| Arc::from(*tag)).collect();
        let parse = |text| Tags::parse(text).map_err(|error| error.to_string());
        for (text, tags) in [
            ("a", Tags::All(owned(&["a"]))),
            ("a,b", Tags::All(owned(&["a", "b"]))),
            ("a/b", Tags::Any(owned(&["a", "b"]))),
            ("a,", Tags::All(owned(&["a", ""]))),
            ("a/", Tags::Any(owned(&["a", ""]))),
            ("a b é", Tags::All(owned(&["a b é"]))),
        ] {
            assert_eq!(parse(text), Ok(tags), "{text}");
        }
        for (text, why) in [
            ("", "cannot be null"),
            (",", "invalid filter syntax"),
            ("a,b/c", "invalid filter syntax"),
            ("a,,b", "invalid filter syntax"),
            ("a,,", "invalid filter syntax"),
            ("/a", "invalid filter syntax"),
            ("a\u{7f}", "invalid filter syntax"),
            ("a,b,c,d,e,f", "cannot query more than 5 tags"),
        ] {
            assert_eq!(parse(text), Err(format!("invalid option (tags: {why})")), "{text}");
        }
    }

    fn consumers(tags: &[Vec<u8>]) -> Config {
        let entity = |(n, tags): (usize, &Vec<u8>)| {
            let id = Uuid::from_u128(n as u128);
            let tags: Vec<_> = tags.iter().map(|tag| tag.to_string()).collect();
            let Value::Object(document) = json!({"id": id, "tags": tags}) else { return None };
            Entity::new(consumer::KIND, &document).ok()
        };
        Config::of(&Catalog::new(Vec::new()), tags.iter().enumerate().filter_map(entity))
    }

    proptest! {
        #[test]
        fn the_index_finds_what_a_scan_finds(
            have in prop::collection::vec(prop::collection::vec(0u8..4, 0..4), 0..24),
            want in prop::collection::vec(0u8..4, 1..4),
            after in prop::option::of(0u128..24),
        ) {
            let config = consumers(&have);
            let after = after.map(Uuid::from_u128);
            let tags = || want.iter().map(|tag| Arc::from(tag.to_string())).collect::<Vec<_>>();
            let scan = |keep: &dyn Fn(&Vec<u8>) -> bool| -> Vec<Uuid> {
                let kept = have.iter().enumerate().filter(|(_, tags)| keep(tags));
                let ids = kept.map(|(n, _)| Uuid::from_u128(n as u128));
                ids.filter(|id| after.is_none_or(|after| *id > after)).collect()
            };
            let select = |tags: Tags| -> Vec<Uuid> {
                tags.select(&config, consumer::KIND, after).map(Entity::id).collect()
            };
            prop_assert_eq!(select(Tags::All(tags())), scan(&|t| want.iter().all(|w| t.contains(w))));
            prop_assert_eq!(select(Tags::Any(tags())), scan(&|t| want.iter().any(|w| t.contains(w))));
            let others = Tags::All(tags()).select(&config, service::KIND, after).count();
            prop_assert_eq!(others, 0, "another kind's entities are not in it");
        }
    }
}
