//! The directory: consumers and credentials, as authentication looks them up.
//!
//! Persistent: a clone shares its structure, so a change touches only what changed.

use std::fmt;
use std::sync::Arc;

use http::HeaderValue;
use imbl::{HashMap, OrdMap};
use uuid::Uuid;

use crate::domain::entity::Kind;
use crate::domain::kinds::consumer::Consumer;

/// A consumer, with the header values that tell the upstream about it.
#[derive(Debug)]
pub struct Caller {
    /// The consumer.
    pub consumer: Consumer,
    /// `X-Consumer-ID`.
    pub id: HeaderValue,
    /// `X-Consumer-Custom-ID`.
    pub custom_id: Option<HeaderValue>,
    /// `X-Consumer-Username`.
    pub username: Option<HeaderValue>,
}

impl Caller {
    /// Prepares a consumer.
    pub fn new(consumer: Consumer) -> Self {
        let text = |text: &Option<String>| HeaderValue::from_str(text.as_deref()?).ok();
        Self {
            id: id_value(consumer.id),
            custom_id: text(&consumer.custom_id),
            username: text(&consumer.username),
            consumer,
        }
    }
}

/// Returns an id as a header value.
pub fn id_value(id: Uuid) -> HeaderValue {
    let mut buffer = Uuid::encode_buffer();
    HeaderValue::from_str(id.hyphenated().encode_lower(&mut buffer))
        .unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// A credential.
pub struct Credential {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub consumer: Uuid,
    /// What it is looked up by.
    pub key: Arc<str>,
    /// Seconds since 1970 from when on it is no longer accepted.
    pub expires_at: Option<i64>,
    /// `X-Credential-Identifier`.
    pub identifier: HeaderValue,
}

impl fmt::Debug for Credential {
    /// Leaves the key out: it may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("id", &self.id).finish_non_exhaustive()
    }
}

/// All consumers and credentials.
#[derive(Clone, Default)]
pub struct Directory {
    callers: HashMap<Uuid, Arc<Caller>>,
    usernames: HashMap<Arc<str>, Uuid>,
    credentials: OrdMap<Kind, Credentials>,
}

#[derive(Clone, Default)]
struct Credentials {
    by_key: HashMap<Arc<str>, Arc<Credential>>,
    by_id: HashMap<Uuid, Arc<Credential>>,
}

impl Directory {
    /// Returns a consumer.
    pub fn caller(&self, id: Uuid) -> Option<&Arc<Caller>> {
        self.callers.get(&id)
    }

    /// Returns the consumer whose id or username this is.
    pub fn caller_named(&self, name: &str) -> Option<&Arc<Caller>> {
        let by_id = name.parse().ok().and_then(|id| self.caller(id));
        by_id.or_else(|| self.caller(*self.usernames.get(name)?))
    }

    /// Returns the credential of a kind that has this key.
    pub fn credential(&self, kind: Kind, key: &str) -> Option<&Arc<Credential>> {
        self.credentials.get(&kind)?.by_key.get(key)
    }

    /// Adds or replaces a consumer.
    pub fn put_consumer(&mut self, consumer: Consumer) {
        self.remove_consumer(consumer.id);
        if let Some(username) = consumer.username.as_deref() {
            self.usernames.insert(username.into(), consumer.id);
        }
        self.callers.insert(consumer.id, Arc::new(Caller::new(consumer)));
    }

    /// Removes a consumer; its credentials are entities of their own.
    pub fn remove_consumer(&mut self, id: Uuid) {
        let Some(old) = self.callers.remove(&id) else { return };
        let Some(username) = old.consumer.username.as_deref() else { return };
        // A name may have moved to another consumer earlier in the same change.
        if self.usernames.get(username) == Some(&id) {
            self.usernames.remove(username);
        }
    }

    /// Adds or replaces a credential.
    pub fn put_credential(&mut self, kind: Kind, credential: Credential) {
        self.remove_credential(kind, credential.id);
        let credential = Arc::new(credential);
        let table = self.credentials.entry(kind).or_default();
        table.by_id.insert(credential.id, credential.clone());
        table.by_key.insert(credential.key.clone(), credential);
    }

    /// Removes a credential.
    pub fn remove_credential(&mut self, kind: Kind, id: Uuid) {
        let Some(table) = self.credentials.get_mut(&kind) else { return };
        let Some(old) = table.by_id.remove(&id) else { return };
        if table.by_key.get(&old.key).is_some_and(|credential| credential.id == id) {
            table.by_key.remove(&old.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn consumer(id: u128, username: &str) -> Consumer {
        serde_json::from_value(json!({
            "id": Uuid::from_u128(id), "created_at": 1, "updated_at": 1, "username": username,
        }))
        .unwrap()
    }

    fn credential(id: u128, key: &str) -> Credential {
        Credential {
            id: Uuid::from_u128(id),
            consumer: Uuid::nil(),
            key: key.into(),
            expires_at: None,
            identifier: id_value(Uuid::from_u128(id)),
        }
    }

    #[test]
    fn names_follow_their_consumer() {
        let mut directory = Directory::default();
        directory.put_consumer(consumer(1, "a"));
        let before = directory.clone();
        directory.put_consumer(consumer(2, "a"));
        directory.put_consumer(consumer(1, "b"));
        let found = |directory: &Directory, name: &str| {
            directory.caller_named(name).map(|caller| caller.consumer.id.as_u128())
        };
        assert_eq!((found(&directory, "a"), found(&directory, "b")), (Some(2), Some(1)));
        assert_eq!(found(&directory, &Uuid::from_u128(2).to_string()), Some(2));
        assert_eq!((found(&before, "a"), found(&before, "b")), (Some(1), None));
    }

    #[test]
    fn keys_follow_their_credential() {
        let kind = Kind::new("keys");
        let mut directory = Directory::default();
        directory.put_credential(kind, credential(1, "k"));
        directory.put_credential(kind, credential(2, "k"));
        directory.remove_credential(kind, Uuid::from_u128(1));
        assert_eq!(directory.credential(kind, "k").unwrap().id, Uuid::from_u128(2));
        directory.put_credential(kind, credential(2, "l"));
        assert!(directory.credential(kind, "k").is_none());
        assert!(!format!("{:?}", directory.credential(kind, "l")).contains("\"l\""));
    }
}
