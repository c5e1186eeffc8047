//! Form fields as documents: `a.b`, `a[]`, `a[1]` and `a[key]` become records, lists and maps
//! (reference gateway-2, section B.4). Total: every list of fields decodes to something.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::domain::canonical::Document;

/// A name nested deeper than this is taken literally, so that no body can exhaust the stack.
const DEPTH_MAX: usize = 64;

/// One step of a field's name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    /// A place in a list, counted from 1.
    Index(usize),
    /// The end of a list.
    Append,
}

/// What was collected at one place so far.
enum Node {
    Leaf(Value),
    List { indexed: BTreeMap<usize, Self>, appended: Vec<Self> },
    Map(BTreeMap<String, Self>),
}

/// Decodes fields into a document. Values stay text; the schema says later what they are.
pub(super) fn decode(fields: impl IntoIterator<Item = (String, Value)>) -> Document {
    let mut root = BTreeMap::new();
    for (name, value) in fields {
        let mut steps = parse_name(&name).into_iter();
        if let Some(Step::Key(first)) = steps.next() {
            let node = insert(root.remove(&first), steps.as_slice(), value);
            root.insert(first, node);
        }
    }
    root.into_iter().map(|(name, node)| (name, node.into_value())).collect()
}

fn insert(node: Option<Node>, steps: &[Step], value: Value) -> Node {
    let Some((step, rest)) = steps.split_first() else {
        return match node {
            None => Node::Leaf(value),
            Some(Node::List { indexed, mut appended }) => {
                appended.push(Node::Leaf(value));
                Node::List { indexed, appended }
            }
            Some(first @ Node::Leaf(_)) => {
                Node::List { indexed: BTreeMap::new(), appended: vec![first, Node::Leaf(value)] }
            }
            Some(map @ Node::Map(_)) => map,
        };
    };
    match step {
        Step::Key(key) => {
            let mut map = match node {
                Some(Node::Map(map)) => map,
                _ => BTreeMap::new(),
            };
            let inner = insert(map.remove(key), rest, value);
            map.insert(key.clone(), inner);
            Node::Map(map)
        }
        Step::Index(_) | Step::Append => {
            let (mut indexed, mut appended) = match node {
                Some(Node::List { indexed, appended }) => (indexed, appended),
                Some(leaf @ Node::Leaf(_)) => (BTreeMap::new(), vec![leaf]),
                _ => (BTreeMap::new(), Vec::new()),
            };
            match step {
                Step::Index(index) => {
                    let inner = insert(indexed.remove(index), rest, value);
                    indexed.insert(*index, inner);
                }
                _ => appended.push(insert(None, rest, value)),
            }
            Node::List { indexed, appended }
        }
    }
}

impl Node {
    fn into_value(self) -> Value {
        match self {
            Self::Leaf(value) => value,
            Self::List { indexed, appended } => {
                indexed.into_values().chain(appended).map(Self::into_value).collect()
            }
            Self::Map(map) => {
                Value::Object(map.into_iter().map(|(k, node)| (k, node.into_value())).collect())
            }
        }
    }
}

/// Splits a name at dots outside brackets and at brackets; a name that does not follow the grammar
/// is one key.
fn parse_name(name: &str) -> Vec<Step> {
    steps(name)
        .filter(|steps| steps.len() <= DEPTH_MAX)
        .unwrap_or_else(|| vec![Step::Key(name.to_owned())])
}

fn steps(name: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (key, mut tail) = rest.split_at(end);
        if key.is_empty() {
            // Dots in a row are one; a name that starts with a dot or a bracket is literal.
            rest = rest.strip_prefix('.').filter(|_| !steps.is_empty())?;
            continue;
        }
        steps.push(Step::Key(key.to_owned()));
        while let Some(open) = tail.strip_prefix('[') {
            let (inner, after) = open.split_once(']')?;
            steps.push(bracket(inner));
            tail = after;
        }
        rest = match tail.strip_prefix('.') {
            // A trailing dot makes the whole name literal, and so does text after a bracket.
            Some("") => return None,
            Some(next) => next,
            None if tail.is_empty() => tail,
            None => return None,
        };
    }
    (!steps.is_empty()).then_some(steps)
}

fn bracket(inner: &str) -> Step {
    match inner.parse() {
        _ if inner.is_empty() => Step::Append,
        // Lists count from 1: 0 is a key, which the schema then refuses.
        Ok(index) if index > 0 && inner.bytes().all(|b| b.is_ascii_digit()) => Step::Index(index),
        _ => Step::Key(inner.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn form(text: &str) -> Value {
        let fields = form_urlencoded::parse(text.as_bytes());
        Value::Object(decode(fields.into_owned().map(|(name, value)| (name, value.into()))))
    }

    #[test]
    fn names_nest_as_kong_nests_them() {
        for (text, expected) in [
            ("config.minute=5", json!({"config": {"minute": "5"}})),
            ("a.b.c=1&a.b.d=2", json!({"a": {"b": {"c": "1", "d": "2"}}})),
            ("paths[]=/a", json!({"paths": ["/a"]})),
            ("paths[]=/a&paths[]=/b", json!({"paths": ["/a", "/b"]})),
            ("paths=/a&paths=/b", json!({"paths": ["/a", "/b"]})),
            ("paths[2]=/b&paths[1]=/a", json!({"paths": ["/a", "/b"]})),
            ("paths%5B%5D=/a", json!({"paths": ["/a"]})),
            ("tags[0]=a", json!({"tags": {"0": "a"}})),
            ("headers[x-foo]=a&headers[x-foo]=b", json!({"headers": {"x-foo": ["a", "b"]}})),
            ("headers[a.b]=c", json!({"headers": {"a.b": "c"}})),
            ("a[b][2].c=v", json!({"a": {"b": [{"c": "v"}]}})),
            (".a=1", json!({".a": "1"})),
            ("a.=1", json!({"a.": "1"})),
            ("a..b=1", json!({"a": {"b": "1"}})),
            ("a[b=1", json!({"a[b": "1"})),
            ("a[b]c=1", json!({"a[b]c": "1"})),
            ("a=&b", json!({"a": "", "b": ""})),
            ("tags=a,b", json!({"tags": "a,b"})),
        ] {
            assert_eq!(form(text), expected, "{text}");
        }
    }

    #[test]
    fn a_name_nested_without_end_is_literal() {
        let name = vec!["a"; 100_000].join(".");
        assert_eq!(form(&format!("{name}=1")), json!({name: "1"}));
    }

    proptest! {
        #[test]
        fn any_body_decodes(text in r"([ab01\[\]\.=&%]|.){0,60}") {
            form(&text);
        }
    }
}
