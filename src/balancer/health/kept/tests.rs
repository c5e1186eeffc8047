//! What one process leaves to the next: its text, what is damaged in it, and what becomes of it.

use std::net::IpAddr;

use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::text::{AGE_MAX_MS, LINES_MAX};
use super::*;
use crate::balancer::address::Identity;
use crate::balancer::dns::Record;
use crate::balancer::target::Endpoint;
use crate::balancer::tests::{target, upstream};

fn counts(text: &str) -> Counts {
    Counts::read(&mut text.split(' ')).unwrap()
}

fn identity(target: &str, host: &str, address: &str) -> Identity {
    let address: std::net::SocketAddr = address.parse().unwrap();
    let target = Endpoint::parse(target).unwrap();
    Identity { target, host: host.into(), ip: address.ip(), port: address.port() }
}

/// A memory with all that there can be in it.
fn memory(now: Moment) -> Memory {
    let ago = |ms| now.before(Duration::from_millis(ms));
    let known = [
        Known { counts: counts("down 2 0 0 0"), latency: None, begun: None },
        Known { counts: counts("up 0 1 2 3"), latency: Some((12.345, ago(7))), begun: None },
        Known { latency: Some((0.0, ago(0))), begun: Some(ago(90_000)), ..Known::NOTHING },
    ];
    let identities = [
        identity("a.test:80", "srv.test", "10.0.0.1:81"),
        identity("[::1]:80", "::1", "[::1]:80"),
        identity("10.0.0.2:80", "10.0.0.2", "10.0.0.2:80"),
    ];
    let keys = identities.into_iter().map(|it| (Uuid::from_u128(1), it));
    let positions = [(Uuid::from_u128(1), 5), (Uuid::from_u128(2), u64::MAX)].into();
    Memory { positions, addresses: keys.zip(known).collect() }
}

#[test]
fn what_is_written_is_read_and_older_by_the_time_between() {
    let now = Moment::now();
    let (text, left_out) = memory(now).text(5_000, now);
    assert_eq!((text.lines().count(), left_out), (6, 0), "{text}");
    assert!(text.lines().nth(1).unwrap().contains(" down "), "who is down comes first: {text}");
    let later = now.after(Duration::from_secs(60));
    for (now_ms, then) in [(5_000, now), (65_000, later)] {
        assert_eq!(Memory::parse(&text, now_ms, then), Some((memory(now), 0)));
    }
}

#[test]
fn the_first_format_is_read() {
    let line = "00000000-0000-0000-0000-000000000001 a.test:80 srv.test 10.0.0.1:81";
    let text = format!("hybridctl-health 1 5000\n{line}\n{line} more\n");
    let key = (Uuid::from_u128(1), identity("a.test:80", "srv.test", "10.0.0.1:81"));
    let down = Known { counts: Counts::of(false), ..Known::NOTHING };
    let wanted = Memory { addresses: [(key, down)].into(), ..Memory::default() };
    assert_eq!(Memory::parse(&text, 6_000, Moment::now()), Some((wanted, 1)));
}

#[test]
fn what_is_old_or_of_another_time_says_nothing() {
    let now = Moment::now();
    let (text, _) = memory(now).text(5_000, now);
    for now_ms in [4_999, 5_001 + AGE_MAX_MS] {
        assert_eq!(Memory::parse(&text, now_ms, now), Some((Memory::default(), 0)));
    }
}

#[test]
fn what_is_no_such_file_is_refused_as_a_whole() {
    for wrong in [
        "",
        "hybridctl-health 3 0\n",
        "hybridctl-health 2 soon\n",
        "hybridctl-health 2 0 more\n",
        "hybridctl-health 2 -9223372036854775808\n",
        "something 2 0\n",
    ] {
        assert_eq!(Memory::parse(wrong, 1_000, Moment::now()), None, "{wrong}");
    }
}

#[test]
fn damaged_lines_are_counted_and_the_others_read() {
    let now = Moment::now();
    let (good, _) = memory(now).text(0, now);
    let address = "address 00000000-0000-0000-0000-000000000003 a:80 a 10.0.0.1:80";
    let upstream = "upstream 00000000-0000-0000-0000-000000000003";
    let damaged = [
        String::new(),
        format!("{upstream} -1"),
        format!("{upstream} 1 more"),
        format!("{address} up 0 0 0 0 - -"),
        format!("{address} up 0 0 0 0 - - - more"),
        format!("{address} up 0 0 0 0 1.0 - -"),
        format!("{address} up 0 0 0 0 - 1 -"),
        format!("{address} up 0 0 0 0 NaN 1 -"),
        format!("{address} up 0 0 0 0 inf 1 -"),
        format!("{address} up 0 0 0 0 -1 1 -"),
        format!("{address} up 0 0 0 0 1 -1 -"),
        format!("{address} up 1 0 0 0 - - -"),
        format!("x{address} up 0 0 0 0 - - -"),
        "address 3 a:80 a 10.0.0.1:80 up 0 0 0 0 - - -".to_owned(),
    ];
    let text = format!("{good}{}\n", damaged.join("\n"));
    assert_eq!(Memory::parse(&text, 0, now), Some((memory(now), damaged.len())));
}

proptest! {
    #[test]
    fn no_text_is_too_damaged_to_be_read(
        cut in 0_usize..400,
        at in 0_usize..400,
        by in any::<char>(),
        now_ms in any::<i64>(),
    ) {
        let now = Moment::now();
        let (good, _) = memory(now).text(0, now);
        let mut text: Vec<char> = good.chars().collect();
        if let Some(place) = text.get_mut(at) {
            *place = by;
        }
        text.truncate(cut);
        let text: String = text.into_iter().collect();
        Memory::parse(&text, now_ms, now);
        Memory::parse(&text, 0, now);
    }
}

#[test]
fn of_too_much_those_that_are_down_are_kept() {
    let (now, id) = (Moment::now(), Uuid::nil());
    let target = Endpoint::new("a.test", 80);
    let address = |number: u32| {
        let ip = IpAddr::from(number.to_be_bytes());
        (id, Identity { target: target.clone(), host: target.host.clone(), ip, port: 80 })
    };
    let count = u32::try_from(LINES_MAX).unwrap() + 9;
    let known = |number| Known { counts: Counts::of(number != 5), ..Known::NOTHING };
    let addresses = (0..count).map(|number| (address(number), known(number))).collect();
    let (text, left_out) = Memory { positions: [(id, 1)].into(), addresses }.text(0, now);
    assert_eq!((text.lines().count(), left_out), (LINES_MAX + 1, 10));
    assert!((text.len() as u64) < BYTES_MAX);
    assert!(text.lines().nth(1).unwrap().contains(" 0.0.0.5:80 down "));
}

/// The file of a test, removed at its end.
struct Path(PathBuf);

impl Path {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("hybridctl-health-{}", Clock::System.id())))
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn build(count: u8, old: Option<&Balancer>) -> Arc<Balancer> {
    let passive = json!({"unhealthy": {"http_failures": 3}});
    let fields = json!({"algorithm": "latency", "healthchecks": {"passive": passive}});
    let targets: Vec<_> = (1..=count).map(|n| target(&format!("10.0.0.{n}:80"), 100)).collect();
    let balancer = Balancer::build(&upstream(fields), &targets, old);
    Arc::new(balancer.with_slow_start(Duration::from_secs(3_600)))
}

#[test]
fn what_was_known_goes_on_as_if_nobody_had_asked_meanwhile() {
    let (path, clock) = (Path::new(), Clock::seeded(Clock::System.now(), 1));
    let file = HealthFile::new(path.0.clone(), clock.clone(), true);
    let first = build(2, None);
    let now = Moment::now();
    for (member, latency_ms) in first.addresses().iter().zip([100.0, 300.0]) {
        member.address.set_latency(latency_ms, now);
    }
    // The third comes later.
    let before = build(3, Some(&first));
    let [one, two, _] = &before.addresses()[..] else { panic!("three addresses") };
    one.address.health.take_over(counts("up 0 0 2 0"));
    two.address.health.take_over(counts("down 0 0 0 0"));
    before.position.store(7, Ordering::Relaxed);
    file.write([before.clone()].into_iter());

    clock.advance(10_000);
    let mut keeper = Keeper::open(file);
    assert!(!path.0.exists(), "it counts once");
    // One more came while nobody ran.
    let after = build(4, None);
    keeper.tell(&after);
    let members = after.addresses();
    let read = |n: usize| members[n].address.health.counts().to_string();
    assert_eq!([0, 1, 2, 3].map(read), ["up 0 0 2 0", "down 0 0 0 0", "up 0 0 0 0", "up 0 0 0 0"]);
    assert_eq!(after.position.load(Ordering::Relaxed), 7);
    let faded = (-1.0_f64).exp();
    let now = Moment::now();
    for (member, latency_ms) in members.iter().zip([100.0, 300.0, 200.0, 200.0]) {
        let (is, wanted) = (member.address.latency_ms(now), latency_ms * faded);
        assert!(is <= wanted * 1.01 && is > 0.0, "{is}, not {wanted}");
    }
    assert!(members[0].address.latency().1 <= now.before(Duration::from_secs(10)));
    let begun = |n: usize| members[n].address.begun_ns(now).map(|ns| ns >= 10_000_000_000);
    assert_eq!([0, 1, 2, 3].map(begun), [None, None, Some(true), None]);

    // It is told once.
    keeper.tell(&after);
    assert_eq!(after.position.load(Ordering::Relaxed), 7);
}

#[test]
fn a_balancer_without_addresses_yet_is_told_when_it_has_them() {
    let path = Path::new();
    let file = HealthFile::new(path.0.clone(), Clock::System, true);
    let build = || {
        let passive = json!({"unhealthy": {"http_failures": 1}});
        let fields = json!({"healthchecks": {"passive": passive}});
        let balancer = Balancer::build(&upstream(fields), &[target("a.test:80", 1)], None);
        Arc::new(balancer)
    };
    let publish = |balancer: &Balancer| {
        balancer.publish("a.test", [Record::of(IpAddr::from([10, 0, 0, 1]))].into());
    };
    let before = build();
    publish(&before);
    before.addresses()[0].address.health.take_over(counts("down 0 0 0 0"));
    before.position.store(3, Ordering::Relaxed);
    file.write([before].into_iter());
    let (mut keeper, after) = (Keeper::open(file), build());
    keeper.tell(&after);
    publish(&after);
    keeper.tell(&after);
    assert!(!after.addresses()[0].address.health.available());
    assert_eq!(after.position.load(Ordering::Relaxed), 3);
}
