//! The canonical bytes of a document: one text for one value, on every machine, for ever.
//!
//! Rules: object keys sorted bytewise; no insignificant space; null members dropped (an absent
//! key means null); a number with an integral value is written as an integer, others as the
//! shortest text that reads back; strings escape only what JSON demands. The encoder sorts by
//! itself, because a dependency can switch serde_json's map to insertion order.

use serde_json::{Map, Value};

/// A document: the JSON object of one entity.
pub type Document = Map<String, Value>;

/// Returns the canonical bytes of a document.
pub fn encode(document: &Document) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    write_object(&mut bytes, document);
    bytes
}

/// Returns the canonical text of any JSON value.
pub fn encode_value(value: &Value) -> String {
    let mut bytes = Vec::new();
    write_value(&mut bytes, value);
    String::from_utf8(bytes).expect("the encoder writes UTF-8 only")
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => write_number(out, number),
        Value::String(text) => write_string(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_value(out, item);
            }
            out.push(b']');
        }
        Value::Object(object) => write_object(out, object),
    }
}

fn write_object(out: &mut Vec<u8>, object: &Document) {
    let mut members: Vec<_> = object.iter().filter(|(_, value)| !value.is_null()).collect();
    members.sort_unstable_by(|a, b| a.0.cmp(b.0));
    out.push(b'{');
    for (i, (key, value)) in members.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_string(out, key);
        out.push(b':');
        write_value(out, value);
    }
    out.push(b'}');
}

fn write_number(out: &mut Vec<u8>, number: &serde_json::Number) {
    let integral = number.as_f64().filter(|float| {
        !number.is_i64() && !number.is_u64() && float.fract() == 0.0 && float.abs() < MAX_EXACT
    });
    let text = match integral {
        Some(float) => itoa::Buffer::new().format(float as i64).to_owned(),
        None => number.to_string(),
    };
    out.extend_from_slice(text.as_bytes());
}

/// Integers up to here are exact in a double.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

fn write_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(&mut *out, text).expect("writing a string to memory cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn text(value: &Value) -> String {
        encode_value(value)
    }

    #[test]
    fn keys_are_sorted_and_nulls_dropped() {
        let value = json!({"b": 1, "a": {"z": null, "y": [null, 1.0]}, "c": null});
        assert_eq!(text(&value), r#"{"a":{"y":[null,1]},"b":1}"#);
    }

    #[test]
    fn one_value_has_one_text() {
        assert_eq!(text(&json!(1.0)), "1");
        assert_eq!(text(&json!(-0.0)), "0");
        assert_eq!(text(&json!(0.1)), "0.1");
        assert_eq!(text(&json!(1e300)), "1e+300");
        assert_eq!(text(&json!(u64::MAX)), "18446744073709551615");
        assert_eq!(text(&json!("é\n\"/")), "\"é\\n\\\"/\"");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map(".*", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn encoding_what_was_read_changes_nothing(value in any_json()) {
            let first = encode_value(&value);
            let read: Value = serde_json::from_str(&first).unwrap();
            prop_assert_eq!(encode_value(&read), first);
        }
    }
}
