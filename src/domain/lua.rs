//! Values as Lua literals, the way Kong's messages show them (reference gateway-2, section B.3).

use serde_json::Value;

use super::canonical::encode_value;

/// Renders a value on one line: `{id="…",name="x"}`, keys sorted.
pub fn literal(value: &Value) -> String {
    write(value, None)
}

/// Renders a value over several lines, each level indented by two spaces.
pub fn block(value: &Value) -> String {
    write(value, Some(0))
}

/// Renders a value; `depth` is how far its members are indented, none for one line.
fn write(value: &Value, depth: Option<usize>) -> String {
    let inner = depth.map(|depth| depth + 1);
    let equals = if depth.is_some() { " = " } else { "=" };
    match value {
        Value::Null => "null".to_owned(),
        Value::String(text) => quote(text),
        Value::Array(items) => {
            // What follows a hole needs its place, counted from 1.
            let hole = items.iter().position(Value::is_null).unwrap_or(items.len());
            let items = items.iter().enumerate().filter(|(_, item)| !item.is_null());
            let members = items.map(|(at, item)| match at < hole {
                true => write(item, inner),
                false => format!("[{}]{equals}{}", at + 1, write(item, inner)),
            });
            table(members.collect(), depth)
        }
        Value::Object(object) => {
            let mut members: Vec<_> = object.iter().collect();
            members.sort_unstable_by_key(|(name, _)| name.as_str());
            let members = members
                .into_iter()
                .map(|(name, value)| format!("{}{equals}{}", key(name), write(value, inner)));
            table(members.collect(), depth)
        }
        other => encode_value(other),
    }
}

fn table(members: Vec<String>, depth: Option<usize>) -> String {
    let Some(depth) = depth else { return format!("{{{}}}", members.join(",")) };
    let (outer, inner) = ("  ".repeat(depth), "  ".repeat(depth + 1));
    if members.is_empty() {
        return format!("{{\n{outer}}}");
    }
    let lines: Vec<_> = members.iter().map(|member| format!("{inner}{member}")).collect();
    format!("{{\n{}\n{outer}}}", lines.join(",\n"))
}

const KEYWORDS: &[&str] = &[
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "if", "in", "local",
    "nil", "not", "or", "repeat", "return", "then", "true", "until", "while",
];

/// A name as it stands before `=`: bare if Lua could read it so.
fn key(name: &str) -> String {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let goes_on = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match starts && goes_on && !KEYWORDS.contains(&name) {
        true => name.to_owned(),
        false => format!("[{}]", quote(name)),
    }
}

fn quote(text: &str) -> String {
    if text.contains('\n') && !text.contains('\r') && !text.contains("]]") {
        let first = if text.starts_with('\n') { "\n" } else { "" };
        return format!("[[{first}{text}]]");
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\\n"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\{}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_written_on_one_line() {
        for (value, text) in [
            (json!({"name": "x", "id": 1}), r#"{id=1,name="x"}"#),
            (json!({"a": null, "b": true}), "{a=null,b=true}"),
            (json!({"@entity": ["x"]}), r#"{["@entity"]={"x"}}"#),
            (json!({"end": 1, "x-y": 2, "_a1": 3}), r#"{_a1=3,["end"]=1,["x-y"]=2}"#),
            (json!([null, "b", null, "d"]), r#"{[2]="b",[4]="d"}"#),
            (json!(["a", null, "c"]), r#"{"a",[3]="c"}"#),
            (json!("a\"b\\c"), r#""a\"b\\c""#),
            (json!("a\nb"), "[[a\nb]]"),
            (json!("a\r\u{1}"), "\"a\\r\\1\""),
            (json!({}), "{}"),
        ] {
            assert_eq!(literal(&value), text, "{value}");
        }
    }

    #[test]
    fn blocks_are_indented() {
        let value = json!({"b": {"c": [null, "x"]}, "a": "y", "d": {}});
        let text =
            "{\n  a = \"y\",\n  b = {\n    c = {\n      [2] = \"x\"\n    }\n  },\n  d = {\n  }\n}";
        assert_eq!(block(&value), text);
    }
}
