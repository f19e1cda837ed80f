//! Random plans: everything from one seed.

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{Calls, Connection, Cut, Event, Happening, Millis, Object, Pace, Plan, Replicas, Shape, WORKERS};
use crate::faults::{Effect, Fault, FaultKind};

/// The plan of a seed.
pub fn random(seed: u64) -> Plan {
    let mut rng = StdRng::seed_from_u64(seed);
    // A definition that lost its rules is seldom, and lets in what only the operator then refuses.
    let rules = rng.random_ratio(7, 8);
    let mut objects = objects(&mut rng, rules);
    if seed % 8 == 4 {
        for (number, object) in (0..).zip(&mut objects) {
            object.namespace = number % 2;
        }
    }
    let replicas = pick(
        &mut rng,
        &[
            Replicas::One,
            Replicas::One,
            Replicas::One,
            Replicas::TwoLeaders,
            Replicas::Elected,
        ],
    );
    let faults = faults(&mut rng);
    let events = events(&mut rng, &objects, replicas);
    Plan {
        seed,
        pace: match rng.random_range(0..5) {
            0 => Pace::Ties,
            1 => Pace::Slow,
            _ => Pace::Brisk,
        },
        replicas,
        workers: WORKERS,
        restart_after: pick(&mut rng, &[100, 1_000, 1_000, 5_000, 30_000]),
        rules,
        connection: Connection {
            at: pick(&mut rng, &[0, 0, 0, 0, 0, 0, 0, 20_000]),
            requests_per_minute: pick(&mut rng, &[30, 60, 300, 600]),
            max_in_flight: pick(&mut rng, &[1, 2, 10]),
            webhooks: pick(&mut rng, &[0, 1, 1, 2]),
            trusted: rng.random_ratio(1, 4),
            accepts_after: pick(
                &mut rng,
                &[None, None, None, None, Some(500), Some(20_000), Some(200_000)],
            ),
        },
        objects,
        faults,
        events,
    }
}

fn pick<T: Clone>(rng: &mut StdRng, choices: &[T]) -> T {
    choices[rng.random_range(0..choices.len())].clone()
}

fn objects(rng: &mut StdRng, rules: bool) -> Vec<Object> {
    let count = pick(rng, &[1, 1, 2, 3, 5]);
    (0..count)
        .map(|number| Object {
            namespace: 0,
            at: 500 + rng.random_range(0..8_000),
            // Now and then two objects name the same guest.
            guest: if number > 0 && rng.random_ratio(1, 6) {
                0
            } else {
                number
            },
            hostile: !rules && rng.random_ratio(1, 3),
            active: rng.random_ratio(5, 6),
            retain_data: rng.random_ratio(1, 2),
            suspend: rng.random_ratio(1, 12),
            backoff_limit: pick(rng, &[6, 6, 6, 2, 0]),
            active_deadline_seconds: pick(rng, &[21_600, 3_600, 3_600, 600, 90]),
            not_after: pick(rng, &[None, None, None, None, Some(3_000), Some(30_000), Some(600_000)]),
        })
        .collect()
}

fn faults(rng: &mut StdRng) -> Vec<Fault> {
    let count = pick(rng, &[0, 1, 2, 3, 4, 6]);
    (0..count)
        .map(|_| {
            let effect = pick(rng, &Effect::ALL);
            let mut kind = pick(rng, &FaultKind::ALL);
            // Events are published beside the passes: a panic there is no fault of a pass.
            if effect == Effect::Event && kind == FaultKind::Panic {
                kind = FaultKind::AnswerLost;
            }
            Fault {
                effect,
                nth: rng.random_range(1..=6),
                kind,
            }
        })
        .collect()
}

fn events(rng: &mut StdRng, objects: &[Object], replicas: Replicas) -> Vec<Event> {
    let mut events = Vec::new();
    for object in objects {
        // Otherwise *never twice* would be true of any program.
        if rng.random_ratio(1, 3) {
            let at = object.at + pick(rng, &[50, 400, 2_000, 15_000, 25_000, 70_000]);
            events.push(Event {
                at,
                what: Happening::GuestReturns { guest: object.guest },
            });
        }
    }
    // While a call is about to leave, or on its way, is when it matters.
    if rng.random_ratio(1, 4) {
        let number = rng.random_range(0..objects.len());
        let (object, replica) = (
            u32::try_from(number).unwrap_or(0),
            rng.random_range(0..replicas.count()),
        );
        let mut after = pick(rng, &[30, 60, 100, 150, 250, 1_000]);
        let what = match rng.random_range(0..6) {
            0 => Happening::Kill { replica },
            1 => Happening::Stop { replica },
            2 => Happening::Suspend { object, suspend: true },
            3 => Happening::Delete { object },
            4 => Happening::RevokeTokens,
            _ => {
                // Too long for its own call, or so long that another process has begun the next one: then only the few
                // hundredths of a second matter in which the call is on its way.
                let lasts = pick(rng, &[8_000, 28_000]);
                if lasts > 8_000 {
                    after = rng.random_range(20..100);
                }
                Happening::Freeze { replica, lasts }
            }
        };
        events.push(Event {
            at: objects[number].at + after,
            what,
        });
    }
    let count = pick(rng, &[0, 1, 1, 2, 3, 5]);
    for _ in 0..count {
        let at = 300 + pick(rng, &[2_000, 10_000, 60_000, 400_000]).min(rng.random_range(1..400_000));
        let what = happening(rng, objects, replicas);
        events.push(Event { at, what });
    }
    events.sort_by_key(|event| event.at);
    events
}

fn happening(rng: &mut StdRng, objects: &[Object], replicas: Replicas) -> Happening {
    let number = rng.random_range(0..objects.len());
    let object = u32::try_from(number).unwrap_or(0);
    let guest = objects[number].guest;
    let replica = rng.random_range(0..replicas.count());
    let lasts: Millis = pick(rng, &[500, 4_000, 30_000, 120_000, 700_000]);
    match rng.random_range(0..41) {
        0 => Happening::GuestReturns { guest },
        1 => Happening::GuestLeaves { guest },
        2 | 3 => Happening::Delete { object },
        4 => Happening::Recreate { object },
        5 => Happening::Suspend { object, suspend: true },
        6 => Happening::Suspend { object, suspend: false },
        7 => Happening::Deadline {
            object,
            seconds: pick(rng, &[60, 300, 7_200]),
        },
        8 => Happening::Labels {
            object,
            times: 200,
            every: pick(rng, &[20, 100, 1_000]),
        },
        9 => Happening::Outage {
            calls: pick(rng, &[Calls::All, Calls::Observe, Calls::Terminate]),
            lasts,
        },
        10 => Happening::Throttle {
            retry_after: pick(rng, &[None, Some(1), Some(20), Some(90)]),
            lasts: lasts.min(120_000),
        },
        11 => Happening::LostRoute {
            shape: pick(
                rng,
                &[Shape::Empty, Shape::Html, Shape::KubernetesStatus, Shape::NotFound],
            ),
            lasts,
        },
        12 => Happening::Forbid { guest, lasts },
        13 => Happening::RevokeTokens,
        14 => Happening::RotateSecret {
            late: lasts.min(120_000),
        },
        15 => Happening::LoseSecret { lasts },
        16 => Happening::Receiver {
            status: pick(rng, &[500, 503, 429, 404, 302]),
            lasts,
        },
        17 | 18 => Happening::Kill { replica },
        19 => Happening::Stop { replica },
        20 => Happening::Freeze {
            replica,
            lasts: lasts.min(120_000),
        },
        21 => Happening::ClockJump {
            replica,
            seconds: pick(rng, &[3_600, -3_600, 30, -30]),
        },
        22 => Happening::CutWatches {
            how: pick(rng, &[Cut::Clean, Cut::MidLine, Cut::Error]),
        },
        23 => Happening::BlackHole,
        24 => Happening::Compact,
        25 => Happening::Lag {
            by: pick(rng, &[1_000, 10_000, 60_000, 300_000]),
            lasts,
        },
        26 => Happening::TimeTravel {
            by: pick(rng, &[1_000, 10_000, 60_000]),
            lasts,
        },
        27 => Happening::Mess { lasts },
        28 => Happening::ClusterDown { lasts },
        29 => Happening::ReadOnly { lasts },
        30 => Happening::Forbidden { lasts },
        31 => Happening::Refuse { guest, lasts },
        32 => Happening::Odd { guest, lasts },
        33 if rng.random_ratio(1, 2) => Happening::Readdress,
        33 => Happening::Reformat,
        34 => Happening::RemoveWebhooks,
        35 | 36 => Happening::Reconnect {
            elsewhere: rng.random_ratio(1, 2),
            lasts: lasts.min(120_000),
        },
        37 => Happening::Swallow { lasts },
        38 | 39 => Happening::NoLeases { lasts },
        _ => Happening::CrashLoop {
            replica,
            times: pick(rng, &[5, 20, 60]),
            every: pick(rng, &[1_000, 3_000]),
        },
    }
}
