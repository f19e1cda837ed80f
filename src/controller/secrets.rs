//! The Secrets of a connection: read with `get` alone, looked at by their metadata, and read again only when they
//! changed.

use std::sync::Arc;

use secrecy::ExposeSecret;

use super::{connection::Standing, index::ConnectionName, shared::Shared};
use crate::{
    api::{GenesysConnectionSpec, SigningSecretReference},
    cluster::{SecretError, SecretVersion},
    genesys::Credentials,
    transport::CaBundle,
    webhook::sign::{SigningKey, SigningKeys},
};

/// The longest bundle of certificates.
const MAX_CA_BUNDLE: usize = 512 * 1024;

/// What a connection's Secrets hold.
struct Material {
    credentials: Credentials,
    ca_bundle: Option<Arc<CaBundle>>,
    versions: Vec<SecretVersion>,
}

/// Why a connection's Secrets give nothing.
pub(super) enum Lack {
    /// The API server did not answer: nothing is known.
    Unknown(String),
    /// They are missing or unusable.
    Missing(String),
}

impl From<SecretError> for Lack {
    fn from(error: SecretError) -> Self {
        match error {
            SecretError::Unavailable(_) => Self::Unknown(error.to_string()),
            _ => Self::Missing(error.to_string()),
        }
    }
}

impl Shared {
    /// Looks at the Secrets of a connection if that was not done a moment ago, and reads them if they changed.
    pub(super) async fn check_secrets(&self, name: &ConnectionName) {
        let now = self.moment();
        let (uid, spec, known) = {
            let mut state = self.lock();
            let Some(connection) = state.connections.get_mut(name) else {
                return;
            };
            let fresh = connection
                .checked
                .is_some_and(|at| now < at + self.settings.pacing.secrets);
            if fresh || connection.endpoints.is_err() {
                return;
            }
            // From here on others take it for done: one look at a time.
            connection.checked = Some(now);
            (
                connection.uid.clone(),
                connection.object.spec.clone(),
                connection.secrets.clone(),
            )
        };
        let namespace = name.0.as_ref();
        let result = match self.secrets_changed(namespace, &spec, &known).await {
            Ok(false) => return,
            Ok(true) => self.read_secrets(namespace, &spec).await,
            Err(lack) => Err(lack),
        };
        self.change_connection(name, |connection| {
            if connection.uid != uid {
                return;
            }
            match result {
                Ok(material) => {
                    connection.credentials = Some(material.credentials);
                    connection.ca_bundle = material.ca_bundle;
                    connection.secrets = material.versions;
                    connection.starts_anew();
                }
                Err(Lack::Missing(why)) => {
                    connection.credentials = None;
                    connection.secrets.clear();
                    connection.standing = Standing::SecretMissing(why);
                }
                // What was read before stays good: the vendor has the last word on it.
                Err(Lack::Unknown(why)) => {
                    tracing::warn!(connection = %name.1, namespace, why, "the connection's Secrets could not be looked at");
                }
            }
        });
    }

    async fn secrets_changed(
        &self,
        namespace: &str,
        spec: &GenesysConnectionSpec,
        known: &[SecretVersion],
    ) -> Result<bool, Lack> {
        let mut versions = vec![
            self.cluster
                .secret_version(namespace, &spec.credentials_secret_ref.name)
                .await?,
        ];
        if let Some(bundle) = &spec.ca_bundle_secret_ref {
            versions.push(self.cluster.secret_version(namespace, &bundle.name).await?);
        }
        Ok(versions != known)
    }

    async fn read_secrets(&self, namespace: &str, spec: &GenesysConnectionSpec) -> Result<Material, Lack> {
        let reference = &spec.credentials_secret_ref;
        let secret = self.cluster.secret(namespace, &reference.name).await?;
        let id = secret.line(&reference.client_id_key)?;
        let key = secret.line(&reference.client_secret_key)?;
        let mut versions = vec![secret.version().clone()];
        let mut ca_bundle = None;
        if let Some(reference) = &spec.ca_bundle_secret_ref {
            let secret = self.cluster.secret(namespace, &reference.name).await?;
            let pem = secret.block(&reference.key, MAX_CA_BUNDLE)?;
            let bundle = CaBundle::parse(pem.expose_secret().as_bytes()).map_err(|invalid| {
                Lack::Missing(format!(
                    "the key {} of the Secret {}: {invalid}",
                    reference.key, reference.name
                ))
            })?;
            ca_bundle = Some(Arc::new(bundle));
            versions.push(secret.version().clone());
        }
        // Whatever can make the next token request end otherwise belongs to the version: a failure by the old ones is
        // not held against the new ones.
        let version = format!("{versions:?}/{reference:?}/{:?}", spec.ca_bundle_secret_ref);
        let credentials = Credentials::parse(id.expose_secret().as_bytes(), key.expose_secret().as_bytes(), version)
            .map_err(|invalid| Lack::Missing(format!("{invalid} {}", reference.name)))?;
        Ok(Material {
            credentials,
            ca_bundle,
            versions,
        })
    }

    /// The keys that sign a webhook, as the Secret holds them now, or a moment ago.
    pub(super) async fn signing_keys(
        &self,
        namespace: &str,
        reference: &SigningSecretReference,
    ) -> Result<SigningKeys, Lack> {
        let now = self.moment();
        let place = (
            namespace.to_owned(),
            reference.name.clone(),
            reference.key.clone(),
            reference.previous_key.clone(),
        );
        if let Some(keys) = self
            .signing_keys
            .get(&place, now.saturating_sub(self.settings.pacing.secrets))
        {
            return Ok(keys);
        }
        let secret = self.cluster.secret(namespace, &reference.name).await?;
        let key = |name: &str| {
            let text = secret.line(name)?;
            SigningKey::parse(text.expose_secret().as_bytes())
                .map_err(|invalid| Lack::Missing(format!("the key {name} of the Secret {}: {invalid}", reference.name)))
        };
        let current = key(&reference.key)?;
        let previous = reference.previous_key.as_deref().map(key).transpose()?;
        let keys = SigningKeys { current, previous };
        self.signing_keys.put(place, keys.clone(), now);
        Ok(keys)
    }
}
