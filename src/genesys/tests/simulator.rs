//! The client against the simulated vendor, over sockets.

use ::simulator::{
    CLIENT_ID, CLIENT_SECRET, Options, Simulator,
    api::{FaultAction, FaultBody, FaultSpec, GuestSpec, Operation, RetryAfter, RevokeTokens, ScriptedAnswer},
};

use super::*;
use crate::{
    termination::answer::{Answer, Proof},
    transport,
};

struct Vendor {
    simulator: Simulator,
    client: VendorClient,
    target: Target,
    tokens: Tokens,
}

impl Vendor {
    async fn start() -> Self {
        let simulator = Simulator::start(Options::default()).await.unwrap();
        simulator.add_guest(GuestSpec::active("guest-1"));
        Self {
            client: VendorClient::new(transport::reqwest::service(), SystemClock::shared()),
            target: target(simulator.url()),
            simulator,
            tokens: Tokens::default(),
        }
    }

    async fn token(&self) -> Result<AccessToken, TokenError> {
        self.token_by(CLIENT_SECRET).await
    }

    async fn token_by(&self, secret: &str) -> Result<AccessToken, TokenError> {
        let credentials = Credentials::parse(CLIENT_ID.as_bytes(), secret.as_bytes(), secret.to_owned()).unwrap();
        self.tokens.token(&self.client, &self.target, &credentials).await
    }

    async fn observe(&self) -> Answer<Look> {
        let token = self.token().await.unwrap();
        self.client
            .observe(&self.target, &token, &GuestId::parse("guest-1").unwrap())
            .await
    }

    async fn terminate(&self, termination: &Termination) -> Answer<Call> {
        let token = self.token().await.unwrap();
        self.client.terminate(&self.target, &token, termination).await
    }

    fn fault(&self, operation: Operation, answer: ScriptedAnswer) {
        self.simulator
            .add_fault(FaultSpec::on(operation).times(1).answer(answer))
            .unwrap();
    }
}

#[tokio::test]
async fn a_session_is_looked_at_and_ended() {
    let vendor = Vendor::start().await;
    let asked = termination("guest-1", Some("ünï 😀 &=+%#?/'\""));
    assert!(matches!(vendor.observe().await.verdict, Look::Active(_)));
    let call = vendor.terminate(&asked).await;
    assert_eq!((&call.verdict, call.proves()), (&Call::Applied, Proof::Applied));
    assert!(call.evidence.correlation_id.is_some());
    assert_eq!(call.evidence.allowed, Some(300));
    assert!(matches!(vendor.observe().await.verdict, Look::Ended(session) if session.state == "closed"));

    let calls = vendor.simulator.ledger().calls;
    let operations: Vec<Operation> = calls.iter().map(|call| call.operation).collect();
    let expected = [
        Operation::Token,
        Operation::Observe,
        Operation::Terminate,
        Operation::Observe,
    ];
    assert_eq!(operations, expected);
    assert_eq!(
        calls[2].query,
        [
            ("reason", "customer_initiated"),
            ("retainData", "true"),
            ("externalRef", "ünï 😀 &=+%#?/'\"")
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
}

#[tokio::test]
async fn a_revoked_token_is_refused_and_replaced() {
    let vendor = Vendor::start().await;
    let old = vendor.token().await.unwrap();
    let all = RevokeTokens {
        client: None,
        token: None,
    };
    assert_eq!(vendor.simulator.revoke_tokens(&all), 1);
    assert_eq!(vendor.observe().await.verdict, Look::Failed(Failure::Unauthorized));
    vendor.tokens.refused(&old);
    assert!(matches!(vendor.observe().await.verdict, Look::Active(_)));
}

#[tokio::test]
async fn a_wrong_secret_is_not_shown_twice() {
    let vendor = Vendor::start().await;
    for _ in 0..2 {
        let error = vendor.token_by("wrong").await.unwrap_err();
        assert!(
            matches!(error.failure, TokenFailure::Invalid { http_status: 401, .. }),
            "{error}"
        );
    }
    assert_eq!(vendor.simulator.ledger().calls.len(), 1);
    vendor.token().await.unwrap();
}

#[tokio::test]
async fn a_gateways_404_is_no_end_of_a_session() {
    let vendor = Vendor::start().await;
    for body in [
        FaultBody::Empty,
        FaultBody::Html,
        FaultBody::KubernetesStatus,
        FaultBody::Gateway,
    ] {
        vendor.fault(Operation::Observe, ScriptedAnswer::new(404, body.clone()));
        let expected = Look::Failed(Failure::Suspicious(Suspicion::ForeignNotFound));
        assert_eq!(vendor.observe().await.verdict, expected, "{body:?}");
        for status in [200, 400] {
            if body != FaultBody::Empty {
                vendor.fault(Operation::Terminate, ScriptedAnswer::new(status, body.clone()));
                let call = vendor.terminate(&termination("guest-1", None)).await;
                assert!(
                    matches!(call.verdict, Call::Failed(Failure::Suspicious(_))),
                    "{status} {body:?}"
                );
            }
        }
    }
    // What the real vendor says of a path that it does not have: well shaped, and still no proof.
    let mut wrong = Vendor::start().await;
    wrong.target.endpoints.api.set_path("/nowhere");
    assert_eq!(
        wrong.observe().await.verdict,
        Look::Failed(Failure::NotFound { conclusive: false })
    );
}

#[tokio::test]
async fn an_unknown_session_needs_a_proven_route_unless_its_code_tells() {
    let vendor = Vendor::start().await;
    let unknown = termination("guest-2", None);
    let not_found = |conclusive| Call::Failed(Failure::NotFound { conclusive });
    assert_eq!(vendor.terminate(&unknown).await.verdict, not_found(false));
    let code = Some("conversation.error.conversation.not.found".to_owned());
    vendor.fault(
        Operation::Terminate,
        ScriptedAnswer::new(404, FaultBody::Vendor { code }),
    );
    assert_eq!(vendor.terminate(&unknown).await.verdict, not_found(true));
}

#[tokio::test]
async fn a_reset_after_the_effect_leaves_it_open() {
    let vendor = Vendor::start().await;
    let fault = FaultSpec::on(Operation::Terminate)
        .times(1)
        .action(FaultAction::Reset { after_effect: true });
    vendor.simulator.add_fault(fault).unwrap();
    let call = vendor.terminate(&termination("guest-1", None)).await;
    assert_eq!(
        (&call.verdict, call.proves()),
        (&Call::Failed(Failure::Unanswered), Proof::Unknown)
    );
    assert!(matches!(vendor.observe().await.verdict, Look::Ended(_)));
}

#[tokio::test]
async fn a_pause_is_understood_in_both_forms_by_the_vendors_clock() {
    let vendor = Vendor::start().await;
    for (form, offset) in [(RetryAfter::Seconds(90), 0), (RetryAfter::DateAfterSeconds(90), 7200)] {
        let mut answer = ScriptedAnswer::vendor(429).retry_after(form);
        answer.date_offset_seconds = offset;
        vendor.fault(Operation::Observe, answer);
        let look = vendor.observe().await;
        assert_eq!(look.verdict, Look::Failed(Failure::Throttled));
        assert_eq!(look.evidence.retry_after, Some(Duration::from_secs(90)), "{form:?}");
    }
}

#[tokio::test]
async fn a_truncated_answer_is_no_answer() {
    let vendor = Vendor::start().await;
    let body = FaultBody::Guest {
        id: None,
        state: "closed".to_owned(),
    };
    let mut answer = ScriptedAnswer::new(200, body);
    answer.truncated = true;
    vendor.fault(Operation::Observe, answer);
    assert_eq!(vendor.observe().await.verdict, Look::Failed(Failure::Unanswered));
}
