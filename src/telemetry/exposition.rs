//! Metrics as Prometheus reads them: its text format.

use std::fmt::Write as _;

/// How a page of metrics names its type, as Kong does.
pub const CONTENT_TYPE: &str = "text/plain; charset=UTF-8";

/// A page of metrics that is being written.
#[derive(Debug, Default)]
pub struct Exposition(String);

impl Exposition {
    /// Starts a gauge; the samples that follow are its own.
    pub fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.start(name, help, "gauge")
    }

    /// Starts a counter.
    pub fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.start(name, help, "counter")
    }

    fn start(&mut self, name: &'static str, help: &str, kind: &str) -> Family<'_> {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family { page: &mut self.0, name }
    }

    /// Returns the page.
    pub fn finish(self) -> String {
        self.0
    }
}

/// One metric and its samples.
#[derive(Debug)]
pub struct Family<'a> {
    page: &'a mut String,
    name: &'static str,
}

impl Family<'_> {
    /// Adds a sample with its labels.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) -> &mut Self {
        self.page.push_str(self.name);
        for (number, (label, text)) in labels.iter().enumerate() {
            self.page.push(if number == 0 { '{' } else { ',' });
            let _ = write!(self.page, "{label}=\"{}\"", Escaped(text));
        }
        if !labels.is_empty() {
            self.page.push('}');
        }
        let _ = writeln!(self.page, " {value}");
        self
    }
}

/// The value of a label.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|char| match char {
            '\\' => f.write_str(r"\\"),
            '"' => f.write_str(r#"\""#),
            '\n' => f.write_str(r"\n"),
            char => f.write_char(char),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_in_the_text_format() {
        let mut page = Exposition::default();
        page.gauge("up", "Whether it is up").sample(&[], 1.0);
        page.counter("seen", "What was seen")
            .sample(&[("who", "a\\b\"c\nd"), ("where", "")], 0.5)
            .sample(&[("who", "e"), ("where", "f")], 2f64.powi(64));
        let expected = "# HELP up Whether it is up\n# TYPE up gauge\nup 1\n\
                        # HELP seen What was seen\n# TYPE seen counter\n\
                        seen{who=\"a\\\\b\\\"c\\nd\",where=\"\"} 0.5\n\
                        seen{who=\"e\",where=\"f\"} 18446744073709552000\n";
        assert_eq!(page.finish(), expected);
    }
}
