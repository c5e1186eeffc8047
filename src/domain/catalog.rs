//! The catalog: all kinds and plugin schemas of this binary, built once at start.

use std::collections::BTreeMap;

use serde_json::Value;

use super::canonical::Document;
use super::entity::Kind;
use super::kinds::route::{self, Flavour};
use super::kinds::{self, plugin};
use super::rejection::FieldErrors;
use super::schema::{self, Check, Custom, Field, Fields, OnDelete, Rewrite, Schema};

/// What a plugin's entities may hold, and the kinds that it brings.
#[derive(Clone)]
pub struct PluginSchema {
    /// Its name.
    pub name: &'static str,
    /// Its version, as Kong 3.9 has it; compared between planes.
    pub version: &'static str,
    /// When it runs: higher first.
    pub priority: i32,
    /// Its fields beside `config`, each in place of the one that all plugins have, in the order
    /// in which they are shown: scopes that must be null, and `protocols`.
    pub fields: Fields,
    /// The field `config`: a record.
    pub config: Field,
    /// Rules over several fields, named from the top, as `config.minute`.
    pub checks: Vec<Check>,
    /// Rules in code over `config`; errors name their fields from the top.
    pub custom: Vec<Custom>,
    /// Rewrites `config` before its defaults are applied.
    pub rewrite: Option<Rewrite>,
    /// The kinds of its own entities.
    pub kinds: Vec<Schema>,
    /// Whether this version has what runs it.
    pub handled: bool,
}

impl PluginSchema {
    /// Starts a schema whose `config` is empty.
    pub fn new(name: &'static str, version: &'static str, priority: i32) -> Self {
        Self {
            name,
            version,
            priority,
            fields: Fields::default(),
            config: Field::record([]),
            checks: Vec::new(),
            custom: Vec::new(),
            rewrite: None,
            kinds: Vec::new(),
            handled: true,
        }
    }

    /// Puts a field in place of the one that all plugins have.
    pub fn field(mut self, name: &'static str, field: Field) -> Self {
        self.fields.push(name, field);
        self
    }

    /// Sets what `config` holds: a record.
    pub fn config(mut self, config: Field) -> Self {
        self.config = config;
        self
    }

    /// Adds a rule over several fields, named from the top.
    pub fn check(mut self, check: Check) -> Self {
        self.checks.push(check);
        self
    }

    /// Adds a rule in code over `config`.
    pub fn custom(mut self, custom: Custom) -> Self {
        self.custom.push(custom);
        self
    }

    /// Sets what rewrites `config` before its defaults are applied.
    pub fn rewrite(mut self, rewrite: Rewrite) -> Self {
        self.rewrite = Some(rewrite);
        self
    }

    /// Adds a kind of the plugin's own entities.
    pub fn kind(mut self, kind: Schema) -> Self {
        self.kinds.push(kind);
        self
    }

    /// Returns all fields that the plugin puts in place of those that all plugins have.
    fn own_fields(&self) -> Fields {
        let mut fields = self.fields.clone();
        fields.push("config", self.config.clone());
        fields
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

/// What documents of one kind and one `name` hold.
struct Part {
    /// All fields: the kind's, and those put in their place.
    fields: Fields,
    /// The fields that were put in place, as they are shown.
    own: Fields,
    /// The rules after the kind's own.
    checks: Vec<Check>,
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
    flavour: Flavour,
    schemas: Vec<Schema>,
    /// Kinds that are described but hold no entities.
    shown: Vec<Schema>,
    by_name: BTreeMap<&'static str, usize>,
    by_path: BTreeMap<&'static str, usize>,
    referrers: BTreeMap<Kind, Vec<Referrer>>,
    plugins: BTreeMap<&'static str, PluginSchema>,
    parts: BTreeMap<Kind, BTreeMap<&'static str, Part>>,
    unsupported: UnsupportedPlugins,
}

impl Catalog {
    /// Builds the catalog of the core kinds, the given plugins and their kinds.
    pub fn new(plugins: Vec<PluginSchema>) -> Self {
        Self::with_flavour(Flavour::default(), plugins)
    }

    /// Builds the catalog for routes of a flavour.
    pub fn with_flavour(flavour: Flavour, plugins: Vec<PluginSchema>) -> Self {
        let core = kinds::ALL.iter().map(|entry| match (entry.schema)() {
            schema if schema.kind == route::KIND => route::schema_of(flavour),
            schema => schema,
        });
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
        let parts = parts(&schemas, &plugins);
        let plugins = plugins.into_iter().map(|plugin| (plugin.name, plugin)).collect();
        let shown = kinds::shown::schemas();
        let unsupported = UnsupportedPlugins::default();
        Self { flavour, schemas, shown, by_name, by_path, referrers, plugins, parts, unsupported }
    }

    /// Returns which flavour routes have.
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// Says what becomes of enabled plugins that nothing here can run.
    pub fn unsupported_plugins(mut self, unsupported: UnsupportedPlugins) -> Self {
        self.unsupported = unsupported;
        self
    }

    /// Adds a rule in code over the documents of a kind: one that the domain cannot know.
    pub fn rule(mut self, kind: Kind, rule: Custom) -> Self {
        for schema in self.schemas.iter_mut().filter(|schema| schema.kind == kind) {
            schema.custom.push(rule);
        }
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

    /// Returns the schema of the kind called `name`, also when it holds no entities here.
    pub fn described(&self, name: &str) -> Option<&Schema> {
        self.find(name).or_else(|| self.shown.iter().find(|schema| schema.kind.name() == name))
    }

    /// Returns the schema of a kind of this catalog.
    pub fn schema(&self, kind: Kind) -> &Schema {
        self.described(kind.name()).expect("kinds are only made from the catalog's schemas")
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

    /// Expands older names of fields and fills absent fields with their defaults, but rewrites
    /// nothing else: for a document that came from a control plane of Kong.
    pub fn receive(&self, kind: Kind, document: &mut Document) -> Result<(), FieldErrors> {
        let fields = self.fields(kind, document);
        schema::expand_fields(fields, document)?;
        schema::complete(fields, document, true);
        Ok(())
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
        let fields = self.fields(kind, document);
        if rewrites {
            self.rewrite_config(kind, document, defaults)?;
            schema::expand_fields(fields, document)?;
        }
        schema::complete(fields, document, defaults);
        Ok(())
    }

    fn rewrite_config(
        &self,
        kind: Kind,
        document: &mut Document,
        defaults: bool,
    ) -> Result<(), FieldErrors> {
        let plugin = self.plugin_of(kind, document);
        let Some(rewrite) = plugin.and_then(|plugin| plugin.rewrite) else { return Ok(()) };
        if defaults && !document.contains_key("config") {
            document.insert("config".into(), Value::Object(Document::new()));
        }
        match document.get_mut("config") {
            Some(Value::Object(config)) => rewrite(config),
            _ => Ok(()),
        }
    }

    /// Expands the shorthands of a patch for `old`, so that old values cannot outvote them.
    pub fn expand_patch(
        &self,
        kind: Kind,
        old: &Document,
        patch: &mut Document,
    ) -> Result<(), FieldErrors> {
        let schema = self.schema(kind);
        schema.validate_shorthands(patch)?;
        if let Some(rewrite) = schema.rewrite {
            rewrite(patch)?;
        }
        schema::expand_fields(self.patch_fields(kind, old, patch), patch)
    }

    /// Returns the fields that a patch of `old` speaks about.
    pub fn patch_fields(&self, kind: Kind, old: &Document, patch: &Document) -> &Fields {
        self.fields(kind, if patch.contains_key("name") { patch } else { old })
    }

    /// Returns the fields of a document: its kind's, and what its `name` puts in their place.
    pub fn fields(&self, kind: Kind, document: &Document) -> &Fields {
        match self.part(kind, document) {
            Some(part) => &part.fields,
            None => &self.schema(kind).fields,
        }
    }

    /// Returns whether documents of a kind depend on their `name`.
    fn has_parts(&self, kind: Kind) -> bool {
        kind == plugin::KIND || self.parts.contains_key(&kind)
    }

    fn part(&self, kind: Kind, document: &Document) -> Option<&Part> {
        self.parts.get(&kind)?.get(document.get("name")?.as_str()?)
    }

    /// Returns what `config` may hold in the entities of a kind that have this `name`.
    pub fn config_of(&self, kind: Kind, name: &str) -> Option<&Field> {
        self.parts.get(&kind)?.get(name)?.own.find("config")
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
        let part = self.part(kind, document);
        if part.is_none() && self.has_parts(kind) {
            // Of a document that may be anything nothing else can be said.
            match document.get("name") {
                None | Some(Value::Null) => {
                    return Err(FieldErrors::one("name", "required field missing"));
                }
                Some(Value::String(name)) => {
                    return Err(FieldErrors::one("name", no_part(kind, name)));
                }
                Some(_) => {}
            }
        }
        let schema = self.schema(kind);
        let (fields, checks) = match part {
            Some(part) => (&part.fields, part.checks.as_slice()),
            None => (&schema.fields, &[][..]),
        };
        let mut errors = schema.validate(fields, checks, document, unknown);
        if let Some(plugin) = self.plugin_of(kind, document)
            && !errors.has("config")
            && let Some(Value::Object(config)) = document.get("config")
        {
            for custom in &plugin.custom {
                errors.extend(custom(config));
            }
        }
        errors.into_result()
    }

    /// Returns the document as the Admin API shows it: every field present, unset ones null.
    pub fn present(&self, kind: Kind, document: Document) -> Document {
        schema::present(self.fields(kind, &document), document)
    }

    /// Returns the description of the kind called `name`.
    pub fn describe(&self, name: &str) -> Option<Value> {
        let schema = self.described(name)?;
        Some(schema::describe(&schema.fields, &schema.checks))
    }

    /// Returns the description of what documents of a kind and a `name` hold beyond the kind's
    /// own fields: of a plugin, or of a sort of vaults.
    pub fn describe_part(&self, kind: Kind, name: &str) -> Option<Value> {
        let part = self.parts.get(&kind)?.get(name)?;
        Some(schema::describe(&part.own, &part.checks))
    }

    fn plugin_of(&self, kind: Kind, document: &Document) -> Option<&PluginSchema> {
        if kind != plugin::KIND {
            return None;
        }
        self.plugin(document.get("name")?.as_str()?)
    }
}

/// What Kong says of a name that is not there.
fn no_part(kind: Kind, name: &str) -> String {
    if kind == plugin::KIND {
        format!("plugin '{name}' not enabled; add it to the 'plugins' configuration property")
    } else {
        format!("vault '{name}' is not installed")
    }
}

/// Lays the fields of plugins, and of subschemas, over those of their kinds.
fn parts(
    schemas: &[Schema],
    plugins: &[PluginSchema],
) -> BTreeMap<Kind, BTreeMap<&'static str, Part>> {
    let mut parts: BTreeMap<Kind, BTreeMap<_, _>> = BTreeMap::new();
    for schema in schemas {
        let mut add = |name, own: Fields, checks: &[Check]| {
            let mut fields = schema.fields.clone();
            own.iter().for_each(|(name, field)| fields.push(name, field.clone()));
            let part = Part { fields, own, checks: checks.to_vec() };
            parts.entry(schema.kind).or_default().insert(name, part);
        };
        for part in &schema.subschemas {
            add(part.name, part.fields.clone(), &part.checks);
        }
        for plugin in plugins.iter().filter(|_| schema.kind == plugin::KIND) {
            add(plugin.name, plugin.own_fields(), &plugin.checks);
        }
    }
    parts
}
