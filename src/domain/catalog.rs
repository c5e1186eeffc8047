//! The catalog: all kinds and plugin schemas of this binary, built once at start.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::canonical::Document;
use super::entity::Kind;
use super::kinds::{self, plugin, vault};
use super::rejection::FieldErrors;
use super::schema::{self, Custom, Field, OnDelete, Rewrite, Schema, Type};

/// What a plugin's entities may hold, and the kinds that it brings.
#[derive(Clone)]
pub struct PluginSchema {
    /// Its name.
    pub name: &'static str,
    /// Its version, as Kong 3.9 has it; compared between planes.
    pub version: &'static str,
    /// When it runs: higher first.
    pub priority: i32,
    /// The field `config`: a record.
    pub config: Field,
    /// The scopes that must be null, such as `consumer`.
    pub no_scopes: &'static [&'static str],
    /// Rules in code over `config`; errors name their fields from the top, as `config.minute`.
    pub custom: Vec<Custom>,
    /// Rewrites `config` before its defaults are applied.
    pub rewrite: Option<Rewrite>,
    /// The kinds of its own entities.
    pub kinds: Vec<Schema>,
    /// Whether this version has what runs it.
    pub handled: bool,
}

impl PluginSchema {
    /// Starts the schema of a plugin whose `config` is the record `config`.
    pub fn new(name: &'static str, version: &'static str, priority: i32, config: Field) -> Self {
        Self {
            name,
            version,
            priority,
            config,
            no_scopes: &[],
            custom: Vec::new(),
            rewrite: None,
            kinds: Vec::new(),
            handled: true,
        }
    }

    /// Names the scopes that must be null.
    pub fn no_scopes(mut self, scopes: &'static [&'static str]) -> Self {
        self.no_scopes = scopes;
        self
    }

    /// Adds the kinds of its own entities.
    pub fn kinds(mut self, kinds: Vec<Schema>) -> Self {
        self.kinds = kinds;
        self
    }
}

/// What becomes of an enabled plugin that is described but that nothing here can run.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum UnsupportedPlugins {
    /// It is refused when it is written.
    #[default]
    Refuse,
    /// It is stored; data planes refuse the requests that it applies to.
    Store,
}

/// A field of another kind that refers to a kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Referrer {
    /// The kind that refers.
    pub kind: Kind,
    /// Its field.
    pub field: &'static str,
    /// What a deletion does to it.
    pub on_delete: OnDelete,
}

/// All kinds and plugin schemas.
pub struct Catalog {
    schemas: Vec<Schema>,
    by_name: BTreeMap<&'static str, usize>,
    by_path: BTreeMap<&'static str, usize>,
    referrers: BTreeMap<Kind, Vec<Referrer>>,
    plugins: BTreeMap<&'static str, PluginSchema>,
    vaults: BTreeMap<&'static str, Field>,
    unsupported: UnsupportedPlugins,
}

impl Catalog {
    /// Builds the catalog of the core kinds, the given plugins and their kinds.
    pub fn new(plugins: Vec<PluginSchema>) -> Self {
        let core = kinds::ALL.iter().map(|entry| (entry.schema)());
        let schemas: Vec<_> =
            core.chain(plugins.iter().flat_map(|plugin| plugin.kinds.clone())).collect();
        let index = |name: fn(&Schema) -> &'static str| {
            schemas.iter().enumerate().map(|(i, schema)| (name(schema), i)).collect()
        };
        let by_name = index(|schema| schema.kind.name());
        let by_path = index(|schema| schema.admin_path);
        let mut referrers: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for schema in &schemas {
            for (field, kind, on_delete) in schema.foreign_fields() {
                referrers.entry(kind).or_default().push(Referrer {
                    kind: schema.kind,
                    field,
                    on_delete,
                });
            }
        }
        let plugins = plugins.into_iter().map(|plugin| (plugin.name, plugin)).collect();
        let unsupported = UnsupportedPlugins::default();
        let vaults =
            vault::BACKENDS.iter().filter_map(|name| Some((*name, vault::config_of(name)?)));
        let vaults = vaults.collect();
        Self { schemas, by_name, by_path, referrers, plugins, vaults, unsupported }
    }

    /// Says what becomes of enabled plugins that nothing here can run.
    pub fn unsupported_plugins(mut self, unsupported: UnsupportedPlugins) -> Self {
        self.unsupported = unsupported;
        self
    }

    /// Returns the plugins that may be put to use here.
    pub fn usable_plugins(&self) -> impl Iterator<Item = &PluginSchema> {
        let all = self.unsupported == UnsupportedPlugins::Store;
        self.plugins.values().filter(move |plugin| all || plugin.handled)
    }

    /// Returns the name of the plugin that a document enables and that nothing here can run.
    pub fn unhandled<'d>(&self, kind: Kind, document: &'d Document) -> Option<&'d str> {
        let name = document.get("name").and_then(Value::as_str)?;
        let plugin = self.plugin_of(kind, document)?;
        let enabled = document.get("enabled").is_none_or(|enabled| *enabled == true);
        (enabled && !plugin.handled).then_some(name)
    }

    /// Returns the kind called `name`.
    pub fn kind(&self, name: &str) -> Option<Kind> {
        self.find(name).map(|schema| schema.kind)
    }

    /// Returns the schema of the kind called `name`.
    pub fn find(&self, name: &str) -> Option<&Schema> {
        self.by_name.get(name).and_then(|i| self.schemas.get(*i))
    }

    /// Returns the schema of a kind of this catalog.
    pub fn schema(&self, kind: Kind) -> &Schema {
        self.find(kind.name()).expect("kinds are only made from the catalog's schemas")
    }

    /// Returns all schemas; a kind comes after those that it refers to.
    pub fn schemas(&self) -> impl Iterator<Item = &Schema> {
        self.schemas.iter()
    }

    /// Returns the schema whose collection the Admin API has at `/{segment}`.
    pub fn by_path(&self, segment: &str) -> Option<&Schema> {
        let schema = self.by_path.get(segment).and_then(|i| self.schemas.get(*i));
        schema.filter(|schema| schema.top_level)
    }

    /// Returns the schema, and its field, whose collection stands under `/{parent}/{id}/{segment}`.
    pub fn nested(&self, parent: Kind, segment: &str) -> Option<(&Schema, &'static str)> {
        self.referrers(parent).iter().find_map(|referrer| {
            let schema = self.schema(referrer.kind);
            (!schema.unreachable && schema.nested_path == segment)
                .then_some((schema, referrer.field))
        })
    }

    /// Returns who refers to a kind.
    pub fn referrers(&self, kind: Kind) -> &[Referrer] {
        self.referrers.get(&kind).map_or(&[], Vec::as_slice)
    }

    /// Returns the schema of a plugin.
    pub fn plugin(&self, name: &str) -> Option<&PluginSchema> {
        self.plugins.get(name)
    }

    /// Returns all plugin schemas by name.
    pub fn plugins(&self) -> impl Iterator<Item = &PluginSchema> {
        self.plugins.values()
    }

    /// Returns what the `config` of a vault's backend may hold.
    pub fn vault(&self, backend: &str) -> Option<&Field> {
        self.vaults.get(backend)
    }

    /// Expands shorthands, then fills absent fields with their defaults.
    pub fn complete(&self, kind: Kind, document: &mut Document) -> Result<(), FieldErrors> {
        self.settle(kind, document, true, true)
    }

    /// Fills absent fields with their defaults, but rewrites nothing unless shorthands ask for it:
    /// for a document that was transformed before.
    pub fn fill(&self, kind: Kind, document: &mut Document) -> Result<(), FieldErrors> {
        let schema = self.schema(kind);
        let short = schema.shorthands.iter().any(|(name, _)| document.contains_key(*name));
        self.settle(kind, document, true, short)
    }

    /// Expands shorthands and removes duplicates from sets, but leaves absent fields absent: for a
    /// document that a patch was merged into.
    pub fn tidy(&self, kind: Kind, document: &mut Document) -> Result<(), FieldErrors> {
        self.settle(kind, document, false, true)
    }

    fn settle(
        &self,
        kind: Kind,
        document: &mut Document,
        defaults: bool,
        rewrites: bool,
    ) -> Result<(), FieldErrors> {
        let schema = self.schema(kind);
        if defaults && rewrites {
            // In a patch they speak about the patch alone and were expanded before the merge.
            schema.validate_shorthands(document)?;
            if let Some(rewrite) = schema.rewrite {
                rewrite(document)?;
            }
        }
        schema::complete(&schema.fields, document, defaults);
        let Some(field) = self.config_field(kind, document) else { return Ok(()) };
        let rewrite = self.plugin_of(kind, document).and_then(|plugin| plugin.rewrite);
        if defaults && !document.contains_key("config") {
            document.insert("config".into(), Value::Object(Map::new()));
        }
        if let (Type::Record(fields), Some(Value::Object(config))) =
            (&field.ty, document.get_mut("config"))
        {
            if let Some(rewrite) = rewrite.filter(|_| rewrites) {
                rewrite(config)?;
            }
            schema::complete(fields, config, defaults);
        }
        Ok(())
    }

    /// Checks a complete document, a plugin's `config` included, and that an enabled plugin can
    /// run, unless [`UnsupportedPlugins::Store`] is chosen.
    pub fn validate(&self, kind: Kind, document: &Document) -> Result<(), FieldErrors> {
        let checked = self.check(kind, document, schema::UnknownNull::Refuse);
        match self.unhandled(kind, document) {
            Some(name) if self.unsupported == UnsupportedPlugins::Refuse => {
                let mut errors = checked.err().unwrap_or_default();
                let text = format!(
                    "this version has no handler for plugin '{name}': it can be stored with \
                     'enabled' set to false, or with unsupported_plugins = store"
                );
                errors.insert("name", text.into());
                Err(errors)
            }
            _ => checked,
        }
    }

    /// Checks a document that came from a control plane: a field that is unknown here and null is
    /// ignored, as the seed document says of data planes. A plugin that cannot run is valid: the
    /// requests that it applies to are refused, rather than everything else with it.
    pub fn validate_received(&self, kind: Kind, document: &Document) -> Result<(), FieldErrors> {
        self.check(kind, document, schema::UnknownNull::Ignore)
    }

    fn check(
        &self,
        kind: Kind,
        document: &Document,
        unknown: schema::UnknownNull,
    ) -> Result<(), FieldErrors> {
        let mut errors = self.schema(kind).validate(document, unknown).err().unwrap_or_default();
        if kind == plugin::KIND {
            let mut found = self.check_plugin(document, unknown);
            // Of a plugin that is not there nothing else can be said.
            if !found.has("name") {
                found.extend(errors);
            }
            errors = found;
        }
        if kind == vault::KIND {
            errors.extend(self.check_vault(document, unknown));
        }
        errors.into_result()
    }

    fn check_vault(&self, document: &Document, unknown: schema::UnknownNull) -> FieldErrors {
        let mut errors = FieldErrors::default();
        let Some(name) = document.get("name").and_then(Value::as_str) else { return errors };
        let config = document.get("config").filter(|config| !config.is_null());
        match (self.vault(name), config) {
            (None, _) => errors.insert("name", format!("vault '{name}' is not installed").into()),
            (Some(field), Some(config)) => {
                if let Some(error) = schema::check_value(field, config, unknown) {
                    errors.insert("config", error);
                }
            }
            (Some(_), None) => {}
        }
        errors
    }

    fn check_plugin(&self, document: &Document, unknown: schema::UnknownNull) -> FieldErrors {
        let mut errors = FieldErrors::default();
        let Some(name) = document.get("name").and_then(Value::as_str) else { return errors };
        let Some(plugin) = self.plugin(name) else {
            let text = format!(
                "plugin '{name}' not enabled; add it to the 'plugins' configuration property"
            );
            errors.insert("name", text.into());
            return errors;
        };
        for scope in plugin.no_scopes {
            if document.get(*scope).is_some_and(|value| !value.is_null()) {
                errors.insert(scope, "value must be null".into());
            }
        }
        if let Some(config) = document.get("config").filter(|config| !config.is_null()) {
            if let Some(error) = schema::check_value(&plugin.config, config, unknown) {
                errors.insert("config", error);
            } else if let Value::Object(config) = config {
                for custom in &plugin.custom {
                    errors.extend(custom(config));
                }
            }
        }
        errors
    }

    /// Returns the document as the Admin API shows it: every field present, unset ones null.
    pub fn present(&self, kind: Kind, document: Document) -> Document {
        let mut shown = self.schema(kind).present(document);
        if let Some(field) = self.config_field(kind, &shown)
            && let Some(config) = shown.get_mut("config")
        {
            *config = schema::present_value(field, config.take());
        }
        shown
    }

    /// Returns what `config` of a document may hold, which its `name` says.
    pub fn config_field(&self, kind: Kind, document: &Document) -> Option<&Field> {
        self.config_of(kind, document.get("name")?.as_str()?)
    }

    /// Returns what `config` may hold in the entities of a kind that have this `name`.
    pub fn config_of(&self, kind: Kind, name: &str) -> Option<&Field> {
        if kind == vault::KIND {
            return self.vault(name);
        }
        (kind == plugin::KIND).then(|| self.plugin(name).map(|plugin| &plugin.config)).flatten()
    }

    fn plugin_of(&self, kind: Kind, document: &Document) -> Option<&PluginSchema> {
        if kind != plugin::KIND {
            return None;
        }
        self.plugin(document.get("name")?.as_str()?)
    }
}
