//! What holds for any answer at all.

use proptest::prelude::*;

use super::*;

/// What stands between us and the vendor says anything, at any status, with any length and end.
fn foreign_body() -> impl Strategy<Value = String> {
    prop_oneof![
        ".*".prop_map(|text| format!("<html><body>{text}</body></html>")),
        (".*", 100u16..600).prop_map(|(message, code)| {
            serde_json::json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code,
            })
            .to_string()
        }),
        ".*".prop_map(|text| serde_json::json!({"message": text, "request_id": "r"}).to_string()),
        ".*".prop_map(|text| serde_json::json!({"error": format!("e{text}"), "path": "/"}).to_string()),
        ".*".prop_map(|text| serde_json::json!({"fault": {"faultstring": text}}).to_string()),
        "[^{].*",
    ]
}

fn body_end() -> impl Strategy<Value = BodyEnd> {
    prop_oneof![
        Just(BodyEnd::Complete),
        Just(BodyEnd::OverCap),
        Just(BodyEnd::Interrupted),
        Just(BodyEnd::TimedOut),
    ]
}

proptest! {
    /// 204 is left out: it has no body, and it is believed.
    #[test]
    fn a_foreign_body_is_never_success(
        status in prop_oneof![Just(200u16), Just(404), Just(410), Just(400), 100u16..204, 205u16..600],
        body in foreign_body(),
        end in body_end(),
    ) {
        let mut received = received(status, &[CORRELATED], &body);
        received.body_end = end;
        prop_assume!(!body.is_empty());
        let look = look_at(&received);
        prop_assert!(matches!(look, Look::Failed(failure) if !matches!(failure, Failure::NotFound { .. })), "{look:?}");
        let call = call_for(&received);
        prop_assert!(
            matches!(call, Call::Accepted | Call::Failed(_))
                && !matches!(call, Call::Failed(Failure::NotFound { .. } | Failure::Refused)),
            "{call:?}"
        );
    }

    #[test]
    fn any_bytes_are_classified(
        status in 100u16..1000,
        body in proptest::collection::vec(any::<u8>(), 0..300),
        header in proptest::collection::vec(32u8..127, 0..40),
    ) {
        let mut received = received(status, &[], "");
        received.body = body.into();
        for name in ["retry-after", "date", "inin-ratelimit-allowed", "inin-correlation-id"] {
            received.headers.insert(HeaderName::from_static(name), HeaderValue::from_bytes(&header).unwrap());
        }
        let look = look(&received, &guest(), &codes());
        let call = call(&received, &guest(), &codes());
        prop_assert_eq!(look.evidence, call.evidence);
    }
}
