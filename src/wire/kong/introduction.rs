//! What a data plane says of itself: the arguments of its request, then `basic_info`
//! (reference hybrid.md, sections 3.4 and 4.2).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::compat::Suffix;

/// The arguments of a request for the outlet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// The node's id, in any form.
    pub node_id: Option<String>,
    /// Its host name.
    pub node_hostname: Option<String>,
    /// Its Kong version, in any form.
    pub node_version: Option<String>,
}

impl Arguments {
    /// Reads the arguments of a query; their names are read in any case, as nginx does.
    pub fn parse(query: &str) -> Self {
        let mut found = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let field = match name.to_ascii_lowercase().as_str() {
                "node_id" => &mut found.node_id,
                "node_hostname" => &mut found.node_hostname,
                "node_version" => &mut found.node_version,
                _ => continue,
            };
            field.get_or_insert_with(|| value.into_owned());
        }
        found
    }

    /// Returns what a control plane asks for and is not there, as Kong names it.
    pub fn missing(&self) -> Option<&'static str> {
        match (&self.node_id, &self.node_version) {
            (None, _) => Some("id"),
            (_, None) => Some("version"),
            _ => None,
        }
    }

    /// Returns what ends each log line about the data plane.
    pub fn suffix(&self, ip: IpAddr) -> Suffix {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (id, host) = (text(&self.node_id), text(&self.node_hostname));
        Suffix::new(&id, &host, ip, self.node_version.as_deref())
    }
}

/// Why a first frame is no introduction, in Kong's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntroductionError {
    /// No frame came, or one of another type.
    #[error("failed to receive websocket basic info frame: {0}")]
    Frame(String),
    /// It is empty.
    #[error("failed to receive websocket basic info data")]
    Empty,
    /// It is no JSON.
    #[error("failed to decode websocket basic info data: {0}")]
    Json(String),
    /// Its `type` is another one.
    #[error("invalid basic info data type: {0}")]
    Type(String),
    /// It has no list of plugins.
    #[error("missing plugins in basic info data")]
    Plugins,
}

/// What a data plane can run, as `basic_info` tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Introduction {
    /// Its plugins by name, with the versions that are texts.
    pub plugins: BTreeMap<String, Option<String>>,
    /// Its wasm filters.
    pub filters: BTreeSet<String>,
    /// Labels that its operator gave it; those that are no texts are left out.
    pub labels: BTreeMap<String, String>,
}

impl Introduction {
    /// Reads `basic_info`.
    ///
    /// # Errors
    ///
    /// It is something else.
    pub fn parse(data: &[u8]) -> Result<Self, IntroductionError> {
        if data.is_empty() {
            return Err(IntroductionError::Empty);
        }
        let value: Value = serde_json::from_slice(data)
            .map_err(|error| IntroductionError::Json(error.to_string()))?;
        match value.get("type") {
            Some(Value::String(name)) if name == "basic_info" => {}
            Some(Value::String(other)) => return Err(IntroductionError::Type(other.clone())),
            _ => return Err(IntroductionError::Type("unknown".to_owned())),
        }
        let plugins = match value.get("plugins") {
            Some(Value::Array(plugins)) => plugins.iter().map(plugin).collect::<Option<_>>(),
            // Lua does not tell an empty list from an empty object.
            Some(Value::Object(plugins)) if plugins.is_empty() => Some(BTreeMap::new()),
            _ => None,
        };
        let names = |value: Option<&Value>| match value {
            Some(Value::Object(names)) => names.keys().cloned().collect(),
            _ => BTreeSet::new(),
        };
        Ok(Self {
            plugins: plugins.ok_or(IntroductionError::Plugins)?,
            filters: names(value.get("filters")),
            labels: value.get("labels").and_then(Value::as_object).map(texts).unwrap_or_default(),
        })
    }
}

/// Reads one plugin; of two with one name the later one counts.
fn plugin(value: &Value) -> Option<(String, Option<String>)> {
    let name = value.get("name")?.as_str()?.to_owned();
    Some((name, value.get("version").and_then(Value::as_str).map(str::to_owned)))
}

fn texts(values: &Map<String, Value>) -> BTreeMap<String, String> {
    let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
    values.iter().filter_map(text).collect()
}

/// Returns the `basic_info` of a data plane of ours: its plugins with their versions in the order
/// of lower-case names, its settings with secrets masked, and its labels if it has any.
pub fn basic_info(
    plugins: &BTreeMap<String, String>,
    process_conf: &Map<String, Value>,
    labels: &BTreeMap<String, String>,
) -> Vec<u8> {
    let mut sorted: Vec<_> = plugins.iter().collect();
    sorted.sort_by_key(|(name, _)| name.to_ascii_lowercase());
    let plugins = sorted.iter().map(|(name, version)| json!({"name": name, "version": version}));
    let mut info = json!({
        "type": "basic_info",
        "plugins": plugins.collect::<Vec<_>>(),
        "process_conf": process_conf,
        "filters": {},
    });
    if !labels.is_empty() {
        info["labels"] = json!(labels);
    }
    info.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_introduction_is_refused_in_kongs_words() {
        let unknown = || IntroductionError::Type("unknown".into());
        for (text, error) in [
            ("", IntroductionError::Empty),
            ("{\"type\":\"other\"}", IntroductionError::Type("other".into())),
            ("{\"type\":null}", unknown()),
            ("{\"type\":true}", unknown()),
            ("{\"type\":{}}", unknown()),
            ("[]", unknown()),
            ("3", unknown()),
            ("{\"type\":\"basic_info\"}", IntroductionError::Plugins),
            ("{\"type\":\"basic_info\",\"plugins\":\"acl\"}", IntroductionError::Plugins),
            ("{\"type\":\"basic_info\",\"plugins\":[\"acl\"]}", IntroductionError::Plugins),
            ("{\"type\":\"basic_info\",\"plugins\":null}", IntroductionError::Plugins),
        ] {
            assert_eq!(Introduction::parse(text.as_bytes()), Err(error), "{text}");
        }
        let error = Introduction::parse(b"\x1f\x8b\x08").unwrap_err().to_string();
        assert!(error.starts_with("failed to decode websocket basic info data: "), "{error}");
    }

    #[test]
    fn versions_that_are_no_texts_count_as_unspecified_and_the_last_plugin_of_a_name_wins() {
        let text = br#"{"type":"basic_info","plugins":[{"name":"a","version":1},
            {"name":"b","version":"1.2.3"},{"name":"c"},{"name":"b","version":"2.0.0"}],
            "labels":{"x":"y","z":1},"filters":{"f":{"name":"f"}},"more":[]}"#;
        let read = Introduction::parse(text).unwrap();
        let version = |name: &str| read.plugins.get(name).cloned().flatten();
        assert_eq!((version("a"), version("b"), version("c")), (None, Some("2.0.0".into()), None));
        assert_eq!(read.labels, BTreeMap::from([("x".into(), "y".into())]));
        assert_eq!(read.filters, BTreeSet::from(["f".into()]));
    }

    #[test]
    fn our_introduction_is_one_that_a_control_plane_reads() {
        let plugins = BTreeMap::from([("Zed".into(), "1".into()), ("acl".into(), "3.9.1".into())]);
        let conf = json!({"role": "data_plane"});
        let info = basic_info(&plugins, conf.as_object().unwrap(), &BTreeMap::new());
        let value: Value = serde_json::from_slice(&info).unwrap();
        assert_eq!(value["plugins"][0]["name"], "acl", "sorted without regard to case");
        assert_eq!(value["filters"], json!({}));
        assert!(value.get("labels").is_none());
        assert_eq!(Introduction::parse(&info).unwrap().plugins.len(), 2);
    }

    #[test]
    fn arguments_are_found_by_names_of_any_case() {
        let read = Arguments::parse("NODE_ID=a&node_version=3.9.3&x=y&node_id=b");
        assert_eq!((read.node_id.as_deref(), read.missing()), (Some("a"), None));
        assert_eq!(Arguments::parse("node_version=1").missing(), Some("id"));
        assert_eq!(Arguments::parse("node_id=").missing(), Some("version"));
    }
}
