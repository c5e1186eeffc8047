//! Versions: which data planes may attach (reference hybrid.md, section 6.1).

use super::{Level, Line, shown};

/// A version of Kong or of a plugin; what follows the third number does not count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Version {
    pub(super) major: u64,
    pub(super) minor: u64,
    pub(super) text: String,
}

impl Version {
    /// Reads a text that begins with three numbers with dots between.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '.');
        let mut next = || parts.next();
        let (major, minor, patch) = (next()?, next()?, next()?);
        if !patch.starts_with(|sign: char| sign.is_ascii_digit()) {
            return None;
        }
        Some(Self { major: digits(major)?, minor: digits(minor)?, text: shown(text) })
    }

    /// Returns the first two numbers, with a dot between.
    pub(super) fn level(&self) -> String {
        format!("{}.{}", self.major, self.minor)
    }
}

fn digits(text: &str) -> Option<u64> {
    // `parse` would take a sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Checks the version of a data plane, once, when it has said who it is. It may go on, with or
/// without a line for the log.
///
/// # Errors
///
/// It is to be closed, and its row is to have the status `kong_version_incompatible`.
pub fn check(control: &str, data: &str) -> Result<Option<Line>, Line> {
    let text = shown(data);
    let Some(ours) = Version::parse(control) else {
        let what = format!("data plane version {text} is incompatible with control plane version");
        return Err(refused(what, control, &text));
    };
    let accepted = format!("control plane version {control} ({}.x.y are accepted)", ours.major);
    let Some(theirs) = Version::parse(data) else {
        let what = format!("data plane version is incompatible with {accepted}");
        return Err(refused(what, &ours.level(), &text));
    };
    let refused = |what| Err(refused(what, &ours.level(), &theirs.level()));
    if theirs.major != ours.major {
        return refused(format!("data plane version {text} is incompatible with {accepted}"));
    }
    if theirs.minor > ours.minor {
        return refused(format!(
            "data plane version {text} is incompatible with older control plane version {control}"
        ));
    }
    let differs = theirs.minor < ours.minor;
    Ok(differs.then(|| {
        Line::new(
            Level::Info,
            format!(
                "data plane minor version {text} is different to control plane minor version \
                 {control}"
            ),
        )
    }))
}

/// Adds the reason that Kong's manual names to Kong's text.
fn refused(what: String, control: &str, data: &str) -> Line {
    let reason = format!("version mismatches, CP version: {control} DP version: {data}");
    Line::new(Level::Error, format!("{what}: {reason}"))
}

/// Returns whether the row of a data plane may have this version; a refused one with another gets
/// no row.
pub fn is_recordable(version: &str) -> bool {
    version.starts_with(|sign: char| sign.is_ascii_digit()) && !version.contains("..")
}

/// Returns a version as one number that orders like it: `3.9.1` is 3,009,001,000.
pub(super) fn number(version: &str) -> u64 {
    let mut weight = 1_000_000_000_u64;
    let mut number = 0_u64;
    for part in version.split('.').take(4) {
        let end = part.find(|sign: char| !sign.is_ascii_digit()).unwrap_or(part.len());
        let part = part.get(..end).and_then(|digits| digits.parse().ok()).unwrap_or(0_u64);
        number = number.saturating_add(part.saturating_mul(weight));
        weight /= 1000;
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_of_the_table_has_its_text() {
        let cases = [
            ("x", "3.9.1", "data plane version 3.9.1 is incompatible with control plane version"),
            (
                "3.9.1",
                "garbage",
                "data plane version is incompatible with control plane version 3.9.1 (3.x.y are \
                 accepted)",
            ),
            (
                "3.9.1",
                "2.8.5",
                "data plane version 2.8.5 is incompatible with control plane version 3.9.1 (3.x.y \
                 are accepted)",
            ),
            (
                "3.9.1",
                "3.10.0",
                "data plane version 3.10.0 is incompatible with older control plane version 3.9.1",
            ),
        ];
        for (control, data, text) in cases {
            let line = check(control, data).expect_err(data);
            assert_eq!(line.level, Level::Error);
            assert!(line.text.starts_with(text), "{}", line.text);
        }
        let line = check("3.9.1", "3.5.0").unwrap().unwrap();
        assert_eq!(line.level, Level::Info);
        assert_eq!(
            line.text,
            "data plane minor version 3.5.0 is different to control plane minor version 3.9.1"
        );
        for data in ["3.9.1", "3.9.0", "3.9.9", "3.9.3-dev", "03.9.3", "3.9.3 "] {
            assert_eq!(check("3.9.1", data), Ok(None), "{data}");
        }
    }

    #[test]
    fn what_has_no_three_numbers_is_refused_and_some_of_it_gets_a_row() {
        let cases = [("3", true), ("3.9", true), ("3.10", true), ("3.9.x", true)];
        for (data, row) in
            cases.into_iter().chain([("garbage", false), ("", false), ("v3.9.3", false)])
        {
            assert!(check("3.9.1", data).is_err(), "{data}");
            assert_eq!(is_recordable(data), row, "{data}");
        }
        for data in ["+3.9.1", "3.+9.1", "3..1", "99999999999999999999.1.1"] {
            assert!(check("3.9.1", data).is_err(), "{data}");
        }
    }

    /// The examples of Kong's manual, under "Version compatibility".
    #[test]
    fn for_example_a_kong_gateway_oss_v2_5_2_control_plane() {
        let cases = [
            ("accepts a Kong Gateway (OSS) 2.5.0, 2.5.1 and 2.5.2 data plane", "2.5.0", true),
            ("accepts a Kong Gateway (OSS) 2.5.0, 2.5.1 and 2.5.2 data plane", "2.5.1", true),
            ("accepts a Kong Gateway (OSS) 2.5.0, 2.5.1 and 2.5.2 data plane", "2.5.2", true),
            ("accepts a Kong Gateway (OSS) 2.3.8, 2.2.1 and 2.2.0 data plane", "2.3.8", true),
            ("accepts a Kong Gateway (OSS) 2.3.8, 2.2.1 and 2.2.0 data plane", "2.2.1", true),
            ("accepts a Kong Gateway (OSS) 2.3.8, 2.2.1 and 2.2.0 data plane", "2.2.0", true),
            ("accepts a Kong Gateway (OSS) 2.5.3 data plane", "2.5.3", true),
            ("rejects a Kong Gateway (OSS) 1.0.0 data plane", "1.0.0", false),
            ("rejects a Kong Gateway (OSS) 2.6.0 data plane", "2.6.0", false),
        ];
        for (sentence, data, accepted) in cases {
            assert_eq!(check("2.5.2", data).is_ok(), accepted, "{sentence}: {data}");
        }
    }

    #[test]
    fn the_reason_of_the_seed_stands_in_the_line() {
        let line = check("2.1.0", "2.2.3").unwrap_err();
        assert!(
            line.text.ends_with("version mismatches, CP version: 2.1 DP version: 2.2"),
            "{}",
            line.text
        );
    }

    #[test]
    fn a_version_is_a_number_of_up_to_four_parts() {
        for (version, wanted) in [
            ("3.9.1", 3_009_001_000),
            ("3.9.3-dev", 3_009_003_000),
            ("3.10.0.4", 3_010_000_004),
            ("3", 3_000_000_000),
            ("x.1", 1_000_000),
            ("1.2.3.4.5", 1_002_003_004),
        ] {
            assert_eq!(number(version), wanted, "{version}");
        }
    }
}
