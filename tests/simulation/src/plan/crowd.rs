//! Plans with more objects than a seed draws.

use super::{Connection, Millis, Object, Pace, Plan, Replicas, WORKERS};

/// One process and that many objects in each namespace, every one with a guest of its own who is there. They come one
/// after the other, within seconds, in all namespaces at once.
pub fn crowd(objects: &[u32]) -> Plan {
    let mut guests = 0..;
    let mut object = |namespace, number: u32| Object {
        namespace,
        at: 500 + Millis::from(number),
        guest: guests.next().unwrap_or_default(),
        hostile: false,
        active: true,
        retain_data: true,
        suspend: false,
        backoff_limit: 6,
        active_deadline_seconds: 21_600,
        not_after: None,
    };
    let namespaces = (0..).zip(objects);
    Plan {
        seed: 4,
        pace: Pace::Brisk,
        replicas: Replicas::One,
        workers: WORKERS,
        restart_after: 1_000,
        rules: true,
        connection: Connection {
            at: 0,
            requests_per_minute: 600,
            max_in_flight: 10,
            webhooks: 1,
            trusted: true,
            accepts_after: None,
        },
        objects: namespaces
            .flat_map(|(namespace, count)| (0..*count).map(move |number| (namespace, number)))
            .map(|(namespace, number)| object(namespace, number))
            .collect(),
        faults: Vec::new(),
        events: Vec::new(),
    }
}

/// Three namespaces that want more than four workers can do, two of which are for one namespace at most: less than what
/// each one's limit would let through. One of them wants three times as much as another.
pub fn scarce_workers(pace: Pace) -> Plan {
    let plan = crowd(&[900, 300, 300]);
    Plan {
        pace,
        workers: 4,
        connection: Connection {
            requests_per_minute: 300,
            ..plan.connection
        },
        ..plan
    }
}
