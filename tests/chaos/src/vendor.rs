//! The vendor's bad days: mixes of faults for the simulator.

use simulator::{
    Controls,
    api::{FaultAction, FaultSpec, Operation, RetryAfter, ScriptedAnswer},
};

/// The answers of a vendor whose calls take 20 ms and go wrong in every seventh case: refused, cut off, never answered,
/// throttled, late; with the effect and without it. Webhooks fail in bursts, so that no delivery fails twice: the
/// second pause of their schedule is five minutes.
pub fn bad_weather(controls: &Controls) -> anyhow::Result<()> {
    let answer = |status, after_effect| FaultAction::Answer {
        answer: ScriptedAnswer::vendor(status),
        after_effect,
    };
    let throttled = FaultAction::Answer {
        answer: ScriptedAnswer::vendor(429).retry_after(RetryAfter::Seconds(1)),
        after_effect: false,
    };
    let by_chance = [
        (Operation::Terminate, 0.03, answer(503, false)),
        (Operation::Terminate, 0.03, answer(503, true)),
        (Operation::Terminate, 0.02, FaultAction::Reset { after_effect: false }),
        (Operation::Terminate, 0.02, FaultAction::Reset { after_effect: true }),
        (Operation::Terminate, 0.005, FaultAction::Hang { after_effect: false }),
        (Operation::Terminate, 0.01, FaultAction::Hang { after_effect: true }),
        (Operation::Terminate, 0.005, throttled),
        (Operation::Observe, 0.03, answer(503, false)),
        (Operation::Observe, 0.02, FaultAction::Reset { after_effect: false }),
        (Operation::Observe, 0.005, FaultAction::Hang { after_effect: false }),
    ];
    for (operation, probability, action) in by_chance {
        controls.add_fault(FaultSpec {
            probability: Some(probability),
            ..FaultSpec::on(operation).action(action)
        })?;
    }
    // Later than the operator waits for it: the effect comes when the caller has long given up or is dead.
    controls.add_fault(FaultSpec {
        probability: Some(0.01),
        delay_before_ms: 11_000,
        ..FaultSpec::on(Operation::Terminate)
    })?;
    for burst in 0..200 {
        controls.add_fault(FaultSpec {
            skip: 20 + burst * 150,
            ..FaultSpec::on(Operation::Webhook)
                .times(2)
                .action(answer(503, burst % 2 == 0))
        })?;
    }
    slow(controls, 20)
}

/// Every call to the vendor and to the webhook receiver takes so long, in ms.
pub fn slow(controls: &Controls, millis: u64) -> anyhow::Result<()> {
    for operation in [Operation::Observe, Operation::Terminate, Operation::Webhook] {
        controls.add_fault(FaultSpec {
            delay_after_ms: millis,
            ..FaultSpec::on(operation)
        })?;
    }
    Ok(())
}
