//! Trees by hand.

use serde_json::{Value, json};

use super::*;

/// A tree and the time, which tests move.
struct Watch {
    timing: Timing,
    now: Instant,
}

impl Watch {
    fn new() -> Self {
        let now = Instant::now();
        Self { timing: Timing::new(RequestId::new(1), true, false, now), now }
    }

    fn pass(&mut self, us: u64) {
        self.now += Duration::from_micros(us);
    }

    fn enter(&mut self, name: &str) {
        self.timing.enter(name, self.now);
    }

    fn leave(&mut self) {
        self.timing.leave(self.now);
    }

    fn turn_to(&mut self, phase: &str) {
        self.timing.turn_to(phase, self.now);
    }

    fn told(&self) -> Value {
        serde_json::from_str(&self.timing.to_json()).unwrap()
    }
}

#[test]
fn times_add_up_and_what_is_inside_counts_for_what_is_around_it() {
    let mut watch = Watch::new();
    watch.enter("access");
    for us in [1_000, 500] {
        watch.enter("plugins");
        watch.pass(us);
        watch.enter("key-auth");
        watch.pass(us);
        watch.leave();
        watch.leave();
    }
    watch.pass(10);
    watch.turn_to("header_filter");
    watch.pass(70);
    watch.timing.leave_all(watch.now);
    let expected = json!({
        "request_id": "00000000000000000000000000000001",
        "child": {
            "access": {"total_time": 3.01, "child": {
                "plugins": {"total_time": 3, "child": {"key-auth": {"total_time": 1.5}}},
            }},
            "header_filter": {"total_time": 0.07},
        },
        "total_time_without_upstream": 3.08,
    });
    assert_eq!(watch.told(), expected);
}

#[test]
fn the_upstream_is_told_by_tries_first_byte_and_body_and_is_not_our_time() {
    let mut watch = Watch::new();
    for us in [2_000, 7_000] {
        watch.turn_to("balancer");
        watch.pass(100);
        watch.turn_to("upstream");
        watch.pass(us);
    }
    watch.timing.note_answer(watch.now);
    let first = json!({"total_time": 9, "child": {"time_to_first_byte": {"total_time": 7}}});
    assert_eq!(watch.told()["child"]["upstream"], first);
    assert_eq!(watch.told()["total_time_without_upstream"], json!(0.2));
    watch.pass(4_000);
    watch.turn_to("log");
    watch.timing.note_end(watch.now);
    let upstream = &watch.told()["child"]["upstream"];
    assert_eq!(
        (&upstream["total_time"], &upstream["child"]["streaming"]["total_time"]),
        (&json!(13), &json!(4))
    );
}

#[test]
fn without_an_upstream_there_is_nothing_of_it() {
    let mut watch = Watch::new();
    watch.enter("access");
    watch.timing.note_answer(watch.now);
    watch.timing.note_end(watch.now);
    assert_eq!(watch.told()["child"], json!({"access": {"total_time": 0}}));
    watch.timing.leave(watch.now);
    assert_eq!(watch.timing.inside, ROOT);
}

#[test]
fn a_tree_of_nothing_has_no_children() {
    assert_eq!(
        Watch::new().timing.to_json(),
        "{\"request_id\":\"00000000000000000000000000000001\",\"total_time_without_upstream\":0}"
    );
}

#[test]
fn a_name_is_written_as_json_wants_it_and_a_cache_tells_whether_it_knew() {
    let mut watch = Watch::new();
    watch.enter("a\"b");
    watch.timing.note_cache_hit(false);
    watch.leave();
    assert_eq!(watch.told()["child"], json!({"a\"b": {"total_time": 0, "cache_hit": false}}));
}

#[test]
fn milliseconds_are_rounded_down_to_hundredths() {
    for (ns, expected) in [
        (0, "0"),
        (9_999, "0"),
        (10_000, "0.01"),
        (109_999, "0.1"),
        (999_999, "0.99"),
        (1_000_000, "1"),
        (61_230_000_000, "61230"),
        (1_550_000, "1.55"),
    ] {
        let mut written = String::new();
        write_ms(hundredths(Duration::from_nanos(ns)), &mut written);
        assert_eq!(written, expected, "{ns}");
    }
}
