//! The status of a connection, as a function of what is known of it.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

use super::connection::{Connection, Standing};
use crate::{
    api::{
        GenesysConnectionStatus, RateLimitStatus,
        conditions::{
            ConditionReason as Reason, ConditionStatus as Is, ConditionType as Type, remove_condition, set_condition,
        },
    },
    clock::Reading,
    schedule::{Moment, bucket::Limits},
};

/// The status that a connection should have now.
pub fn desired(connection: &Connection, now: Reading) -> GenesysConnectionStatus {
    let mut status = connection.object.status.clone().unwrap_or_default();
    let generation = connection.object.metadata.generation;
    let (is, reason, message) = ready(connection, now.monotonic);
    let mut set = |type_, is, reason, message: &str| {
        set_condition(&mut status.conditions, type_, is, reason, message, now.wall, generation);
    };
    set(Type::Ready, is, reason, &message);
    let (proven, why, words) = route(connection);
    set(Type::RouteProven, proven, why, &words);
    match is {
        Is::False => set(Type::Stalled, Is::True, reason, &message),
        Is::Unknown => set(Type::Reconciling, Is::True, reason, &message),
        Is::True => {}
    }
    if is != Is::False {
        remove_condition(&mut status.conditions, Type::Stalled);
    }
    if is != Is::Unknown {
        remove_condition(&mut status.conditions, Type::Reconciling);
    }
    status.observed_generation = generation;
    status.token_expiration_time = connection.token_expires.map(whole);
    let paused = connection.pausing(now.monotonic).map(Time);
    let limit = RateLimitStatus {
        allowed: connection.allowed.and_then(|allowed| i32::try_from(allowed).ok()),
        paused_until: paused,
        rest: status.rate_limit.take().map(|limit| limit.rest).unwrap_or_default(),
    };
    status.rate_limit = (limit != RateLimitStatus::default()).then_some(limit);
    status
}

/// Whether the difference of two statuses is worth a write at once, rather than with the next one.
pub fn is_urgent(old: &GenesysConnectionStatus, new: &GenesysConnectionStatus) -> bool {
    let paused = |status: &GenesysConnectionStatus| {
        status
            .rate_limit
            .as_ref()
            .and_then(|limit| limit.paused_until.as_ref())
            .map(|until| until.0)
    };
    // That a pause is over is known to everybody who read of it.
    let pause = paused(new).is_some() && paused(new) != paused(old);
    // During an outage the words change with each kind of failure.
    let stands = |status: &GenesysConnectionStatus| -> Vec<_> {
        let words = |condition: &Condition| {
            let outage = condition.reason == Reason::Unavailable.as_str();
            (!outage).then(|| condition.message.clone())
        };
        let conditions = status.conditions.iter();
        conditions
            .map(|condition| {
                let Condition {
                    type_, status, reason, ..
                } = condition;
                (type_.clone(), status.clone(), reason.clone(), words(condition))
            })
            .collect()
    };
    stands(old) != stands(new) || old.observed_generation != new.observed_generation || pause
}

fn whole(instant: Timestamp) -> Time {
    crate::termination::instants::floor(instant)
}

fn ready(connection: &Connection, now: Moment) -> (Is, Reason, String) {
    if connection.object.spec.suspend {
        return (
            Is::Unknown,
            Reason::Suspended,
            "spec.suspend is true: no call is made and no webhook is sent.".to_owned(),
        );
    }
    if connection.is_starved() {
        let message = format!(
            "Fewer than {} calls a minute are allowed, which leaves nothing to work with.",
            Limits::SMALLEST
        );
        return (Is::Unknown, Reason::RateLimited, message);
    }
    match &connection.standing {
        Standing::NotProbed => (
            Is::Unknown,
            Reason::NotProbed,
            "Nothing was asked of the vendor yet.".to_owned(),
        ),
        Standing::BadEndpoint(why) => (Is::False, Reason::InsecureEndpoint, sentence(why)),
        Standing::SecretMissing(why) => (Is::False, Reason::SecretMissing, sentence(why)),
        Standing::CredentialsInvalid(why) | Standing::TokenRefused(why) => {
            (Is::False, Reason::CredentialsInvalid, sentence(why))
        }
        Standing::PermissionDenied(why) => (Is::False, Reason::PermissionDenied, sentence(why)),
        Standing::Unavailable(why) => (Is::Unknown, Reason::Unavailable, sentence(why)),
        Standing::Valid if let Some(why) = &connection.broken => {
            let message = format!("The vendor does not answer as it should; one probe at a time is made. {why}");
            (Is::Unknown, Reason::Unavailable, message)
        }
        Standing::Valid if connection.pausing(now).is_some() => (
            Is::Unknown,
            Reason::RateLimited,
            "The vendor asked for a pause; see status.rateLimit.pausedUntil.".to_owned(),
        ),
        Standing::Valid => (Is::True, Reason::TokenValid, "The vendor gave a token.".to_owned()),
    }
}

fn route(connection: &Connection) -> (Is, Reason, String) {
    if connection.proven {
        return (
            Is::True,
            Reason::GuestRead,
            "A guest was read through this connection.".to_owned(),
        );
    }
    if connection.unproven {
        let message = format!(
            "Every read through connection {} was answered 404; nothing was ended. If the address is wrong, delete the connection and create it again under the same name: objects that made no attempt follow it. If it is right and the sessions are over, set spec.notFound.trust: Always. (Genesys Cloud itself does not publish this path.)",
            connection.name().1
        );
        return (Is::False, Reason::EveryReadNotFound, message);
    }
    (
        Is::Unknown,
        Reason::NoGuestReadYet,
        "No guest was read through this connection yet.".to_owned(),
    )
}

/// The text as a sentence: a capital at its start, one full stop at its end.
fn sentence(text: &str) -> String {
    let mut letters = text.trim_end_matches('.').chars();
    let first = letters
        .next()
        .map(|letter| letter.to_uppercase().to_string())
        .unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::connections::Connections;

    const START: Reading = Reading {
        wall: Timestamp::UNIX_EPOCH,
        monotonic: Moment::ZERO,
    };

    fn connection() -> Connection {
        let object = serde_json::json!({
            "apiVersion": "guestops.dev/v1alpha1", "kind": "GenesysConnection",
            "metadata": {"name": "default", "namespace": "care", "uid": "u", "generation": 3},
            "spec": {"api": "WebMessagingGuests", "region": "us-east-1", "credentialsSecretRef": {"name": "genesys"}},
        });
        let mut connections = Connections::default();
        let (name, _) = connections
            .see(serde_json::from_value(object).unwrap(), false, START)
            .unwrap();
        connections.get(&name).unwrap().clone()
    }

    fn verdicts(status: &GenesysConnectionStatus) -> Vec<String> {
        let conditions = status.conditions.iter();
        conditions
            .map(|condition| format!("{}={}/{}", condition.type_, condition.status, condition.reason))
            .collect()
    }

    #[test]
    fn before_anything_was_asked_nothing_is_known() {
        let status = desired(&connection(), START);
        assert_eq!(status.observed_generation, Some(3));
        let expected = [
            "Ready=Unknown/NotProbed",
            "RouteProven=Unknown/NoGuestReadYet",
            "Reconciling=True/NotProbed",
        ];
        assert_eq!(verdicts(&status), expected);
    }

    #[test]
    fn what_changes_with_each_failure_of_an_outage_is_not_urgent_and_what_to_repair_is() {
        let broken = |why: &str| {
            let mut connection = connection();
            connection.standing = Standing::Valid;
            connection.broken = Some(why.to_owned());
            desired(&connection, START)
        };
        assert_ne!(broken("HTTP 503."), broken("No answer."));
        assert!(!is_urgent(&broken("HTTP 503."), &broken("No answer.")));
        let missing = |why: &str| {
            let mut connection = connection();
            connection.standing = Standing::SecretMissing(why.to_owned());
            desired(&connection, START)
        };
        assert!(is_urgent(&missing("it does not exist"), &missing("it has no key a")));
        assert!(is_urgent(&broken("HTTP 503."), &missing("it does not exist")));
    }
}
