//! Vault references in kong.conf: `{vault://env/some-name}` (reference hybrid.md, section 1.1).

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;

/// Returns whether a value is a reference and not the value itself.
pub(super) fn is_reference(value: &str) -> bool {
    value.starts_with("{vault://") && value.ends_with('}')
}

/// Returns what a reference stands for.
///
/// # Errors
/// A fragment that says why there is no such value; it never holds a secret.
pub(super) fn resolve(
    reference: &str,
    env: &BTreeMap<String, String>,
    default_prefix: &str,
) -> Result<String, String> {
    let body = reference.trim_start_matches("{vault://").trim_end_matches('}');
    let (body, version) = match body.split_once('#') {
        Some((body, version)) => (body, version.parse::<u32>().map_err(|_| "invalid version")?),
        None => (body, 1),
    };
    let (path, query) = body.split_once('?').unwrap_or((body, ""));
    let (vault, path) = path.split_once('/').ok_or("reference url is missing path")?;
    if vault != "env" {
        return Err(format!("vault not found ({vault}), only env is built in [{reference}]"));
    }
    let prefix = form_urlencoded::parse(query.as_bytes())
        .find_map(|(key, value)| (key == "prefix").then(|| value.into_owned()))
        .unwrap_or_else(|| default_prefix.to_owned());
    let (resource, key) = match path.rsplit_once('/') {
        Some((resource, "")) => (resource, None),
        Some((resource, key)) => (resource, Some(key)),
        None => (path, None),
    };
    if resource.is_empty() {
        return Err("reference url has empty path".to_owned());
    }
    let mut variable = format!("{prefix}{}", decoded(resource)).replace('-', "_").to_uppercase();
    if version == 2 {
        variable.push_str("_PREVIOUS");
    }
    let missing = || format!("unable to load value ({variable}) from vault (env): not found");
    let value = env.get(&variable).ok_or_else(missing)?;
    let Some(key) = key else { return Ok(value.clone()) };
    serde_json::from_str::<serde_json::Value>(value)
        .ok()
        .and_then(|it| it.get(decoded(key)).and_then(|it| it.as_str().map(str::to_owned)))
        .ok_or_else(|| format!("subfield {key} not found in the value of {variable}"))
}

fn decoded(part: &str) -> String {
    percent_decode_str(part).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(reference: &str) -> Result<String, String> {
        let env = [
            ("SOME_NAME", "plain"),
            ("SSL_SOME_NAME", "prefixed"),
            ("OBJ", r#"{"field":"inner","number":1}"#),
            ("SOME_NAME_PREVIOUS", "old"),
        ];
        let env = env.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        resolve(reference, &env, "")
    }

    #[test]
    fn names_are_upper_cased_and_dashes_become_underscores() {
        assert_eq!(read("{vault://env/some-name}").as_deref(), Ok("plain"));
        assert_eq!(read("{vault://env/some-name?prefix=SSL_}").as_deref(), Ok("prefixed"));
        assert_eq!(read("{vault://env/some-name#2}").as_deref(), Ok("old"));
    }

    #[test]
    fn a_second_segment_is_a_field_of_a_json_object() {
        assert_eq!(read("{vault://env/obj/field}").as_deref(), Ok("inner"));
        assert!(read("{vault://env/obj/number}").is_err());
        assert!(read("{vault://env/some-name/field}").is_err());
    }

    #[test]
    fn failures_name_the_variable_but_no_value() {
        let message = read("{vault://env/none}").unwrap_err();
        assert_eq!(message, "unable to load value (NONE) from vault (env): not found");
        assert!(read("{vault://aws/x}").unwrap_err().starts_with("vault not found (aws)"));
        assert!(read("{vault://env}").is_err());
        assert!(read("{vault://env/}").is_err());
        assert!(!read("{vault://env/obj/none}").unwrap_err().contains("inner"));
    }
}
