//! Who speaks to the API server, and the kubeconfig that says so.

use crate::certificates::Authority;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::fmt;
use std::path::PathBuf;

/// Who speaks to the API server. Any user can be made up at any time: the control plane's own authority vouches for
/// it. What it may do is a matter of RBAC.
#[derive(Clone, PartialEq, Eq)]
pub enum Identity {
    /// A user, known by a client certificate.
    User {
        /// The user's name.
        name: String,
        /// A group that the user is in, beside `system:authenticated`.
        group: Option<String>,
    },
    /// Whoever has this bearer token, such as a service account.
    Token(String),
    /// Whoever has the bearer token in this file, which may be replaced, as a pod's is.
    TokenFile(PathBuf),
}

impl Identity {
    /// The user `admin`, whom RBAC denies nothing.
    pub fn admin() -> Self {
        Self::User {
            name: "admin".to_owned(),
            group: Some("system:masters".to_owned()),
        }
    }

    /// A user without any group.
    pub fn user(name: &str) -> Self {
        Self::User {
            name: name.to_owned(),
            group: None,
        }
    }

    /// A kubeconfig (JSON is YAML) for this identity at this server.
    pub(crate) fn kubeconfig(&self, authority: &Authority, url: &str, namespace: &str) -> anyhow::Result<Value> {
        let user = match self {
            Self::User { name, group } => {
                let signed = authority.user(name, group.as_deref())?;
                json!({
                    "client-certificate-data": STANDARD.encode(signed.certificate),
                    "client-key-data": STANDARD.encode(signed.key),
                })
            }
            Self::Token(token) => json!({ "token": token }),
            Self::TokenFile(path) => json!({ "tokenFile": path }),
        };
        let cluster = json!({ "server": url, "certificate-authority-data": STANDARD.encode(authority.pem()) });
        Ok(json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "control-plane", "cluster": cluster }],
            "users": [{ "name": "user", "user": user }],
            "contexts": [{
                "name": "control-plane",
                "context": { "cluster": "control-plane", "user": "user", "namespace": namespace },
            }],
            "current-context": "control-plane",
        }))
    }
}

/// Never shows the token.
impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User { name, group } => formatter
                .debug_struct("User")
                .field("name", name)
                .field("group", group)
                .finish(),
            Self::Token(_) => formatter.write_str("Token([redacted])"),
            Self::TokenFile(path) => formatter.debug_tuple("TokenFile").field(path).finish(),
        }
    }
}
