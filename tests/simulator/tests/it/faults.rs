//! Scripted faults and outages.

use std::time::{Duration, Instant};

use simulator::api::{
    FaultAction, FaultSpec, GuestSpec, Moment, Operation, Outage, OutageKind, Outcome, ScriptedAnswer, Target, WaitFor,
};

use crate::caller::{Caller, start};

/// Whether the error, or one that caused it, is a connection reset by the peer.
fn is_reset(error: &reqwest::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionReset) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[tokio::test]
async fn a_reset_is_a_reset_before_and_after_the_effect() {
    let simulator = start().await;
    let caller = Caller::of(&simulator).await;
    for (guest, after_effect, then) in [("before", false, "active"), ("after", true, "closed")] {
        simulator.add_guest(GuestSpec::active(guest));
        let fault = FaultSpec::on(Operation::Terminate).guest(guest).times(1);
        let id = simulator
            .add_fault(fault.action(FaultAction::Reset { after_effect }))
            .unwrap();
        let error = caller.terminate(guest).await.unwrap_err();
        assert!(is_reset(&error), "{error:?}");
        assert_eq!(caller.state(guest).await, then);
        let calls = simulator.ledger().calls;
        let call = calls.iter().find(|call| call.fault == Some(id)).unwrap();
        assert_eq!(
            (call.outcome, call.status, call.effective),
            (Outcome::Reset, None, after_effect)
        );
    }
}

#[tokio::test]
async fn a_fault_counts_down_and_the_next_one_takes_over() {
    let simulator = start().await;
    simulator.add_guest(GuestSpec::active("g"));
    let caller = Caller::of(&simulator).await;
    let fault = |status| FaultSpec::on(Operation::Terminate).answer(ScriptedAnswer::vendor(status));
    let first = simulator.add_fault(fault(503).times(2)).unwrap();
    let second = simulator
        .add_fault(FaultSpec {
            skip: 1,
            ..fault(500).times(1)
        })
        .unwrap();
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(caller.terminate("g").await.unwrap().status().as_u16());
    }
    assert_eq!(statuses, [503, 503, 204, 500, 404]);
    let hits: Vec<_> = simulator.faults().iter().map(|fault| (fault.id, fault.hits)).collect();
    assert_eq!(hits, [(first, 2), (second, 1)]);
    let acted: Vec<_> = simulator.ledger().calls[1..].iter().map(|call| call.fault).collect();
    assert_eq!(acted, [Some(first), Some(first), None, Some(second), None]);
}

#[tokio::test]
async fn a_fault_lasts_until_it_is_removed() {
    let simulator = start().await;
    simulator.add_guest(GuestSpec::active("g"));
    let caller = Caller::of(&simulator).await;
    let id = simulator
        .add_fault(FaultSpec::default().answer(ScriptedAnswer::vendor(503)))
        .unwrap();
    for _ in 0..3 {
        assert_eq!(caller.state("g").await, "503");
    }
    simulator.remove_fault(id).unwrap();
    assert!(simulator.remove_fault(id).is_err());
    assert_eq!(caller.state("g").await, "active");
}

#[tokio::test]
async fn a_fault_hits_its_target_only() {
    let simulator = start().await;
    let caller = Caller::of(&simulator).await;
    for guest in ["a-1", "a-2", "b-1"] {
        simulator.add_guest(GuestSpec::active(guest));
    }
    for (target, hit) in [
        (Target::Guest("a-1".into()), ["503", "active", "active"]),
        (Target::GuestPrefix("a-".into()), ["503", "503", "active"]),
        (
            Target::Path("/api/v2/webmessaging/guests/a-2".into()),
            ["active", "503", "active"],
        ),
        (
            Target::PathPrefix("/api/v2/webmessaging/guests/b".into()),
            ["active", "active", "503"],
        ),
        (Target::Any, ["503", "503", "503"]),
    ] {
        let fault = FaultSpec {
            target: target.clone(),
            ..FaultSpec::on(Operation::Observe)
        };
        simulator.add_fault(fault.answer(ScriptedAnswer::vendor(503))).unwrap();
        let seen = [
            caller.state("a-1").await,
            caller.state("a-2").await,
            caller.state("b-1").await,
        ];
        assert_eq!(seen, hit, "{target:?}");
        assert_eq!(
            caller.terminate("nobody").await.unwrap().status(),
            404,
            "another operation"
        );
        simulator.clear_faults();
    }
}

#[tokio::test]
async fn a_probability_hits_some_calls_the_same_ones_for_a_seed() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let simulator = start().await;
        simulator.add_guest(GuestSpec::active("g"));
        let caller = Caller::of(&simulator).await;
        let fault = FaultSpec {
            probability: Some(0.5),
            ..FaultSpec::on(Operation::Observe)
        };
        simulator.add_fault(fault.answer(ScriptedAnswer::vendor(503))).unwrap();
        let mut run = Vec::new();
        for _ in 0..40 {
            run.push(caller.state("g").await);
        }
        let hits = run.iter().filter(|state| *state == "503").count();
        assert!((5..=35).contains(&hits), "{hits} of 40");
        runs.push(run);
    }
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test]
async fn an_effect_may_come_with_an_error_or_late() {
    let simulator = start().await;
    simulator.add_guest(GuestSpec::active("error"));
    simulator.add_guest(GuestSpec::active("late"));
    let caller = Caller::of(&simulator).await;
    let action = FaultAction::Answer {
        answer: ScriptedAnswer::vendor(503),
        after_effect: true,
    };
    simulator
        .add_fault(FaultSpec::on(Operation::Terminate).guest("error").action(action))
        .unwrap();
    assert_eq!(caller.terminate("error").await.unwrap().status(), 503);
    assert_eq!(caller.state("error").await, "closed");

    let slow = FaultSpec {
        delay_before_ms: 1_000,
        ..FaultSpec::on(Operation::Terminate).guest("late")
    };
    simulator.add_fault(slow).unwrap();
    let impatient = tokio::time::timeout(Duration::from_millis(100), caller.terminate("late")).await;
    assert!(impatient.is_err());
    assert_eq!(caller.state("late").await, "active");
    let effect = WaitFor::new(Operation::Terminate, Moment::Effective).guest("late");
    simulator.wait_for(&effect).await.unwrap();
    assert_eq!(
        caller.state("late").await,
        "closed",
        "the caller's leaving took nothing back"
    );
    let calls = simulator.ledger().calls;
    let late = calls
        .iter()
        .find(|call| call.operation == Operation::Terminate && call.caller_gone)
        .unwrap();
    assert_eq!((late.guest.as_deref(), late.effective), (Some("late"), true));
}

#[tokio::test]
async fn a_delay_after_the_effect_is_a_delay_of_the_answer() {
    let simulator = start().await;
    simulator.add_guest(GuestSpec::active("g"));
    let caller = Caller::of(&simulator).await;
    let slow = FaultSpec {
        delay_after_ms: 500,
        ..FaultSpec::on(Operation::Terminate)
    };
    simulator.add_fault(slow).unwrap();
    let started = Instant::now();
    let (answer, state) = tokio::join!(caller.terminate("g"), async {
        simulator
            .wait_for(&WaitFor::new(Operation::Terminate, Moment::Effective))
            .await
            .unwrap();
        caller.state("g").await
    });
    assert_eq!((answer.unwrap().status().as_u16(), state.as_str()), (204, "closed"));
    assert!(started.elapsed() >= Duration::from_millis(500));
    let calls = simulator.ledger().calls;
    assert!(
        calls[2].answered_at_ms < calls[1].answered_at_ms,
        "the look overtook the termination"
    );
}

#[tokio::test]
async fn a_hanging_call_never_answers() {
    let simulator = start().await;
    simulator.add_guest(GuestSpec::active("g"));
    let caller = Caller::of(&simulator).await;
    let fault = FaultSpec::on(Operation::Observe)
        .times(1)
        .action(FaultAction::Hang { after_effect: false });
    simulator.add_fault(fault).unwrap();
    assert!(
        tokio::time::timeout(Duration::from_millis(200), caller.observe("g"))
            .await
            .is_err()
    );
    assert_eq!(simulator.ledger().calls[1].outcome, Outcome::Hung);
    assert_eq!(caller.state("g").await, "active");
}

#[tokio::test]
async fn an_outage_takes_its_part_down_and_ends() {
    let simulator = start().await;
    simulator.add_guest(GuestSpec::active("g"));
    let caller = Caller::of(&simulator).await;
    let kind = Some(OutageKind::Reset);
    simulator.set_outage(Outage {
        writes: kind,
        tokens: Some(OutageKind::Unavailable),
        ..Outage::default()
    });
    assert_eq!(caller.state("g").await, "active");
    assert!(is_reset(&caller.terminate("g").await.unwrap_err()));
    let token = caller
        .http
        .post(format!("{}/oauth/token", caller.url))
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(token.status(), 503);

    simulator.set_outage(Outage::vendor(OutageKind::Unavailable));
    assert_eq!(caller.state("g").await, "503");
    assert!(simulator.ledger().calls.last().unwrap().outage);
    simulator.set_outage(Outage::vendor(OutageKind::Hang));
    assert!(
        tokio::time::timeout(Duration::from_millis(100), caller.observe("g"))
            .await
            .is_err()
    );
    simulator.set_outage(Outage::default());
    assert_eq!(caller.terminate("g").await.unwrap().status(), 204);
}
