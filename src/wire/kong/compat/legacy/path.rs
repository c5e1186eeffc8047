//! Paths of routes. From 3.0 on a pattern is what `~` stands before, and every other path is a
//! prefix. 2.8 takes for a prefix what has nothing but letters, digits and `.-_~/%`, and for a
//! pattern all else; it decodes `%xx` in both.

use std::fmt::Write as _;

use super::pattern;

/// A path as 2.8 reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Told {
    /// A prefix in both.
    Prefix(String),
    /// A prefix that must be said as a pattern; how long it is, in bytes.
    Spelt(String, usize),
    /// A pattern in both.
    Pattern(String),
}

/// Says a path of 3.x to 2.8.
///
/// # Errors
///
/// It cannot be said; the text says why.
pub(super) fn tell(path: &str) -> Result<Told, String> {
    match path.strip_prefix('~') {
        Some(pattern) => pattern::of_path(pattern)
            .map(|said| Told::Pattern(if is_prefix(&said) { said + "(?:)" } else { said }))
            .map_err(|why| format!("the path '{path}' {why}")),
        None if is_prefix(path) => Ok(Told::Prefix(path.to_owned())),
        None => Ok(Told::Spelt(spell(path), path.len())),
    }
}

/// Returns whether 2.8 takes a path for a prefix.
fn is_prefix(path: &str) -> bool {
    path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_~/%".contains(&byte))
}

/// Returns the pattern that matches a text, and holds what 2.8 takes for a pattern.
///
/// A prefix is normalised, so each `%xx` in it is one that 2.8 leaves as it is.
fn spell(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 8);
    for sign in text.chars() {
        match sign {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '/' | '_' | '~' | '%' => pattern.push(sign),
            sign if sign.is_ascii_graphic() => pattern.extend(['\\', sign]),
            sign if sign.is_ascii() => {
                // Writing to a text cannot fail.
                let _ = write!(pattern, "\\x{:02x}", u32::from(sign));
            }
            sign => pattern.push(sign),
        }
    }
    if is_prefix(&pattern) { pattern + "(?:)" } else { pattern }
}
