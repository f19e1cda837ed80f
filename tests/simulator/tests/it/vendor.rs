//! The undisturbed vendor.

use std::time::Duration;

use simulator::api::{
    Acceptance, AfterTermination, Client, EndGuest, GuestBatch, GuestSeries, GuestSpec, Moment, Operation, Return,
    ReturnWhen, RevokeTokens, Settings, WaitFor,
};
use simulator::{CLIENT_ID, CLIENT_SECRET};

use crate::caller::{Caller, SCOPE, body, client, header, start, token};

#[tokio::test]
async fn a_token_is_issued_for_the_right_secret_and_all_scopes_only() {
    let simulator = start().await;
    let http = client();
    let url = simulator.url();

    let answer = body(token(&http, url, CLIENT_ID, CLIENT_SECRET, SCOPE).await).await;
    assert_eq!(answer["token_type"], "bearer");
    assert_eq!(answer["expires_in"], 86_400);

    let wrong = token(&http, url, CLIENT_ID, "guessed", SCOPE).await;
    assert_eq!(wrong.status(), 401);
    let wrong = body(wrong).await;
    assert_eq!(wrong["error"], "invalid_client");
    assert!(wrong["description"].is_string() && wrong["error_description"].is_string());
    assert_eq!(token(&http, url, "nobody", CLIENT_SECRET, SCOPE).await.status(), 400);
    assert_eq!(
        token(&http, url, CLIENT_ID, CLIENT_SECRET, "webchat:guest:read")
            .await
            .status(),
        400
    );
    let form = http
        .post(format!("{url}/oauth/token"))
        .body("grant_type=client_credentials")
        .send()
        .await
        .unwrap();
    assert_eq!(form.status(), 400);

    simulator.set_client(Client::new("second", "its own"));
    assert_eq!(token(&http, url, "second", "its own", SCOPE).await.status(), 200);
    simulator.set_client(Client::new("second", "rotated"));
    assert_eq!(token(&http, url, "second", "its own", SCOPE).await.status(), 401);
}

#[tokio::test]
async fn a_session_is_looked_at_ended_once_and_then_closed() {
    let simulator = start().await;
    simulator.add_guest(GuestSpec::active("g 1/ü"));
    let caller = Caller::of(&simulator).await;
    let guest = "g%201%2F%C3%BC";

    let look = caller.observe(guest).await.unwrap();
    assert_eq!(look.status(), 200);
    assert!(!header(&look, "ININ-Correlation-Id").is_empty() && !header(&look, "X-Request-Id").is_empty());
    assert!(!header(&look, "Date").is_empty());
    let look = body(look).await;
    assert_eq!(
        (look["id"].as_str(), look["state"].as_str()),
        (Some("g 1/ü"), Some("active"))
    );
    assert!(look["lastUpdated"].as_str().unwrap().ends_with('Z'));

    let query = "reason=bot_handoff&retainData=true&externalRef=a%26b+c";
    let end = caller.terminate_with(guest, query).await.unwrap();
    assert_eq!(end.status(), 204);
    assert_eq!(caller.state(guest).await, "closed");
    let again = caller.terminate(guest).await.unwrap();
    assert_eq!(again.status(), 404);
    let id = header(&again, "ININ-Correlation-Id").to_owned();
    let again = body(again).await;
    assert_eq!(again["code"], "not.found");
    assert_eq!(again["status"], 404);
    assert_eq!(again["contextId"].as_str(), Some(id.as_str()));

    let ledger = simulator.ledger();
    let sent = &ledger.calls[2];
    assert_eq!(sent.operation, Operation::Terminate);
    assert_eq!(sent.guest.as_deref(), Some("g 1/ü"));
    assert_eq!(sent.parameter("externalRef"), Some("a&b c"));
    assert_eq!(
        sent.path_and_query,
        format!("/api/v2/webmessaging/guests/{guest}?{query}")
    );
    assert!(sent.effective && sent.effective_at_ms.is_some());
    assert_eq!((sent.incarnation, sent.status), (Some(1), Some(204)));
    assert!(!ledger.calls[4].effective);
    assert_eq!(ledger.calls[4].correlation_id.as_deref(), Some(id.as_str()));
}

#[tokio::test]
async fn a_termination_without_its_parameters_ends_nothing() {
    let simulator = start().await;
    simulator.add_guest(GuestSpec::active("g"));
    let caller = Caller::of(&simulator).await;
    for query in [
        "retainData=true",
        "reason=boredom&retainData=true",
        "reason=timeout",
        "reason=timeout&retainData=True",
        "reason=timeout&retainData=true&retainData=false",
    ] {
        let answer = caller.terminate_with("g", query).await.unwrap();
        assert_eq!(answer.status(), 400, "{query}");
        assert_eq!(body(answer).await["code"], "bad.request");
    }
    assert_eq!(caller.state("g").await, "active");
    assert_eq!(simulator.summary().effective_total, 0);
}

#[tokio::test]
async fn other_states_and_unknown_guests_cannot_be_terminated() {
    let simulator = start().await;
    simulator.add_guest(GuestSpec::in_state("paused", "parked"));
    let caller = Caller::of(&simulator).await;
    assert_eq!(caller.state("paused").await, "parked");
    assert_eq!(caller.terminate("paused").await.unwrap().status(), 404);
    assert_eq!(caller.terminate("nobody").await.unwrap().status(), 404);
    assert_eq!(caller.state("nobody").await, "404");
}

#[tokio::test]
async fn a_session_may_be_gone_after_its_end() {
    let simulator = start().await;
    simulator.add_guest(GuestSpec {
        after: Some(AfterTermination::Gone),
        ..GuestSpec::active("g")
    });
    simulator.add_guest(GuestSpec::active("h"));
    let caller = Caller::of(&simulator).await;
    caller.terminate("g").await.unwrap();
    assert_eq!(caller.state("g").await, "404");
    simulator
        .end_guest(&EndGuest {
            id: "h".into(),
            leaving: AfterTermination::Gone,
        })
        .unwrap();
    assert_eq!(caller.state("h").await, "404");
    assert!(
        simulator
            .end_guest(&EndGuest {
                id: "x".into(),
                leaving: AfterTermination::Gone
            })
            .is_err()
    );
}

#[tokio::test]
async fn a_token_that_is_missing_unknown_expired_or_revoked_is_answered_401() {
    let simulator = start().await;
    simulator.add_guest(GuestSpec::active("g"));
    let mut caller = Caller::of(&simulator).await;
    let bare = caller
        .http
        .get(format!("{}/api/v2/webmessaging/guests/g", caller.url))
        .send()
        .await
        .unwrap();
    assert_eq!(bare.status(), 401);
    assert_eq!(body(bare).await["code"], "authentication.required");

    assert_eq!(
        simulator.revoke_tokens(&RevokeTokens {
            client: Some("other".into()),
            token: None
        }),
        0
    );
    assert_eq!(caller.state("g").await, "active");
    assert_eq!(
        simulator.revoke_tokens(&RevokeTokens {
            client: None,
            token: Some("t1".into())
        }),
        1
    );
    let revoked = caller.terminate("g").await.unwrap();
    assert_eq!(revoked.status(), 401);
    assert_eq!(body(revoked).await["code"], "bad.credentials");

    simulator.set_settings(Settings {
        expires_in: 1,
        ..Settings::default()
    });
    caller = Caller::of(&simulator).await;
    assert_eq!(caller.state("g").await, "active");
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    assert_eq!(caller.state("g").await, "401");
    assert_eq!(simulator.summary().effective_total, 0);
}

#[tokio::test]
async fn the_rate_limit_counts_per_token_and_says_when_to_come_back() {
    let simulator = start().await;
    simulator.add_guest(GuestSpec::active("g"));
    simulator.set_settings(Settings {
        requests_per_minute: Some(2),
        rate_window_ms: 1_500,
        ..Settings::default()
    });
    let caller = Caller::of(&simulator).await;
    let first = caller.observe("g").await.unwrap();
    let rate = ["count", "allowed", "reset"].map(|name| header(&first, &format!("inin-ratelimit-{name}")).to_owned());
    assert_eq!(rate, ["1", "2", "2"]);
    caller.observe("g").await.unwrap();
    let limited = caller.terminate("g").await.unwrap();
    assert_eq!(limited.status(), 429);
    let wait: u64 = header(&limited, "Retry-After").parse().unwrap();
    assert!((1..=2).contains(&wait));
    assert_eq!(body(limited).await["code"], "too.many.requests.retry.after");

    let other = Caller::of(&simulator).await;
    assert_eq!(other.state("g").await, "active");
    tokio::time::sleep(Duration::from_secs(wait)).await;
    assert_eq!(caller.terminate("g").await.unwrap().status(), 204);

    simulator.set_settings(Settings {
        requests_per_minute: None,
        ..Settings::default()
    });
    let free = caller.observe("g").await.unwrap();
    assert_eq!(header(&free, "inin-ratelimit-count"), "");
}

#[tokio::test]
async fn a_guest_that_returns_is_a_new_incarnation() {
    let simulator = start().await;
    let returning = |id: &str, when| GuestSpec {
        returns: Some(Return { when, times: 1 }),
        ..GuestSpec::active(id)
    };
    simulator.add_guest(returning("at-once", ReturnWhen::Immediately));
    simulator.add_guest(returning("after-two", ReturnWhen::AfterCalls(2)));
    simulator.add_guest(returning("later", ReturnWhen::AfterMillis(100)));
    simulator.add_guest(GuestSpec::active("by-hand"));
    let caller = Caller::of(&simulator).await;
    for guest in ["at-once", "after-two", "later", "by-hand"] {
        assert_eq!(caller.terminate(guest).await.unwrap().status(), 204);
    }

    assert_eq!(caller.state("at-once").await, "active");
    assert_eq!(caller.state("after-two").await, "closed");
    assert_eq!(caller.state("after-two").await, "closed");
    assert_eq!(caller.state("after-two").await, "active");
    assert_eq!(caller.state("by-hand").await, "closed");
    simulator.return_guest("by-hand").unwrap();
    assert_eq!(caller.state("by-hand").await, "active");
    tokio::time::sleep(Duration::from_millis(110)).await;
    assert_eq!(caller.state("later").await, "active");

    for guest in ["at-once", "after-two"] {
        assert_eq!(caller.terminate(guest).await.unwrap().status(), 204);
        assert_eq!(caller.state(guest).await, "closed", "it returns only once");
    }
    let summary = simulator.summary();
    assert_eq!(summary.effective["at-once"], [(1, 1), (2, 1)].into());
    assert_eq!(summary.effective["by-hand"], [(1, 1)].into());
    assert_eq!((summary.effective_total, summary.max_effective_per_incarnation), (6, 1));
}

#[tokio::test]
async fn an_effect_may_show_later_than_it_is() {
    let simulator = start().await;
    simulator.add_guest(GuestSpec {
        effect_lag_ms: 1_000,
        ..GuestSpec::active("g")
    });
    let caller = Caller::of(&simulator).await;
    assert_eq!(caller.terminate("g").await.unwrap().status(), 204);
    assert_eq!(caller.state("g").await, "active");
    assert_eq!(simulator.guests()[0].state.as_deref(), Some("closed"));
    assert_eq!(
        caller.terminate("g").await.unwrap().status(),
        404,
        "it is over all the same"
    );
    tokio::time::sleep(Duration::from_millis(1_010)).await;
    assert_eq!(caller.state("g").await, "closed");
}

#[tokio::test]
async fn an_accepted_termination_takes_effect_later_or_never() {
    let simulator = start().await;
    let accepting = |id: &str, ends_after_ms| GuestSpec {
        accept: Some(Acceptance { ends_after_ms }),
        ..GuestSpec::active(id)
    };
    simulator.add_guest(accepting("soon", Some(500)));
    simulator.add_guest(accepting("never", None));
    let caller = Caller::of(&simulator).await;
    for guest in ["soon", "soon", "never"] {
        assert_eq!(caller.terminate(guest).await.unwrap().status(), 202);
    }
    assert_eq!(caller.state("soon").await, "active");
    let wait = WaitFor::new(Operation::Terminate, Moment::Effective).guest("soon");
    let effect = simulator.wait_for(&wait).await.unwrap();
    assert_eq!(caller.state("soon").await, "closed");
    assert_eq!(caller.state("never").await, "active");
    let calls = simulator.ledger().calls;
    let effective: Vec<u64> = calls
        .iter()
        .filter(|call| call.effective)
        .map(|call| call.sequence)
        .collect();
    assert_eq!(
        effective,
        [effect.sequence],
        "the call that was accepted first is the one that ended it"
    );
}

#[tokio::test]
async fn guests_are_made_by_the_thousand() {
    let simulator = start().await;
    let series = Some(GuestSeries {
        prefix: "g-".into(),
        count: 5_000,
    });
    assert_eq!(
        simulator.add_guests(GuestBatch {
            guests: vec![GuestSpec::active("one")],
            series
        }),
        5_001
    );
    let caller = Caller::of(&simulator).await;
    assert_eq!(caller.state("g-0").await, "active");
    assert_eq!(caller.state("g-4999").await, "active");
    assert_eq!(caller.state("g-5000").await, "404");
}
