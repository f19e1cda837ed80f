//! The validation rules of the kinds, as CEL that the API server runs.
//!
//! Each refusal is a sentence that tells the user what to do. Where the schema itself refuses a value (a missing field,
//! an unknown enum value, a wrong type), CEL does not run and the server's own words stand; so the schema's `maxLength`
//! is wider than what the rules allow. It is there all the same: without a bound on every string and list that a rule
//! reads, the server's cost estimate refuses the whole definition.
//!
//! Immutability and the promises of the status are rules of the object that *holds* the field: a rule on an optional
//! field does not run when the field is added or removed.

use kube::core::{Message, Rule};

use super::REGIONS;

fn rule(cel: impl Into<String>, message: impl Into<String>) -> Rule {
    Rule {
        rule: cel.into(),
        message: Some(Message::Message(message.into())),
        ..Rule::default()
    }
}

fn rule_at(path: &str, cel: impl Into<String>, message: impl Into<String>) -> Rule {
    Rule {
        field_path: Some(path.to_owned()),
        ..rule(cel, message)
    }
}

/// An optional field is as it was. (`self.?field == oldSelf.?field` says the same, but has no bound in the server's
/// estimate.)
fn unchanged(field: &str) -> String {
    format!("has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})")
}

// ---- both kinds -----------------------------------------------------------------------------------------------------

/// `metadata.name`: it goes into the names of Events and into labels.
pub(super) fn short_name(kind: &str) -> Rule {
    rule(
        "size(self.metadata.name) <= 63",
        format!("metadata.name must have at most 63 characters: choose a shorter name for the {kind}."),
    )
}

fn object_name(path: &str, what: &str, max: u32) -> Vec<Rule> {
    vec![rule(
        format!("size(self) <= {max} && !format.dns1123Subdomain().validate(self).hasValue()"),
        format!(
            "{path} must be the name of {what}: at most {max} lower-case letters, digits, '-' and '.', a letter or digit \
             at both ends of each part."
        ),
    )]
}

fn between(path: &str, min: i64, max: i64, unit: &str) -> Vec<Rule> {
    vec![rule(
        format!("self >= {min} && self <= {max}"),
        format!("{path} must be between {min} and {max} {unit}."),
    )]
}

// ---- GuestTermination -----------------------------------------------------------------------------------------------

/// `spec.guestId`: one segment of a URL's path.
pub(super) fn guest_id() -> Vec<Rule> {
    vec![rule(
        "size(self) <= 128 && self.matches('^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$') && !self.contains('..')",
        "spec.guestId must have 1 to 128 letters, digits, '.', '_' and '-', begin and end with a letter or a digit, and \
         not contain '..': give the guest's id as it is, not escaped. Guests with other ids cannot be ended this way.",
    )]
}

/// `spec.externalRef`.
pub(super) fn external_ref() -> Vec<Rule> {
    vec![rule(
        r"size(self) >= 1 && size(self) <= 256 && !self.matches('\\p{Cc}')",
        "spec.externalRef must have 1 to 256 characters and no control characters: shorten it, or leave it out.",
    )]
}

/// An instant as every strict parser reads it, but for days and hours that do not exist.
const INSTANT: &str =
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$";

/// `spec.notAfter`: the schema's own format `date-time` lets more through, such as a fraction of thirteen digits or the
/// year 0000; so the schema says `string`, and this rule says the rest.
pub(super) fn not_after() -> Vec<Rule> {
    vec![rule(
        format!(
            "self.matches('{INSTANT}') && timestamp(self) >= timestamp('2000-01-01T00:00:00Z') && \
             timestamp(self) < timestamp('9999-01-01T00:00:00Z')"
        ),
        "spec.notAfter must be an instant of RFC 3339 between the years 2000 and 9998, such as 2030-01-31T12:00:00Z.",
    )]
}

/// `spec.connectionRef.name`.
pub(super) fn connection_name() -> Vec<Rule> {
    object_name("spec.connectionRef.name", "a GenesysConnection in this namespace", 63)
}

/// `spec.backoffLimit`.
pub(super) fn backoff_limit() -> Vec<Rule> {
    between("spec.backoffLimit", 0, 50, "retries")
}

/// `spec.activeDeadlineSeconds`: at most a year, so that no sum of it overflows.
pub(super) fn active_deadline_seconds() -> Vec<Rule> {
    between("spec.activeDeadlineSeconds", 1, 31_536_000, "seconds (365 days)")
}

/// The immutable fields of a `GuestTermination`.
pub(super) fn termination_spec() -> Vec<Rule> {
    let required = ["guestId", "reason", "retainData"].map(|field| {
        rule_at(
            &format!(".{field}"),
            format!("self.{field} == oldSelf.{field}"),
            format!(
                "spec.{field} cannot be changed: create a new GuestTermination with the value that you want, and delete \
                 this one if it must not run."
            ),
        )
    });
    // A client that decodes the instant may write it back in another form: it is the instant that must stay.
    let not_after = "has(self.notAfter) == has(oldSelf.notAfter) && (!has(self.notAfter) || \
                     timestamp(self.notAfter) == timestamp(oldSelf.notAfter))";
    let optional = [
        ("externalRef", unchanged("externalRef")),
        ("connectionRef", unchanged("connectionRef")),
        ("notAfter", not_after.to_owned()),
    ]
    .map(|(field, cel)| {
        rule_at(
            &format!(".{field}"),
            cel,
            format!(
                "spec.{field} cannot be changed, added or removed: create a new GuestTermination with the value that you \
                 want, and delete this one if it must not run."
            ),
        )
    });
    required.into_iter().chain(optional).collect()
}

/// Once settled nobody looks at the object any more: an edit would never be seen.
pub(super) fn settled_spec() -> Rule {
    rule_at(
        ".spec",
        "!oldSelf.?status.?settled.orValue(false) || self.spec == oldSelf.spec",
        "This GuestTermination is settled, so its spec cannot be changed any more: create a new one.",
    )
}

/// What can be edited can be edited until the outcome is final.
pub(super) fn finished_spec() -> Rule {
    rule_at(
        ".spec",
        "!oldSelf.?status.?finished.orValue(false) || oldSelf.?status.?settled.orValue(false) || \
         (self.spec.suspend == oldSelf.spec.suspend && self.spec.backoffLimit == oldSelf.spec.backoffLimit && \
         self.spec.activeDeadlineSeconds == oldSelf.spec.activeDeadlineSeconds)",
        "This GuestTermination is finished, so spec.suspend, spec.backoffLimit and spec.activeDeadlineSeconds cannot be \
         changed any more: create a new one.",
    )
}

/// `status.finished` and `status.outcome`: nothing leaves a final outcome.
pub(super) fn outcome_is_final() -> Rule {
    rule_at(
        ".status.outcome",
        "!oldSelf.?status.?finished.orValue(false) || (self.?status.?finished.orValue(false) && \
         has(self.status.outcome) == has(oldSelf.status.outcome) && \
         (!has(self.status.outcome) || self.status.outcome == oldSelf.status.outcome))",
        "A final outcome stays: status.finished and status.outcome cannot be changed or removed. To end the session \
         again, create a new GuestTermination.",
    )
}

/// `status.settled` never goes back.
pub(super) fn settled_is_final() -> Rule {
    rule_at(
        ".status.settled",
        "!oldSelf.?status.?settled.orValue(false) || self.?status.?settled.orValue(false)",
        "A settled GuestTermination stays settled: status.settled cannot be changed or removed. To end the session \
         again, create a new GuestTermination.",
    )
}

/// `status.mayHaveApplied`, once true, is never cleared.
pub(super) fn doubt_stays() -> Rule {
    rule_at(
        ".status.mayHaveApplied",
        "!oldSelf.?status.?mayHaveApplied.orValue(false) || self.?status.?mayHaveApplied.orValue(false)",
        "status.mayHaveApplied cannot be cleared once it is true: a terminate call may have taken effect. To start from \
         nothing, create a new GuestTermination.",
    )
}

/// `status.attempts` never falls.
pub(super) fn attempts_never_fall() -> Rule {
    rule_at(
        ".status.attempts",
        "self.?status.?attempts.orValue(0) >= oldSelf.?status.?attempts.orValue(0)",
        "status.attempts cannot be lowered or removed: it counts the terminate calls that were announced. To start from \
         nothing, create a new GuestTermination.",
    )
}

// ---- GenesysConnection ----------------------------------------------------------------------------------------------

const WAY_OUT: &str = "delete the connection and create it again under the same name: objects that made no attempt \
                       follow it.";

/// One organisation behind one address, for the whole life of the object.
pub(super) fn connection_spec() -> Vec<Rule> {
    vec![
        rule(
            "has(self.region) != has(self.endpoints)",
            "Set exactly one of spec.region and spec.endpoints: the region of Genesys Cloud itself, or the addresses of a \
             gateway or facade.",
        ),
        rule_at(
            ".api",
            "self.api == oldSelf.api",
            format!("spec.api cannot be changed; {WAY_OUT}"),
        ),
        rule(
            format!("{} && {}", unchanged("region"), unchanged("endpoints")),
            format!(
                "spec.region and spec.endpoints cannot be changed, added or removed: a connection is one organisation \
                 behind one address. If the address is wrong, {WAY_OUT}"
            ),
        ),
    ]
}

/// `spec.region`.
pub(super) fn region() -> Vec<Rule> {
    let list = REGIONS.join("', '");
    vec![rule(
        format!("self in ['{list}']"),
        format!(
            "spec.region must be a region of Genesys Cloud: one of {}. For any other address set spec.endpoints.",
            REGIONS.join(", ")
        ),
    )]
}

/// Where a plain http address may lead: the traffic stays on the machine, or in the cluster.
const HTTP_HOSTS: &str =
    r"^http://(localhost|127(\\.[0-9]{1,3}){3}|\\[::1\\]|[a-z0-9.-]+\\.svc(\\.cluster\\.local)?)([:/?]|$)";

/// An address that every URL parser reads alike: scheme, host, port and path of plain characters.
fn address(path: &str, rest: &str, example: &str, forbidden: &str) -> Vec<Rule> {
    vec![
        rule(
            format!(
                "isURL(self) && self.matches('^https?://([A-Za-z0-9._-]+|\\\\[[0-9A-Fa-f:]+\\\\])(:[0-9]{{1,5}})?{rest}$')"
            ),
            format!("{path} must be a complete address such as {example}, without {forbidden}."),
        ),
        rule(
            format!("!self.startsWith('http:') || self.matches('{HTTP_HOSTS}')"),
            format!(
                "{path} must begin with https://; http:// is only for localhost, loopback addresses and Services in the \
                 cluster (hosts that end in .svc or .svc.cluster.local)."
            ),
        ),
    ]
}

/// The characters of a path; RFC 3986, `pchar` without `@`.
const PATH: &str = r"(/[A-Za-z0-9._~!$&()*+,;=:%/-]*)?";

/// `spec.endpoints.apiUrl`.
pub(super) fn api_url() -> Vec<Rule> {
    address(
        "spec.endpoints.apiUrl",
        PATH,
        "https://gateway.example.com/genesys",
        "user, query or fragment",
    )
}

/// `spec.endpoints.loginUrl`.
pub(super) fn login_url() -> Vec<Rule> {
    address(
        "spec.endpoints.loginUrl",
        PATH,
        "https://gateway.example.com/login",
        "user, query or fragment",
    )
}

/// `spec.webhooks[].url`: a query is allowed, receivers use it.
pub(super) fn webhook_url() -> Vec<Rule> {
    address(
        "spec.webhooks[].url",
        &format!(r"{PATH}(\\?[A-Za-z0-9._~!$&()*+,;=:@%/?-]*)?"),
        "https://hooks.example.com/genesys",
        "user or fragment",
    )
}

/// `spec.webhooks[].name`: the key of the entry in the list and in the status of a termination.
pub(super) fn webhook_name() -> Vec<Rule> {
    vec![rule(
        "!format.dns1123Label().validate(self).hasValue()",
        "spec.webhooks[].name must have 1 to 63 lower-case letters, digits and '-', a letter or digit at both ends.",
    )]
}

/// `spec.webhooks[].events`.
pub(super) fn webhook_events() -> Vec<Rule> {
    vec![rule(
        "size(self) >= 1",
        "spec.webhooks[].events must name at least one event: to announce nothing, remove the webhook.",
    )]
}

/// `spec.webhooks[].timeoutSeconds`.
pub(super) fn webhook_timeout() -> Vec<Rule> {
    between("spec.webhooks[].timeoutSeconds", 1, 30, "seconds")
}

/// `spec.rateLimit.requestsPerMinute`.
pub(super) fn requests_per_minute() -> Vec<Rule> {
    between("spec.rateLimit.requestsPerMinute", 1, 100_000, "requests")
}

/// `spec.rateLimit.maxInFlight`.
pub(super) fn max_in_flight() -> Vec<Rule> {
    between("spec.rateLimit.maxInFlight", 1, 100, "terminations")
}

/// `spec.notFound.codes`: `not.found` is what Genesys Cloud answers for a path that it does not have, so it proves
/// nothing about a session.
pub(super) fn not_found_codes() -> Vec<Rule> {
    vec![
        rule(
            "self.all(code, code.matches('^[A-Za-z0-9._-]{1,128}$'))",
            "spec.notFound.codes must hold error codes of 1 to 128 letters, digits, '.', '_' and '-'.",
        ),
        rule(
            "!self.exists(code, code == 'not.found')",
            "spec.notFound.codes must not hold not.found: it is also the answer to a wrong address, so it proves nothing. \
             If the address is right, set spec.notFound.trust: Always.",
        ),
    ]
}

/// The name of a Secret.
pub(super) fn secret_name() -> Vec<Rule> {
    object_name("The name of a secretRef", "a Secret in this namespace", 253)
}

/// The key in a Secret.
pub(super) fn secret_key() -> Vec<Rule> {
    vec![rule(
        "self.matches('^[A-Za-z0-9._-]{1,253}$') && self != '.' && self != '..'",
        "The key in a secretRef must be a key of the Secret: 1 to 253 letters, digits, '.', '_' and '-'.",
    )]
}
