//! Answers by script.

use std::time::Duration;

use simulator::api::{FaultBody, FaultSpec, GuestSpec, Operation, Outcome, RetryAfter, ScriptedAnswer};

use crate::caller::{Caller, body, header, start};

#[tokio::test]
async fn a_truncated_body_is_an_error_of_the_body() {
    let simulator = start().await;
    simulator.add_guest(GuestSpec::active("g"));
    let caller = Caller::of(&simulator).await;
    for body in [
        FaultBody::Guest {
            id: None,
            state: "active".into(),
        },
        FaultBody::Empty,
    ] {
        let truncated = ScriptedAnswer {
            truncated: true,
            ..ScriptedAnswer::new(200, body)
        };
        simulator
            .add_fault(FaultSpec::on(Operation::Observe).times(1).answer(truncated))
            .unwrap();
        let answer = caller.observe("g").await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.bytes().await.is_err());
        assert_eq!(simulator.ledger().calls.last().unwrap().outcome, Outcome::Truncated);
    }
    assert_eq!(caller.state("g").await, "active");
}

#[tokio::test]
async fn the_bodies_of_a_wrong_404_are_what_they_say() {
    let simulator = start().await;
    let caller = Caller::of(&simulator).await;
    let cases = [
        (FaultBody::Empty, "", "", false),
        (FaultBody::Html, "text/html", "<html>", false),
        (FaultBody::KubernetesStatus, "application/json", "\"code\":404", false),
        (
            FaultBody::Gateway,
            "application/json",
            "no Route matched with those values",
            false,
        ),
        (
            FaultBody::Vendor { code: None },
            "application/json",
            "\"code\":\"not.found\"",
            true,
        ),
    ];
    for (fault_body, content_type, part, from_vendor) in cases {
        let fault = FaultSpec::on(Operation::Observe).times(1);
        simulator
            .add_fault(fault.answer(ScriptedAnswer::new(404, fault_body)))
            .unwrap();
        let answer = caller.observe("g").await.unwrap();
        assert_eq!(answer.status(), 404);
        assert_eq!(header(&answer, "content-type"), content_type);
        assert_eq!(!header(&answer, "inin-correlation-id").is_empty(), from_vendor);
        let text = answer.text().await.unwrap();
        assert!(text.contains(part), "{text}");
        assert_eq!(text.is_empty(), part.is_empty());
    }
    let bare = ScriptedAnswer {
        vendor_headers: Some(true),
        ..ScriptedAnswer::new(404, FaultBody::Empty)
    };
    simulator.add_fault(FaultSpec::default().times(1).answer(bare)).unwrap();
    assert!(!header(&caller.observe("g").await.unwrap(), "x-request-id").is_empty());
    let nowhere = caller
        .http
        .get(format!("{}/v3/guests/g", caller.url))
        .send()
        .await
        .unwrap();
    assert_eq!(nowhere.status(), 404);
    assert_eq!(body(nowhere).await["code"], "not.found");
}

#[tokio::test]
async fn wrong_successes_redirects_and_large_bodies_can_be_answered() {
    let simulator = start().await;
    simulator.add_guest(GuestSpec::active("g"));
    let caller = Caller::of(&simulator).await;
    let once = |answer| FaultSpec::on(Operation::Observe).times(1).answer(answer);
    let other = FaultBody::Guest {
        id: Some("somebody-else".into()),
        state: "active".into(),
    };
    simulator.add_fault(once(ScriptedAnswer::new(200, other))).unwrap();
    simulator
        .add_fault(once(
            ScriptedAnswer::new(307, FaultBody::Empty).header("Location", "/elsewhere"),
        ))
        .unwrap();
    simulator
        .add_fault(once(ScriptedAnswer::new(200, FaultBody::Large { bytes: 100_000 })))
        .unwrap();
    let text = FaultBody::Text {
        content_type: "application/json".into(),
        text: "{\"id\":".into(),
    };
    simulator.add_fault(once(ScriptedAnswer::new(200, text))).unwrap();

    assert_eq!(body(caller.observe("g").await.unwrap()).await["id"], "somebody-else");
    let redirect = caller.observe("g").await.unwrap();
    assert_eq!(
        (redirect.status().as_u16(), header(&redirect, "location")),
        (307, "/elsewhere")
    );
    assert_eq!(caller.observe("g").await.unwrap().bytes().await.unwrap().len(), 100_000);
    assert!(
        caller
            .observe("g")
            .await
            .unwrap()
            .json::<serde_json::Value>()
            .await
            .is_err()
    );
}

#[tokio::test]
async fn retry_after_has_two_forms_and_follows_the_answers_own_date() {
    let simulator = start().await;
    let caller = Caller::of(&simulator).await;
    let once = |answer| FaultSpec::on(Operation::Observe).times(1).answer(answer);
    simulator
        .add_fault(once(ScriptedAnswer::vendor(429).retry_after(RetryAfter::Seconds(7))))
        .unwrap();
    let date = ScriptedAnswer::vendor(429).retry_after(RetryAfter::DateAfterSeconds(7));
    simulator
        .add_fault(once(ScriptedAnswer {
            date_offset_seconds: -3_600,
            ..date
        }))
        .unwrap();

    assert_eq!(header(&caller.observe("g").await.unwrap(), "retry-after"), "7");
    let answer = caller.observe("g").await.unwrap();
    let parse = |name: &str| httpdate::parse_http_date(header(&answer, name)).unwrap();
    assert_eq!(
        parse("retry-after").duration_since(parse("date")).unwrap(),
        Duration::from_secs(7)
    );
    let behind = std::time::SystemTime::now().duration_since(parse("date")).unwrap();
    assert!((3_599..=3_602).contains(&behind.as_secs()));
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused() {
    let simulator = start().await;
    for answer in [
        ScriptedAnswer::vendor(199),
        ScriptedAnswer::vendor(600),
        ScriptedAnswer::vendor(200).header("no header", "x"),
        ScriptedAnswer::vendor(200).header("x", "two\r\nlines"),
    ] {
        assert!(simulator.add_fault(FaultSpec::default().answer(answer)).is_err());
    }
    assert!(
        simulator
            .add_fault(FaultSpec {
                probability: Some(1.5),
                ..FaultSpec::default()
            })
            .is_err()
    );
    assert!(simulator.faults().is_empty());
}
