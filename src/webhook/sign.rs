//! Signatures by the Standard Webhooks specification 1.0: `v1`, HMAC-SHA256 over `id.timestamp.body`.

use std::fmt;

use base64::{
    Engine,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Keys come with and without padding, as in the specification's libraries.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A signing key: 24 to 64 bytes, written as `whsec_` and base64. `Debug` tells nothing of it.
///
/// It is kept as the keyed hash that it makes, so that signing cannot fail.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SigningKey([REDACTED])")
    }
}

impl SigningKey {
    /// Reads a key. White space around it is forgiven: a file's last line break is no part of a key.
    ///
    /// # Errors
    /// [`InvalidKey`], which names the rule that the text breaks and never repeats the text.
    pub fn parse(text: &[u8]) -> Result<Self, InvalidKey> {
        let text = text.trim_ascii().strip_prefix(b"whsec_").ok_or(InvalidKey::Prefix)?;
        let key = BASE64.decode(text).map_err(|_| InvalidKey::Base64)?;
        if !(24..=64).contains(&key.len()) {
            return Err(InvalidKey::Length);
        }
        Hmac::new_from_slice(&key).map(Self).map_err(|_| InvalidKey::Length)
    }

    /// The signature, `v1,` and base64. `timestamp`: seconds since 1970.
    fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
    }
}

/// The keys that sign: the current one and, while it is rotated, the previous one.
#[derive(Clone, Debug)]
pub struct SigningKeys {
    /// The current key.
    pub current: SigningKey,
    /// The key before, while receivers may still know only that.
    pub previous: Option<SigningKey>,
}

impl SigningKeys {
    /// The value of the header `webhook-signature`: one signature of each key, the current one's first.
    pub fn signature(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let keys = std::iter::once(&self.current).chain(&self.previous);
        let signatures: Vec<String> = keys.map(|key| key.sign(id, timestamp, body)).collect();
        signatures.join(" ")
    }
}

/// A text is no signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// The prefix is missing.
    #[error("the webhook signing key must start with whsec_")]
    Prefix,
    /// Not base64.
    #[error("the webhook signing key must be base64 after whsec_")]
    Base64,
    /// Too short or too long.
    #[error("the webhook signing key must hold 24 to 64 bytes")]
    Length,
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use k8s_openapi::jiff::Timestamp;
    use proptest::prelude::*;
    use rstest::rstest;
    use standardwebhooks::Webhook;

    use super::*;

    fn written(bytes: &[u8]) -> String {
        format!("whsec_{}", BASE64.encode(bytes))
    }

    fn verifies(key: &str, id: &str, timestamp: i64, body: &[u8], signature: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", id.parse().unwrap());
        headers.insert("webhook-timestamp", timestamp.into());
        headers.insert("webhook-signature", signature.parse().unwrap());
        Webhook::new(key).unwrap().verify(body, &headers).is_ok()
    }

    /// The example of the specification's own libraries.
    #[test]
    fn signs_the_specifications_vector() {
        let keys = SigningKeys {
            current: SigningKey::parse(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap(),
            previous: None,
        };
        assert_eq!(
            keys.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, br#"{"test": 2432232314}"#),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[rstest]
    #[case(b"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", InvalidKey::Prefix)]
    #[case(b"", InvalidKey::Prefix)]
    #[case(b"whsec_not base64!", InvalidKey::Base64)]
    #[case(b"whsec_", InvalidKey::Length)]
    #[case(b"whsec_c2hvcnQ=", InvalidKey::Length)]
    fn a_text_that_is_no_key_is_refused_without_being_repeated(#[case] text: &[u8], #[case] error: InvalidKey) {
        assert_eq!(SigningKey::parse(text).unwrap_err(), error);
    }

    #[test]
    fn the_bounds_of_a_keys_length_hold() {
        for (length, good) in [(23, false), (24, true), (64, true), (65, false)] {
            assert_eq!(
                SigningKey::parse(written(&vec![7; length]).as_bytes()).is_ok(),
                good,
                "{length}"
            );
        }
    }

    #[test]
    fn debug_tells_nothing_of_a_key() {
        let shown = format!("{:?}", SigningKey::parse(written(&[65; 32]).as_bytes()).unwrap());
        assert!(
            !shown.contains("65") && !shown.contains("AAAA") && !shown.contains("QUFB"),
            "{shown}"
        );
    }

    proptest! {
        #[test]
        fn receivers_with_either_key_verify_while_it_is_rotated(
            old in proptest::collection::vec(any::<u8>(), 24..=64),
            new in proptest::collection::vec(any::<u8>(), 24..=64),
            body in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            prop_assume!(old != new);
            // The receiver's library refuses a body that is no JSON.
            let body = serde_json::to_vec(&body).unwrap();
            let (old, new, stranger) = (written(&old), written(&new), written(&[1; 25]));
            let keys = SigningKeys {
                current: SigningKey::parse(format!("{new}\n").as_bytes()).unwrap(),
                previous: Some(SigningKey::parse(old.as_bytes()).unwrap()),
            };
            let now = Timestamp::now().as_second();
            let signature = keys.signature("msg_1", now, &body);
            prop_assert!(verifies(&new, "msg_1", now, &body, &signature));
            prop_assert!(verifies(&old, "msg_1", now, &body, &signature));
            prop_assert!(!verifies(&stranger, "msg_1", now, &body, &signature));
            prop_assert!(!verifies(&new, "msg_2", now, &body, &signature));
            let only = SigningKeys { previous: None, ..keys }.signature("msg_1", now, &body);
            prop_assert!(!verifies(&old, "msg_1", now, &body, &only));
        }
    }
}
