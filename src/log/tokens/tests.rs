//! What tokens, names and expiries are.

use super::*;

#[test]
fn a_token_is_known_by_its_secret_and_shown_by_nothing_else() {
    let id = Uuid::from_u128(7);
    let secret = TokenSecret::generate(id).unwrap();
    let text = secret.reveal();
    assert_eq!(text.len(), TOKEN_PREFIX.len() + 64);
    let read = TokenSecret::parse(&text).unwrap();
    assert_eq!((read.id(), read.hash()), (id, secret.hash()));
    assert_ne!(TokenSecret::generate(id).unwrap().hash(), secret.hash());
    let shown = format!("{secret:?} {:?}", secret.hash());
    assert!(!shown.contains(&text[30..]), "{shown}");
    for wrong in ["", "hctl_", &text[1..], &text[..68], &format!("{text}A"), "hctl_é"] {
        assert!(TokenSecret::parse(wrong).is_none(), "{wrong}");
    }
}

/// Stored hashes are compared for ever.
#[test]
fn the_hash_of_a_token_does_not_move() {
    let text = format!("{TOKEN_PREFIX}{}", "A".repeat(64));
    let hash = TokenSecret::parse(&text).unwrap().hash();
    assert_eq!(
        hash.0.to_hex().as_str(),
        "b253fc952037ea70b3822e3b785e02230e10cd89d6fc21986a9d90ba9111c691"
    );
}

#[test]
fn names_are_what_can_stand_in_a_log() {
    let id = Uuid::from_u128(1).to_string();
    for good in ["ci", "ann@example.com", "deck-sync_2.0", &"a".repeat(64)] {
        assert!(good.parse::<TokenName>().is_ok(), "{good}");
    }
    for wrong in ["", "a b", "a\n", "é", "a:b", "a/b", &"a".repeat(65), &id] {
        assert!(wrong.parse::<TokenName>().is_err(), "{wrong}");
    }
}

#[test]
fn an_expiry_is_a_length_or_a_time_to_come() {
    let now = DateTime::from_timestamp(1_000_000, 0).unwrap();
    let end = |text: &str| text.parse::<Expiry>().map(|expiry| expiry.from(now));
    let after = |seconds| Ok(Some(now + TimeDelta::seconds(seconds)));
    for (text, seconds) in [("90d", 90 * 86_400), ("1w", 604_800), ("2h", 7_200), ("5s", 5)] {
        assert_eq!(end(text), after(seconds), "{text}");
    }
    assert_eq!(end("1970-01-12T13:47:40Z"), after(60));
    assert_eq!((end("0d"), end("1970-01-01T00:00:00Z")), (Ok(None), Ok(None)));
    assert_eq!(end("4294967295w"), Ok(None), "beyond what a time can be");
    for wrong in ["", "d", "90", "-1d", "1y", "1.5d", "soon", "9é"] {
        assert!(end(wrong).is_err(), "{wrong}");
    }
}
