//! Checking what comes as a whole: all entities of a config, or the changes that lead to one.

use super::against::{check_references, check_unique};
use crate::domain::catalog::Catalog;
use crate::domain::config::Config;
use crate::domain::entity::{Entity, Key};
use crate::domain::event::Change;
use crate::domain::rejection::Rejection;

/// Checks that a whole set of entities is a valid config: schemas, unique values, references.
/// Returns it, or everything that is wrong, entity by entity.
pub fn assemble(
    catalog: &Catalog,
    entities: impl IntoIterator<Item = Entity>,
) -> Result<Config, Vec<(Key, Rejection)>> {
    let mut config = Config::default();
    let mut wrong = Vec::new();
    let entities: Vec<_> = entities.into_iter().collect();
    for entity in &entities {
        let document = entity.document();
        if config.find(entity.key()).is_some() {
            wrong.push((entity.key(), Rejection::Exists(entity.id())));
        } else if let Err(rejection) = catalog
            .validate_received(entity.kind(), &document)
            .map_err(Rejection::from)
            .and_then(|()| check_unique(catalog, &config, entity, &document))
        {
            wrong.push((entity.key(), rejection));
        }
        config.apply(catalog, &Change::Upserted(entity.clone()));
    }
    for entity in &entities {
        let document = entity.document();
        if let Err(rejection) = check_references(catalog, &config, entity.kind(), &document) {
            wrong.push((entity.key(), rejection));
        }
    }
    if wrong.is_empty() { Ok(config) } else { Err(wrong) }
}

/// Checks the entities that changes bring and the references that they leave, against the config
/// that they lead to. For a data plane that applies a delta.
pub fn check_changes(
    catalog: &Catalog,
    after: &Config,
    changes: &[Change],
) -> Result<(), (Key, Rejection)> {
    for change in changes {
        let key = change.key();
        match change {
            Change::Upserted(entity) => {
                let document = entity.document();
                catalog
                    .validate_received(key.kind, &document)
                    .map_err(Rejection::from)
                    .and_then(|()| check_unique(catalog, after, entity, &document))
                    .and_then(|()| check_references(catalog, after, key.kind, &document))
                    .map_err(|rejection| (key, rejection))?;
            }
            Change::Deleted(key) => {
                for referrer in catalog.referrers(key.kind) {
                    if after.referring(*key, *referrer, None).next().is_some() {
                        let by = referrer.kind;
                        return Err((*key, Rejection::Referenced { kind: key.kind, by }));
                    }
                }
            }
        }
    }
    Ok(())
}
