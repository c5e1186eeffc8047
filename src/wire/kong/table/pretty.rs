//! What is wrong with a table, as Kong writes it: a line for each step down, and where it ends
//! what is wrong (reference hybrid.md, section 6.5).

use serde_json::Value;

/// Returns the lines of a tree of errors; arrays hold null where nothing is wrong.
pub(super) fn pretty(errors: &Value) -> String {
    let mut lines = Vec::new();
    write(&mut lines, errors, "", 0);
    lines.join("\n")
}

fn write(lines: &mut Vec<String>, errors: &Value, of: &str, depth: usize) {
    let mut line = |key: String, error: &Value, name: &str| {
        let indent = "  ".repeat(depth);
        match error {
            Value::Object(_) | Value::Array(_) => {
                lines.push(format!("{indent}{key}:"));
                write(lines, error, name, depth + 1);
            }
            Value::String(text) => lines.push(format!("{indent}{key}: {text}")),
            other => lines.push(format!("{indent}{key}: {other}")),
        }
    };
    match errors {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| name.as_str());
            for (name, error) in members {
                line(format!("in '{name}'"), error, name);
            }
        }
        Value::Array(items) => {
            for (i, error) in items.iter().enumerate().filter(|(_, error)| !error.is_null()) {
                line(format!("- in entry {} of '{of}'", i + 1), error, &(i + 1).to_string());
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_step_has_a_line() {
        let errors = json!({
            "services": [null, {"colour": "unknown field", "ports": [null, "expected an integer"]}],
            "robots": "unknown field",
        });
        assert_eq!(
            pretty(&errors),
            "in 'robots': unknown field\n\
             in 'services':\n  \
               - in entry 2 of 'services':\n    \
                 in 'colour': unknown field\n    \
                 in 'ports':\n      \
                   - in entry 2 of 'ports': expected an integer"
        );
    }
}
