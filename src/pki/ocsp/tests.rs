//! Answers made by OpenSSL (tests/fixtures/ocsp), and what is believed of them.

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::answer::Status;
use super::error::{Invalid, RevocationError, Unchecked};
use super::statement::Statement;
use super::target::Target;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/ocsp/", $name))
    };
}

const GOOD: &[u8] = fixture!("good.der");

fn certificate(pem: &[u8]) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem).unwrap()
}

fn leaf() -> Target {
    let (leaf, root) = (certificate(fixture!("leaf.crt")), certificate(fixture!("root.crt")));
    Target::read(&leaf, &root).unwrap()
}

/// When the answers were made.
fn made() -> DateTime<Utc> {
    std::str::from_utf8(fixture!("made")).unwrap().trim().parse().unwrap()
}

fn week() -> TimeDelta {
    TimeDelta::days(7)
}

#[test]
fn a_request_is_the_one_that_openssl_makes() {
    let target = leaf();
    assert_eq!(target.request(), fixture!("request.der"));
    assert_eq!(target.responder.as_deref(), Some("http://ocsp.test:8888/ask"));
    let root = certificate(fixture!("root.crt"));
    assert_eq!(Target::read(&root, &root).unwrap().responder, None);
    assert!(matches!(Target::read(b"", &root), Err(Unchecked::Request(_))));
    assert!(matches!(Target::read(&root, b"x"), Err(Unchecked::Request(_))));
}

#[test]
fn who_may_answer_is_believed() {
    let until = Some(made() + week());
    for (name, answer, status, until) in [
        ("good", GOOD, Status::Good, until),
        ("revoked", fixture!("revoked.der"), Status::Revoked, until),
        ("unknown", fixture!("unknown.der"), Status::Unknown, until),
        ("sha256", fixture!("sha256.der"), Status::Good, until),
        ("no-next-update", fixture!("no-next-update.der"), Status::Good, None),
        ("delegated", fixture!("delegated.der"), Status::Good, until),
        ("delegated-rsa", fixture!("delegated-rsa.der"), Status::Good, until),
    ] {
        let statement = Statement::verify(answer, &leaf(), made());
        assert_eq!(statement, Ok(Statement { status, until }), "{name}");
    }
}

#[test]
fn who_may_not_answer_is_not_believed() {
    let of_another = "its certificate is of another issuer";
    for (name, answer, error) in [
        ("wrong-signer", &fixture!("wrong-signer.der")[..], Invalid::Signer(of_another)),
        ("delegated-stranger", fixture!("delegated-stranger.der"), Invalid::Signer(of_another)),
        (
            "delegated-no-purpose",
            fixture!("delegated-no-purpose.der"),
            Invalid::Signer("its certificate lacks the purpose OCSPSigning"),
        ),
        ("signer-left-out", fixture!("signer-left-out.der"), Invalid::NoSigner),
        ("other-certificate", fixture!("other-certificate.der"), Invalid::NotFound),
        ("empty", b"", Invalid::Malformed),
        ("html", b"<html></html>", Invalid::Malformed),
        ("success without bytes", &[0x30, 3, 10, 1, 0], Invalid::Malformed),
        ("try later", &[0x30, 3, 10, 1, 3], Invalid::NotSuccessful(3, "trylater")),
        ("unauthorized", &[0x30, 3, 10, 1, 6], Invalid::NotSuccessful(6, "unauthorized")),
    ] {
        assert_eq!(Statement::verify(answer, &leaf(), made()), Err(error), "{name}");
    }
    // The same serial of another issuer.
    let (leaf, other) = (certificate(fixture!("leaf.crt")), certificate(fixture!("leaf.crt")));
    let target = Target::read(&leaf, &other).unwrap();
    let error = Invalid::Signer(of_another);
    assert_eq!(Statement::verify(GOOD, &target, made()), Err(error));
}

#[test]
fn an_answer_counts_in_its_time_alone() {
    let minutes = TimeDelta::minutes;
    let no_next: &[u8] = fixture!("no-next-update.der");
    for (answer, at, expected) in [
        (GOOD, made() - minutes(6), Some(Invalid::NotYetValid)),
        (GOOD, made() - minutes(4), None),
        (GOOD, made() + week() + minutes(4), None),
        (GOOD, made() + week() + minutes(6), Some(Invalid::Expired)),
        (no_next, made() + minutes(4), None),
        (no_next, made() + minutes(6), Some(Invalid::Expired)),
        (
            fixture!("delegated.der"),
            made() - minutes(4),
            Some(Invalid::Signer("its certificate is out of date")),
        ),
        // What was revoked stays so.
        (fixture!("revoked.der"), made() + week() + minutes(6), None),
        (fixture!("unknown.der"), made() + week() + minutes(6), Some(Invalid::Expired)),
    ] {
        assert_eq!(Statement::verify(answer, &leaf(), at).err(), expected, "{at}");
    }
}

#[test]
fn the_log_lines_are_those_of_kong() {
    let unchecked = |reason| RevocationError::Unchecked(reason).to_string();
    assert_eq!(
        RevocationError::NotGood("revoked").to_string(),
        "data plane client certificate was revoked: failed to validate OCSP response: certificate \
         status \"revoked\" in the OCSP response"
    );
    for (reason, text) in [
        (
            Unchecked::NoResponder,
            "OCSP responder endpoint can not be determined, the client certificate may be missing \
             the required extensions",
        ),
        (
            Unchecked::Send("timeout".to_owned()),
            "failed to send request to OCSP responder: timeout",
        ),
        (Unchecked::Status(404), "OCSP responder returns bad HTTP status code: 404"),
        (Unchecked::EmptyBody, "unexpected response from OCSP responder: empty body"),
        (
            Unchecked::Invalid(Invalid::NotSuccessful(6, "unauthorized")),
            "failed to validate OCSP response: OCSP response not successful (6: unauthorized)",
        ),
    ] {
        let line = format!("data plane client certificate revocation check failed: {text}");
        assert_eq!(unchecked(reason), line);
    }
}

proptest! {
    /// Of an answer that was tampered with nothing else is believed than what was signed.
    #[test]
    fn a_changed_answer_says_the_same_or_nothing(
        which in 0_usize..3,
        at in any::<prop::sample::Index>(),
        change in 1_u8..,
    ) {
        let answers = [GOOD, fixture!("revoked.der"), fixture!("delegated.der")];
        let mut changed = answers[which].to_vec();
        let at = at.index(changed.len());
        changed[at] ^= change;
        let (said, before) = (
            Statement::verify(&changed, &leaf(), made()),
            Statement::verify(answers[which], &leaf(), made()),
        );
        prop_assert!(said.is_err() || said == before, "{at}");
    }

    #[test]
    fn a_cut_off_answer_says_nothing(length in any::<prop::sample::Index>()) {
        let cut = &GOOD[..length.index(GOOD.len())];
        prop_assert_eq!(Statement::verify(cut, &leaf(), made()), Err(Invalid::Malformed));
    }
}
