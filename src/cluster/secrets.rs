//! Reading Secrets: seldom, by name, and without a trace of their values.
//!
//! `get` is the only verb used. Whether something changed is asked by a metadata-only GET, which carries no value.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::api::core::v1 as core;
use kube::{
    Resource,
    api::GetParams,
    core::{PartialObjectMeta, Request},
};
use secrecy::{ExposeSecret, SecretSlice, SecretString};

use super::{
    Cluster, Identity, ReadError,
    call::CallError,
    objects::unsendable,
    text::{clean, is_object_name},
};

/// The longest credential or key that is believed to be one.
const MAX_LINE: usize = 4096;

/// Which version of which Secret: equal exactly if nothing changed, also over a deletion and a new creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretVersion(String);

impl From<Identity> for SecretVersion {
    fn from(identity: Identity) -> Self {
        Self(format!("{}/{}", identity.uid, identity.resource_version))
    }
}

/// Why a Secret's value cannot be used. The texts are fit for a condition: they name the Secret and the key, say what
/// to do, and never hold a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// There is no such Secret.
    #[error("the Secret {secret} does not exist in this namespace; create it")]
    Missing {
        /// The name of the Secret.
        secret: String,
    },
    /// The Secret has no such key.
    #[error("the Secret {secret} has no key {key}; add it, or name the right key in the connection")]
    KeyMissing {
        /// The name of the Secret.
        secret: String,
        /// The name of the key.
        key: String,
    },
    /// The value cannot be what it should be.
    #[error("the key {key} of the Secret {secret} {defect}")]
    Unusable {
        /// The name of the Secret.
        secret: String,
        /// The name of the key.
        key: String,
        /// What is wrong with it.
        defect: Defect,
    },
    /// 403: the operator's role does not allow it.
    #[error("the operator may not read the Secret {secret}; grant its service account `get` on it")]
    Forbidden {
        /// The name of the Secret.
        secret: String,
    },
    /// The API server did not give it this time. Says nothing of the Secret.
    #[error(transparent)]
    Unavailable(ReadError),
}

/// What is wrong with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// Nothing, or only a line end.
    #[error("is empty")]
    Empty,
    /// More bytes than allowed.
    #[error("is longer than {0} bytes")]
    TooLong(usize),
    /// Bytes that are no UTF-8.
    #[error("is not UTF-8 text; was it encoded twice, or is it another key's value?")]
    NotText,
    /// A control character where one line of text is expected.
    #[error("holds a control character or more than one line")]
    ControlCharacter,
}

/// A Secret as it was read. Its values are wiped when it is dropped, and `Debug` does not show them.
pub struct Secret {
    name: String,
    version: SecretVersion,
    data: BTreeMap<String, SecretSlice<u8>>,
}

impl Secret {
    /// Which version was read.
    pub fn version(&self) -> &SecretVersion {
        &self.version
    }

    /// The value of a key as one line of text, at most 4,096 bytes: a client id, a client secret, a signing key.
    ///
    /// One line end at the end is not part of it: `echo value | kubectl create secret … --from-file` adds one, no
    /// credential ends in one, and a header could not carry it.
    pub fn line(&self, key: &str) -> Result<SecretString, SecretError> {
        let value = self.bytes(key)?.expose_secret();
        let value = value.strip_suffix(b"\n").unwrap_or(value);
        let value = value.strip_suffix(b"\r").unwrap_or(value);
        let text = self.text(key, value, MAX_LINE)?;
        if text.chars().any(char::is_control) {
            return Err(self.unusable(key, Defect::ControlCharacter));
        }
        Ok(SecretString::from(text.to_owned()))
    }

    /// The value of a key as text of any number of lines, at most `max` bytes: certificates.
    pub fn block(&self, key: &str, max: usize) -> Result<SecretString, SecretError> {
        let value = self.bytes(key)?.expose_secret();
        Ok(SecretString::from(self.text(key, value, max)?.to_owned()))
    }

    fn bytes(&self, key: &str) -> Result<&SecretSlice<u8>, SecretError> {
        self.data.get(key).ok_or_else(|| SecretError::KeyMissing {
            secret: self.name.clone(),
            key: key.to_owned(),
        })
    }

    fn text<'value>(&self, key: &str, value: &'value [u8], max: usize) -> Result<&'value str, SecretError> {
        if value.len() > max {
            return Err(self.unusable(key, Defect::TooLong(max)));
        }
        let text = std::str::from_utf8(value).map_err(|_| self.unusable(key, Defect::NotText))?;
        if text.trim().is_empty() {
            return Err(self.unusable(key, Defect::Empty));
        }
        Ok(text)
    }

    fn unusable(&self, key: &str, defect: Defect) -> SecretError {
        SecretError::Unusable {
            secret: self.name.clone(),
            key: key.to_owned(),
            defect,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Secret")
            .field("name", &self.name)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// The present version of a Secret, by a GET of its metadata alone.
    pub async fn secret_version(&self, namespace: &str, name: &str) -> Result<SecretVersion, SecretError> {
        let request = secret_request(namespace, name, Request::get_metadata)?;
        let body = self.call(request).await.map_err(|error| secret_error(name, error))?;
        let object: PartialObjectMeta<core::Secret> = serde_json::from_slice(&body).map_err(|_| undecodable())?;
        Ok(Identity::from(object.metadata).into())
    }

    /// Reads a Secret with its values.
    pub async fn secret(&self, namespace: &str, name: &str) -> Result<Secret, SecretError> {
        let request = secret_request(namespace, name, Request::get)?;
        let body = self.call(request).await.map_err(|error| secret_error(name, error))?;
        let object: core::Secret = serde_json::from_slice(&body).map_err(|_| undecodable())?;
        let data = object.data.unwrap_or_default();
        Ok(Secret {
            name: name.to_owned(),
            version: Identity::from(object.metadata).into(),
            data: data
                .into_iter()
                .map(|(key, value)| (key, SecretSlice::from(value.0)))
                .collect(),
        })
    }
}

/// How a request for one object is built: for all of it, or for its metadata.
type BuildGet = fn(&Request, &str, &GetParams) -> Result<http::Request<Vec<u8>>, kube::core::request::Error>;

fn secret_request(namespace: &str, name: &str, get: BuildGet) -> Result<http::Request<Vec<u8>>, SecretError> {
    if !is_object_name(name) || !is_object_name(namespace) {
        // No such Secret can exist, and the name must not become a path.
        let secret = clean(name, 253);
        return Err(SecretError::Missing { secret });
    }
    let collection = Request::new(core::Secret::url_path(&(), Some(namespace)));
    get(&collection, name, &GetParams::default()).map_err(|error| SecretError::Unavailable(unsendable(&error)))
}

/// The parser's own words may hold a piece of a value.
fn undecodable() -> SecretError {
    SecretError::Unavailable(ReadError::Undecodable("the answer is not a Secret".to_owned()))
}

fn secret_error(name: &str, error: CallError) -> SecretError {
    let secret = name.to_owned();
    match error {
        CallError::Refused(refusal) if refusal.is_absence_of(name) => SecretError::Missing { secret },
        CallError::Refused(refusal) if refusal.code == 403 => SecretError::Forbidden { secret },
        error => SecretError::Unavailable(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::testing::{Answer, cluster};

    const CANARY: &str = "canary-secret-value";

    fn stored(value: &[u8]) -> Value {
        json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": "genesys", "namespace": "care", "uid": "u1", "resourceVersion": "7"},
            "data": {"clientSecret": STANDARD.encode(value)}})
    }

    async fn read(value: &'static [u8]) -> Secret {
        let (cluster, _) = cluster(move |_| Answer::json(200, &stored(value)));
        cluster.secret("care", "genesys").await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_version_is_asked_for_without_the_value() {
        let (cluster, log) = cluster(|_| {
            let metadata = json!({"name": "genesys", "uid": "u1", "resourceVersion": "7"});
            Answer::json(
                200,
                &json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata}),
            )
        });
        let version = cluster.secret_version("care", "genesys").await.unwrap();
        assert_eq!(&version, read(b"x").await.version());
        let log = log.lock().unwrap();
        assert_eq!(log[0].target, "/api/v1/namespaces/care/secrets/genesys");
        assert_eq!(log[0].method, http::Method::GET);
        let accept = log[0].headers[http::header::ACCEPT].to_str().unwrap().to_owned();
        assert!(accept.contains("as=PartialObjectMetadata"), "{accept}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_line_end_is_nobodys_credential() {
        for (value, expected) in [
            (&b"abc"[..], "abc"),
            (b"abc\n", "abc"),
            (b"abc\r\n", "abc"),
            (b" a b ", " a b "),
        ] {
            assert_eq!(
                read(value).await.line("clientSecret").unwrap().expose_secret(),
                expected
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_a_credential_is_named_and_not_shown() {
        let long = vec![b'x'; MAX_LINE + 1].leak();
        for (value, defect) in [
            (&b""[..], Defect::Empty),
            (b"\n", Defect::Empty),
            (b"  ", Defect::Empty),
            (b"canary-secret-value\n\n", Defect::ControlCharacter),
            (b"canary\nsecret", Defect::ControlCharacter),
            (b"canary\0secret", Defect::ControlCharacter),
            (b"canary\xff", Defect::NotText),
            (long, Defect::TooLong(MAX_LINE)),
        ] {
            let secret = read(value).await;
            let error = secret.line("clientSecret").unwrap_err();
            let SecretError::Unusable { defect: found, .. } = &error else {
                panic!("{error:?}");
            };
            assert_eq!(*found, defect);
            let shown = format!("{error} {error:?} {secret:?}");
            assert!(shown.contains("genesys") && !shown.contains("canary"), "{shown}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn certificates_may_have_lines() {
        let secret = read(b"-----BEGIN CERTIFICATE-----\nAA==\n").await;
        assert_eq!(
            secret
                .block("clientSecret", 1024)
                .unwrap()
                .expose_secret()
                .lines()
                .count(),
            2
        );
        assert!(secret.block("clientSecret", 8).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_key_a_missing_secret_and_a_missing_right_are_told_apart() {
        let error = read(b"x").await.line("client-secret").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the Secret genesys has no key client-secret; add it, or name the right key in the connection"
        );

        let (missing, log) = cluster(|_| Answer::status(404, "NotFound", &json!({"name": "genesys"})));
        let secret = || "genesys".to_owned();
        assert_eq!(
            missing.secret("care", "genesys").await.unwrap_err(),
            SecretError::Missing { secret: secret() }
        );
        let error = missing.secret_version("care", "genesys").await.unwrap_err();
        assert_eq!(error, SecretError::Missing { secret: secret() });
        assert!(missing.secret("care", "../configmaps/a").await.is_err());
        assert_eq!(log.lock().unwrap().len(), 2);

        let (forbidden, _) = cluster(|_| Answer::status(403, "Forbidden", &json!({})));
        assert_eq!(
            forbidden.secret("care", "genesys").await.unwrap_err(),
            SecretError::Forbidden { secret: secret() }
        );

        let (down, _) = cluster(|_| Answer::Broken);
        let error = down.secret("care", "genesys").await.unwrap_err();
        assert!(
            matches!(error, SecretError::Unavailable(ReadError::Unanswered(_))),
            "{error:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_no_secret_is_not_repeated() {
        let (cluster, _) = cluster(|_| Answer::text(200, format!("{{\"metadata\": \"{CANARY}\"}}")));
        let error = cluster.secret("care", "genesys").await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains(CANARY), "{error}");
    }
}
