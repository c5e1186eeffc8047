//! What is told of a tree: in a header of the answer, and in the log (form and bounds: Kong's
//! `timing/init.lua`).

use std::time::Instant;

use http::{HeaderName, HeaderValue};

use crate::headers::debug::OUTPUT;
use crate::plugins::exchange::{RequestId, ResponseHead};
use crate::plugins::timing::Timing;

/// From how many bytes on a client elsewhere is not sent the output, since what stands between may
/// not take so long a header.
const HEADER_BYTES: usize = 2048;

/// How many bytes of output a line of the log has at the most.
const LINE_BYTES: usize = 3072;

/// What lines of the log begin with.
pub(in crate::proxy) const LOG_PREFIX: &str = "[request-debug]";

/// Ends what was going on and puts the tree into the answer.
pub(in crate::proxy) fn add_output(timing: &mut Timing, head: &mut ResponseHead) {
    timing.leave_all(Instant::now());
    let mut output = timing.to_json();
    if output.len() >= HEADER_BYTES && !timing.is_local {
        timing.is_logged = true;
        output = truncated(timing.request_id());
    }
    if let Ok(mut value) = HeaderValue::from_bytes(output.as_bytes()) {
        // No other answer has it: HTTP/2 need not remember it.
        value.set_sensitive(true);
        head.headers.insert(HeaderName::from_static(OUTPUT), value);
    }
}

/// What stands for an output that is too long.
fn truncated(id: &RequestId) -> String {
    let message = "Output is truncated, please check the error_log for full output by filtering \
                   with the request_id.";
    let id = id.as_str();
    format!("{{\"truncated\":true,\"request_id\":\"{id}\",\"message\":\"{message}\"}}")
}

/// Logs the tree of an exchange that is over, if that is wanted.
pub(in crate::proxy) fn log(mut timing: Timing) {
    timing.leave_all(Instant::now());
    if timing.is_logged {
        let id = timing.request_id().as_str();
        for line in lines(&timing.to_json()) {
            tracing::info!(request_id = id, "{line}");
        }
    }
}

/// Returns the lines for an output: one, or as many as its parts need.
fn lines(output: &str) -> Vec<String> {
    if output.len() < LINE_BYTES {
        return vec![format!("{LOG_PREFIX} output: {output}")];
    }
    let parts = parts(output);
    let count = parts.len();
    let numbered = parts.iter().zip(1..);
    numbered
        .map(|(part, number)| format!("{LOG_PREFIX} parts: {number}/{count} output: {part}"))
        .collect()
}

/// Cuts a text between its characters.
fn parts(mut text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    while !text.is_empty() {
        let ends = (1..=LINE_BYTES).rev().find(|end| text.is_char_boundary(*end));
        let (part, rest) = text.split_at_checked(ends.unwrap_or_default()).unwrap_or((text, ""));
        parts.push(part);
        text = rest;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(is_local: bool, names: usize) -> Timing {
        let now = Instant::now();
        let mut timing = Timing::new(RequestId::new(7), is_local, false, now);
        for number in 0..names {
            timing.enter(&format!("plugin-{number}"), now);
            timing.leave(now);
        }
        timing
    }

    fn told(timing: &mut Timing) -> serde_json::Value {
        let mut head = ResponseHead::own(http::StatusCode::OK, crate::headers::Headers::new());
        head.headers.append(HeaderName::from_static(OUTPUT), HeaderValue::from_static("forged"));
        add_output(timing, &mut head);
        let values: Vec<_> = head.headers.get_all(OUTPUT).collect();
        let [value] = values[..] else { panic!("{values:?}") };
        serde_json::from_slice(value.as_bytes()).unwrap()
    }

    #[test]
    fn a_long_output_goes_to_the_log_unless_its_client_is_on_this_machine() {
        for (is_local, names, is_cut) in
            [(true, 100, false), (false, 100, true), (false, 2, false), (true, 2, false)]
        {
            let mut timing = timing(is_local, names);
            let told = told(&mut timing);
            assert_eq!(told["truncated"] == true, is_cut, "{told}");
            assert_eq!(timing.is_logged, is_cut);
            assert_eq!(told["request_id"], "00000000000000000000000000000007");
            assert_eq!(told["child"].is_object(), !is_cut);
        }
    }

    #[test]
    fn long_lines_are_logged_in_numbered_parts() {
        assert_eq!(lines("{}"), ["[request-debug] output: {}"]);
        assert_eq!(lines(&"x".repeat(LINE_BYTES - 1)).len(), 1);
        let long = "é".repeat(LINE_BYTES);
        let lines = lines(&format!("x{long}"));
        assert_eq!(lines.len(), 3);
        let parts = lines.iter().zip(1..).map(|(line, number)| {
            line.strip_prefix(&format!("[request-debug] parts: {number}/3 output: ")).unwrap()
        });
        let parts: Vec<_> = parts.collect();
        assert!(parts.iter().all(|part| part.len() <= LINE_BYTES));
        assert_eq!(parts.concat(), format!("x{long}"));
    }
}
