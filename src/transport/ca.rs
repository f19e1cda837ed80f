//! Certificates that a user adds to the system's.

use std::fmt;

use ::reqwest::Certificate;
use sha2::{Digest, Sha256};

/// PEM certificates that servers' certificates are checked against, beside the system's.
#[derive(Clone)]
pub struct CaBundle {
    certificates: Vec<Certificate>,
    digest: [u8; 32],
}

impl CaBundle {
    /// Parses a bundle: one or more PEM certificates.
    ///
    /// # Errors
    /// [`InvalidCaBundle`] if there is none, or one that cannot be read.
    pub fn parse(pem: &[u8]) -> Result<Self, InvalidCaBundle> {
        let certificates = Certificate::from_pem_bundle(pem).map_err(|_| InvalidCaBundle)?;
        let bundle = Self {
            certificates,
            digest: Sha256::digest(pem).into(),
        };
        // Whether a certificate can be a trust anchor shows only when a client is built with it.
        let usable = super::reqwest::accepts(&bundle);
        if bundle.certificates.is_empty() || !usable {
            return Err(InvalidCaBundle);
        }
        Ok(bundle)
    }

    /// SHA-256 of the PEM text: bundles of one digest are one bundle.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    pub(super) fn certificates(&self) -> impl Iterator<Item = Certificate> {
        self.certificates.clone().into_iter()
    }
}

impl fmt::Debug for CaBundle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CaBundle({} certificates)", self.certificates.len())
    }
}

/// The text is not a bundle of PEM certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the CA bundle does not hold PEM certificates that can be trusted")]
pub struct InvalidCaBundle;
