//! What a command prints, in Kong's forms: plain, or dated lines under `--v` and `--vv`.

use chrono::Local;

use crate::clock::Clock;
use crate::settings::{Settings, SettingsError};

/// Where and how much a command prints.
#[derive(Debug)]
pub(super) struct Output {
    verbose: bool,
    debug: bool,
    muted: bool,
}

impl Output {
    pub(super) fn new(verbose: bool, debug: bool) -> Self {
        Self { verbose: verbose || debug, debug, muted: false }
    }

    /// Returns an output that says nothing but errors, if `muted`: for `--json`.
    pub(super) fn muted(&self, muted: bool) -> Self {
        Self { verbose: self.verbose, debug: self.debug, muted }
    }

    /// Prints the result of a command.
    pub(super) fn say(&self, text: &str) {
        match (self.muted, self.verbose) {
            (true, _) => {}
            (false, true) => println!("{}", dated("info", text)),
            (false, false) => println!("{text}"),
        }
    }

    /// Prints a step, if `--v` asks for steps.
    pub(super) fn step(&self, text: &str) {
        if self.verbose && !self.muted {
            println!("{}", dated("verbose", text));
        }
    }

    pub(super) fn warn(&self, text: &str) {
        eprintln!("{}", dated("warn", text));
    }

    pub(super) fn error(&self, text: &str) {
        eprintln!("{}", dated("error", text));
    }

    /// Prints the warnings, and under `--vv` every setting with secrets masked.
    pub(super) fn settings(&self, settings: &Settings) {
        settings.warnings.iter().for_each(|warning| self.warn(warning));
        if self.debug {
            for line in settings.dump() {
                println!("{}", dated("debug", &line));
            }
        }
    }

    /// Prints why a command failed; under `--v` everything that is known about it.
    pub(super) fn failure(&self, error: &anyhow::Error) {
        eprintln!("Error: {}", causes(error));
        if !self.verbose {
            eprintln!("\n  Run with --v (verbose) or --vv (debug) for more details");
        } else if let Some(settings) = error.downcast_ref::<SettingsError>() {
            settings.messages().iter().skip(1).for_each(|it| eprintln!("{}", dated("error", it)));
        }
    }
}

/// Returns an error with its causes, without those that the one before tells as its own end: some
/// libraries print their sources.
pub(super) fn causes(error: &anyhow::Error) -> String {
    let mut told = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !told.ends_with(&cause) {
            told.push_str(": ");
            told.push_str(&cause);
        }
    }
    told
}

fn dated(level: &str, text: &str) -> String {
    let now = Clock::System.now().with_timezone(&Local);
    format!("{} [{level}] {text}", now.format("%Y/%m/%d %H:%M:%S"))
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_cause_that_was_told_already_is_not_told_again() {
        let error = anyhow!("refused").context("cannot talk: refused").context("cannot open");
        assert_eq!(causes(&error), "cannot open: cannot talk: refused");
        assert_eq!(causes(&anyhow!("refused").context("cannot talk")), "cannot talk: refused");
    }
}
