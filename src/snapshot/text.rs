//! Texts of declarative configurations, JSON or YAML, into one tree of values
//! (texts of errors: reference hybrid.md, section 10, "parsers").

use serde_json::{Map, Value};
use serde_yaml_ng::Value as Yaml;

/// Why a text is not a declarative configuration.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// Neither a JSON nor a YAML file by its name.
    #[error("unknown file type: {0}. (Accepted types: json, yaml)")]
    UnknownType(String),
    /// Cannot be parsed, or is not an object.
    #[error("failed parsing declarative configuration: {0}")]
    Parse(String),
}

/// Reads a text by what its file is called; without a name as JSON or else as YAML.
///
/// # Errors
///
/// Another type of file, a text that does not parse, or one that is no object.
pub fn parse_text(name: Option<&str>, bytes: &[u8]) -> Result<Value, TextError> {
    let tree = match name.map(|name| (name, name.rsplit('.').next().unwrap_or_default())) {
        None => json(bytes).or_else(|_| yaml(bytes))?,
        Some((_, "json")) => json(bytes)?,
        Some((_, "yaml" | "yml")) => yaml(bytes)?,
        Some((name, _)) => return Err(TextError::UnknownType(name.to_owned())),
    };
    if tree.is_object() { Ok(tree) } else { Err(TextError::Parse("expected an object".to_owned())) }
}

fn json(bytes: &[u8]) -> Result<Value, TextError> {
    serde_json::from_slice(bytes).map_err(|error| TextError::Parse(error.to_string()))
}

fn yaml(bytes: &[u8]) -> Result<Value, TextError> {
    let parse = |error: serde_yaml_ng::Error| TextError::Parse(error.to_string());
    let mut tree: Yaml = serde_yaml_ng::from_slice(bytes).map_err(parse)?;
    tree.apply_merge().map_err(parse)?;
    into_json(tree)
}

fn into_json(value: Yaml) -> Result<Value, TextError> {
    Ok(match value {
        Yaml::Null => Value::Null,
        Yaml::Bool(bool) => bool.into(),
        Yaml::Number(number) => number_into_json(&number)?,
        Yaml::String(text) => text.into(),
        Yaml::Sequence(items) => {
            items.into_iter().map(into_json).collect::<Result<Vec<_>, _>>()?.into()
        }
        Yaml::Mapping(mapping) => {
            let members =
                mapping.into_iter().map(|(key, value)| Ok((name(key)?, into_json(value)?)));
            Value::Object(members.collect::<Result<Map<_, _>, TextError>>()?)
        }
        Yaml::Tagged(tagged) => into_json(tagged.value)?,
    })
}

fn number_into_json(number: &serde_yaml_ng::Number) -> Result<Value, TextError> {
    let whole = number.as_i64().map(Value::from).or_else(|| number.as_u64().map(Value::from));
    let float = || number.as_f64().and_then(serde_json::Number::from_f64).map(Value::Number);
    whole
        .or_else(float)
        .ok_or_else(|| TextError::Parse(format!("number {number} has no JSON form")))
}

/// JSON has texts only as names.
fn name(key: Yaml) -> Result<String, TextError> {
    match key {
        Yaml::String(text) => Ok(text),
        Yaml::Number(number) => Ok(number.to_string()),
        Yaml::Bool(bool) => Ok(bool.to_string()),
        _ => Err(TextError::Parse("expected a text as the name of a member".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn yaml_and_json_give_the_same_tree() {
        let yaml =
            "_format_version: \"3.0\"\nx: &x {a: 1, 404: [1.5, ~, yes]}\ny:\n  <<: *x\n  b: t\n";
        let expected = json!({
            "_format_version": "3.0",
            "x": {"a": 1, "404": [1.5, null, "yes"]},
            "y": {"a": 1, "404": [1.5, null, "yes"], "b": "t"},
        });
        assert_eq!(parse_text(Some("kong.yml"), yaml.as_bytes()).unwrap(), expected);
        assert_eq!(parse_text(None, yaml.as_bytes()).unwrap(), expected);
        let json = expected.to_string();
        assert_eq!(parse_text(Some("a.json"), json.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn errors_have_the_texts_of_kong() {
        let error = |name, text: &str| parse_text(name, text.as_bytes()).unwrap_err().to_string();
        let expected = "unknown file type: kong.lua. (Accepted types: json, yaml)";
        assert_eq!(error(Some("kong.lua"), "return {}"), expected);
        let scalar = "failed parsing declarative configuration: expected an object";
        for text in ["hello", "", "- a"] {
            assert_eq!(error(None, text), scalar);
        }
        let broken = error(Some("a.json"), "{");
        assert!(broken.starts_with("failed parsing declarative configuration: "), "{broken}");
    }
}
