//! The second lock: what the definition's rules refuse is refused here too.

use rstest::rstest;

use super::bench::{at, object};
use crate::{
    api::Reason,
    termination::request::{GuestId, Request},
};

#[test]
fn a_request_says_what_the_object_says() {
    let request = Request::parse(&object()).unwrap();
    assert_eq!(
        (request.uid.as_str(), request.generation, request.created),
        ("uid-1", 1, at(0))
    );
    let termination = &request.termination;
    assert_eq!(termination.guest.as_str(), "guest-12345-abcde");
    assert_eq!(
        (termination.reason, termination.retain_data),
        (Reason::CustomerInitiated, true)
    );
    let reference = termination.external_ref.as_ref().unwrap();
    assert_eq!(reference.as_str(), "ext-ref-98765");
    assert_eq!(format!("{:?}", GuestId::parse("a-1").unwrap()), "\"a-1\"");
}

#[rstest]
#[case("")]
#[case("a/b")]
#[case("..")]
#[case("a..b")]
#[case("%2e%2e")]
#[case("a b")]
#[case("a\n")]
#[case("-a")]
#[case("a.")]
#[case("ä")]
fn a_guest_id_that_is_no_plain_segment_is_refused(#[case] id: &str) {
    let mut object = object();
    object.spec.guest_id = id.to_owned();
    let refusal = Request::parse(&object).unwrap_err().to_string();
    assert!(refusal.starts_with("spec.guestId "), "{refusal}");
}

#[rstest]
#[case(128, true)]
#[case(129, false)]
fn a_guest_id_has_at_most_128_characters(#[case] length: usize, #[case] valid: bool) {
    let mut object = object();
    object.spec.guest_id = "a".repeat(length);
    assert_eq!(Request::parse(&object).is_ok(), valid);
}

#[rstest]
#[case(i64::MIN, false)]
#[case(0, false)]
#[case(1, true)]
#[case(31_536_000, true)]
#[case(31_536_001, false)]
#[case(i64::MAX, false)]
fn the_deadline_is_between_a_second_and_a_year(#[case] seconds: i64, #[case] valid: bool) {
    let mut object = object();
    object.spec.active_deadline_seconds = seconds;
    assert_eq!(Request::parse(&object).is_ok(), valid);
}

#[rstest]
#[case(-1, false)]
#[case(0, true)]
#[case(50, true)]
#[case(51, false)]
fn the_budget_is_between_0_and_50(#[case] limit: i32, #[case] valid: bool) {
    let mut object = object();
    object.spec.backoff_limit = limit;
    assert_eq!(Request::parse(&object).is_ok(), valid);
}

#[rstest]
#[case("", false)]
#[case("a\u{7}b", false)]
#[case("grüße 🙂 % & /", true)]
fn a_reference_is_any_text_without_control_characters(#[case] text: &str, #[case] valid: bool) {
    let mut object = object();
    object.spec.external_ref = Some(text.to_owned());
    assert_eq!(Request::parse(&object).is_ok(), valid);
    object.spec.external_ref = Some("é".repeat(if valid { 256 } else { 257 }));
    assert_eq!(Request::parse(&object).is_ok(), valid);
}

#[test]
fn an_object_that_no_server_stored_is_refused() {
    let mut object = object();
    object.metadata.uid = None;
    assert!(Request::parse(&object).is_err());
    let mut object = super::bench::object();
    object.metadata.creation_timestamp = None;
    assert!(Request::parse(&object).is_err());
}
