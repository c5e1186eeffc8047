//! Declarative configuration as YAML text that reads back the same everywhere.
//!
//! Kong reads YAML 1.1, where `yes`, `017`, `1:30` and `1_000` are no texts; other tools read 1.2.
//! So a text stands without quotes only if no version can take it for something else.

use std::fmt::Write as _;

use serde_json::Value;

/// Words that some version of YAML reads as truth values, null or numbers.
const WORDS: &[&str] = &["y", "n", "yes", "no", "on", "off", "true", "false", "null", "inf", "nan"];

/// Returns a tree as YAML text.
pub fn write(tree: &Value) -> String {
    let mut text = String::new();
    block(&mut text, tree, 0);
    text
}

/// Writes a value that begins where the text ends, and a line's end.
fn block(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (index, (name, member)) in members.iter().enumerate() {
                indent(text, index, depth);
                scalar(text, name);
                text.push(':');
                let nests = nests(member);
                text.push(if nests { '\n' } else { ' ' });
                // A list may stand as deep as its name, but is easier to read one deeper.
                let deeper = depth + usize::from(nests);
                if nests {
                    text.push_str(&"  ".repeat(deeper));
                }
                block(text, member, deeper);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                indent(text, index, depth);
                text.push_str("- ");
                block(text, item, depth + 1);
            }
        }
        Value::String(value) => {
            scalar(text, value);
            text.push('\n');
        }
        // Numbers, truth values, null, and what is empty: as in JSON.
        value => {
            // Writing to memory cannot fail.
            let _ = writeln!(text, "{value}");
        }
    }
}

/// The first member stands where its parent left off.
fn indent(text: &mut String, index: usize, depth: usize) {
    if index > 0 {
        text.push_str(&"  ".repeat(depth));
    }
}

fn nests(value: &Value) -> bool {
    match value {
        Value::Object(members) => !members.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

fn scalar(text: &mut String, value: &str) {
    if is_plain(value) {
        text.push_str(value);
        return;
    }
    text.push('"');
    for sign in value.chars() {
        match sign {
            '"' | '\\' => text.extend(['\\', sign]),
            '\n' => text.push_str("\\n"),
            // Line ends of some version, and what no version prints.
            '\u{0}'..='\u{1f}'
            | '\u{7f}'..='\u{a0}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                let _ = write!(text, "\\u{:04x}", sign as u32);
            }
            sign => text.push(sign),
        }
    }
    text.push('"');
}

/// Returns whether a text is one without quotes too.
fn is_plain(value: &str) -> bool {
    let begins = value.starts_with(|sign: char| sign.is_ascii_alphabetic() || sign == '_');
    let inner = |sign: char| sign.is_ascii_alphanumeric() || "_-./".contains(sign);
    let word = WORDS.iter().any(|word| word.eq_ignore_ascii_case(value));
    begins && value.chars().all(inner) && !word
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_tree_reads_as_people_write_it() {
        let tree = json!({
            "_format_version": "3.0",
            "services": [
                {"host": "a.test", "name": "yes", "port": 80, "tags": ["x", "1:30"], "path": null},
                {"config": {"empty": {}, "list": [], "nested": {"deep": true}}},
            ],
        });
        let text = write(&tree);
        assert_eq!(
            text,
            "_format_version: \"3.0\"\n\
             services:\n  \
               - host: a.test\n    \
                 name: \"yes\"\n    \
                 path: null\n    \
                 port: 80\n    \
                 tags:\n      \
                   - x\n      \
                   - \"1:30\"\n  \
               - config:\n      \
                   empty: {}\n      \
                   list: []\n      \
                   nested:\n        \
                     deep: true\n"
        );
    }

    fn tree() -> impl Strategy<Value = Value> {
        let nasty = prop::sample::select(vec![
            "yes",
            "No",
            "~",
            "",
            " x",
            "x ",
            "017",
            "0x1f",
            "1_000",
            "1:30",
            "1e3",
            ".inf",
            "- a",
            "a: b",
            "a #b",
            "#",
            "'",
            "\"",
            "|",
            "&a",
            "*a",
            "!t",
            "%d",
            "@a",
            "`",
            "a\nb",
            "\t",
            "2001-01-01",
            "\u{2028}",
            "\u{85}",
            "ü",
            "😀",
            "\\",
            "<<",
            "=",
            "{}",
            "[]",
            "null",
            "y",
        ]);
        let text = prop_oneof![nasty.prop_map(str::to_owned), any::<String>()];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(text.clone(), inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_was_written_reads_back_the_same(tree in tree()) {
            let text = write(&tree);
            let read: Value = serde_yaml_ng::from_str(&text).map_err(|error| {
                TestCaseError::fail(format!("{error}\n{text}"))
            })?;
            prop_assert_eq!(read, tree);
        }
    }
}
