//! The webhook receiver: verifies Standard Webhooks signatures.

use http::StatusCode;
use standardwebhooks::Webhook;

use crate::answer::Answer;
use crate::api::WebhookEndpoint;
use crate::call::Incoming;
use crate::controls::ControlError;

/// An endpoint, by the verifiers of its secrets.
pub(crate) struct Endpoint {
    verifiers: Vec<Webhook>,
}

/// What the receiver made of a webhook.
pub(crate) struct Reception {
    pub(crate) answer: Answer,
    pub(crate) verified: bool,
    pub(crate) refusal: Option<String>,
    pub(crate) taken: bool,
}

impl Endpoint {
    pub(crate) fn new(spec: &WebhookEndpoint) -> Result<Self, ControlError> {
        let verifiers = spec
            .secrets
            .iter()
            .map(|secret| Webhook::new(secret))
            .collect::<Result<_, _>>();
        let verifiers = verifiers
            .map_err(|_| ControlError::Invalid(format!("a secret of webhook endpoint {:?} is no base64", spec.name)))?;
        Ok(Self { verifiers })
    }

    /// Verifies and takes a webhook, or refuses it with 401.
    pub(crate) fn receive(&self, call: &Incoming) -> Reception {
        let mut refusal = (self.verifiers.is_empty()).then(|| "the endpoint has no secret".to_owned());
        for verifier in &self.verifiers {
            match verifier.verify(&call.body, &call.headers) {
                Ok(()) => {
                    refusal = None;
                    break;
                }
                Err(error) => refusal = Some(error.to_string()),
            }
        }
        let verified = refusal.is_none();
        let taken = verified || self.verifiers.is_empty();
        let status = if taken {
            StatusCode::NO_CONTENT
        } else {
            StatusCode::UNAUTHORIZED
        };
        Reception {
            answer: bare(status),
            verified,
            refusal,
            taken,
        }
    }
}

/// The answer for an endpoint that nobody set up.
pub(crate) fn unknown_endpoint() -> Reception {
    Reception {
        answer: bare(StatusCode::NOT_FOUND),
        verified: false,
        refusal: Some("there is no such endpoint".to_owned()),
        taken: false,
    }
}

/// An empty answer that is not the vendor's.
fn bare(status: StatusCode) -> Answer {
    Answer {
        from_vendor: false,
        ..Answer::empty(status)
    }
}
