//! The syntax of kong.conf (reference hybrid.md, section 1.1): text in, assignments out.

/// What a file says: its assignments in order, and remarks on lines that say nothing.
#[derive(Debug, Default)]
pub(super) struct Assignments {
    pub(super) pairs: Vec<(String, String)>,
    pub(super) warnings: Vec<String>,
}

/// Reads the text of a kong.conf.
pub(super) fn parse(text: &str) -> Assignments {
    let mut found = Assignments::default();
    let mut in_section = false;
    for (number, line) in joined_lines(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if line.starts_with('[') && line.ends_with(']') {
            in_section = true;
            found.warnings.push(format!("line {number}: sections are ignored, so is what follows"));
        } else if let Some((key, value)) = line.split_once('=') {
            if !in_section {
                found.pairs.push((key_name(key.trim()), without_comment(value).trim().to_owned()));
            }
        } else {
            found.warnings.push(format!("line {number}: no '=' in it, ignored"));
        }
    }
    found
}

/// Writes one assignment so that [`parse`] reads the same value.
///
/// Only values of one line, without outer spaces or a final backslash, can be written.
pub(super) fn assignment(name: &str, value: &str) -> String {
    format!("{name} = {}\n", value.replace('#', "\\#"))
}

/// Returns whether [`assignment`] can carry this value.
pub(super) fn fits_one_line(value: &str) -> bool {
    value.trim() == value && !value.contains(['\n', '\r']) && !value.contains('\\')
}

/// Joins lines that end in a backslash with the next; each with the number of its first line.
fn joined_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        let (number, mut whole) = open.take().unwrap_or((index + 1, String::new()));
        if let Some(start) = line.strip_suffix('\\') {
            whole.push_str(start);
            open = Some((number, whole));
        } else {
            whole.push_str(line);
            lines.push((number, whole));
        }
    }
    lines.extend(open);
    lines
}

/// `cluster-cert`, `cluster.cert` and `cluster cert` all mean `cluster_cert`.
fn key_name(key: &str) -> String {
    key.chars().map(|it| if it.is_ascii_alphanumeric() { it } else { '_' }).collect()
}

/// Cuts a trailing comment; an escaped `\#` stays, without its backslash.
fn without_comment(value: &str) -> String {
    let mut kept = String::with_capacity(value.len());
    for it in value.chars() {
        if it == '#' {
            if !kept.ends_with('\\') {
                break;
            }
            kept.pop();
        }
        kept.push(it);
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).pairs
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn only_the_first_equals_sign_splits_and_spaces_are_trimmed() {
        assert_eq!(pairs("  a  =  b = c \n"), [pair("a", "b = c")]);
        assert_eq!(
            pairs("log-level=info\nlog.level = warn"),
            [pair("log_level", "info"), pair("log_level", "warn"),]
        );
    }

    #[test]
    fn comments_are_cut_unless_escaped() {
        let text = "# a = 1\n; b = 2\nc = x # rest\nd = p\\#w#rest\n";
        assert_eq!(pairs(text), [pair("c", "x"), pair("d", "p#w")]);
    }

    #[test]
    fn a_backslash_joins_lines() {
        assert_eq!(pairs("a = one, \\\n two\nb = 1"), [pair("a", "one,  two"), pair("b", "1")]);
    }

    #[test]
    fn a_byte_order_mark_does_not_hide_the_first_key() {
        assert_eq!(pairs("\u{feff}role = data_plane"), [pair("role", "data_plane")]);
    }

    #[test]
    fn sections_and_lines_without_equals_are_ignored_with_a_remark() {
        let found = parse("a = 1\nnonsense\n[x]\nb = 2\n");
        assert_eq!(found.pairs, [pair("a", "1")]);
        assert_eq!(found.warnings.len(), 2);
        assert!(found.warnings[0].starts_with("line 2:"), "{:?}", found.warnings);
    }

    #[test]
    fn numbers_and_quotes_stay_as_they_are_written() {
        assert_eq!(pairs("a = 0123\nb = \"x\""), [pair("a", "0123"), pair("b", "\"x\"")]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in "[ -~]{0,40}") {
            prop_assume!(fits_one_line(&value));
            prop_assert_eq!(pairs(&assignment("key", &value)), [pair("key", &value)]);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
            parse(&text);
        }
    }
}
