//! Faults of `docs/reliability.md` at the length that they are spoken of there: hours, days, hundreds of objects. Every
//! invariant holds in them, and what is counted is counted at the models.

// `cfg(test)` is always true here. It tells clippy that helpers, too, may end a test by `unwrap`.
#[cfg(test)]
mod scenarios {
    use std::{collections::BTreeMap, time::Duration};

    use serde_json::Value;
    use simulation::{
        faults::{Effect, Fault, FaultKind},
        history::{Record, Server, What},
        oracle::Facts,
        plan::{Calls, Event, Happening, Millis, Pace, Plan, Replicas, crowd, scarce_workers},
        run::{Outcome, run},
        vendor::Effect::Ended,
    };

    const MINUTE: Millis = 60_000;
    const HOUR: Millis = 60 * MINUTE;

    fn with(mut plan: Plan, events: impl IntoIterator<Item = (Millis, Happening)>) -> Plan {
        plan.events = events.into_iter().map(|(at, what)| Event { at, what }).collect();
        plan
    }

    /// Runs it, and sees that no invariant is broken.
    fn holds(plan: &Plan) -> Outcome {
        let outcome = run(plan);
        if let Some(violation) = &outcome.violation {
            panic!("{violation}");
        }
        outcome
    }

    fn between(outcome: &Outcome, from: Millis, to: Millis) -> impl Iterator<Item = &Record> {
        let span = Duration::from_millis(from)..Duration::from_millis(to);
        outcome.records.iter().filter(move |record| span.contains(&record.at))
    }

    fn count(records: impl Iterator<Item = impl std::borrow::Borrow<Record>>, what: impl Fn(&What) -> bool) -> usize {
        records.filter(|record| what(&record.borrow().what)).count()
    }

    fn is_call(what: &What) -> bool {
        matches!(what, What::Vendor { .. })
    }

    fn is_status_write(what: &What) -> bool {
        matches!(what, What::Asked { server: Server::Cluster, line, .. }
            if line.starts_with("PUT ") && line.contains("/guestterminations/"))
    }

    /// How each object ended.
    fn outcomes(outcome: &Outcome) -> BTreeMap<String, usize> {
        let mut last: BTreeMap<&str, &Value> = BTreeMap::new();
        for record in &outcome.records {
            if let What::Stored { after: Some(after), .. } = &record.what
                && after["kind"] == "GuestTermination"
            {
                last.insert(after["metadata"]["name"].as_str().unwrap(), after);
            }
        }
        let mut outcomes = BTreeMap::new();
        for object in last.into_values() {
            let outcome = object["status"]["outcome"].as_str().unwrap_or("none");
            *outcomes.entry(outcome.to_owned()).or_default() += 1;
        }
        outcomes
    }

    fn all(count: usize, outcome: &str) -> BTreeMap<String, usize> {
        BTreeMap::from([(outcome.to_owned(), count)])
    }

    #[test]
    fn an_hour_of_429_is_a_call_now_and_then_and_no_write() {
        let storm = Happening::Throttle {
            retry_after: None,
            lasts: HOUR,
        };
        let outcome = holds(&with(crowd(&[20]), [(100, storm)]));
        assert_eq!(outcomes(&outcome), all(20, "Terminated"));
        let storm = || between(&outcome, 0, HOUR);
        let (calls, writes) = (count(storm(), is_call), count(storm(), is_status_write));
        // The pauses double to five minutes. Each object says once that it waits.
        assert!((8..=40).contains(&calls), "{calls} calls");
        assert!(writes <= 20, "{writes} status writes of 20 objects");
    }

    #[test]
    fn a_machine_that_sleeps_for_hours_wakes_without_a_burst() {
        for replicas in [Replicas::One, Replicas::Elected] {
            let sleep = |replica| {
                let lasts = 30 * HOUR;
                (1_000, Happening::Freeze { replica, lasts })
            };
            let mut plan = crowd(&[40]);
            plan.replicas = replicas;
            plan.connection.requests_per_minute = 30;
            for object in &mut plan.objects {
                object.active_deadline_seconds = 48 * 3_600;
            }
            let outcome = holds(&with(plan, (0..replicas.count()).map(sleep)));
            assert_eq!(outcomes(&outcome), all(40, "Terminated"), "{replicas:?}");
            // A token lives for a day: nobody has to be told by a 401 that it is over.
            let refused = |what: &What| matches!(what, What::Answered { status: Some(401), .. });
            assert_eq!(count(outcome.records.iter(), refused), 0, "{replicas:?}");
            assert!(outcome.span > Duration::from_secs(30 * 3600));
        }
    }

    /// Two calls an object without any error. With every second answer an error three of four rounds fail: six retries are
    /// not enough for each of a hundred objects then, twenty are.
    #[test]
    fn errors_cost_calls_in_proportion_and_end_nothing() {
        for (every, most) in [(10, 250), (2, 800)] {
            let hit = |effect| {
                (1..=400).map(move |number| Fault {
                    effect,
                    nth: every * number,
                    kind: FaultKind::ErrorWithoutEffect,
                })
            };
            let mut plan = crowd(&[100]);
            plan.objects.iter_mut().for_each(|object| object.backoff_limit = 20);
            plan.faults = hit(Effect::Observe).chain(hit(Effect::Terminate)).collect();
            let outcome = holds(&plan);
            assert_eq!(outcomes(&outcome), all(100, "Terminated"), "every {every}");
            let calls = count(outcome.records.iter(), is_call);
            assert!(
                (201..=most).contains(&calls),
                "{calls} calls, every {every} with an error"
            );
        }
    }

    #[test]
    fn after_ten_minutes_of_outage_three_thousand_objects_go_on_at_full_speed() {
        let outage = Happening::Outage {
            calls: Calls::All,
            lasts: 10 * MINUTE,
        };
        let down_from = MINUTE;
        let outcome = holds(&with(crowd(&[3_000]), [(down_from, outage)]));
        assert_eq!(outcomes(&outcome), all(3_000, "Terminated"));
        let ended = |from: Millis| {
            let ends = |what: &What| matches!(what, What::Vendor { call, .. } if call.effect == Ended);
            count(between(&outcome, from, from + MINUTE / 2), ends)
        };
        let (before, during, after) = (
            ended(down_from - MINUTE / 2),
            ended(down_from + MINUTE),
            ended(down_from + 11 * MINUTE),
        );
        assert!(before > 50, "{before} in the half minute before");
        assert_eq!(during, 0);
        assert!(
            100 * after >= 95 * before,
            "{after} in the second minute afterwards, {before} before"
        );
    }

    #[test]
    fn a_receiver_that_is_down_for_three_days_and_a_hundred_restarts_are_one_schedule() {
        let mut events = vec![(
            100,
            Happening::Receiver {
                status: 503,
                lasts: 90 * HOUR,
            },
        )];
        events.extend((1..=100).map(|number| (number * 45 * MINUTE, Happening::Kill { replica: 0 })));
        let outcome = holds(&with(crowd(&[1]), events));
        assert_eq!(outcomes(&outcome), all(1, "Terminated"));
        let tries = count(outcome.records.iter(), |what| matches!(what, What::Webhook { .. }));
        // A crash between a try and its write repeats it; none of these hits one.
        assert_eq!(tries, 10);
        let starts = count(outcome.records.iter(), |what| matches!(what, What::Started { .. }));
        assert_eq!(starts, 101);
    }

    #[test]
    fn a_webhook_that_is_pending_goes_to_the_new_address_as_it_was() {
        let down = Happening::Receiver {
            status: 503,
            lasts: HOUR,
        };
        let outcome = holds(&with(crowd(&[1]), [(100, down), (30 * MINUTE, Happening::Readdress)]));
        let tries = outcome.records.iter().filter_map(|record| match &record.what {
            What::Asked {
                line,
                body,
                server: Server::Receiver,
                ..
            } => Some((line, body)),
            _ => None,
        });
        let tries: Vec<_> = tries.collect();
        let (first, last) = (tries.first().unwrap(), tries.last().unwrap());
        assert!(first.0.ends_with("/webhooks/hook-0"), "{}", first.0);
        assert!(last.0.ends_with("/webhooks/moved-0"), "{}", last.0);
        assert_eq!(first.1, last.1);
        let message = |what: &What| match what {
            What::Webhook { delivery, .. } => Some(delivery.id.clone()),
            _ => None,
        };
        let ids: std::collections::BTreeSet<_> = outcome
            .records
            .iter()
            .filter_map(|record| message(&record.what))
            .collect();
        assert_eq!(ids.len(), 1, "{ids:?}");
    }

    /// When each object of a namespace was finished.
    fn ends(outcome: &Outcome, namespace: &str) -> Vec<Duration> {
        let ends = outcome.records.iter().filter_map(|record| match &record.what {
            What::Stored {
                before: Some(before),
                after: Some(after),
                ..
            } if after["metadata"]["namespace"] == namespace
                && after["status"]["finished"] == true
                && before["status"]["finished"] != true =>
            {
                Some(record.at)
            }
            _ => None,
        });
        ends.collect()
    }

    #[test]
    fn namespaces_get_their_share_however_much_one_of_them_asks_for() {
        for pace in [Pace::Brisk, Pace::Slow] {
            // I11: the oracle counts the ends of each, while all have work.
            let plan = scarce_workers(pace);
            assert!(Facts::of(&plan).fairness.is_some());
            let outcome = holds(&plan);
            assert_eq!(outcomes(&outcome), all(1_500, "Terminated"));
            let last = |namespace| ends(&outcome, namespace).last().copied().unwrap();
            assert!(last("guests-1") < last("guests") / 2, "{pace:?}");
        }
    }

    #[test]
    fn a_namespace_without_credentials_is_in_nobodys_way() {
        let lost = Happening::LoseSecret { lasts: HOUR };
        let outcome = holds(&with(crowd(&[100, 100]), [(50, lost)]));
        assert_eq!(outcomes(&outcome), all(200, "Terminated"));
        let (broken, healthy) = (ends(&outcome, "guests"), ends(&outcome, "guests-1"));
        assert!(broken.iter().all(|at| at.as_secs() >= 3_600), "{:?}", broken.first());
        assert!(healthy.iter().all(|at| at.as_secs() < 60), "{:?}", healthy.last());
    }

    #[test]
    fn a_clock_that_is_wrong_is_told() {
        let jump = |seconds| Happening::ClockJump { replica: 0, seconds };
        let outcome = holds(&with(crowd(&[1]), [(MINUTE, jump(400)), (10 * MINUTE, jump(-400))]));
        let told = |words: &str| {
            let said = |what: &What| matches!(what, What::Log { text } if text.contains(words));
            outcome
                .records
                .iter()
                .find(|record| said(&record.what))
                .map(|record| record.at)
        };
        let wrong = told("clock is far from the API server's").unwrap();
        let right = told("agrees with the API server's again").unwrap();
        // It is noticed with the next answer: a watch that begins anew, here.
        assert!((60..130).contains(&wrong.as_secs()), "{wrong:?}");
        assert!((600..670).contains(&right.as_secs()), "{right:?}");
    }
}
